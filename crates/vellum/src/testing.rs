//! A machine for unit tests: memory from the host, CPUs that are whatever thread says it is one.

pub(crate) mod hooks;

use crate::arch::{Arch, X86_64, index};
use crate::cpuset::{CPUS_MAX, CpuSet};
use crate::machine::{Asid, Machine, MemoryRange, RootLoad, Touch};
use crate::object::{Backing, IoError};
use crate::phys::Pfn;
use crate::reclaim::Victim;
use crate::space::{Audit, AuditError};
use crate::vm::Vm;
use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::alloc::{Layout, alloc, dealloc};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
    /// By CPU: how often pre-emption is off, as far as this thread has switched it.
    static INSIDE: [Cell<u32>; CPUS_MAX] = const { [const { Cell::new(0) }; CPUS_MAX] };
}

/// What backings, devices and machines of tests do wherever they may sleep: `what` is called, and pre-emption must be
/// on. A test which is inside the core itself nests what the core does in it; so nesting is left to the laboratory's
/// machines.
pub(crate) fn may_sleep(what: &str) {
    let inside = INSIDE.with(|inside| inside[CPU.get()].get());
    assert!(inside == 0 || std::thread::panicking(), "{what}, which may sleep, is called with pre-emption off");
}

/// From now on the current thread is CPU `cpu` of whatever machine it uses. Two threads must not be the same CPU of
/// one machine at a time.
pub(crate) fn become_cpu(cpu: usize) {
    CPU.set(cpu);
}

/// A host-backed machine. Its ranges lie apart in memory, full of rubbish at first. Invalidations do nothing and
/// interrupts are not delivered; but a test can act at these, and between accesses to shared state (`hooks`).
pub(crate) struct TestMachine<A = X86_64> {
    ranges: Vec<MemoryRange>,
    /// Where each range's pages begin.
    pages: Vec<*mut u8>,
    storage: *mut u8,
    layout: Layout,
    /// Node of each CPU; its length is the number of CPUs.
    nodes: Vec<u8>,
    /// Allocations allowed before one fails; `u64::MAX` for no failure.
    allowed: AtomicU64,
    /// Whether it compresses pages.
    has_compressor: bool,
    /// Whether the kernel's half of roots has tables, of frames that are not the machine's.
    has_kernel: bool,
    /// Whether node 1 is a slower one, for pages of node 0.
    demotes: bool,
    /// Memory tags, by frame, of those that were set.
    tags: Mutex<BTreeMap<u64, Vec<u8>>>,
    _arch: PhantomData<fn(A)>,
}

// SAFETY: the pointers are to memory the machine owns, and are never changed.
unsafe impl<A> Send for TestMachine<A> {}
// SAFETY: as above.
unsafe impl<A> Sync for TestMachine<A> {}

impl<M: Machine> Vm<M> {
    /// [`Vm::audit`], for a test whose threads have all left the core.
    pub(crate) fn audited(&self) -> Result<Audit, AuditError> {
        // SAFETY: the caller's promise, in tests of this crate.
        unsafe { self.audit() }
    }
}

impl<A: Arch> TestMachine<A> {
    /// One CPU and one range of `frames` frames.
    pub(crate) fn new(frames: u64) -> Self {
        Self::with(&[(0x100, frames, 0)], &[0])
    }

    /// Ranges as (first frame, frames, node), and the node of each CPU.
    pub(crate) fn with(ranges: &[(u64, u64, u8)], nodes: &[u8]) -> Self {
        // Of a test before this one, on the same thread.
        hooks::clear();
        let page = 1usize << A::PAGE_SHIFT;
        // A page between ranges, so that they are not neighbours in memory even if their numbers are.
        let size = ranges.iter().map(|range| (range.1 as usize + 1) * page).sum::<usize>() + page;
        let layout = Layout::from_size_align(size, page).expect("a layout");
        // SAFETY: the size is not zero.
        let storage = unsafe { alloc(layout) };
        assert!(!storage.is_null(), "the host has no memory left");
        // SAFETY: the memory was just allocated, with that size.
        unsafe { storage.write_bytes(0xcc, size) };
        let mut next = storage;
        let pages = ranges.iter().map(|range| {
            let begin = next;
            next = next.wrapping_add((range.1 as usize + 1) * page);
            begin
        });
        TestMachine {
            pages: pages.collect(),
            ranges: ranges
                .iter()
                .map(|&(start, frames, node)| MemoryRange { start: Pfn(start), frames, node })
                .collect(),
            storage,
            layout,
            nodes: nodes.to_vec(),
            allowed: AtomicU64::new(u64::MAX),
            has_compressor: false,
            has_kernel: false,
            demotes: false,
            tags: Mutex::new(BTreeMap::new()),
            _arch: PhantomData,
        }
    }

