//! The machine under exploration: simulated CPUs whose every access, interrupt and TLB fill is a choice of the search.
//!
//! [`Lab`] implements [`vellum::Machine`] by forwarding each access to [`crate::explore`]. Its MMUs are those of
//! [`crate::hardware`]. Translation of a user access is one step; what a walk in several steps could find, it finds
//! through speculative fills of the paging-structure caches. Returning to user mode, loading a root and returning from
//! an interrupt let the CPU's delayed stores arrive, as the instructions that do it on real processors.

mod machine;
mod user;

pub(crate) use user::{Action, UserError};

use crate::compressor::Compressor;
use crate::contract;
use crate::explore::{WordId, access, sim};
use crate::hardware::{Bus, Checks, FrameKinds, HostMemory, MachineConfig, Mmu, NoHostMemory, Peek, ViolationLog};
use crate::poison::lock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Mutex, OnceLock};
use vellum::arch::{Arch, Entry, PageBits, table_order};
use vellum::ops::Access;
use vellum::phys::Pfn;
use vellum::sync::AtomicU64;
use vellum::{Asid, RootLoad};

/// Sets of a TLB: small worlds need few, and making them takes time.
const TLB_SETS: usize = 8;

/// Frames for toys: tables of every level, aligned, and some pages.
fn toy_frames<A: Arch>() -> u64 {
    8 + (0..A::LEVELS).map(|level| 2u64 << table_order::<A>(level)).sum::<u64>()
}

/// The addresses of `pages` pages from `start` on, in words.
pub(crate) fn addresses(start: u64, pages: u64, page_bytes: u64) -> String {
    let end = pages.checked_mul(page_bytes).and_then(|bytes| start.checked_add(bytes));
    match (pages, end) {
        (1, _) => format!("{start:#x}"),
        (_, Some(end)) => format!("{start:#x}..{end:#x}"),
        (_, None) => "everything".into(),
    }
}

/// The machine under exploration.
pub struct Lab<A: Arch> {
    memory: HostMemory<A>,
    /// How many of the memory's ranges the core is told about: the rest is for toys.
    ranges: usize,
    cpus: Box<[LabCpu<A>]>,
    /// What each CPU sleeps for. Here, not in `cpus`, as the search watches the manager's own memory.
    asleep: [Asleep; CPUS_MAX],
    cpu_nodes: Box<[u8]>,
    compressor: Compressor,
    /// Told in the step in which the core has reached into a program's page.
    on_reach: OnceLock<OnReach>,
}

/// What the core has reached in a program's page: its first word, before and after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

type OnReach = Box<dyn Fn(Reached) + Send + Sync>;

/// CPUs that a search can have.
const CPUS_MAX: usize = 32;

/// The word a CPU sleeps for, until it is woken.
#[derive(Default)]
#[repr(align(8))]
struct Asleep(AtomicU32);

impl Asleep {
    /// It does not sleep.
    const AWAKE: u32 = 0;

    /// What stands for the word: its address, as far as words of one world differ in it.
    fn for_word(word: &AtomicU32) -> u32 {
        (&raw const *word).addr() as u32 | 1
    }
}

struct LabCpu<A> {
    mmu: Mutex<Mmu<A>>,
    /// Broadcast invalidations this CPU began whose effect is put off until it waits for them.
    broadcasts: Mutex<Vec<(Asid, u64, u64)>>,
    /// The core has interrupted it, and it has not taken that yet.
    is_flush_sent: AtomicBool,
}

impl<A: Arch> Lab<A> {
    /// A machine of that shape, with some frames for toys that the core does not know of.
    pub fn new(config: &MachineConfig) -> Result<Lab<A>, NoHostMemory> {
        contract::reset();
        let (ranges, cpu_nodes) = (config.ranges.len(), config.cpu_nodes());
        let config = &config.clone().and_range(1, toy_frames::<A>(), 0);
        let cpu = |number| LabCpu {
            mmu: Mutex::new(Mmu::with_sets(number, TLB_SETS)),
            broadcasts: Mutex::new(Vec::new()),
            is_flush_sent: AtomicBool::new(false),
        };
        Ok(Lab {
            memory: HostMemory::new(&config.ranges)?,
            ranges,
            cpus: (0..config.cpus).map(cpu).collect(),
            asleep: std::array::from_fn(|_| Asleep::default()),
            cpu_nodes,
            compressor: Compressor::new(),
            on_reach: OnceLock::new(),
        })
    }

    /// From now on `told` is called in each step in which the core has reached into a program's page.
    pub(crate) fn on_reach(&self, told: impl Fn(Reached) + Send + Sync + 'static) {
        let is_first = self.on_reach.set(Box::new(told)).is_ok();
        debug_assert!(is_first, "a machine belongs to one world");
    }

    /// Its memory.
    pub fn memory(&self) -> &HostMemory<A> {
        &self.memory
    }

    /// What compresses pages for the core.
    pub fn compressor(&self) -> &Compressor {
        &self.compressor
    }

    /// Memory, with the frames that the core does not know of.
    pub(crate) fn memory_of_toy(&self) -> &HostMemory<A> {
        &self.memory
    }

    /// Whether the core has interrupted `cpu` since this was last asked.
    pub(crate) fn has_flush_interrupt(&self, cpu: usize) -> bool {
        self.cpus[cpu].is_flush_sent.swap(false, Relaxed)
    }

