//! What the machine on real threads does for the core, and for its users.

use super::interrupts::with_interrupts_off;
use super::{NO_ROOT, SEAT, Threads, count};
use crate::access::Simulated;
use crate::contract;
use crate::hardware::{Fault, FrameKinds, HostMemory, Translated, Violation, ViolationLog};
use crate::poison::lock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use vellum::arch::Arch;
use vellum::ops::Access;
use vellum::phys::Pfn;
use vellum::{Asid, CpuSet, Machine, MemoryRange, RootLoad, Victim};

/// Tries before a waiting thread lets others run.
const SPINS: u32 = 64;

// SAFETY: 1. `memory` allocated every frame of `memory()` contiguously within its ranges, page-aligned, for the life of
// the machine, and hands out no other access to it than the atomics of simulated user and hardware accesses.
// 2. A thread is CPU n while `SEAT` says so, which is after it has set `taken` of n and before it clears it; so no two
// threads are one CPU. A thread changes its own seat inside the core only in `answer_for`, which restores it.
unsafe impl<A: Arch> Machine for Threads<A> {
    type Arch = A;

    fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    fn memory(&self) -> &[MemoryRange] {
        self.memory.ranges()
    }

    #[inline(always)]
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        self.memory.frame(pfn)
    }

    #[inline(always)]
    fn current_cpu(&self) -> usize {
        // Another machine's seats, and none, differ in the upper bits.
        let cpu = SEAT.get() ^ self.first_seat;
        if cpu >= self.cpus.len() as u64 {
            no_seat();
        }
        cpu as usize
    }

    fn node_of_cpu(&self, cpu: usize) -> u8 {
        self.cpu_nodes[cpu]
    }

    #[inline(always)]
    fn disable_preemption(&self) {
        contract::disable(self.current_cpu());
    }

    #[inline(always)]
    fn enable_preemption(&self) {
        contract::enable(self.current_cpu());
    }

    fn load_root(&self, load: RootLoad) {
        let cpu = self.cpu();
        count(&cpu.root_loads);
        cpu.root.store(load.root.0, Relaxed);
        if let Some(mmu) = &cpu.mmu {
            lock(mmu).load_root(load);
        }
    }

    fn unload_root(&self) {
        let cpu = self.cpu();
        count(&cpu.root_loads);
        cpu.root.store(NO_ROOT, Relaxed);
        if let Some(mmu) = &cpu.mmu {
            lock(mmu).unload_root();
        }
    }

    #[inline]
    fn invalidate_page(&self, asid: Asid, address: u64) {
        let cpu = self.cpu();
        match &cpu.mmu {
            Some(mmu) => lock(mmu).invalidate_page(asid, address),
            None => count(&cpu.page_invalidations),
        }
    }

    #[inline]
    fn invalidate_asid(&self, asid: Asid) {
        let cpu = self.cpu();
        match &cpu.mmu {
            Some(mmu) => lock(mmu).invalidate_asid(asid),
            None => count(&cpu.asid_invalidations),
        }
    }

    fn invalidate_all(&self) {
        let cpu = self.cpu();
        match &cpu.mmu {
            Some(mmu) => lock(mmu).invalidate_all(),
            None => count(&cpu.asid_invalidations),
        }
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        let sender = self.cpu();
        for cpu in cpus.iter() {
            count(&sender.interrupts_sent);
            self.cpus[cpu].pending.store(true, SeqCst);
            self.answer_for(cpu);
        }
    }

    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        let own = self.cpu();
        if own.mmu.is_none() {
            count(&own.page_invalidations);
        }
        for mmu in self.cpus.iter().filter_map(|cpu| cpu.mmu.as_ref()) {
            lock(mmu).invalidate_range(asid, start, pages);
        }
    }

    /// The MMUs are done; what remains are accesses that were translated before and are moving their bytes.
    fn broadcast_wait(&self) {
        for cpu in &self.cpus {
            let seen = cpu.accesses.load(SeqCst);
            while seen % 2 != 0 && cpu.accesses.load(Acquire) == seen {
                std::thread::yield_now();
            }
        }
    }

    fn with_interrupts_off<R>(&self, body: impl FnOnce() -> R) -> R {
        with_interrupts_off(body)
    }

    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        for _ in 0..SPINS {
            if word.load(Relaxed) != seen {
                return;
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
    }

    fn sleep(&self, word: &AtomicU32, seen: u32) {
        contract::may_sleep("Machine::sleep");
        self.poll();
        self.wait_change(word, seen);
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
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
}

impl<A: Arch> Simulated for Threads<A> {
    /// Other threads may undo what a fault did, as often as they like; this many times is a bug all the same.
    fn retries_max(&self) -> u32 {
        1_000_000
    }

    fn translate<K: FrameKinds>(&self, kinds: &K, address: u64, access: Access) -> Result<Translated, Fault> {
        let cpu = self.cpu();
        let mmu = cpu.mmu.as_ref().expect("user accesses need a machine with MMUs");
        let mut log = ViolationLog::default();
        // Before the MMU is locked: a broadcast which comes after this translation there sees it in progress.
        cpu.accesses.store(cpu.accesses.load(Relaxed) + 1, SeqCst);
        // The processor's own, which nothing interrupts.
        let result = with_interrupts_off(|| {
            let result = lock(mmu).translate(&self.bus(kinds), address, access, &mut log);
            if result.is_err() {
                self.after_access();
            }
            self.check_conflicts(address, &mut log);
            result
        });
        self.report_all(log);
        result
    }

    fn physical(&self) -> &HostMemory<A> {
        &self.memory
    }

    fn loaded_root(&self) -> Option<Pfn> {
        Some(self.cpu().root.load(Relaxed)).filter(|&root| root != NO_ROOT).map(Pfn)
    }

    fn report(&self, violation: Violation) {
        lock(&self.log).report(violation);
    }

    #[inline]
    fn before_access(&self) {
        self.poll();
    }

    #[inline]
    fn after_access(&self) {
        let accesses = &self.cpu().accesses;
        accesses.store(accesses.load(Relaxed) + 1, Release);
    }
}

#[cold]
fn no_seat() -> ! {
    panic!("the thread is no CPU of this machine: call enter_cpu first")
}
