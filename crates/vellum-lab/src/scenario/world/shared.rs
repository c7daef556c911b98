//! What actors share beside the core.

use crate::explore::sim;
use crate::poison::lock;
use crate::scenario::oracle::Oracle;
use crate::scenario::reach::Reaches;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// What actors share beside the core.
#[derive(Default)]
pub(crate) struct Shared {
    oracle: Mutex<Oracle>,
    /// By CPU: the process it runs, and the one it ran last.
    pub(super) running: Mutex<Vec<(Option<usize>, usize)>>,
    pub(super) processes: AtomicU32,
    busy: AtomicU32,
    pub(super) watched: Mutex<Vec<u64>>,
    notes: [AtomicU64; 8],
    pub(in crate::scenario) reaches: Reaches,
}

impl Shared {
    pub(crate) fn with_oracle<R>(&self, body: impl FnOnce(&mut Oracle) -> R) -> R {
        body(&mut lock(&self.oracle))
    }

    pub(crate) fn processes(&self) -> usize {
        self.processes.load(Relaxed) as usize
    }

    pub(crate) fn set_running(&self, process: Option<usize>) {
        let running = &mut lock(&self.running)[sim::current_cpu()];
        *running = (process, process.unwrap_or(running.1));
    }

    /// The process that operations of `cpu` are about: the one it runs, or ran last.
    pub(crate) fn process_of(&self, cpu: usize) -> usize {
        lock(&self.running)[cpu].1
    }

    pub(super) fn runs(&self, cpu: usize) -> Option<usize> {
        lock(&self.running)[cpu].0
    }

    /// Runs an operation; see [`Shared::is_quiet`].
    pub(crate) fn busy<R>(&self, body: impl FnOnce() -> R) -> R {
        self.busy.fetch_add(1, Relaxed);
        let result = body();
        self.busy.fetch_sub(1, Relaxed);
        result
    }

    /// Whether no operation is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy.load(Relaxed) == 0
    }

    /// CPUs may fill their TLBs for `address`. What they may fill does not change while the CPUs run.
    pub(crate) fn watch(&self, address: u64) {
        if sim::is_exploring() {
            return;
        }
        let mut watched = lock(&self.watched);
        if !watched.contains(&address) {
            watched.push(address);
        }
    }

    pub(crate) fn note(&self, slot: usize, value: u64) {
        self.notes[slot].store(value, Relaxed);
    }

    pub(crate) fn noted(&self, slot: usize) -> u64 {
        self.notes[slot].load(Relaxed)
    }
}
