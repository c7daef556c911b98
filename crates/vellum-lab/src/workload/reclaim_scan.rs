//! Readers of a file ten times as large as memory: taking clean pages of files back is the work.
//!
//! Two processes map the file, one shared and one private. Each CPU reads all of the file's first half, as all others
//! do, and a part of the second half that nobody else reads.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use crate::replay::files::{PatternFile, fill_page};
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::{MapRequest, Sharing};

/// The file's size, in memories.
const MEMORIES: u64 = 10;
const PROCESSES: usize = 2;
/// Pages of the common half that are read in a step.
const WINDOW: u64 = 16;

struct ReclaimScan<'vm, M: Simulated> {
    space: Space<'vm, M>,
    base: u64,
    /// Whether this CPU's count of the process's memory is the one that counts.
    is_first: bool,
    /// Pages that all read, from 0 on.
    common: u64,
    /// Where the CPU's own ones begin, and how many they are.
    own: (u64, u64),
    taken: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let common = MEMORIES * user.frames() / 2;
    let own = common / cpus as u64;
    let file = user.ok("a file", user.vm.file(PatternFile::default()))?;
    let length = 2 * common * page_bytes::<M>();
    let mut processes = Vec::new();
    for sharing in [Sharing::Shared, Sharing::Private].into_iter().take(cpus.min(PROCESSES)) {
        let space = user.ok("a new address space", user.vm.create_space())?;
        let base = user.ok("map", space.map(&MapRequest::object(&file, 0, sharing, length, Prot::READ)))?;
        processes.push((space, base));
    }
    let actor = |cpu: usize| {
        let (space, base) = processes[cpu % processes.len()].clone();
        let own = (common + own * cpu as u64, own);
        Box::new(ReclaimScan { space, base, is_first: cpu < PROCESSES, common, own, taken: 0 }) as _
    };
    Ok(Prepared { actors: (0..cpus).map(actor).collect(), is_common: false })
}

impl<'vm, M: Simulated> Actor<'vm, M> for ReclaimScan<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        let steps = self.common.div_ceil(WINDOW);
        for page in self.taken * WINDOW..self.common.min((self.taken + 1) * WINDOW) {
            self.read(user, page)?;
        }
        let (start, count) = self.own;
        for page in count * self.taken / steps..count * (self.taken + 1) / steps {
            self.read(user, start + page)?;
        }
        self.taken += 1;
        Ok(Step::until(self.taken, steps))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }

    fn resident(&self) -> u64 {
        if self.is_first { self.space.rss().total() } else { 0 }
    }
}

impl<'vm, M: Simulated> ReclaimScan<'vm, M> {
    fn read(&self, user: &mut User<'vm, M>, page: u64) -> Result<(), RunError> {
        let mut word = [0; 8];
        fill_page(PatternFile::default().identity(), page, &mut word);
        user.check_fresh(&self.space, self.base + page * page_bytes::<M>(), u64::from_le_bytes(word))
    }
}
