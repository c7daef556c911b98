//! The frame descriptor: 64 bytes, one cache line, for each frame of memory.
//!
//! What the words mean depends on the frame's [`Kind`]:
//!
//! | word | free, cached | anonymous, file | table (see `space::table`) | slab |
//! |---|---|---|---|---|
//! | `counts` | 0 | references (low half), mappings (high half) | 0 | 0 |
//! | `state` | kind, order, node | kind, order, node | kind, order, node | kind, order, node |
//! | `lock` | – | folio lock | table lock | – |
//! | `link` | next on the list | – | next while retired | next partial slab |
//! | `words[0]` | previous (buddy) | owner: lineage of the creator, or object | header | previous partial slab |
//! | `words[1]` | – | offset in the owner, pages | classes of the slots | size class |
//! | `words[2]` | – | flags, generation, swap slot: see [`super::folio`] | classes | free list |
//! | `words[3]` | – | – | classes | objects in use, objects ever used |
//! | `halves` | audit tally | – | sequence, claim | audit tally |

use super::{ORDER_MAX, Pfn};
use crate::arch::Arch;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::structure::{SharedWord, holds};
use crate::sync::{AtomicU32, AtomicU64, RawLock};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Not usable memory: a hole between ranges.
    Absent = 0,
    /// The first frame of a free block in the buddy allocator.
    Free,
    /// A further frame of a free block, or of an allocated block of order above 0. One of a folio says its order, any
    /// other that of a huge page: see `phys::head`.
    Tail,
    /// Free, on a CPU's list.
    Cached,
    /// Allocated, with no further meaning yet.
    Allocated,
    /// A page table.
    Table,
    /// The side array of a page table with many classes.
    ClassArray,
    /// Anonymous memory.
    Anonymous,
    /// The page cache of a file or shared-memory object.
    File,
    /// Objects of a slab cache.
    Slab,
    /// The core's own: descriptors, per-CPU state, the zero page.
    Reserved,
    /// Out of the allocator, part of a block that is being put together.
    Isolated,
}

impl Kind {
    /// What the word [`Frame::state`] says of it.
    #[inline(always)]
    pub(crate) const fn of_state(state: u32) -> Kind {
        // By name, so that comparing what comes of it compares the number.
        match state as u8 {
            0 => Kind::Absent,
            1 => Kind::Free,
            2 => Kind::Tail,
            3 => Kind::Cached,
            4 => Kind::Allocated,
            5 => Kind::Table,
            6 => Kind::ClassArray,
            7 => Kind::Anonymous,
            8 => Kind::File,
            9 => Kind::Slab,
            11 => Kind::Isolated,
            _ => Kind::Reserved,
        }
    }

    /// Number of kinds.
    pub(crate) const COUNT: usize = Kind::Isolated as usize + 1;

    /// Whether a frame of this kind has an owner outside the allocator, who may free it.
    pub(crate) const fn is_owned(self) -> bool {
        !matches!(self, Kind::Absent | Kind::Free | Kind::Tail | Kind::Cached | Kind::Reserved | Kind::Isolated)
    }
}

const _: () = {
    let mut number = 0;
    while number < Kind::COUNT as u32 {
        assert!(Kind::of_state(number) as u32 == number);
        number += 1;
    }
};

/// The descriptor. Fields by owner: `L` written by whoever owns the frame's list or block (allocator locks, CPU
/// ownership), `T` under the table lock, `A` atomically by anyone who holds a reference.
#[repr(C, align(64))]
pub struct Frame<M> {
    /// A: references (low 32 bits) and mappings (high 32 bits; each mapping holds a reference).
    counts: AtomicU64<M>,
    /// L: kind (bits 0-7), order (8-15), node (16-23), first frame of a memory range (24).
    state: AtomicU32<M>,
    /// The folio lock, or the table lock.
    pub(crate) lock: RawLock<M>,
    /// L: next element of whatever list the frame is on, as frame number + 1; 0 ends it.
    pub(crate) link: AtomicU64<M>,
    /// By kind, see the table above.
    pub(crate) words: [AtomicU64<M>; 4],
    /// Tables: the sequence count of the classes, and the claim.
    pub(crate) halves: [AtomicU32<M>; 2],
}

