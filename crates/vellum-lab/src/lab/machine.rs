//! What the machine does for the core.

use super::{Asleep, Lab, Reached, addresses};
use crate::contract;
use crate::explore::{WordId, access, sim, wait};
use crate::poison::lock;
use std::sync::atomic::{AtomicU32, Ordering};
use vellum::arch::Arch;
use vellum::phys::Pfn;
use vellum::sync::{Modify, Word};
use vellum::{Asid, CpuSet, Guard, Machine, MemoryRange, RootLoad, Victim};

// SAFETY: 1. `memory` allocated every frame of `memory()` contiguously within its ranges, page-aligned, for the life of
// the machine, and hands out no other access to it than the atomics of simulated user and hardware accesses.
// 2. The current CPU is the one whose task runs; each CPU is one task, and an interrupt handler runs on its CPU's task.
unsafe impl<A: Arch> Machine for Lab<A> {
    type Arch = A;

    fn cpu_count(&self) -> usize {
        self.cpus.len()
    }

    fn memory(&self) -> &[MemoryRange] {
        &self.memory.ranges()[..self.ranges]
    }

    fn frame(&self, pfn: Pfn) -> *mut u8 {
        if !self.memory.contains(pfn) {
            // What lies there is the host's: it may look like anything.
            sim::report("I-PTFREE", format!("the core looks for frame F{:x}, where no memory is", pfn.0));
        }
        self.memory.frame(pfn)
    }

    fn current_cpu(&self) -> usize {
        sim::current_cpu()
    }

    fn node_of_cpu(&self, cpu: usize) -> u8 {
        self.cpu_nodes[cpu]
    }

    fn disable_preemption(&self) {
        contract::disable(sim::current_cpu());
    }

    fn enable_preemption(&self) {
        contract::enable(sim::current_cpu());
    }

    fn load_root(&self, load: RootLoad) {
        let cpu = sim::current_cpu();
        access::turn(cpu);
        sim::happened(|| {
            let kept = if load.keep_entries { ", entries kept" } else { ", entries dropped" };
            format!("load root F{:x} ASID {}{kept}", load.root.0, load.asid.0)
        });
        lock(&self.cpus[cpu].mmu).load_root(load);
    }

    fn unload_root(&self) {
        let cpu = sim::current_cpu();
        access::turn(cpu);
        sim::happened(|| "unload root".into());
        lock(&self.cpus[cpu].mmu).unload_root();
    }

    fn invalidate_page(&self, asid: Asid, address: u64) {
        let cpu = sim::current_cpu();
        self.write_tlb(cpu);
        sim::happened(|| format!("invalidate {address:#x} ASID {}", asid.0));
        lock(&self.cpus[cpu].mmu).invalidate_page(asid, address);
    }

    fn invalidate_asid(&self, asid: Asid) {
        let cpu = sim::current_cpu();
        self.write_tlb(cpu);
        sim::happened(|| format!("invalidate all of ASID {}", asid.0));
        lock(&self.cpus[cpu].mmu).invalidate_asid(asid);
    }

