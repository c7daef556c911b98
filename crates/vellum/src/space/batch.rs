//! Unmapping many pages, of any spaces, with one flush.
//!
//! Reclaim and migration take pages out of their entries one by one, and owe each a flush before the page's contents
//! are copied or its frame is freed. A batch remembers who is owed: the spaces, the range in each, and the leaves. It
//! is flushed once, as late as is safe, by whoever owns it: one interrupt to each CPU that any of the spaces runs on,
//! or one wait for the broadcasts.
//!
//! What the batch still owes is noted in the leaf's descriptor, under the leaf lock under which the entry went. Whoever
//! relies on the translations being gone, since he finds the entry gone, looks there under the same lock and flushes
//! himself ([`Cx::settle`]): protect, unmap, move, fork, and faults that install another page (A4, B4). The notes are
//! counts and not flags: a batch takes back its own alone (A5). Who has flushed the whole leaf under its lock notes
//! that too, so that the next fault there need not, until a batch takes another of its entries (A19).
//!
//! What may be left unflushed while a page's contents are used: only entries through which nobody can store. That is
//! what [`UnmapBatch::may_be_stored_to`] decides, from what the entry said when it was taken and from what the
//! architecture promises of clean entries (A1, A2).

use super::Inner;
use super::table::Locked;
use crate::arch::{Arch, PageBits};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::stat::Event;
use crate::tlb::{BATCH_SPACES as SPACES, Flush, Gather, Owed, RANGE_MAX};

/// Leaves it remembers.
const LEAVES: usize = 64;

/// What is owed to one space.
struct Debt<'a, M: Machine> {
    space: &'a Inner<M>,
    start: u64,
    /// Exclusive.
    end: u64,
}

impl<M: Machine> Debt<'_, M> {
    /// Has the flush go to another entry, that from `address` to below `end`.
    #[inline(always)]
    fn widen(&mut self, address: u64, end: u64) {
        if M::guard(Guard::BatchWidened) {
            (self.start, self.end) = (self.start.min(address), self.end.max(end));
        }
    }

    /// The flush that pays it.
    fn owed(&self) -> Owed<'_, M> {
        let pages = (self.end - self.start) >> M::Arch::PAGE_SHIFT;
        let what = Flush { start: self.start, pages, tables_freed: false };
        Owed { space: self.space.id(), tlb: self.space.tlb(), what }
    }
}

/// Flushes owed for entries that were taken. Flushes when dropped.
pub(crate) struct UnmapBatch<'a, M: Machine> {
    cx: &'a Cx<'a, M>,
    owed: [Option<Debt<'a, M>>; SPACES],
    spaces: usize,
    leaves: [Pfn; LEAVES],
    leaf_count: usize,
    /// The leaf of the latest entry, and where what is owed to its space stands.
    latest: Option<(Pfn, usize)>,
}

impl<'a, M: Machine> UnmapBatch<'a, M> {
    pub(crate) fn new(cx: &'a Cx<'a, M>) -> Self {
        UnmapBatch {
            cx,
            owed: [const { None }; SPACES],
            spaces: 0,
            leaves: [Pfn(0); LEAVES],
            leaf_count: 0,
            latest: None,
        }
    }

    /// Whether a program can store to the page through a translation that an entry with `bits`, as it was when it was
    /// taken, has left behind: what decides whether the page counts as stored to. A dirty writable one certainly; a
    /// clean one only where the processor does not look at the entry again when it makes it dirty.
    pub(crate) fn may_be_stored_to(bits: PageBits) -> bool {
        let is_blind = !M::Arch::semantics().clean_store_rewalks && M::guard(Guard::CleanMayBeStored);
        bits.has(PageBits::WRITE) && (bits.has(PageBits::DIRTY) || is_blind)
    }

    /// Notes that the entry at `address` of the locked leaf, or upper table, which showed a page with `bits`, was
    /// taken. The space is pinned by the caller during the call.
    ///
    /// Flushes at once where batching is off, and when there is no room for another space or leaf.
    #[inline(always)]
    pub(crate) fn add(&mut self, space: &'a Inner<M>, leaf: &Locked<'_, M>, address: u64, bits: PageBits) {
        let has_rights = bits.prot() != crate::arch::Prot::NONE;
        if !has_rights && !M::guard(Guard::InaccessibleFlushed) {
            return;
        }
        // Pages that follow each other in a list are of one leaf, most often.
        let is_new_leaf = match self.latest {
            Some((known, place)) if known == leaf.table.pfn => {
                if let Some(owed) = &mut self.owed[place] {
                    // Most often, and then nothing to be worked out.
                    let bytes = if leaf.table.level == 0 { 1 << M::Arch::PAGE_SHIFT } else { leaf.table.span() };
                    owed.widen(address, address + bytes);
                }
                false
            }
            _ => match self.add_elsewhere(space, leaf, address) {
                Some(is_new_leaf) => is_new_leaf,
                None => return,
            },
        };
        if is_new_leaf || M::guard(Guard::TakenSinceSettled) {
            leaf.set_unpaid();
        }
    }

