//! How much memory a run uses.

use super::{Outcome, Samples};
use vellum::arch::Arch;
use vellum::stat::Event;
use vellum::{Machine, MemoryUsage, Vm};

/// The most memory that was in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    /// Frames that the machine has.
    pub frames: u64,
    /// Frames in use, the core's own included.
    pub frames_used_max: u64,
    /// Page tables.
    pub table_pages_max: u64,
    /// What the frames were used for, when the fullest of the samples was taken.
    pub usage: MemoryUsage,
    /// Bytes of the core's descriptors and objects, then.
    pub metadata_bytes: u64,
}

/// Watches a `Vm`'s memory.
pub struct Gauge {
    peaks: Peaks,
    used_at_usage: u64,
    resident: Samples,
}

impl Gauge {
    /// A gauge for `vm`, whose first sample is due at once.
    pub fn new<M: Machine>(vm: &Vm<M>) -> Gauge {
        let frames = vm.machine().memory().iter().map(|range| range.frames).sum();
        let mut gauge =
            Gauge { peaks: Peaks { frames, ..Peaks::default() }, used_at_usage: 0, resident: Samples::default() };
        gauge.look(vm);
        gauge
    }

    /// Frames that the machine has.
    pub fn frames(&self) -> u64 {
        self.peaks.frames
    }

    /// Whether a sample of resident pages is due after `accesses`.
    #[inline]
    pub fn is_due(&self, accesses: u64) -> bool {
        self.resident.is_due(accesses)
    }

    /// Takes one. To be called when it is due.
    pub fn sample<M: Machine>(&mut self, vm: &Vm<M>, accesses: u64, resident_pages: u64) {
        self.look(vm);
        self.resident.push(accesses, resident_pages);
        // It takes time in proportion to memory, so not for each page more.
        if self.peaks.frames_used_max > self.used_at_usage + self.used_at_usage / 64 {
            self.used_at_usage = self.peaks.frames_used_max;
            self.peaks.usage = vm.usage();
            self.peaks.metadata_bytes = (self.peaks.usage.reserved + self.peaks.usage.slab) << M::Arch::PAGE_SHIFT;
        }
    }

    /// Looks at what is used now. To be called before memory is given back, so that no peak is missed.
    pub fn look<M: Machine>(&mut self, vm: &Vm<M>) {
        let totals = vm.totals();
        let tables = totals.get(Event::TableAlloc).saturating_sub(totals.get(Event::TableFree));
        let used = self.peaks.frames.saturating_sub(vm.free_frames());
        self.peaks.table_pages_max = self.peaks.table_pages_max.max(tables);
        self.peaks.frames_used_max = self.peaks.frames_used_max.max(used);
    }

    /// Puts what was seen, and the core's counters, into `outcome`.
    pub fn finish<M: Machine>(mut self, vm: &Vm<M>, outcome: &mut Outcome) {
        self.look(vm);
        outcome.peaks = self.peaks;
        outcome.resident = self.resident;
        outcome.counters = vm.totals().iter().collect();
    }
}
