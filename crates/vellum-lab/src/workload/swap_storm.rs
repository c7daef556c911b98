//! One line of many processes, each forked from a random one before it, which share anonymous memory and store to parts
//! of it: far more pages than memory has, so that they live in swap.
//!
//! As many processes as memory is large, a thousand at most: their page tables must stay in memory.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use std::sync::Arc;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::MapRequest;

/// Pages that the first process has, and all others inherit.
const PAGES: u64 = 128;
/// Pages that each stores to.
const STORED: u64 = 48;
const PROCESSES_MAX: u64 = 1000;
/// Frames for each process.
const FRAMES: u64 = 8;
/// Loads of older processes after each fork.
const LOOKS: u64 = 16;

struct Process<'vm, M: Simulated> {
    space: Space<'vm, M>,
    /// What the first word of each page is.
    words: Vec<u64>,
}

struct SwapStorm<'vm, M: Simulated> {
    first: Arc<Process<'vm, M>>,
    base: u64,
    cpu: u64,
    /// Processes to be made by this CPU.
    quota: u64,
    made: u64,
    processes: Vec<Process<'vm, M>>,
    /// Processes whose memory was checked at the end.
    checked: usize,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let space = user.ok("a new address space", user.vm.create_space())?;
    let base = user.ok("map", space.map(&MapRequest::anonymous(PAGES * page_bytes::<M>(), Prot::READ_WRITE)))?;
    let words: Vec<u64> = (1..=PAGES).collect();
    for (page, &word) in words.iter().enumerate() {
        user.store(&space, base + page as u64 * page_bytes::<M>(), word)?;
    }
    let first = Arc::new(Process { space, words });
    let (all, cpus) = ((user.frames() / FRAMES).clamp(8, PROCESSES_MAX), cpus as u64);
    let actor = |cpu| {
        let quota = all * (cpu + 1) / cpus - all * cpu / cpus;
        let (first, processes) = (first.clone(), Vec::new());
        Box::new(SwapStorm { first, base, cpu, quota, made: 0, processes, checked: 0 }) as _
    };
    Ok(Prepared { actors: (0..cpus).map(actor).collect(), is_common: false })
}

impl<'vm, M: Simulated> Actor<'vm, M> for SwapStorm<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        if self.made < self.quota {
            self.fork(user)?;
            self.look(user)?;
            return Ok(Step::More);
        }
        // Every other process ends, so that some have descendants and no longer an ancestor; the rest are checked.
        if self.checked < self.processes.len() {
            let process = &self.processes[self.checked];
            for page in 0..PAGES {
                user.check(&process.space, self.address(page), process.words[page as usize])?;
            }
            self.checked += 1;
            if self.checked < self.processes.len() {
                self.processes.remove(self.checked);
            }
        }
        Ok(Step::until(self.checked as u64, self.processes.len() as u64))
    }

    fn space(&self) -> &Space<'vm, M> {
        self.processes.last().map_or(&self.first.space, |process| &process.space)
    }

    fn resident(&self) -> u64 {
        self.processes.iter().map(|process| process.space.rss().total()).sum()
    }
}

impl<'vm, M: Simulated> SwapStorm<'vm, M> {
    fn address(&self, page: u64) -> u64 {
        self.base + page * page_bytes::<M>()
    }

    /// Makes one more process, which stores to some of its pages.
    fn fork(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let chosen = user.below(self.made + 1) as usize;
        let parent = self.processes.get(chosen).unwrap_or(&*self.first);
        let (space, mut words) = (user.ok("fork", parent.space.fork())?, parent.words.clone());
        self.made += 1;
        let from = user.below(PAGES);
        for page in (from..from + STORED).map(|page| page % PAGES) {
            let word = (self.cpu + 1) << 48 | self.made << 16 | page;
            user.check(&space, self.address(page), words[page as usize])?;
            user.store(&space, self.address(page), word)?;
            words[page as usize] = word;
        }
        self.processes.push(Process { space, words });
        Ok(())
    }

    /// Looks at pages of any processes.
    fn look(&self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        for _ in 0..LOOKS {
            let process = &self.processes[user.below(self.made) as usize];
            let page = user.below(PAGES);
            user.check(&process.space, self.address(page), process.words[page as usize])?;
        }
        Ok(())
    }
}