    /// [`UnmapBatch::add`], of an entry in another leaf than that of the latest one: whether it is one that was not
    /// noted before; `None` if nothing is owed, since that was flushed at once.
    #[inline(never)]
    fn add_elsewhere(&mut self, space: &'a Inner<M>, leaf: &Locked<'_, M>, address: u64) -> Option<bool> {
        let end = address + leaf.table.span();
        let known = self.owed[..self.spaces].iter().flatten().position(|owed| core::ptr::eq(owed.space, space));
        if known.is_none() && self.spaces > 0 && !M::guard(Guard::EachSpaceOwed) {
            return None;
        }
        let is_new_leaf = !self.leaves[..self.leaf_count].contains(&leaf.table.pfn);
        let is_full = known.is_none() && self.spaces == SPACES || is_new_leaf && self.leaf_count == LEAVES;
        if !self.cx.vm().is_batching() || is_full || (known.is_none() && !space.pin()) {
            self.cx.flush(
                space.id(),
                space.tlb(),
                Flush { start: address, pages: leaf.table.pages(), tables_freed: false },
            );
            self.cx.count(Event::FlushBatch, 1);
            return None;
        }
        let place = known.unwrap_or(self.spaces);
        match &mut self.owed[place] {
            Some(owed) => owed.widen(address, end),
            none => {
                *none = Some(Debt { space, start: address, end });
                self.spaces += 1;
            }
        }
        if is_new_leaf && (self.leaf_count == 0 || M::guard(Guard::EachLeafNoted)) {
            leaf.add_pending_flush();
            self.leaves[self.leaf_count] = leaf.table.pfn;
            self.leaf_count += 1;
        }
        self.latest = Some((leaf.table.pfn, place));
        Some(is_new_leaf)
    }

    /// Flushes what is owed: afterwards no CPU has a translation of an entry that was noted. No lock is held.
    pub(crate) fn flush(&mut self) {
        if self.spaces > 0 {
            self.cx.flush_all(self.owed[..self.spaces].iter().flatten().map(Debt::owed));
            self.cx.count(Event::FlushBatch, 1);
        }
        for leaf in &self.leaves[..self.leaf_count] {
            // The leaf may be unlinked by now, but not freed: its space is pinned.
            self.cx.vm().physical().frame(*leaf).flush_settled();
        }
        self.owed[..self.spaces].iter_mut().filter_map(Option::take).for_each(|owed| owed.space.unpin());
        (self.spaces, self.leaf_count, self.latest) = (0, 0, None);
    }
}

impl<M: Machine> Drop for UnmapBatch<'_, M> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Flushes what unmap batches owe to the locked leaf that covers `address`. To be called when
    /// [`Locked::has_pending_flush`] says so by whoever relies on translations of missing entries being gone. It does
    /// not say so again until a batch takes another entry of the leaf. The batches flush once more, themselves.
    #[cold]
    pub(crate) fn settle(&self, space: &Inner<M>, leaf: &Locked<'_, M>, address: u64) {
        self.count(Event::BatchSettled, 1);
        let start = leaf.table.base(address);
        let pages = (leaf.table.len() as u64 * leaf.table.pages()).max(RANGE_MAX + 1);
        self.flush(space.id(), space.tlb(), Flush { start, pages, tables_freed: false });
        leaf.set_paid();
    }
}

impl<M: Machine> Gather<'_, M> {
    /// Notes the flush of a range of the locked leaf, if unmap batches owe it one: what they have taken is not to be
    /// reached any more either, once the gather is flushed (A4, B4). `settled` is the name of the protection.
    #[inline(always)]
    pub(crate) fn touch_pending(&mut self, leaf: &Locked<'_, M>, settled: Guard, start: u64, pages: u64) {
        if leaf.has_pending_flush(settled) {
            self.touch_range(Flush { start, pages, tables_freed: false });
        }
    }
}