    /// Makes every CPU forget one translation.
    pub(crate) fn forget_everywhere(&self, asid: Asid, address: u64) {
        self.cpus.iter().for_each(|cpu| lock(&cpu.mmu).invalidate_page(asid, address));
    }

    /// Sets the accessed bit, and for a store the dirty bit, of an entry that lacks them: what the fault handler of a
    /// processor does that leaves this to software. Whether there is such an entry and it allows the access.
    pub(crate) fn mark(&self, address: u64, kind: Access) -> bool {
        let Some(load) = self.loaded(crate::explore::sim::current_cpu()) else { return false };
        let Some(word) = self.leaf_word(load.root, address) else { return false };
        let entry = AtomicU64::<Lab<A>>::from_core(word);
        let seen = entry.load(Relaxed);
        let Entry::Page(frame, bits) = A::decode(seen, 0) else { return false };
        let right = if kind == Access::Write { PageBits::WRITE } else { PageBits::READ };
        let noted = if kind == Access::Write { PageBits::ACCESSED | PageBits::DIRTY } else { PageBits::ACCESSED };
        if bits.has(right) {
            let _ = entry.compare_exchange(seen, A::page(frame, bits | noted), SeqCst);
        }
        bits.has(right)
    }

    /// The first of the frames that the core does not know of.
    pub(crate) fn toy_frames(&self) -> Pfn {
        self.memory.ranges()[self.ranges].start
    }

    /// The root loaded on `cpu`.
    pub fn loaded(&self, cpu: usize) -> Option<RootLoad> {
        lock(&self.cpus[cpu].mmu).loaded()
    }

    /// The frame whose contents hold the host's `address`, if one does.
    #[inline]
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

    /// Compares what the current CPU caches for `address` with what others do, where that may not differ.
    fn check_conflicts(&self, address: u64, found: &mut ViolationLog) {
        let current = crate::explore::sim::current_cpu();
        for other in (0..self.cpus.len()).filter(|&cpu| cpu != current && A::semantics().break_before_make) {
            lock(&self.cpus[current].mmu).check_conflict(&lock(&self.cpus[other].mmu), address, found);
        }
    }

    /// Whether `cpu` could begin to cache something about `address` that it does not cache now, by way of the table
    /// entry at the host's address `entry`.
    pub(crate) fn could_fill<K: FrameKinds>(&self, kinds: &K, cpu: usize, address: u64, entry: usize) -> bool {
        let peek = lock(&self.cpus[cpu].mmu).peek(&self.bus(kinds), address);
        let place = peek.entries.iter().position(|&passed| passed == entry);
        // What says that nothing is there is not cached.
        place.is_some_and(|place| place + 1 < peek.entries.len() || peek.frame.is_some())
    }

    /// Whether `cpu` could cache the translation of `address` now, and does not.
    pub(crate) fn could_fill_now<K: FrameKinds>(&self, kinds: &K, cpu: usize, address: u64) -> bool {
        let peek = lock(&self.cpus[cpu].mmu).peek(&self.bus(kinds), address);
        !peek.entries.is_empty() && peek.frame.is_some()
    }

    /// What decides whether `cpu` can begin to cache something about `address` by way of the table entry at the host's
    /// address `entry`: the whole way if it passes there, and else that part which could come to lead there.
    pub(crate) fn words_of_fill_by<K: FrameKinds>(
        &self,
        kinds: &K,
        cpu: usize,
        address: u64,
        entry: usize,
    ) -> Vec<WordId> {
        let mut peek = lock(&self.cpus[cpu].mmu).peek(&self.bus(kinds), address);
        if peek.entries.is_empty() {
            return Vec::new();
        }
        if !peek.entries.contains(&entry) {
            peek.frame = None;
            peek.entries.truncate(peek.entries.len() - peek.reaches_leaf as usize);
        }
        words_of_way(kinds, &peek)
    }

    /// What `cpu` would read if it cached the translation of `address` now, or found that there is none.
    pub(crate) fn words_of_fill<K: FrameKinds>(&self, kinds: &K, cpu: usize, address: u64) -> Vec<WordId> {
        let peek = lock(&self.cpus[cpu].mmu).peek(&self.bus(kinds), address);
        // What is cached is not read again.
        if peek.entries.is_empty() { Vec::new() } else { words_of_way(kinds, &peek) }
    }

    fn bus<'a, K>(&'a self, kinds: &'a K) -> Bus<'a, A, K> {
        // Entries are half changed at most times: tables are compared with caches only where nothing is under way.
        Bus { memory: &self.memory, kinds, checks: Checks { frames: true, tables: false } }
    }
}

/// What the hardware reads on the way to a word: the entries, and what the frames on it are used for.
fn words_of_way<K: FrameKinds>(kinds: &K, peek: &Peek) -> Vec<WordId> {
    let frames = peek.tables.iter().copied().chain(peek.frame);
    let uses = frames.flat_map(|frame| access::words_read_by(|| kinds.block_kind(frame)));
    peek.entries.iter().filter_map(|&entry| access::word_at(entry)).chain(uses).collect()
}

/// Ends the execution if the hardware found something.
fn report_all(mut found: ViolationLog) {
    if let Some(first) = found.take().into_iter().next() {
        let text = format!("CPU {}, address {:#x}: {}", first.cpu, first.address, first.detail);
        sim::report(first.invariant.id(), text);
    }
}
