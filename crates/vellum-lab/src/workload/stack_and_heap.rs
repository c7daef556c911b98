//! Each CPU has a space of its own, whose stack grows by faults and whose heap grows and shrinks by `brk`.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::{Arch, Prot};
use vellum::ops::{MapFlags, MapRequest, Place};

const HEAP: u64 = 0x5000_0000;
const STACK_PAGES: u64 = 1500;
const HEAP_PAGES: u64 = 512;
const ROUNDS: u64 = 1000;

/// Where the stack ends: as high as the architecture allows, with room above, and no higher than on x86-64.
const fn stack_end<M: Simulated>() -> u64 {
    let end = <M::Arch as Arch>::USER_END - (1 << 32);
    if end < 0x7fff_0000_0000 { end } else { 0x7fff_0000_0000 }
}

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
        space.set_stack_limit((STACK_PAGES + 1) * page_bytes::<M>());
        let request = MapRequest::anonymous(page_bytes::<M>(), Prot::READ_WRITE)
            .at(Place::Fixed(stack_end::<M>() - page_bytes::<M>()));
        user.ok("map", space.map(&request.with(MapFlags::GROWS_DOWN)))?;
        user.ok("brk", space.set_brk_base(HEAP))?;
        Ok(StackAndHeap { space, heap: Vec::new(), stack: 0, round: 0 })
    })
}

impl<'vm, M: Simulated> Actor<'vm, M> for StackAndHeap<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let pages = user.below(HEAP_PAGES) as usize;
        user.ok("brk", self.space.brk(HEAP + pages as u64 * page_bytes::<M>()))?;
        let kept = pages.min(self.heap.len());
        for (page, word) in self.heap[..kept].iter().enumerate() {
            user.check(&self.space, HEAP + page as u64 * page_bytes::<M>(), *word)?;
        }
        self.heap.truncate(pages);
        for page in kept..pages {
            let address = HEAP + page as u64 * page_bytes::<M>();
            user.check_fresh(&self.space, address, 0)?;
            user.store(&self.space, address, address ^ self.round)?;
            self.heap.push(address ^ self.round);
        }
        // A few pages deeper, and back over what lies there already.
        let deeper = (self.stack + 1 + user.below(8)).min(STACK_PAGES);
        for page in self.stack..deeper {
            user.store(&self.space, stack_end::<M>() - (page + 1) * page_bytes::<M>(), page)?;
        }
        self.stack = deeper;
        for page in (0..self.stack).step_by(7) {
            user.check(&self.space, stack_end::<M>() - (page + 1) * page_bytes::<M>(), page)?;
        }
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
