//! Table entries: reading them on the way to an address, and setting their accessed and dirty bits.

use super::memory::HostMemory;
use super::mmu::FaultReason;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use vellum::arch::{Arch, Entry, PageBits, index};
use vellum::ops::Access;
use vellum::phys::Pfn;

/// The entry of a page, perhaps a huge one, found by a walk.
pub(super) struct Leaf {
    pub(super) table: Pfn,
    /// The table's level.
    pub(super) level: usize,
    pub(super) word: u64,
    /// The page's first frame.
    pub(super) pfn: Pfn,
    pub(super) bits: PageBits,
    /// The walk began at a cached table.
    pub(super) shortened: bool,
}

impl Leaf {
    /// log2 of the pages in the entry's.
    #[inline]
    pub(super) fn order<A: Arch>(&self) -> u32 {
        A::shift(self.level) - A::PAGE_SHIFT
    }

    /// The frame of `address`, which the entry covers.
    #[inline]
    pub(super) fn frame<A: Arch>(&self, address: u64) -> Pfn {
        Pfn(self.pfn.0 + (address >> A::PAGE_SHIFT & ((1 << self.order::<A>()) - 1)))
    }
}

/// Whether a translation with `bits` allows `access`.
#[inline]
pub(super) fn permits(bits: PageBits, access: Access) -> bool {
    bits.has(match access {
        Access::Read => PageBits::READ,
        Access::Write => PageBits::WRITE,
        Access::Execute => PageBits::EXECUTE,
    })
}

/// The accessed and dirty bits that `access` adds to an entry with `bits`, if the hardware may set them.
#[inline]
pub(super) fn bits_to_set<A: Arch>(bits: PageBits, access: Access) -> Result<PageBits, FaultReason> {
    let mut add = PageBits::NONE;
    if !bits.has(PageBits::ACCESSED) {
        if !A::semantics().hardware_accessed {
            return Err(FaultReason::NotAccessed);
        }
        add = add | PageBits::ACCESSED;
    }
    if access == Access::Write && !bits.has(PageBits::DIRTY) {
        if !A::semantics().hardware_dirty {
            return Err(FaultReason::NotDirty);
        }
        add = add | PageBits::DIRTY;
    }
    Ok(add)
}

/// Writes `bits` into the entry a walk found, unless it has changed since: whether that succeeded.
pub(super) fn commit<A: Arch>(memory: &HostMemory<A>, leaf: &Leaf, address: u64, bits: PageBits) -> bool {
    if bits == leaf.bits {
        return true;
    }
    let more = bits.without(leaf.bits);
    let new = match leaf.level {
        0 => A::noted(leaf.word, more),
        level => A::huge(A::noted(A::small(leaf.word), more), level),
    };
    let slot = memory.word(leaf.table, index::<A>(address, leaf.level));
    slot.is_some_and(|slot| slot.compare_exchange(leaf.word, new, AcqRel, Relaxed).is_ok())
}

/// What a processor does that marks its cached entry dirty without a walk that could fault: the mark reaches the
/// tables if they still name the frame.
pub(super) fn dirty_blindly<A: Arch>(memory: &HostMemory<A>, root: Pfn, address: u64, pfn: Pfn) {
    while let Some(leaf) = find_leaf(memory, root, address) {
        if leaf.frame::<A>(address) != pfn || commit(memory, &leaf, address, leaf.bits | PageBits::DIRTY) {
            return;
        }
    }
}

#[inline]
fn find_leaf<A: Arch>(memory: &HostMemory<A>, root: Pfn, address: u64) -> Option<Leaf> {
    let mut table = root;
    for level in (0..A::LEVELS).rev() {
        let word = memory.word(table, index::<A>(address, level))?.load(Acquire);
        match A::decode(word, level) {
            Entry::Table(next) => table = next,
            Entry::Page(pfn, bits) => return Some(Leaf { table, level, word, pfn, bits, shortened: false }),
            _ => return None,
        }
    }
    None
}

/// What the tables under `root` say about `address` now; nothing is cached or set. Accessed and dirty bits of entries
/// that one cached translation may stand for count for each of them.
#[inline]
pub fn walk_tables<A: Arch>(memory: &HostMemory<A>, root: Pfn, address: u64) -> Option<(Pfn, PageBits)> {
    let leaf = find_leaf(memory, root, address)?;
    let count = 1usize << A::cached_order(leaf.word);
    let noted = PageBits::ACCESSED | PageBits::DIRTY;
    let mut bits = leaf.bits;
    if count > 1 {
        let first = index::<A>(address, leaf.level) & !(count - 1);
        for place in first..first + count {
            let word = memory.word(leaf.table, place)?.load(Acquire);
            if let Entry::Page(_, more) = A::decode(word, leaf.level) {
                bits = bits | more.without(more.without(noted));
            }
        }
    }
    Some((leaf.frame::<A>(address), bits))
}
