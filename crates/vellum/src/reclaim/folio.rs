//! Folios of several pages: what is to go of them is split first.
//!
//! A folio has one age, that of its last use, whichever page was used. When it is old the hand splits it, and comes to its pages
//! then; so it does where a part of it is mapped nowhere any more, however young it is: that part is free then. A folio stays whole
//! where its pages have nowhere to go.

use super::list::{get, is_page};
use super::shrink::Choice;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Pfn, folio};
use crate::rmap::{is_partly_mapped, renew_if_accessed, split_folio};

/// Splits the folio whose head is `pfn`, if it is one, and to be split: see the module. How many pages that has freed.
#[cold]
#[inline(never)]
pub(super) fn split_old<M: Machine>(
    cx: &Cx<'_, M>,
    pfn: Pfn,
    frame: &Frame<M>,
    (age_min, choice): (u8, Choice),
) -> u64 {
    if !is_page(frame) || !get(frame) {
        return 0;
    }
    let mut freed = 0;
    // With a reference it stays what it is; before, it may have become something else.
    if is_page(frame) && frame.order() > 0 && frame.folio_lock().try_acquire() {
        if is_partly_mapped(cx, pfn) || is_old(cx, frame, age_min) && may_go(cx, pfn, choice) {
            freed = split_folio(cx, pfn).unwrap_or(0);
        }
        frame.folio_lock().release(cx.vm());
    }
    object::release(cx, pfn);
    freed
}

/// Splits the folio `pfn`, whose folio lock and a reference the caller has, if it has several pages that have somewhere to go;
/// whether it is a page by itself, then or before.
pub(super) fn is_single_now<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    frame.order() == 0 || has_somewhere_to_go(cx, frame) && split_folio(cx, pfn).is_some()
}

/// Whether a folio is of age `age_min`, or older; one that is looked at for the first time is new.
fn is_old<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, age_min: u8) -> bool {
    let physical = cx.vm().physical();
    let generation = frame.generation();
    if generation == 0 {
        frame.set_generation(physical.generation(frame.node()));
    }
    age_min == 0 || generation != 0 && physical.age_of(frame.node(), generation) >= age_min
}

fn may_go<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn, choice: Choice) -> bool {
    has_somewhere_to_go(cx, cx.vm().physical().frame(pfn)) && (choice == Choice::All || !renew_if_accessed(cx, pfn))
}

/// Whether there is a place for the pages of a folio: room in swap, or that its owner has given it up.
fn has_somewhere_to_go<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>) -> bool {
    let has_room = || cx.swap_reserve().map(|slot| cx.swap_cancel(slot)).is_some();
    frame.flags() & folio::LAZY_FREE != 0 || has_room()
}
