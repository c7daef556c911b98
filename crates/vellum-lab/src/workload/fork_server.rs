//! Each CPU has a space of its own and forks it again and again: neither side may see what the other stores.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::MapRequest;

const PAGES: u64 = 64;
const FORKS: u64 = 3000;

struct ForkServer<'vm, M: Simulated> {
    space: Space<'vm, M>,
    base: u64,
    /// What the server last stored to each page.
    words: Vec<u64>,
    taken: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    Prepared::apart(user, cpus, |user, space| {
        let request = MapRequest::anonymous(PAGES * page_bytes::<M>(), Prot::READ_WRITE);
        let base = user.ok("map", space.map(&request))?;
        Ok(ForkServer { space, base, words: vec![0; PAGES as usize], taken: 0 })
    })
}

impl<'vm, M: Simulated> Actor<'vm, M> for ForkServer<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        self.taken += 1;
        for page in (0..PAGES).filter(|page| (page + self.taken).is_multiple_of(3)) {
            user.store(&self.space, self.base + page * page_bytes::<M>(), page << 32 | self.taken)?;
            self.words[page as usize] = page << 32 | self.taken;
        }
        let child = user.ok("fork", self.space.fork())?;
        for page in (0..PAGES).step_by(2) {
            user.check(&child, self.base + page * page_bytes::<M>(), self.words[page as usize])?;
            user.store(&child, self.base + page * page_bytes::<M>(), u64::MAX)?;
        }
        for page in (0..PAGES).step_by(5) {
            user.check(&self.space, self.base + page * page_bytes::<M>(), self.words[page as usize])?;
            let expected = if page % 2 == 0 { u64::MAX } else { self.words[page as usize] };
            user.check(&child, self.base + page * page_bytes::<M>(), expected)?;
        }
        drop(child);
        Ok(Step::until(self.taken, FORKS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}
