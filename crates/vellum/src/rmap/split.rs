//! Making single pages of a folio.
//!
//! First all of its mappings become small ones, each in a table: if there is no memory for that, the folio stays, and
//! nobody sees a difference. Then its counts are dealt out, which must not change meanwhile ([`crate::phys`]):
//!
//! * *In place*, where one leaf has all entries: under its lock, without touching any of them. So it is with most, and no
//!   flush is needed.
//! * *By way of migration* otherwise: all entries say that their page is being moved, as if the folio were, from where it is
//!   to its own pages, so many in a section, with a flush for these. Whoever takes such an entry away drops a mapping of the
//!   head, whose page it is not; so the head may have mappings to the end that nobody finds, as it has while a gather holds
//!   them.
//!
//! Of shared memory the entries are taken away, as faults bring them back, and the counts are dealt out in the object's
//! cache.
//!
//! Whoever holds a reference keeps the folio whole.

use super::walk::Found;
use super::{Name, Placeholder, Seek, Unmapped, restore_migrated, walk};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Folio, Kind, Pfn, folio};
use crate::stat::Event;
use crate::sync::fence;
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::SeqCst;

/// Huge mappings that become small ones in one section: each needs a table.
const CUT: u32 = 8;
/// Pages that are let go in one section when the folio is none any more.
const LET_GO: usize = 64;

/// Makes single pages of the folio `head`; how many were mapped nowhere, and are free now. `None` if that was not
/// possible: it is as it was but that its mappings may be small ones. The caller has the folio lock and a reference,
/// which are the first page's afterwards. Without a [`Cx`]: how much is changed in one section does not depend on how
/// many map it. Allocates, from the reserve.
pub(crate) fn split_folio<M: Machine>(vm: &Vm<M>, head: Pfn) -> Option<u64> {
    let folio = vm.physical().whole(head);
    let freed = match vm.physical().frame(head).is_kind(Kind::File) {
        true => split_shared(vm, folio),
        false => split_anonymous(vm, folio),
    };
    let event = if freed.is_some() { Event::SplitFolio } else { Event::SplitFolioFail };
    Cx::enter(vm).count(event, 1);
    freed
}

fn split_anonymous<M: Machine>(vm: &Vm<M>, folio: Folio) -> Option<u64> {
    let is_possible = has_no_more_references(vm, folio.head) && cut_mappings(vm, folio);
    let in_place = || deal_out_in_place(&Cx::enter(vm), folio);
    is_possible.then(|| in_place().or_else(|| deal_out_moving(vm, folio))).flatten()
}

/// As [`split_folio`], of shared memory: its entries go, and faults bring them back. They stay where somebody has a
/// reference, as they would go for nothing.
fn split_shared<M: Machine>(vm: &Vm<M>, folio: Folio) -> Option<u64> {
    if !object::is_only_cached(&Cx::enter(vm), folio) {
        return None;
    }
    Unmapped::begin_in_parts(vm, folio.head, Placeholder::Nothing)?.complete();
    object::split_folio(&Cx::enter(vm), folio)
}

/// Whether a part of the folio `head` is mapped nowhere, as was noted when it was unmapped. The caller has the folio
/// lock and a reference.
pub(crate) fn is_partly_mapped<M: Machine>(cx: &Cx<'_, M>, head: Pfn) -> bool {
    let frame = cx.vm().physical().frame(head);
    if frame.flags() & folio::PARTLY_MAPPED == 0 {
        return false;
    }
    if frame.is_kind(Kind::File) {
        // A part of it has left the cache for good.
        return true;
    }
    let of = cx.vm().physical().whole(head);
    let mut is_whole = frame.mappings() as u64 >= of.pages();
    if let Some(name) = Name::of(frame).filter(|_| !is_whole && frame.mappings() > 0) {
        is_whole = walk(cx, &name, &Seek::huge(of), &mut |_| ControlFlow::Break(())).is_break();
    }
    if is_whole {
        frame.clear_flags(folio::PARTLY_MAPPED);
    }
    !is_whole
}

