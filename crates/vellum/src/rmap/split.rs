//! Making single pages of a folio.
//!
//! First all of its mappings become small ones, each in a table: if there is no memory for that, the folio stays, and
//! nobody sees a difference. Then its counts are dealt out, which must not change meanwhile ([`crate::phys`]):
//!
//! * *In place*, where one leaf has all entries: under its lock, without touching any of them. So it is with most, and no flush
//!   is needed.
//! * *By way of migration* otherwise: all entries say that their page is being moved, as if the folio were, from where
//!   it is to its
//!   own pages. One flush. Whoever takes such an entry away drops a mapping of the head, whose page it is not; so the head may
//!   have mappings to the end that nobody finds, as it has while a gather holds them.
//!
//! Whoever holds a reference keeps the folio whole.

use super::unmap::restore_one;
use super::walk::Found;
use super::{Name, Placeholder, Seek, Unmapped, walk};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Folio, Pfn, folio};
use crate::space::UnmapBatch;
use crate::stat::Event;
use crate::sync::fence;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::SeqCst;

/// Makes single pages of the folio `head`; how many were mapped nowhere, and are free now. `None` if that was not
/// possible: it is as it was but that its mappings may be small ones. The caller has the folio lock and a reference,
/// which are the first page's afterwards. Allocates, from the reserve.
pub(crate) fn split_folio<M: Machine>(cx: &Cx<'_, M>, head: Pfn) -> Option<u64> {
    let folio = cx.vm().physical().whole(head);
    let is_possible = has_no_more_references(cx, head) && cut_mappings(cx, folio);
    let deal_out = || deal_out_in_place(cx, folio).or_else(|| deal_out_moving(cx, folio));
    let freed = is_possible.then(deal_out).flatten();
    cx.count(if freed.is_some() { Event::SplitFolio } else { Event::SplitFolioFail }, 1);
    freed
}

/// Whether a part of the folio `head` is mapped nowhere, as was noted when it was unmapped. The caller has the folio lock and a
/// reference.
pub(crate) fn is_partly_mapped<M: Machine>(cx: &Cx<'_, M>, head: Pfn) -> bool {
    let frame = cx.vm().physical().frame(head);
    if frame.flags() & folio::PARTLY_MAPPED == 0 {
        return false;
    }
    let of = cx.vm().physical().whole(head);
    let mut is_whole = frame.mappings() as u64 >= of.pages();
    if let Some(name) = Name::of(frame).filter(|_| !is_whole && frame.mappings() > 0) {
        is_whole = walk(cx, &name, Seek::huge(of), &mut |_| ControlFlow::Break(())).is_break();
    }
    if is_whole {
        frame.clear_flags(folio::PARTLY_MAPPED);
    }
    !is_whole
}

/// Whether nobody but the caller has a reference beside those of mappings, at this moment.
fn has_no_more_references<M: Machine>(cx: &Cx<'_, M>, head: Pfn) -> bool {
    cx.vm().physical().frame(head).other_references() == 1
}

/// Puts tables in the place of all huge entries that show the folio; whether that was possible.
fn cut_mappings<M: Machine>(cx: &Cx<'_, M>, of: Folio) -> bool {
    let frame = cx.vm().physical().frame(of.head);
    let Some(name) = Name::of(frame).filter(|_| of.order > 0 && frame.mappings() > 0) else { return true };
    let flow = walk(cx, &name, Seek::huge(of), &mut |found| {
        let is_small = found.space.cut_huge(cx, found.leaf, found.index, found.address);
        if is_small { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    flow.is_continue()
}

/// Deals out the counts of a folio if all entries that show it are in the leaf where the first one is found, or there
/// is none; how many pages were freed, if it was so.
fn deal_out_in_place<M: Machine>(cx: &Cx<'_, M>, of: Folio) -> Option<u64> {
    let frame = cx.vm().physical().frame(of.head);
    let Some(name) = Name::of(frame).filter(|_| frame.mappings() > 0) else {
        return cx.deal_out_shown(of, 0, |_| false);
    };
    let mut freed = None;
    let _ = walk(cx, &name, Seek::page(of), &mut |found| {
        freed = if found.pages() == 1 { deal_out_in_leaf(cx, of, found) } else { None };
        ControlFlow::Break(())
    });
    freed
}

/// As [`deal_out_in_place`], where one entry was found.
fn deal_out_in_leaf<M: Machine>(cx: &Cx<'_, M>, of: Folio, found: &Found<'_, '_, M>) -> Option<u64> {
    let leaf = &found.leaf.table;
    let is_shown = |page: u64| {
        let slot = (found.index as u64 + page).checked_sub(found.page).filter(|&slot| slot < leaf.len() as u64);
        slot.is_some_and(|slot| {
            let word = leaf.entry(slot as usize);
            word.is_page() && word.pfn() == of.head.offset(page)
        })
    };
    let mappings = (0..of.pages()).filter(|&page| is_shown(page)).count();
    cx.deal_out_shown(of, mappings as u32, is_shown)
}

/// Deals out the counts of a folio whose entries are in several leaves, if all are found, and nobody else refers to it; how many
/// pages were freed.
#[inline(never)]
fn deal_out_moving<M: Machine>(cx: &Cx<'_, M>, of: Folio) -> Option<u64> {
    let mut batch = UnmapBatch::new(cx);
    let unmapped = Unmapped::begin(cx, &mut batch, of.head, Placeholder::Migration)?;
    // What is mapped nowhere is free when this is done.
    batch.flush();
    // Against those who take a reference first and look at the entry again.
    fence::<M>(SeqCst);
    if !has_no_more_references(cx, of.head) {
        unmapped.undo(cx);
        return None;
    }
    cx.deal_out_hidden(of);
    let frame = cx.vm().physical().frame(of.head);
    if let Some(name) = Name::of(frame).filter(|_| frame.mappings() > 0) {
        let _ = walk(cx, &name, Seek::migration(of), &mut |found| {
            debug_assert_eq!(found.pages(), 1, "a huge mapping was cut, and no other was made");
            restore_one(cx, found, of.head, (of.head.offset(found.page), 0));
            ControlFlow::Continue(())
        });
    }
    let mut freed = 0;
    for page in (1..of.pages()).map(|page| of.head.offset(page)) {
        let frame = cx.vm().physical().frame(page);
        frame.folio_lock().release(cx.vm());
        if frame.put() {
            cx.free_frame(page);
            freed += 1;
        }
    }
    unmapped.complete();
    Some(freed)
}
