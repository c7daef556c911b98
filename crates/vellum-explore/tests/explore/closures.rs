//! Programs for the explorer as functions over a few shared words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use vellum::sync::Modify;
use vellum_explore::{Bound, Execution, MemoryOrder, Outcome, Plan, Program, Way, access, search, wait};

/// Shared words, and flags to wait for.
#[repr(C)]
#[derive(Default)]
pub struct Words {
    words: [AtomicU64; 8],
    flags: [Flag; 4],
}

#[repr(C, align(8))]
#[derive(Default)]
struct Flag(AtomicU32);

impl Words {
    pub fn load(&self, word: usize) -> u64 {
        access::load(&self.words[word], Relaxed)
    }

    pub fn store(&self, word: usize, value: u64) {
        access::store(&self.words[word], value, Relaxed);
    }

    pub fn add(&self, word: usize, value: u64) -> u64 {
        access::modify(&self.words[word], Modify::Add(value), SeqCst).unwrap_or_else(|old| old)
    }

    pub fn exchange(&self, word: usize, current: u64, new: u64) -> bool {
        access::modify(&self.words[word], Modify::CompareExchange { current, new }, SeqCst).is_ok()
    }

    pub fn fence(&self) {
        access::fence(SeqCst);
    }

    /// Waits until the flag is set.
    pub fn wait(&self, flag: usize) {
        wait::wait_change(&self.flags[flag].0, 0);
    }

    pub fn set(&self, flag: usize) {
        access::store(&self.flags[flag].0, 1, Relaxed);
    }

    /// Takes the flag as a lock.
    pub fn lock(&self, flag: usize) {
        let change = Modify::CompareExchange { current: 0, new: 1 };
        while access::modify(&self.flags[flag].0, change, SeqCst).is_err() {
            wait::wait_change(&self.flags[flag].0, 1);
        }
    }

    pub fn unlock(&self, flag: usize) {
        access::store(&self.flags[flag].0, 0, Relaxed);
    }
}

/// A program. It is broken if it panics.
#[derive(Clone, Copy)]
pub struct Closures {
    pub cpus: usize,
    pub start: fn(&Words),
    pub run: fn(&Words, usize),
    pub interrupt: fn(&Words, usize),
    pub end: fn(&Words),
}

impl Closures {
    /// Nothing, on two CPUs.
    pub const EMPTY: Closures = Closures { cpus: 2, start: |_| (), run: |_, _| (), interrupt: |_, _| (), end: |_| () };

    /// Every execution within a bound.
    pub fn search(self, order: MemoryOrder, preemptions: u8, surprises: u8) -> Outcome {
        let way = Way::Exhaustive { bound: Bound { preemptions, surprises }, reduce: true };
        self.run(&Plan::new(way, order)).unwrap()
    }

    /// Whether an execution within a bound breaks.
    pub fn breaks(self, order: MemoryOrder, preemptions: u8, surprises: u8) -> bool {
        let outcome = self.search(order, preemptions, surprises);
        assert!(outcome.exhaustive || outcome.broken.is_some());
        outcome.broken.is_some()
    }

    /// A search of any kind.
    pub fn run(self, plan: &Plan) -> Result<Outcome, String> {
        search(Arc::new(self), plan)
    }
}

struct Run {
    program: Closures,
    words: Box<Words>,
}

impl Program for Closures {
    fn cpus(&self) -> usize {
        self.cpus
    }

    fn start(&self) -> Arc<dyn Execution> {
        let run = Run { program: *self, words: Box::default() };
        (self.start)(&run.words);
        Arc::new(run)
    }
}

impl Execution for Run {
    fn memory(&self) -> Vec<Range<usize>> {
        let start = (&raw const *self.words).addr();
        std::iter::once(start..start + size_of::<Words>()).collect()
    }

    fn run(&self, cpu: usize) {
        (self.program.run)(&self.words, cpu);
    }

    fn interrupt(&self, cpu: usize) {
        (self.program.interrupt)(&self.words, cpu);
    }

    fn end(&self) {
        (self.program.end)(&self.words);
    }
}
