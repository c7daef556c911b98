//! The deterministic machine and the one on real threads as one type.
//!
//! The core is compiled for each machine that it is used with. Programs that run on either, as workloads do, would
//! compile it twice for each architecture; with this they compile it once, for a branch at each call of the machine.

use crate::access::Simulated;
use crate::det::Det;
use crate::hardware::{Fault, FrameKinds, HostMemory, Translated, Violation};
use crate::observed;
use crate::threads::Threads;
use std::sync::atomic::AtomicU32;
use vellum::arch::Arch;
use vellum::ops::Access;
use vellum::phys::Pfn;
use vellum::{Asid, CpuSet, Machine, MemoryRange, RootLoad, Touch};

/// One of the two machines that programs are run on.
pub enum Host<A: Arch> {
    /// CPUs take turns on one host thread.
    Det(Det<A>),
    /// Each CPU is a thread of the host.
    Threads(Threads<A>),
}

/// Does the same on whichever machine it is.
macro_rules! on_either {
    ($host:expr, $machine:ident => $body:expr) => {
        match $host {
            Host::Det($machine) => $body,
            Host::Threads($machine) => $body,
        }
    };
}

impl<A: Arch> Host<A> {
    /// The deterministic machine that it is.
    ///
    /// # Panics
    /// If it is the other one.
    pub fn det(&self) -> &Det<A> {
        match self {
            Host::Det(det) => det,
            Host::Threads(_) => panic!("this is the machine on real threads"),
        }
    }

    /// The machine on real threads that it is.
    ///
    /// # Panics
    /// If it is the other one.
    pub fn threads(&self) -> &Threads<A> {
        match self {
            Host::Threads(threads) => threads,
            Host::Det(_) => panic!("this is the deterministic machine"),
        }
    }
}

// SAFETY: both machines keep the contract, and which of them it is does not change.
unsafe impl<A: Arch> Machine for Host<A> {
    type Arch = A;

    fn cpu_count(&self) -> usize {
        on_either!(self, machine => machine.cpu_count())
    }

    fn memory(&self) -> &[MemoryRange] {
        on_either!(self, machine => machine.memory())
    }

    #[inline]
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        on_either!(self, machine => machine.frame(pfn))
    }

    #[inline]
    fn current_cpu(&self) -> usize {
        on_either!(self, machine => machine.current_cpu())
    }

    fn node_of_cpu(&self, cpu: usize) -> u8 {
        on_either!(self, machine => machine.node_of_cpu(cpu))
    }

    #[inline]
    fn disable_preemption(&self) {
        on_either!(self, machine => machine.disable_preemption());
    }

    #[inline]
    fn enable_preemption(&self) {
        on_either!(self, machine => machine.enable_preemption());
    }

    fn load_root(&self, load: RootLoad) {
        on_either!(self, machine => machine.load_root(load));
    }

    fn unload_root(&self) {
        on_either!(self, machine => machine.unload_root());
    }

    fn invalidate_page(&self, asid: Asid, address: u64) {
        on_either!(self, machine => machine.invalidate_page(asid, address));
    }

    fn invalidate_asid(&self, asid: Asid) {
        on_either!(self, machine => machine.invalidate_asid(asid));
    }

    fn invalidate_all(&self) {
        on_either!(self, machine => machine.invalidate_all());
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        on_either!(self, machine => machine.send_interrupt(cpus));
    }

    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        on_either!(self, machine => machine.broadcast_invalidate(asid, start, pages));
    }

    fn broadcast_wait(&self) {
        on_either!(self, machine => machine.broadcast_wait());
    }

    fn with_interrupts_off<R>(&self, body: impl FnOnce() -> R) -> R {
        on_either!(self, machine => machine.with_interrupts_off(body))
    }

    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        on_either!(self, machine => machine.wait_change(word, seen));
    }

    fn sleep(&self, word: &AtomicU32, seen: u32) {
        on_either!(self, machine => machine.sleep(word, seen));
    }

    #[inline]
    fn now(&self) -> u64 {
        on_either!(self, machine => machine.now())
    }

    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        on_either!(self, machine => machine.compress(page, into))
    }

    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        on_either!(self, machine => machine.decompress(from, page))
    }

    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        on_either!(self, machine => machine.read_tags(pfn, into));
    }

    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        on_either!(self, machine => machine.write_tags(pfn, tags));
    }

    fn allow_allocation(&self, order: u8) -> bool {
        on_either!(self, machine => machine.allow_allocation(order))
    }

    #[inline(always)]
    fn observe(address: usize, touch: Touch) {
        observed::observe(address, touch);
    }
}

impl<A: Arch> Simulated for Host<A> {
    fn retries_max(&self) -> u32 {
        on_either!(self, machine => machine.retries_max())
    }

    #[inline]
    fn translate<K: FrameKinds>(&self, kinds: &K, address: u64, access: Access) -> Result<Translated, Fault> {
        on_either!(self, machine => machine.translate(kinds, address, access))
    }

    #[inline]
    fn physical(&self) -> &HostMemory<A> {
        on_either!(self, machine => machine.physical())
    }

    #[inline]
    fn loaded_root(&self) -> Option<Pfn> {
        on_either!(self, machine => machine.loaded_root())
    }

    fn report(&self, violation: Violation) {
        on_either!(self, machine => machine.report(violation));
    }

    #[inline]
    fn before_access(&self) {
        on_either!(self, machine => machine.before_access());
    }

    #[inline]
    fn after_access(&self) {
        on_either!(self, machine => machine.after_access());
    }
}
