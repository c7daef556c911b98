//! Memory of one space is made read-only and writable again; stores to read-only memory must be refused.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::MapRequest;

const PAGES: u64 = 16;
const ROUNDS: u64 = 4000;

struct ProtectToggle<'vm, M: Simulated> {
    space: Space<'vm, M>,
    /// Where this CPU's memory lies, once it is mapped.
    base: Option<u64>,
    round: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    Prepared::in_common(user, cpus, |space, _| ProtectToggle { space, base: None, round: 0 })
}

impl<'vm, M: Simulated> Actor<'vm, M> for ProtectToggle<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let length = PAGES * page_bytes::<M>();
        let base = match self.base {
            Some(base) => base,
            None => user.ok("map", self.space.map(&MapRequest::anonymous(length, Prot::READ_WRITE)))?,
        };
        self.base = Some(base);
        let pages = || (base..base + length).step_by(page_bytes::<M>() as usize);
        for address in pages() {
            user.store(&self.space, address, address + self.round)?;
        }
        user.ok("protect", self.space.protect(base, length, Prot::READ))?;
        for address in pages() {
            user.check(&self.space, address, address + self.round)?;
        }
        let chosen = user.below(PAGES);
        user.check_denied(&self.space, base + chosen * page_bytes::<M>())?;
        user.ok("protect", self.space.protect(base, length, Prot::READ_WRITE))?;
        user.check(&self.space, base + chosen * page_bytes::<M>(), base + chosen * page_bytes::<M>() + self.round)?;
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