    fn invalidate_all(&self) {
        let cpu = sim::current_cpu();
        self.write_tlb(cpu);
        sim::happened(|| "invalidate everything".into());
        lock(&self.cpus[cpu].mmu).invalidate_all();
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        sim::happened(|| {
            let targets: Vec<String> = cpus.iter().map(|cpu| cpu.to_string()).collect();
            format!("IPI → CPU {}", targets.join(", "))
        });
        if sim::is_exploring() {
            wait::send_interrupt(cpus.iter());
            // Nothing else has run since they were sent.
            cpus.iter().for_each(|cpu| self.cpus[cpu].is_flush_sent.store(true, Ordering::Relaxed));
        }
    }

    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        // The barrier before the instruction, and the walkers it must be visible to.
        self.write_all_tlbs();
        let what = || addresses(start, pages, 1 << A::PAGE_SHIFT);
        sim::happened(|| format!("broadcast: invalidate {} ASID {}", what(), asid.0));
        if access::put_off() {
            lock(&self.cpus[sim::current_cpu()].broadcasts).push((asid, start, pages));
        } else {
            self.invalidate_everywhere(asid, start, pages);
        }
    }

    fn broadcast_wait(&self) {
        let put_off = std::mem::take(&mut *lock(&self.cpus[sim::current_cpu()].broadcasts));
        if !put_off.is_empty() {
            self.write_all_tlbs();
        }
        for (asid, start, pages) in put_off {
            self.invalidate_everywhere(asid, start, pages);
        }
        sim::happened(|| "broadcasts complete".into());
    }

    fn with_interrupts_off<R>(&self, body: impl FnOnce() -> R) -> R {
        wait::with_interrupts_off(body)
    }

    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        wait::wait_change(word, seen);
    }

    fn sleep(&self, word: &AtomicU32, seen: u32) {
        contract::may_sleep("Machine::sleep");
        let asleep = &self.asleep[sim::current_cpu()].0;
        let address = Asleep::for_word(word);
        // On the list first, then the last look: whoever changes the word afterwards finds the sleeper, if he wakes.
        let _ = access::modify(asleep, Modify::Swap(address), Ordering::SeqCst);
        if access::load(word, Ordering::SeqCst) != seen {
            let _ = access::modify(asleep, Modify::Swap(Asleep::AWAKE), Ordering::SeqCst);
            return;
        }
        // A change that nobody wakes for is slept through.
        while access::load(asleep, Ordering::SeqCst) == address {
            wait::wait_change(asleep, address);
        }
    }

    fn wake(&self, word: &AtomicU32) {
        access::drain_own();
        let address = Asleep::for_word(word);
        let current = sim::current_cpu();
        for (_, Asleep(asleep)) in self.asleep[..self.cpus.len()].iter().enumerate().filter(|&(cpu, _)| cpu != current)
        {
            if access::load(asleep, Ordering::SeqCst) == address {
                let _ = access::modify(asleep, Modify::Swap(Asleep::AWAKE), Ordering::SeqCst);
            }
        }
    }

    fn now(&self) -> u64 {
        0
    }

    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        contract::may_sleep("Machine::compress");
        // Bytes are read and written without going through the store buffer.
        access::drain_own();
        self.compressor.compress(page, into)
    }

    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        contract::may_sleep("Machine::decompress");
        access::drain_own();
        self.compressor.decompress(from, page)
    }

    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        access::drain_own();
        // Users tag the page's first word, if they tag; the word stands for its tag.
        access::touch_at(&[(self.memory.frame(pfn).addr(), false)]);
        self.memory.pack_tags(pfn, into);
        sim::happened(|| format!("read tags of F{:x}", pfn.0));
    }

    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        access::drain_own();
        access::touch_at(&[(self.memory.frame(pfn).addr(), true)]);
        self.memory.unpack_tags(pfn, tags);
        sim::happened(|| format!("write tags of F{:x}", pfn.0));
    }

    unsafe fn clear_page(&self, page: *mut u8) {
        access::drain_own();
        // SAFETY: the caller's contract.
        unsafe { core::ptr::write_bytes(page, 0, 1 << A::PAGE_SHIFT) }
    }

    unsafe fn snapshot_page(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { self.copy_page(from, to) }
    }

    unsafe fn copy_page(&self, from: *const u8, to: *mut u8) {
        access::drain_own();
        // Users store to the page's first word, if they store.
        access::touch_at(&[(from.addr(), false), (to.addr(), true)]);
        // SAFETY: the caller's contract.
        unsafe { core::ptr::copy_nonoverlapping(from, to, 1 << A::PAGE_SHIFT) }
    }

    unsafe fn copy_user(&self, from: *const u8, to: *mut u8, length: usize) {
        self.reach(&[(to.cast_const(), true), (from, false)], length, || {
            // SAFETY: the caller's contract; other CPUs do not run meanwhile.
            unsafe { core::ptr::copy_nonoverlapping(from, to, length) }
        });
    }

    fn user_word<W: Word>(&self, word: &W, change: Option<Modify<W::Value>>) -> Result<W::Value, W::Value> {
        let byte = (&raw const *word).cast();
        self.reach(&[(byte, change.is_some())], W::SIZE, || match change {
            Some(change) => word.modify(change, Ordering::SeqCst),
            None => Ok(word.load(Ordering::SeqCst)),
        })
    }

    fn out_of_memory(&self, _victim: &Victim) -> bool {
        contract::may_sleep("Machine::out_of_memory");
        false
    }

    fn allow_allocation(&self, _order: u8) -> bool {
        // Memory that is used again is written without going through the store buffer.
        access::drain_own();
        access::allow_allocation()
    }

    #[inline]
    fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
        access::load(word, order)
    }

    #[inline]
    fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
        access::store(word, value, order)
    }

    #[inline]
    fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
        access::modify(word, change, order)
    }

    fn fence(order: Ordering) {
        access::fence(order);
    }

    fn guard(guard: Guard) -> bool {
        sim::guard(guard)
    }
}

impl<A: Arch> Lab<A> {
    /// The step in which the core reaches into a program's page: `touched` are the first of `length` bytes, of the page
    /// and then of what else there is, with whether they are written.
    fn reach<R>(&self, touched: &[(*const u8, bool)], length: usize, touch: impl FnOnce() -> R) -> R {
        access::drain_own();
        let of_memory = |&(byte, writes): &(*const u8, bool)| Some((self.frame_at(byte.addr())?, byte.addr(), writes));
        let page = touched.iter().find_map(of_memory);
        let Some((frame, start, writes)) = page else { return touch() };
        // Users store to the page's first word, or its last.
        let words = [start, start + length - 1].into_iter().filter_map(access::word_at).map(|word| (word, writes));
        let store = writes.then_some((WordId::FILE_STORES, true));
        access::touch(&words.chain(store).collect::<Vec<_>>());
        let first = || self.memory.word(frame, 0).map_or(0, |word| word.load(Ordering::SeqCst));
        let before = first();
        let result = touch();
        let reached = Reached { before, after: first() };
        sim::happened(|| {
            let done = if writes { format!(":= {}", reached.after) } else { format!("= {before}") };
            format!("reaches into F{:x} {done}", frame.0)
        });
        if let Some(told) = self.on_reach.get() {
            told(reached);
        }
        result
    }

    /// A scheduling point before the TLB of `cpu` changes. The instructions that change it serialise.
    fn write_tlb(&self, cpu: usize) {
        access::drain_own();
        access::touch(&[(WordId::of_tlb(cpu), true)]);
    }

    fn write_all_tlbs(&self) {
        access::drain_own();
        let words: Vec<_> = (0..self.cpus.len()).map(|cpu| (WordId::of_tlb(cpu), true)).collect();
        access::touch(&words);
    }

    fn invalidate_everywhere(&self, asid: Asid, start: u64, pages: u64) {
        for cpu in &self.cpus {
            lock(&cpu.mmu).invalidate_range(asid, start, pages);
        }
    }
}
