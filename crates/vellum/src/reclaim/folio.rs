//! Folios of several pages: what is to go of them goes as a whole, or is split first.
//!
//! A folio has one age, that of its last use, whichever page was used. When it is old the hand takes it aside, with slots of swap
//! for all of its pages, side by side: then it is put out as a whole. Where there are none, or somebody has a reference
//! to it, or it has so many entries that it would take too long, the hand splits it, and comes to its pages then; so it
//! does where a part of it is mapped nowhere any more, however young it is: that part is free then. A folio stays whole
//! where its pages have nowhere to go.

use super::list::{get, is_page};
use super::shrink::{Choice, give_up_folio, put_out, slot_of};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Pfn, folio};
use crate::rmap::{is_partly_mapped, renew_if_accessed, split_folio};
use crate::stat::Event;
use crate::swap::leave_cache_locked;
use crate::vm::Vm;
use core::mem::ManuallyDrop;

/// Entries of a folio that are taken in one section, as far as they stand in leaves: a quarter of a huge page's.
const MAPPINGS_MAX: u32 = 128;
/// Huge mappings of a folio that are: each becomes a table.
const HUGE_MAPPINGS_MAX: u32 = 2;

/// What became of a folio that the hand has come to.
pub(super) enum Taken {
    /// It was split, which has freed so many pages; or it stays as it is.
    Split(u64),
    /// It is to be put out as a whole: [`give_slots`] has been done, and the caller has its lock and a reference.
    Whole,
}

/// A folio that is to be put out as a whole ([`Taken::Whole`]). Dropping it gives that up: who has a list to write first may not
/// come to it, if a device panics.
pub(super) struct Whole<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    head: Pfn,
}

impl<'vm, M: Machine> Whole<'vm, M> {
    pub(super) fn new(vm: &'vm Vm<M>, head: Pfn) -> Self {
        Whole { vm, head }
    }

    /// See [`put_out`]. Without a [`Cx`].
    pub(super) fn put_out(self) -> u64 {
        let this = ManuallyDrop::new(self);
        put_out(this.vm, this.head)
    }
}

impl<M: Machine> Drop for Whole<'_, M> {
    fn drop(&mut self) {
        give_up_folio(self.vm, self.head);
    }
}

/// Takes the folio whose head is `pfn`, if it is one, and is to go: see the module.
#[cold]
#[inline(never)]
pub(super) fn take_old<M: Machine>(
    cx: &Cx<'_, M>,
    pfn: Pfn,
    frame: &Frame<M>,
    (age_min, choice): (u8, Choice),
) -> Taken {
    if !is_page(frame) || !get(frame) {
        return Taken::Split(0);
    }
    let mut freed = 0;
    // With a reference it stays what it is; before, it may have become something else.
    if is_page(frame) && frame.order() > 0 && frame.folio_lock().try_acquire() {
        if is_partly_mapped(cx, pfn) {
            freed = split(cx, pfn).unwrap_or(0);
        } else if is_old(cx, frame, age_min) && may_go(cx, pfn, choice) {
            if give_slots(cx, pfn) {
                return Taken::Whole;
            }
            freed = split_instead(cx, pfn);
        }
        frame.folio_lock().release(cx.vm());
    }
    object::release(cx, pfn);
    Taken::Split(freed)
}

/// Splits a folio that cannot be put out as a whole, as far as that can be done; how many pages that has freed. The
/// caller has its lock and a reference.
pub(super) fn split_instead<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> u64 {
    let is_given_up = cx.vm().physical().frame(pfn).flags() & folio::LAZY_FREE != 0;
    let is_huge = is_huge(cx, pfn);
    let freed = split(cx, pfn);
    cx.count(Event::HugeSwapOutFallback, u64::from(is_huge && !is_given_up && freed.is_some()));
    freed.unwrap_or(0)
}

/// Gives the folio `pfn`, of several pages, slots if it can be put out as a whole, else splits it if it has somewhere
/// to go; whether it is to be put out. The caller has its lock and a reference.
pub(super) fn give_slots_or_split<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    let goes = frame.order() > 0 && has_somewhere_to_go(cx, frame);
    let is_given = goes && give_slots(cx, pfn);
    if goes && !is_given {
        split_instead(cx, pfn);
    }
    is_given
}

/// Whether a folio has as many pages as a huge page: only those are counted as such.
pub(super) fn is_huge<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    u32::from(cx.vm().physical().frame(pfn).order()) == M::Arch::index_bits(0)
}

/// Puts the folio `pfn`, of several pages, into the swap cache, with a slot for each page; whether it is there, so that
/// it can be put out as a whole. The caller has its lock and a reference.
pub(super) fn give_slots<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    let mappings_max = if is_huge(cx, pfn) { HUGE_MAPPINGS_MAX } else { MAPPINGS_MAX };
    let is_mapped = (1..=mappings_max).contains(&frame.mappings());
    let is_alone = || frame.other_references() == 1 + u32::from(frame.swap_slot().is_some());
    // What is mapped nowhere any more need not be written, but split off.
    if !is_mapped || frame.flags() & (folio::LAZY_FREE | folio::PARTLY_MAPPED) != 0 || !is_alone() {
        return false;
    }
    slot_of(cx, pfn).is_some()
}

/// Splits the folio `pfn`, whose folio lock and a reference the caller has, if it has several pages that have somewhere to go;
/// whether it is a page by itself, then or before.
pub(super) fn is_single_now<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    frame.order() == 0 || has_somewhere_to_go(cx, frame) && split(cx, pfn).is_some()
}

/// As [`split_folio`], of one that may be cached: its slots are given up first, if no entry names them, since the cache's
/// reference would keep it whole.
fn split<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> Option<u64> {
    leave_cache_locked(cx, pfn);
    split_folio(cx, pfn)
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