/// Whether nobody but the caller has a reference beside those of mappings, at this moment.
fn has_no_more_references<M: Machine>(vm: &Vm<M>, head: Pfn) -> bool {
    vm.physical().frame(head).other_references() == 1
}

/// Puts tables in the place of all huge entries that show the folio; whether that was possible.
fn cut_mappings<M: Machine>(vm: &Vm<M>, of: Folio) -> bool {
    let mut is_possible = true;
    while is_possible && cut_part(&Cx::enter(vm), of, &mut is_possible).is_break() {}
    is_possible
}

/// Puts tables in the place of [`CUT`] huge entries, if there are as many; breaks off if there may be more, or it is
/// not possible.
fn cut_part<M: Machine>(cx: &Cx<'_, M>, of: Folio, is_possible: &mut bool) -> ControlFlow<()> {
    let frame = cx.vm().physical().frame(of.head);
    let is_mapped = of.order > 0 && frame.mappings() > 0;
    let Some(name) = Name::of(frame).filter(|_| is_mapped) else { return ControlFlow::Continue(()) };
    let mut left = CUT;
    walk(cx, &name, &Seek::huge(of), &mut |found| {
        *is_possible = left == 0 || found.space.cut_huge(cx, found.leaf, found.index, found.address);
        let goes_on = left > 0 && *is_possible;
        left = left.saturating_sub(1);
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}

/// Deals out the counts of a folio if all entries that show it are in the leaf where the first one is found, or there
/// is none; how many pages were freed, if it was so.
fn deal_out_in_place<M: Machine>(cx: &Cx<'_, M>, of: Folio) -> Option<u64> {
    let frame = cx.vm().physical().frame(of.head);
    let Some(name) = Name::of(frame).filter(|_| frame.mappings() > 0) else {
        return cx.deal_out_shown(of, 0, |_| false);
    };
    let mut freed = None;
    let _ = walk(cx, &name, &Seek::page(of), &mut |found| {
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

/// Deals out the counts of a folio whose entries are in several leaves, if all are found, and nobody else refers to it;
/// how many pages were freed.
#[inline(never)]
fn deal_out_moving<M: Machine>(vm: &Vm<M>, of: Folio) -> Option<u64> {
    let unmapped = take_exactly(vm, of)?;
    // Against those who take a reference first and look at the entry again.
    fence::<M>(SeqCst);
    if !has_no_more_references(vm, of.head) {
        return None;
    }
    Cx::enter(vm).deal_out_hidden(of);
    restore_migrated(vm, of, of.head);
    unmapped.complete();
    // What is mapped nowhere is free when this is done.
    Some((1..of.pages()).step_by(LET_GO).map(|first| let_go(&Cx::enter(vm), of, first)).sum())
}

/// Takes the folio out of all entries that show a page of it, also of those that no walk finds any more: of a space
/// that ends, or of a leaf that was taken out of its tree. These go on showing the page, whose counts are not the
/// folio's afterwards.
///
/// They are mappings still, so there are more mappings than entries were taken; unless of those, too, some have gone.
/// That is noted with the folio, as if it had been mapped whole before.
fn take_exactly<M: Machine>(vm: &Vm<M>, of: Folio) -> Option<Unmapped<'_, M>> {
    let frame = vm.physical().frame(of.head);
    let before = frame.clear_flags(folio::PARTLY_MAPPED);
    let unmapped = Unmapped::begin_in_parts(vm, of.head, Placeholder::Migration);
    // After the mappings were asked for.
    fence::<M>(SeqCst);
    let have_some_gone = frame.set_flags(before & folio::PARTLY_MAPPED) & folio::PARTLY_MAPPED != 0;
    unmapped.filter(|_| !have_some_gone)
}

/// Lets go of [`LET_GO`] pages of what was the folio, from `first` on; how many were freed.
fn let_go<M: Machine>(cx: &Cx<'_, M>, of: Folio, first: u64) -> u64 {
    let mut freed = 0;
    for page in (first..of.pages()).take(LET_GO).map(|page| of.head.offset(page)) {
        let frame = cx.vm().physical().frame(page);
        frame.folio_lock().release(cx.vm());
        if frame.put() {
            cx.free_frame(page);
            freed += 1;
        }
    }
    freed
}
