//! All CPUs read one file, and store to private pages of it, which go again.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use crate::replay::files::{PatternFile, fill_page};
use vellum::arch::Prot;
use vellum::ops::{Advice, MapRequest, Sharing};
use vellum::{Object, Space};

const PAGES: u64 = 512;
const WINDOW: u64 = 64;
const ROUNDS: u64 = 500;

struct FileReaders<'vm, M: Simulated> {
    space: Space<'vm, M>,
    file: Object<'vm, M>,
    expected: Vec<u8>,
    round: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let file = user.ok("a file", user.vm.file(PatternFile::default()))?;
    Prepared::in_common(user, cpus, |space, _| FileReaders {
        space,
        file: file.clone(),
        expected: vec![0; page_bytes::<M>() as usize],
        round: 0,
    })
}

impl<'vm, M: Simulated> Actor<'vm, M> for FileReaders<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let first = user.below(PAGES - WINDOW);
        let length = WINDOW * page_bytes::<M>();
        let sharing = if self.round.is_multiple_of(2) { Sharing::Private } else { Sharing::Shared };
        let prot = if sharing == Sharing::Private { Prot::READ_WRITE } else { Prot::READ };
        let request = MapRequest::object(&self.file, first * page_bytes::<M>(), sharing, length, prot);
        let base = user.ok("map", self.space.map(&request))?;
        for page in 0..WINDOW {
            self.check(user, base, first, page)?;
        }
        if sharing == Sharing::Private {
            for page in (0..WINDOW).step_by(4) {
                user.store(&self.space, base + page * page_bytes::<M>() + 8, self.round)?;
                user.check(&self.space, base + page * page_bytes::<M>() + 8, self.round)?;
            }
            user.ok("advise", self.space.advise(base, length, Advice::DontNeed))?;
            for page in (0..WINDOW).step_by(4) {
                self.check(user, base, first, page)?;
            }
        }
        user.ok("unmap", self.space.unmap(base, length))?;
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}

impl<'vm, M: Simulated> FileReaders<'vm, M> {
    /// Checks that `page` of the mapping at `base` shows the file.
    fn check(&mut self, user: &mut User<'vm, M>, base: u64, first: u64, page: u64) -> Result<(), RunError> {
        fill_page(PatternFile::default().identity(), first + page, &mut self.expected);
        user.check_page(&self.space, base + page * page_bytes::<M>(), &self.expected)
    }
}