    /// With a compressor, which makes pages small that have long runs of one byte.
    pub(crate) fn with_compressor(mut self) -> Self {
        self.has_compressor = true;
        self
    }

    /// With tables in the kernel's half of roots, which the core must not follow: their frames are not the machine's.
    pub(crate) fn with_kernel(mut self) -> Self {
        self.has_kernel = true;
        self
    }

    /// With pages of node 0 going to node 1 before they are reclaimed.
    pub(crate) fn with_demotion(mut self) -> Self {
        self.demotes = true;
        self
    }

    /// Lets `count` more allocations be tried and makes all further ones fail; `u64::MAX` for no failure.
    pub(crate) fn allow_allocations(&self, count: u64) {
        self.allowed.store(count, Relaxed);
    }
}

impl<A> Drop for TestMachine<A> {
    fn drop(&mut self) {
        // SAFETY: allocated in `with`, with this layout.
        unsafe { dealloc(self.storage, self.layout) };
    }
}

// SAFETY: each range has its own part of one page-aligned allocation; threads are CPUs as `become_cpu` demands.
unsafe impl<A: Arch> Machine for TestMachine<A> {
    type Arch = A;

    fn cpu_count(&self) -> usize {
        self.nodes.len()
    }

    fn memory(&self) -> &[MemoryRange] {
        &self.ranges
    }

    fn frame(&self, pfn: Pfn) -> *mut u8 {
        let place = self.ranges.iter().position(|range| pfn.0.wrapping_sub(range.start.0) < range.frames);
        let place = place.unwrap_or_else(|| panic!("{pfn:?} is not a frame of the machine"));
        self.pages[place].wrapping_add(((pfn.0 - self.ranges[place].start.0) as usize) << A::PAGE_SHIFT)
    }

    fn current_cpu(&self) -> usize {
        CPU.get()
    }

    fn node_of_cpu(&self, cpu: usize) -> u8 {
        self.nodes[cpu]
    }

    fn disable_preemption(&self) {
        INSIDE.with(|inside| inside[CPU.get()].update(|depth| depth + 1));
    }

    fn enable_preemption(&self) {
        INSIDE.with(|inside| inside[CPU.get()].update(|depth| depth.checked_sub(1).expect("pre-emption is off")));
        if INSIDE.with(|inside| inside[CPU.get()].get()) == 0 {
            hooks::fire(hooks::Event::Leave);
        }
    }

    fn prepare_root(&self, table: &mut [u64]) {
        const FAR: Pfn = Pfn(1 << 24);
        let first = index::<A>(A::USER_END - 1, A::LEVELS - 1) + 1;
        if self.has_kernel {
            table[first..].fill(A::table(FAR));
        }
    }

    fn load_root(&self, _load: RootLoad) {
        hooks::fire(hooks::Event::LoadRoot);
    }

    fn unload_root(&self) {}

    fn invalidate_page(&self, _asid: Asid, _address: u64) {
        hooks::fire(hooks::Event::InvalidatePage);
    }

    fn invalidate_asid(&self, _asid: Asid) {
        hooks::fire(hooks::Event::InvalidateAsid);
    }

    fn send_interrupt(&self, _cpus: &CpuSet) {
        hooks::fire(hooks::Event::Interrupt);
    }

    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {
        hooks::fire(hooks::Event::Wait);
        std::thread::yield_now();
    }

    fn sleep(&self, word: &AtomicU32, seen: u32) {
        may_sleep("Machine::sleep");
        hooks::fire(hooks::Event::Sleep((&raw const *word).addr()));
        self.wait_change(word, seen);
    }

