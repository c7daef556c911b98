//! The machine under exploration: simulated CPUs whose every access, interrupt and TLB fill is a choice of the search.
//!
//! [`Lab`] implements [`Machine`] by forwarding each access to [`crate::explore`]. Its MMUs are those of
//! [`crate::hardware`]. Translation of a user access is one step; what a walk in several steps could find, it finds
//! through speculative fills of the paging-structure caches. Returning to user mode, loading a root and returning from an
//! interrupt let the CPU's delayed stores arrive, as the instructions that do it on real processors.

mod machine;
mod user;

pub(crate) use user::UserError;

use crate::explore::sim;
use crate::hardware::{Bus, Checks, FrameKinds, HostMemory, MachineConfig, Mmu, NoHostMemory, ViolationLog};
use crate::poison::lock;
use std::sync::Mutex;
use vellum::RootLoad;
use vellum::arch::Arch;
use vellum::phys::Pfn;

/// The machine under exploration.
pub struct Lab<A: Arch> {
    memory: HostMemory<A>,
    cpus: Box<[LabCpu<A>]>,
}

struct LabCpu<A> {
    mmu: Mutex<Mmu<A>>,
    /// Broadcast invalidations this CPU began whose effect is put off until it waits for them.
    broadcasts: Mutex<Vec<(vellum::Asid, u64, u64)>>,
}

impl<A: Arch> Lab<A> {
    /// A machine of that shape.
    pub fn new(config: &MachineConfig) -> Result<Lab<A>, NoHostMemory> {
        let cpu = |number| LabCpu { mmu: Mutex::new(Mmu::new(number)), broadcasts: Mutex::new(Vec::new()) };
        Ok(Lab { memory: HostMemory::new(&config.ranges)?, cpus: (0..config.cpus).map(cpu).collect() })
    }

    /// Its memory.
    pub fn memory(&self) -> &HostMemory<A> {
        &self.memory
    }

    /// The root loaded on `cpu`.
    pub fn loaded(&self, cpu: usize) -> Option<RootLoad> {
        lock(&self.cpus[cpu].mmu).loaded()
    }

    /// The frame whose contents hold the host's `address`, if one does.
    pub(crate) fn frame_at(&self, address: usize) -> Option<Pfn> {
        self.memory.ranges().iter().find_map(|range| {
            let start = self.memory.frame(range.start).addr();
            let offset = address.checked_sub(start)? as u64 >> A::PAGE_SHIFT;
            (offset < range.frames).then(|| Pfn(range.start.0 + offset))
        })
    }

    /// Fills the TLB of `cpu` for `address` if the tables allow it, as a processor may at any time (H1).
    pub(crate) fn speculate<K: FrameKinds>(&self, kinds: &K, cpu: usize, address: u64) {
        let mut found = ViolationLog::default();
        lock(&self.cpus[cpu].mmu).speculate(&self.bus(kinds), address, &mut found);
        report_all(found);
    }

    /// Compares what `cpu` caches of its loaded space with the tables.
    pub(crate) fn audit<K: FrameKinds>(&self, kinds: &K, cpu: usize) {
        let mut found = ViolationLog::default();
        let bus = Bus { checks: Checks::ALL, ..self.bus(kinds) };
        lock(&self.cpus[cpu].mmu).audit(&bus, &mut found);
        report_all(found);
    }

    /// Whether `cpu` could begin to cache something about `address` that it does not cache now, by way of the table
    /// entry at the host's address `entry`.
    pub(crate) fn could_fill<K: FrameKinds>(&self, kinds: &K, cpu: usize, address: u64, entry: usize) -> bool {
        let peek = lock(&self.cpus[cpu].mmu).peek(&self.bus(kinds), address);
        let place = peek.entries.iter().position(|&passed| passed == entry);
        // What says that nothing is there is not cached.
        place.is_some_and(|place| place + 1 < peek.entries.len() || peek.frame.is_some())
    }

    fn bus<'a, K>(&'a self, kinds: &'a K) -> Bus<'a, A, K> {
        // Entries are half changed at most times: tables are compared with caches only where nothing is under way.
        Bus { memory: &self.memory, kinds, checks: Checks { frames: true, tables: false } }
    }
}

/// Ends the execution if the hardware found something.
fn report_all(mut found: ViolationLog) {
    if let Some(first) = found.take().into_iter().next() {
        let text = format!("CPU {}, address {:#x}: {}", first.cpu, first.address, first.detail);
        sim::report(first.invariant.id(), text);
    }
}
