//! All CPUs store to the same pages of shared memory, each to words of its own.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::arch::Prot;
use vellum::ops::{MapRequest, Sharing};
use vellum::{Object, Space};

const PAGES: u64 = 256;
const ROUNDS: u64 = 500;

struct FaultShared<'vm, M: Simulated> {
    space: Space<'vm, M>,
    memory: Object<'vm, M>,
    cpu: u64,
    round: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let memory = user.ok("shared memory", user.vm.shared_memory(PAGES))?;
    Prepared::in_common(user, cpus, |space, cpu| FaultShared { space, memory: memory.clone(), cpu, round: 0 })
}

impl<'vm, M: Simulated> Actor<'vm, M> for FaultShared<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let length = PAGES * page_bytes::<M>();
        let request = MapRequest::object(&self.memory, 0, Sharing::Shared, length, Prot::READ_WRITE);
        let base = user.ok("map", self.space.map(&request))?;
        for page in 0..PAGES {
            let address = base + page * page_bytes::<M>() + self.cpu * 8;
            // What this CPU stored through the mapping of the last round.
            if self.round > 0 {
                user.check(&self.space, address, page << 32 | (self.round - 1))?;
            } else {
                user.check_fresh(&self.space, address, 0)?;
            }
            user.store(&self.space, address, page << 32 | self.round)?;
        }
        user.ok("unmap", self.space.unmap(base, length))?;
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
