//! Each CPU has a space of its own, whose stack grows by faults and whose heap grows and shrinks by `brk`.

use super::user::{PAGE, User};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::{MapFlags, MapRequest, Place};

const STACK_END: u64 = 0x7fff_0000_0000;
const HEAP: u64 = 0x5000_0000;
const STACK_PAGES: u64 = 1500;
const HEAP_PAGES: u64 = 512;
const ROUNDS: u64 = 1000;

struct StackAndHeap<'vm, M: Simulated> {
    space: Space<'vm, M>,
    /// Pages of the heap, and what is stored to the first word of each.
    heap: Vec<u64>,
    /// Pages of the stack that were stored to.
    stack: u64,
    round: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    Prepared::apart(user, cpus, |user, space| {
        let request = MapRequest::anonymous(PAGE, Prot::READ_WRITE).at(Place::Fixed(STACK_END - PAGE));
        user.ok("map", space.map(&request.with(MapFlags::GROWS_DOWN)))?;
        user.ok("brk", space.set_brk_base(HEAP))?;
        Ok(StackAndHeap { space, heap: Vec::new(), stack: 0, round: 0 })
    })
}

impl<'vm, M: Simulated> Actor<'vm, M> for StackAndHeap<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let pages = user.below(HEAP_PAGES) as usize;
        user.ok("brk", self.space.brk(HEAP + pages as u64 * PAGE))?;
        let kept = pages.min(self.heap.len());
        for (page, word) in self.heap[..kept].iter().enumerate() {
            user.check(&self.space, HEAP + page as u64 * PAGE, *word)?;
        }
        self.heap.truncate(pages);
        for page in kept..pages {
            let address = HEAP + page as u64 * PAGE;
            user.check_fresh(&self.space, address, 0)?;
            user.store(&self.space, address, address ^ self.round)?;
            self.heap.push(address ^ self.round);
        }
        // A few pages deeper, and back over what lies there already.
        let deeper = (self.stack + 1 + user.below(8)).min(STACK_PAGES);
        for page in self.stack..deeper {
            user.store(&self.space, STACK_END - (page + 1) * PAGE, page)?;
        }
        self.stack = deeper;
        for page in (0..self.stack).step_by(7) {
            user.check(&self.space, STACK_END - (page + 1) * PAGE, page)?;
        }
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
