//! Bare means, for scenarios about operations that they define themselves.
//!
//! A toy has tables of its own, which the core knows nothing of: a few pages, mapped when the toy is made. Its actors
//! change the entries and flush as they like; the simulated MMUs, the search and the diagrams are the same as ever.

use super::At;
use super::cpu::Cpu;
use crate::explore::{WordId, access, sim};
use crate::hardware::FrameKinds;
use crate::lab::{Action, Lab, UserError};
use crate::poison::lock;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use vellum::arch::{Arch, Entry, PageBits, index, table_order};
use vellum::ops::FaultError;
use vellum::phys::{Kind, Pfn};
use vellum::sync::AtomicU64;
use vellum::{Asid, Machine, RootLoad, Vm};

/// The identifier of the toy's space; the core uses low ones.
const ASID: Asid = Asid(9);

/// What an entry was when it was cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToyPage {
    /// The frame.
    pub frame: u64,
    /// Stores were allowed.
    pub writable: bool,
    /// The page was stored to through the entry.
    pub dirty: bool,
}

/// What a world gives to toys.
pub(crate) trait ToyOps {
    /// Maps pages, with further bits.
    fn make(&self, pages: &[(At, u64)], more: PageBits);
    fn access(&self, address: u64, action: Action) -> Option<u64>;
    fn clear(&self, address: u64) -> Option<ToyPage>;
    fn flush(&self, address: u64);
    fn read(&self, frame: u64) -> u64;
    fn free(&self, frame: u64);
}

/// Bare means; see the module's documentation.
pub struct Toy<'w> {
    ops: &'w dyn ToyOps,
    cpu: &'w Cpu<'w>,
}

impl<'w> Toy<'w> {
    pub(super) fn new(ops: &'w dyn ToyOps, cpu: &'w Cpu<'w>) -> Toy<'w> {
        Toy { ops, cpu }
    }

    /// Makes tables that map `pages` for loads and stores; every CPU begins with them. Once, in a scenario's start.
    pub fn map(&self, pages: &[At]) {
        self.map_with(pages, PageBits::NONE);
    }

    /// The same, of memory with tags.
    pub fn map_tagged(&self, pages: &[At]) {
        self.map_with(pages, PageBits::TAGGED);
    }

    fn map_with(&self, pages: &[At], more: PageBits) {
        let pages: Vec<(At, u64)> = pages.iter().map(|&at| (at, self.cpu.ops.address(at))).collect();
        pages.iter().for_each(|&(_, address)| self.cpu.shared.watch(address));
        self.ops.make(&pages, more);
    }

    /// The user loads the page's word; `None` if that faults.
    pub fn load(&self, at: At) -> Option<u64> {
        self.ops.access(self.cpu.ops.address(at), Action::Load { tag: None })
    }

    /// The user stores to the page's word; whether it could.
    pub fn store(&self, at: At, value: u64) -> bool {
        self.ops.access(self.cpu.ops.address(at), Action::Store { value, tag: None }).is_some()
    }

    /// The user loads the page's word by an address that bears `tag`, which must be the word's.
    pub fn load_tagged(&self, at: At, tag: u8) -> Option<u64> {
        self.ops.access(self.cpu.ops.address(at), Action::Load { tag: Some(tag) })
    }

    /// The user tags the page's word; whether it could.
    pub fn set_tag(&self, at: At, tag: u8) -> bool {
        self.ops.access(self.cpu.ops.address(at), Action::SetTag(tag)).is_some()
    }

    /// Clears the page's entry by one atomic exchange: what it was.
    pub fn clear(&self, at: At) -> Option<ToyPage> {
        self.ops.clear(self.cpu.ops.address(at))
    }

    /// Makes every CPU forget the page's translation, in one step: how the request travels is not the toy's matter.
    pub fn flush(&self, at: At) {
        self.ops.flush(self.cpu.ops.address(at));
    }

    /// The word of a page, as a device reads it.
    pub fn read(&self, page: ToyPage) -> u64 {
        self.ops.read(page.frame)
    }

    /// Gives the frame back: who reaches it from now on breaks I-TLBFREE.
    pub fn free(&self, page: ToyPage) {
        self.ops.free(page.frame);
    }
}

/// The tables of a world's toy, and what its frames and the core's are used for.
pub(crate) struct ToyTables<A: Arch> {
    vm: NonNull<Vm<Lab<A>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    root: Option<Pfn>,
    /// Frames taken, with what they are.
    frames: Vec<(Pfn, Kind)>,
    next: u64,
    pages: Vec<u64>,
}

impl<A: Arch> ToyTables<A> {
    pub(crate) fn new(vm: NonNull<Vm<Lab<A>>>) -> Self {
        ToyTables { vm, state: Mutex::default() }
    }

    fn vm(&self) -> &Vm<Lab<A>> {
        // SAFETY: the world that made this owns the `Vm` and drops it last.
        unsafe { self.vm.as_ref() }
    }

    fn machine(&self) -> &Lab<A> {
        self.vm().machine()
    }

    /// Loads the toy's root on `cpu`, if there is a toy. Nothing runs yet.
    pub(crate) fn load(&self, cpu: usize) {
        if let Some(root) = lock(&self.state).root {
            sim::set_current(cpu);
            self.machine().load_root(RootLoad { root, asid: ASID, keep_entries: cpu == 0 });
            sim::set_current(0);
        }
    }

