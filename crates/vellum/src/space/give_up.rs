//! Giving pages up until they are stored to again (`MADV_FREE`).

use super::table::Locked;
use super::{Inner, RssKind};
use crate::arch::{Absent, PageBits, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Kind, Pfn, folio};
use crate::stat::Event;
use crate::swap::leave_cache_locked;
use crate::tlb::{Flush, Gather};

/// Makes the anonymous pages of `low..=high` of a locked leaf ones that may be dropped: their entries are clean
/// afterwards, and flushed by the gather before the operation returns, so that a store shows (B4). What is in swap, or
/// lost, is dropped now. `first` is the address of slot `low`.
///
/// Pages that others share, and parts of larger folios, stay as they are; a folio that is given up whole is marked as
/// one.
pub(super) fn give_up<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    locked: &Locked<'a, M>,
    (low, high): (usize, usize),
    first: u64,
    gather: &mut Gather<'a, M>,
) {
    gather.touch_pending(locked, Guard::SettledByGiveUp, first, (high - low + 1) as u64 * locked.table.pages());
    for index in low..=high {
        let address = first + (index - low) as u64 * locked.table.span();
        let word = locked.table.page(index);
        if word.is_page() {
            if may_go(cx, word, locked.table.pages()) {
                let clean = |word: Word<_>| word.with_bits(word.bits().without(PageBits::DIRTY));
                locked.update(index, clean);
                let pages = locked.table.pages();
                gather.touch_range(Flush { start: address, pages, tables_freed: false });
                cx.count(Event::LazyFree, pages);
            }
            continue;
        }
        match word.absent() {
            Some(Absent::Swap { slot, .. }) => {
                locked.take(index);
                space.add_rss(cx, RssKind::Swap, -1);
                cx.drop_swap_entry(slot);
            }
            // What is lost is given up with it: the program gets fresh memory instead of bus errors, as in Linux.
            Some(Absent::Poison) => _ = locked.take(index),
            // It is resident all the while, and stays.
            Some(Absent::Migration { .. } | Absent::Splitting) | None => {}
        }
    }
}

/// Marks the page that the entry `word` shows, or the folio of so many pages, as one that may be dropped, if it can be;
/// whether it is marked.
fn may_go<M: Machine>(cx: &Cx<'_, M>, word: Word<M::Arch>, pages: u64) -> bool {
    let bits = word.bits();
    if bits.has(PageBits::SPECIAL) {
        return false;
    }
    let pfn: Pfn = word.pfn();
    let frame = cx.vm().physical().frame(pfn);
    let is_whole = frame.is_kind(Kind::Anonymous) && 1 << frame.order() == pages;
    if !is_whole || frame.mappings() != 1 {
        return false;
    }
    // Only tried: the leaf's lock is held. Whoever is at work on the page, to put it out or to move it, relies on its
    // marks and its slot staying as they are (E19).
    if !M::guard(Guard::GivenUpUnderLock) {
        return mark_locked(cx, pfn);
    }
    if !frame.folio_lock().try_acquire() {
        return false;
    }
    let goes = mark_locked(cx, pfn);
    frame.folio_lock().release(cx.vm());
    goes
}

/// Marks a page, whose folio lock is held, as one that may be dropped, unless other entries name its slot.
fn mark_locked<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    if frame.swap_slot().is_some() {
        // What is in its slot is not to come back.
        frame.get();
        let has_left = leave_cache_locked(cx, pfn);
        frame.put();
        if !has_left {
            return false;
        }
    }
    frame.clear_flags(folio::DIRTY);
    frame.set_flags(folio::LAZY_FREE);
    true
}
