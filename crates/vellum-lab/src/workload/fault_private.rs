//! Each CPU maps private memory of one space, stores to it, checks it and unmaps it.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::MapRequest;

const PAGES: u64 = 128;
const ROUNDS: u64 = 1000;

struct FaultPrivate<'vm, M: Simulated> {
    space: Space<'vm, M>,
    round: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    Prepared::in_common(user, cpus, |space, _| FaultPrivate { space, round: 0 })
}

impl<'vm, M: Simulated> Actor<'vm, M> for FaultPrivate<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let length = PAGES * page_bytes::<M>();
        let base = user.ok("map", self.space.map(&MapRequest::anonymous(length, Prot::READ_WRITE)))?;
        for address in (base..base + length).step_by(page_bytes::<M>() as usize) {
            // Every fourth page is read first, and shows the zero page.
            if (address / page_bytes::<M>()).is_multiple_of(4) {
                user.check_fresh(&self.space, address + 8, 0)?;
            }
            user.store(&self.space, address + 8, address ^ self.round)?;
        }
        for address in (base..base + length).step_by(page_bytes::<M>() as usize) {
            user.check(&self.space, address + 8, address ^ self.round)?;
            user.check_fresh(&self.space, address + 16, 0)?;
        }
        user.ok("unmap", self.space.unmap(base, length))?;
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