/// References at which no more are given for holds and mappings: half of what the count can say.
const REFERENCES_MAX: u32 = 1 << 31;

const _: () = assert!(size_of::<Frame<()>>() == 64 && align_of::<Frame<()>>() == 64);

/// In `state`: kind and order, what [`Frame::set_kind`] changes.
const KIND_AND_ORDER: u32 = 0x0000_ffff;
/// In `state`: the node.
const NODE: u32 = 0x00ff_0000;
/// In `state`: the frame is the first of a memory range, so no block extends across its lower edge.
const RANGE_START: u32 = 1 << 24;

const ONE_REFERENCE: u64 = 1;
const ONE_MAPPING: u64 = 1 << 32;

impl<M: Machine> Frame<M> {
    /// What the frame is used for.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        Kind::of_state(self.state.load(Relaxed))
    }

    /// The order of the block this frame begins.
    #[inline(always)]
    pub fn order(&self) -> u8 {
        (self.state.load(Relaxed) >> 8) as u8
    }

    /// Kind and order, as they are together at one moment.
    #[inline(always)]
    pub(crate) fn kind_and_order(&self) -> (Kind, u8) {
        let state = self.state.load(Relaxed);
        (Kind::of_state(state), (state >> 8) as u8)
    }

    /// Of a [`Kind::Tail`] the order it says; as quick as [`Frame::is_kind`].
    #[inline(always)]
    pub(super) fn order_of_tail(&self) -> Option<u8> {
        let state = self.state.load(Relaxed);
        (state as u8 == Kind::Tail as u8).then_some((state >> 8) as u8)
    }

    /// The NUMA node.
    #[inline(always)]
    pub fn node(&self) -> u8 {
        (self.state.load(Relaxed) >> 16) as u8
    }

    /// Whether the frame is of `kind` and a block by itself; as quick as [`Frame::is_kind`].
    #[inline(always)]
    pub(crate) fn is_single(&self, kind: Kind) -> bool {
        self.state.load(Relaxed) as u16 == kind as u16
    }

    /// Whether the frame is of `kind`: quicker than comparing [`Frame::kind`].
    #[inline(always)]
    pub(crate) fn is_kind(&self, kind: Kind) -> bool {
        self.state.load(Relaxed) as u8 == kind as u8
    }

    /// Sets kind and order, keeping the rest.
    #[inline(always)]
    pub(crate) fn set_kind(&self, kind: Kind, order: u8) {
        let rest = self.state.load(Relaxed) & !KIND_AND_ORDER;
        self.state.store(kind as u32 | (order as u32) << 8 | rest, Relaxed);
    }

    /// Makes the block, which nobody else knows, one of the kind and order of `other`.
    #[inline(always)]
    pub(crate) fn be_as(&self, other: &Frame<M>) {
        let rest = self.state.load(Relaxed) & !KIND_AND_ORDER;
        self.state.store(other.state.load(Relaxed) & KIND_AND_ORDER | rest, Relaxed);
    }

    /// Makes a block of `order`, which nobody else knows, anonymous memory, and gives it its name for reverse mappings:
    /// who made it, and where. Neither fork nor remap changes that.
    #[inline(always)]
    pub(crate) fn be_anonymous(&self, order: u8, owner: u64, offset: u64) {
        self.set_kind(Kind::Anonymous, order);
        self.words[0].store(owner, Relaxed);
        self.words[1].store(offset, Relaxed);
    }

    /// Gives the frame, at boot, the node it has for good; it is not [`Kind::Absent`] any more.
    pub(super) fn set_present(&self, node: u8, is_range_start: bool) {
        let start = if is_range_start { RANGE_START } else { 0 };
        self.state.store(Kind::Reserved as u32 | (node as u32) << 16 | start, Relaxed);
    }

    /// Whether the frame is the first of a memory range.
    #[inline(always)]
    pub(super) fn is_range_start(&self) -> bool {
        self.state.load(Relaxed) & RANGE_START != 0
    }

    /// Whether the frame begins a free block of `order` on `node`.
    #[inline(always)]
    pub(super) fn is_free_block(&self, order: u8, node: u8) -> bool {
        let block = Kind::Free as u32 | (order as u32) << 8 | (node as u32) << 16;
        self.state.load(Relaxed) & (KIND_AND_ORDER | NODE) == block
    }

    /// Makes the first frame of a block the middle of one of twice the size, unless a memory range begins there.
    #[inline(always)]
    pub(super) fn make_upper_half(&self) -> bool {
        let state = self.state.load(Relaxed);
        if state & RANGE_START == 0 {
            self.state.store(state & !KIND_AND_ORDER | tail_of_none::<M>(), Relaxed);
        }
        state & RANGE_START == 0
    }

    /// Makes a single frame that is [`Kind::Cached`] one of a block that is about to be freed: one instruction.
    #[inline(always)]
    pub(super) fn make_tail(&self) {
        debug_assert_eq!(self.kind(), Kind::Cached, "kind of a frame on a list");
        self.state.store(self.state.load(Relaxed) ^ (Kind::Cached as u32 ^ tail_of_none::<M>()), Relaxed);
    }

    /// Changes a single frame's kind from one known to another: one instruction.
    #[inline(always)]
    pub(super) fn change_kind(&self, from: Kind, to: Kind) {
        debug_assert_eq!(self.kind(), from, "kind of a frame on a list");
        self.state.store(self.state.load(Relaxed) ^ (from as u32 ^ to as u32), Relaxed);
    }

    /// Makes a single frame of `home` (from [`single_on_node`]) a cached one; whether it is such a frame.
    #[inline(always)]
    pub(super) fn make_cached(&self, home: u32) -> bool {
        let state = self.state.load(Relaxed);
        let is_home = state & (NODE | 0xff00) == home;
        if is_home {
            self.state.store(state & !KIND_AND_ORDER | Kind::Cached as u32, Relaxed);
        }
        is_home
    }

    /// References held, those of mappings included.
    #[inline(always)]
    pub fn references(&self) -> u32 {
        self.counts.load(Acquire) as u32
    }

    /// Whether so many references exist that no more may be added by who can add any number: those who add few at a
    /// time, and drop them, have room.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.references() >= REFERENCES_MAX
    }

    /// Page-table entries which show the frame.
    #[inline(always)]
    pub fn mappings(&self) -> u32 {
        (self.counts.load(Acquire) >> 32) as u32
    }

    /// References that belong to no mapping, at one moment.
    #[inline(always)]
    pub(crate) fn other_references(&self) -> u32 {
        let counts = self.counts.load(SeqCst);
        (counts as u32).wrapping_sub((counts >> 32) as u32)
    }

    /// Whether it is a page of anonymous memory by itself, and has one mapping and no other reference, as most have.
    #[inline(always)]
    pub(crate) fn is_lone(&self) -> bool {
        self.is_single(Kind::Anonymous) && self.counts.load(SeqCst) == ONE_MAPPING + ONE_REFERENCE
    }

    /// The raw counts word, which tables use otherwise.
    #[inline(always)]
    pub(crate) fn counts(&self) -> &AtomicU64<M> {
        &self.counts
    }

    /// Gives a frame nobody else knows its first references and mappings.
    #[inline(always)]
    pub(crate) fn set_counts(&self, references: u32, mappings: u32) {
        self.counts.store(references as u64 | (mappings as u64) << 32, Release);
    }

    /// One more mapping, with its reference. The caller holds a reference, or a lock that pins one.
    #[inline(always)]
    pub(crate) fn add_mapping(&self) {
        self.counts.fetch_add(ONE_MAPPING + ONE_REFERENCE, Relaxed);
    }

    /// One more mapping, to which the caller gives the reference he holds.
    #[inline(always)]
    pub(crate) fn add_mapping_of_reference(&self) {
        self.counts.fetch_add(ONE_MAPPING, Relaxed);
    }

    /// So many more mappings, with their references: of a huge page that becomes small ones, which has one already.
    pub(crate) fn add_mappings(&self, mappings: u64) {
        self.counts.fetch_add((ONE_MAPPING + ONE_REFERENCE) * mappings, Relaxed);
    }

    /// So many mappings less, with their references, of a huge page that becomes one again: not the last.
    pub(crate) fn drop_mappings(&self, mappings: u64) {
        self.counts.fetch_sub((ONE_MAPPING + ONE_REFERENCE) * mappings, AcqRel);
    }

    /// One mapping and its reference less; whether that was the last reference.
    #[inline(always)]
    pub(crate) fn drop_mapping(&self) -> bool {
        self.counts.fetch_sub(ONE_MAPPING + ONE_REFERENCE, AcqRel) as u32 == 1
    }

    /// So many more references, of the pages of a folio that is about to be cached. The caller holds one.
    pub(crate) fn add_references(&self, references: u64) {
        self.counts.fetch_add(ONE_REFERENCE * references, AcqRel);
    }

    /// So many references less; whether the last one was among them.
    pub(crate) fn drop_references(&self, references: u64) -> bool {
        let left = |counts: u64| (counts as u32).wrapping_sub(references as u32);
        left(self.counts.fetch_sub(ONE_REFERENCE * references, AcqRel)) == 0
    }

    /// One more reference. The caller holds one, or a lock that pins one.
    #[inline(always)]
    pub(crate) fn get(&self) {
        self.counts.fetch_add(ONE_REFERENCE, Relaxed);
    }

    /// One more reference, unless there is none: for lockless lookups, which must check afterwards that the frame is
    /// still what they looked for (F3).
    #[inline(always)]
    pub(crate) fn try_get(&self) -> bool {
        let mut seen = self.counts.load(Relaxed);
        while seen as u32 != 0 {
            match self.counts.compare_exchange(seen, seen + ONE_REFERENCE, AcqRel) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Takes the frame out of circulation if it has no mapping and just `references`, which are the caller's to drop:
    /// afterwards nobody can take another, and the counts are 0. Whether that was so.
    pub(crate) fn freeze(&self, references: u32) -> bool {
        self.counts.compare_exchange(references as u64, 0, SeqCst).is_ok()
    }

    /// As [`Frame::freeze`], of a folio that has so many mappings, each with its reference: nobody drops one meanwhile.
    pub(super) fn freeze_mapped(&self, mappings: u32) -> bool {
        let counts = ONE_REFERENCE + (ONE_MAPPING + ONE_REFERENCE) * mappings as u64;
        if M::guard(Guard::SplitFrozen) {
            return self.counts.compare_exchange(counts, 0, SeqCst).is_ok();
        }
        self.counts.load(SeqCst) == counts
    }

    /// Undoes [`Frame::freeze`].
    pub(crate) fn unfreeze(&self, references: u32) {
        self.counts.store(references as u64, Release);
    }

    /// One reference less; whether it was the last, so that the caller must free the frame.
    #[inline(always)]
    pub(crate) fn put(&self) -> bool {
        self.counts.fetch_sub(ONE_REFERENCE, AcqRel) as u32 == 1
    }
}

impl<M: Machine> Frame<M> {
    /// Which word of this descriptor, that of `pfn`, lies at `address`, if operations decide on it.
    pub(super) fn word_at(&self, pfn: Pfn, address: usize) -> Option<SharedWord> {
        let is_at = |word| holds(word, address);
        let word = match self.kind() {
            Kind::Table if holds(&self.counts, address) => SharedWord::FlushesOwed,
            Kind::Table if holds(&self.lock, address) => SharedWord::TableLock,
            Kind::Table if is_at(&self.words[0]) => SharedWord::TableHeader,
            Kind::Table if holds(&self.halves[1], address) => SharedWord::Claim,
            _ if holds(&self.state, address) => SharedWord::Use,
            Kind::Allocated | Kind::Anonymous | Kind::File if holds(&self.counts, address) => SharedWord::Counts,
            Kind::Allocated | Kind::Anonymous | Kind::File if holds(&self.lock, address) => SharedWord::FolioLock,
            Kind::Anonymous | Kind::File if is_at(&self.words[2]) => SharedWord::Flags,
            Kind::File if holds(&self.halves[0], address) => SharedWord::Contents,
            _ => return None,
        };
        Some(word(pfn))
    }
}

/// What [`Frame::make_cached`] compares with: a single frame on `node`.
pub(super) const fn single_on_node(node: u8) -> u32 {
    (node as u32) << 16
}

/// The order that tails say which are of no folio: that of a huge page.
#[inline(always)]
pub(super) fn order_of_none<A: Arch>() -> u8 {
    A::index_bits(0).min(ORDER_MAX as u32) as u8
}

/// Kind and order of these.
#[inline(always)]
fn tail_of_none<M: Machine>() -> u32 {
    Kind::Tail as u32 | u32::from(order_of_none::<M::Arch>()) << 8
}

/// Makes frames cached ones, passing each to `also`: one store each. They are of one memory range on `node`.
#[inline(always)]
pub(super) fn set_cached<M: Machine>(frames: &[Frame<M>], node: u8, also: impl FnMut(&Frame<M>)) {
    set_all(frames, Kind::Cached as u32, node, also);
}

/// Makes frames tails of no folio: one store each. They are of one memory range on `node`.
#[inline(always)]
pub(super) fn set_tails_of_none<M: Machine>(frames: &[Frame<M>], node: u8) {
    set_all(frames, tail_of_none::<M>(), node, |_| {});
}

#[inline(always)]
fn set_all<M: Machine>(frames: &[Frame<M>], kind_and_order: u32, node: u8, mut also: impl FnMut(&Frame<M>)) {
    let Some(first) = frames.first() else { return };
    let (state, start) = (kind_and_order | single_on_node(node), first.state.load(Relaxed) & RANGE_START);
    let mut change = |frame: &Frame<M>| {
        debug_assert_eq!(frame.node(), node, "node of a frame of the range");
        frame.state.store(state, Relaxed);
        also(frame);
    };
    let (eights, rest) = frames.as_chunks::<8>();
    eights.iter().for_each(|eight| eight.iter().for_each(&mut change));
    rest.iter().for_each(&mut change);
    first.state.store(state | start, Relaxed);
}

/// Makes all frames of a block but the first, which the caller has, tails of a folio of `order`: one store each. What
/// else their state says is what the first one's does: a block has one node, and no range begins within it.
#[inline(always)]
pub(super) fn set_tails<M: Machine>(block: &[Frame<M>], order: u8) {
    let Some((head, tails)) = block.split_first() else { return };
    let state = Kind::Tail as u32 | (order as u32) << 8 | head.state.load(Relaxed) & NODE;
    let set = |frame: &Frame<M>| {
        debug_assert_eq!(frame.state.load(Relaxed) & !KIND_AND_ORDER, state & NODE, "what a tail's state says beside");
        frame.state.store(state, Relaxed);
    };
    let (many, rest) = tails.as_chunks::<64>();
    many.iter().for_each(|frames| frames.iter().for_each(set));
    rest.iter().for_each(set);
}