    fn take(&self, state: &mut State, order: u8, kind: Kind) -> Pfn {
        let frame = Pfn((self.machine().toy_frames().0 + state.next).next_multiple_of(1 << order));
        state.next = frame.0 + (1 << order) - self.machine().toy_frames().0;
        state.frames.extend((0..1 << order).map(|n| (Pfn(frame.0 + n), kind)));
        frame
    }

    /// The leaf entry of `address`, with tables made on the way to it.
    fn leaf(&self, state: &mut State, address: u64) -> &std::sync::atomic::AtomicU64 {
        let memory = self.machine().memory_of_toy();
        let top = A::LEVELS - 1;
        let mut table = state.root.unwrap_or_else(|| self.take(state, table_order::<A>(top), Kind::Table));
        state.root = Some(table);
        for level in (1..A::LEVELS).rev() {
            let word = memory.word(table, index::<A>(address, level)).expect("a toy has enough frames");
            table = A::table_of(word.load(SeqCst)).unwrap_or_else(|| {
                let fresh = self.take(state, table_order::<A>(level - 1), Kind::Table);
                word.store(A::table(fresh), SeqCst);
                fresh
            });
        }
        memory.word(table, index::<A>(address, 0)).expect("a toy has enough frames")
    }

    /// Which entry of the toy lies at the host's `address`: level, first address covered, and process 0.
    pub(crate) fn entry_at(&self, address: usize) -> Option<(usize, u64, usize)> {
        let (root, pages) = {
            let state = lock(&self.state);
            (state.root?, state.pages.clone())
        };
        let is_it =
            |&page: &u64| self.machine().leaf_word(root, page).is_some_and(|word| word.as_ptr().addr() == address);
        pages.into_iter().find(is_it).map(|page| (0, page, 0))
    }

    fn word_of(&self, frame: u64) -> &AtomicU64<Lab<A>> {
        let word = self.machine().memory_of_toy().word(Pfn(frame), 0).expect("a toy page is memory");
        AtomicU64::from_core(word)
    }
}

impl<A: Arch> FrameKinds for ToyTables<A> {
    fn frame_kind(&self, pfn: Pfn) -> Option<Kind> {
        if pfn < self.machine().toy_frames() {
            return self.vm().frame_kind(pfn);
        }
        let of_toy = lock(&self.state).frames.iter().find(|frame| frame.0 == pfn).map(|frame| frame.1);
        of_toy.or_else(|| self.vm().frame_kind(pfn))
    }

    fn block_kind(&self, pfn: Pfn) -> Option<Kind> {
        if pfn < self.machine().toy_frames() { self.vm().block_kind(pfn) } else { self.frame_kind(pfn) }
    }
}

impl<A: Arch> ToyOps for ToyTables<A> {
    fn make(&self, pages: &[(At, u64)], more: PageBits) {
        {
            let state = &mut *lock(&self.state);
            for &(_, address) in pages {
                let frame = self.take(state, 0, Kind::Anonymous);
                let bits = PageBits::READ | PageBits::WRITE | PageBits::ACCESSED | more;
                self.leaf(state, address).store(A::page(frame, bits), SeqCst);
                state.pages.push(address);
            }
        }
        self.load(0);
    }

    fn access(&self, address: u64, action: Action) -> Option<u64> {
        let resolve = |kind| {
            // The CPU may have cached the entry without the bit.
            self.machine().invalidate_page(ASID, address);
            let marked = self.machine().mark(address, kind);
            if marked { Ok(()) } else { Err(FaultError::Segv { address, denied: false }) }
        };
        match self.machine().user_access(self, address, action, resolve) {
            Ok(value) => Some(value),
            Err(UserError::Fault(_)) => {
                sim::happened(|| "signal".into());
                None
            }
            Err(UserError::Broken) => None,
        }
    }

    fn clear(&self, address: u64) -> Option<ToyPage> {
        let root = lock(&self.state).root?;
        let entry = AtomicU64::<Lab<A>>::from_core(self.machine().leaf_word(root, address)?);
        match A::decode(entry.swap(0, SeqCst), 0) {
            Entry::Page(frame, bits) => {
                let (writable, dirty) = (bits.has(PageBits::WRITE), bits.has(PageBits::DIRTY));
                Some(ToyPage { frame: frame.0, writable, dirty })
            }
            _ => None,
        }
    }

    fn flush(&self, address: u64) {
        let words: Vec<(WordId, bool)> =
            (0..self.machine().cpu_count()).map(|cpu| (WordId::of_tlb(cpu), true)).collect();
        access::touch(&words);
        sim::happened(|| format!("flush {address:#x} everywhere"));
        self.machine().forget_everywhere(ASID, address);
    }

    fn read(&self, frame: u64) -> u64 {
        let value = self.word_of(frame).load(Relaxed);
        sim::happened(|| format!("a device reads F{frame:x} = {value}"));
        value
    }

    fn free(&self, frame: u64) {
        sim::happened(|| format!("free F{frame:x}"));
        // Who uses the frame looks at this word, too.
        let word = self.word_of(frame);
        let value = word.load(Relaxed);
        word.swap(value, SeqCst);
        let frames = &mut lock(&self.state).frames;
        frames.iter_mut().filter(|(pfn, _)| pfn.0 == frame).for_each(|(_, kind)| *kind = Kind::Free);
    }
}
