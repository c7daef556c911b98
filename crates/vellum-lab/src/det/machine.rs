//! What the deterministic machine does for the core, and for its users.

use super::Det;
use crate::access::Simulated;
use crate::contract;
use crate::hardware::{Fault, FrameKinds, HostMemory, Translated, Violation, ViolationLog};
use crate::observed;
use crate::poison::lock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::Arch;
use vellum::ops::Access;
use vellum::phys::Pfn;
use vellum::{Asid, CpuSet, Machine, MemoryRange, RootLoad, Touch, Victim};

/// Waits in a row after which the machine is taken to be stuck.
const WAITS_MAX: u32 = 10_000;

// SAFETY: 1. `memory` allocated every frame of `memory()` contiguously within its ranges, page-aligned, for the life of
// the machine, and hands out no other access to it than the atomics of simulated user and hardware accesses.
// 2. `current` is below the number of CPUs, and only the owning thread gets past `check_thread`, so there is one thread
// of execution. It changes CPU while pre-emption is off only in `send_interrupt`, which restores it.
unsafe impl<A: Arch> Machine for Det<A> {
    type Arch = A;

    fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    fn memory(&self) -> &[MemoryRange] {
        self.memory.ranges()
    }

    #[inline]
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        self.memory.frame(pfn)
    }

    #[inline]
    fn current_cpu(&self) -> usize {
        self.check_thread();
        self.current.load(Relaxed)
    }

    fn node_of_cpu(&self, cpu: usize) -> u8 {
        self.cpu_nodes[cpu]
    }

    #[inline]
    fn disable_preemption(&self) {
        self.inside.store(self.inside.load(Relaxed) + 1, Relaxed);
        contract::disable(self.current_cpu());
    }

    #[inline]
    fn enable_preemption(&self) {
        self.inside.store(self.inside.load(Relaxed).saturating_sub(1), Relaxed);
        contract::enable(self.current_cpu());
    }

    fn load_root(&self, load: RootLoad) {
        lock(&self.cpu().mmu).load_root(load);
    }

    fn unload_root(&self) {
        lock(&self.cpu().mmu).unload_root();
    }

    fn invalidate_page(&self, asid: Asid, address: u64) {
        lock(&self.cpu().mmu).invalidate_page(asid, address);
    }

    fn invalidate_asid(&self, asid: Asid) {
        lock(&self.cpu().mmu).invalidate_asid(asid);
    }

    fn invalidate_all(&self) {
        lock(&self.cpu().mmu).invalidate_all();
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        let handler = self.interrupt.get().expect("an interrupt is sent and no handler is registered");
        let sender = self.current_cpu();
        for cpu in cpus.iter() {
            assert!(cpu != sender, "CPU {cpu} interrupts itself");
            self.cpus[sender].interrupts_sent.fetch_add(1, Relaxed);
            self.become_cpu(cpu);
            self.cpus[cpu].interrupts_received.fetch_add(1, Relaxed);
            handler();
        }
        self.become_cpu(sender);
    }

    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        for cpu in &self.cpus {
            lock(&cpu.mmu).invalidate_range(asid, start, pages);
        }
    }

    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        let waits = self.waits.fetch_add(1, Relaxed);
        assert!(
            waits < WAITS_MAX,
            "deadlock on the deterministic machine: CPU {} waits for {:#x} to change from {seen:#x} (it holds {:#x}), \
             and nothing else can run",
            self.current_cpu(),
            word.as_ptr() as usize,
            word.load(Relaxed),
        );
    }

    fn sleep(&self, word: &AtomicU32, seen: u32) {
        contract::may_sleep("Machine::sleep");
        self.wait_change(word, seen);
    }

    fn now(&self) -> u64 {
        self.clock_ns.load(Relaxed)
    }

    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        contract::may_sleep("Machine::compress");
        self.compressor.compress(page, into)
    }

    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        contract::may_sleep("Machine::decompress");
        self.compressor.decompress(from, page)
    }

    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        self.memory.pack_tags(pfn, into);
    }

    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        self.memory.unpack_tags(pfn, tags);
    }

    fn out_of_memory(&self, _victim: &Victim) -> bool {
        contract::may_sleep("Machine::out_of_memory");
        false
    }

    fn allow_allocation(&self, _order: u8) -> bool {
        self.gate.allow()
    }

    #[inline(always)]
    fn observe(address: usize, touch: Touch) {
        observed::observe(address, touch);
    }
}

impl<A: Arch> Simulated for Det<A> {
    fn retries_max(&self) -> u32 {
        64
    }

    fn translate<K: FrameKinds>(&self, kinds: &K, address: u64, access: Access) -> Result<Translated, Fault> {
        let mut found = ViolationLog::default();
        let result = lock(&self.cpu().mmu).translate(&self.bus(kinds), address, access, &mut found);
        self.check_conflicts(address, &mut found);
        self.report_all(found);
        result
    }

    fn physical(&self) -> &HostMemory<A> {
        &self.memory
    }

    fn loaded_root(&self) -> Option<Pfn> {
        lock(&self.cpu().mmu).loaded().map(|load| load.root)
    }

    fn report(&self, violation: Violation) {
        lock(&self.log).report(violation);
    }

    fn before_access(&self) {}
}