    fn now(&self) -> u64 {
        0
    }

    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        may_sleep("Machine::compress");
        let mut length = 0;
        for run in page.chunk_by(|left, right| left == right).flat_map(|run| run.chunks(255)) {
            into.get_mut(length..length + 2)?.copy_from_slice(&[run.len() as u8, run[0]]);
            length += 2;
        }
        self.has_compressor.then_some(length)
    }

    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        may_sleep("Machine::decompress");
        let mut at = 0;
        for pair in from.chunks_exact(2) {
            let Some(run) = page.get_mut(at..at + pair[0] as usize) else { return false };
            run.fill(pair[1]);
            at += run.len();
        }
        at == page.len()
    }

    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        match self.tags.lock().unwrap().get(&pfn.0) {
            Some(tags) => into.copy_from_slice(tags),
            None => into.fill(0),
        }
    }

    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        self.tags.lock().unwrap().insert(pfn.0, tags.to_vec());
    }

    fn out_of_memory(&self, _victim: &Victim) -> bool {
        may_sleep("Machine::out_of_memory");
        false
    }

    fn demotion_target(&self, node: u8) -> Option<u8> {
        (self.demotes && node == 0).then_some(1)
    }

    fn allow_allocation(&self, _order: u8) -> bool {
        let left = self.allowed.load(Relaxed);
        if left != u64::MAX {
            self.allowed.store(left.saturating_sub(1), Relaxed);
        }
        left > 0
    }

    #[inline(always)]
    fn observe(address: usize, touch: Touch) {
        hooks::accessed(address, touch);
    }
}

/// A file of one page of zeroes, which keeps the first word of what is written.
pub(crate) struct OnePage {
    word: AtomicU64,
    before_write: BeforeWrite,
}

type BeforeWrite = Box<dyn Fn() -> Result<(), IoError> + Send + Sync>;

impl OnePage {
    const BYTES: u64 = 4096;

    pub(crate) fn new() -> Arc<Self> {
        Self::asking(|| Ok(()))
    }

    /// One whose writes ask first, and fail if they are told so.
    pub(crate) fn asking(before_write: impl Fn() -> Result<(), IoError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(OnePage { word: AtomicU64::new(0), before_write: Box::new(before_write) })
    }

    /// What was written last.
    pub(crate) fn word(&self) -> u64 {
        self.word.load(SeqCst)
    }
}

impl Backing for OnePage {
    fn length(&self) -> u64 {
        may_sleep("Backing::length");
        Self::BYTES
    }

    fn read(&self, _index: u64, page: &mut [u8]) -> Result<(), IoError> {
        may_sleep("Backing::read");
        page.fill(0);
        Ok(())
    }

    fn write(&self, _index: u64, page: &[u8]) -> Result<(), IoError> {
        may_sleep("Backing::write");
        (self.before_write)()?;
        self.word.store(u64::from_ne_bytes(*page.first_chunk().ok_or(IoError)?), SeqCst);
        Ok(())
    }
}

/// Accesses as a program makes them, by way of faults, one byte at a time.
pub(crate) mod user {
    use super::TestMachine;
    use crate::arch::{Arch, PageBits, Prot};
    use crate::machine::Machine;
    use crate::ops::{Access, FaultError};
    use crate::space::Space;

    fn byte<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64, access: Access) -> Result<*mut u8, FaultError> {
        let right = if access == Access::Write { Prot::WRITE } else { Prot::READ };
        loop {
            match space.translate(address) {
                // What a processor would mark, faults have to: the machine has none.
                Some(found) if found.bits.prot().has(right) && (right == Prot::READ || is_marked(found.bits)) => {
                    let page = space.vm().machine().frame(found.pfn);
                    return Ok(page.wrapping_add(address as usize & ((1 << A::PAGE_SHIFT) - 1)));
                }
                _ => space.fault(address, access).map(|_| ())?,
            }
        }
    }

    fn is_marked(bits: PageBits) -> bool {
        bits.has(PageBits::DIRTY)
    }

    pub(crate) fn store<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64, value: u8) -> Result<(), FaultError> {
        // SAFETY: a mapped frame of the machine; the test is its only user.
        byte(space, address, Access::Write).map(|byte| unsafe { byte.write(value) })
    }

    pub(crate) fn load<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64) -> Result<u8, FaultError> {
        // SAFETY: as above.
        byte(space, address, Access::Read).map(|byte| unsafe { byte.read() })
    }
}
