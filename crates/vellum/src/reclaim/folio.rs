//! Folios of several pages: what is to go of them goes as a whole, or is split first.
//!
//! A folio has one age, that of its last use, whichever page was used. When it is old the hand takes it aside, and it
//! gets slots of swap for all of its pages, side by side: then it is put out as a whole. Where there are none, or
//! somebody has a reference to it, or it has so many entries that it would take too long, it is split, and the hand
//! comes to its pages then; so it is where a part of it is mapped nowhere any more, however young it is: that part is
//! free then. A folio stays whole where its pages have nowhere to go.

use super::list::{get, is_page};
use super::shrink::{Choice, is_in_use, put_out, slot_of};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Kind, Pfn, folio};
use crate::rmap::{is_partly_mapped, split_folio};
use crate::stat::Event;
use crate::swap::leave_cache_locked;
use crate::vm::Vm;
use core::mem::ManuallyDrop;

/// Entries of a folio that are taken in one section, as far as they stand in leaves: a quarter of a huge page's.
const MAPPINGS_MAX: u32 = 128;
/// Huge mappings of a folio that are: each becomes a table.
const HUGE_MAPPINGS_MAX: u32 = 2;

/// A folio that is to go, with its lock and a reference. Dropping it gives that up: who has a list to write first may
/// not come to it, if a device panics.
pub(super) struct Going<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    head: Pfn,
    is_partly_mapped: bool,
}

impl<M: Machine> Going<'_, M> {
    /// Puts the folio out as a whole, if that can be done, or splits it, as far as that can be; how many pages were
    /// freed. Without a [`Cx`].
    pub(super) fn go(self) -> u64 {
        if self.is_partly_mapped {
            return split_cached(self.vm, self.head).unwrap_or(0);
        }
        if !give_slots(&Cx::enter(self.vm), self.head) {
            return split_instead(self.vm, self.head);
        }
        let this = ManuallyDrop::new(self);
        put_out(this.vm, this.head)
    }
}

impl<M: Machine> Drop for Going<'_, M> {
    fn drop(&mut self) {
        self.vm.physical().frame(self.head).folio_lock().release(self.vm);
        object::release(&Cx::enter(self.vm), self.head);
    }
}

/// Takes the folio whose head is `pfn`, if it is one, and is to go: see the module. What becomes of it takes long.
#[cold]
#[inline(never)]
pub(super) fn take_old<'vm, M: Machine>(
    vm: &'vm Vm<M>,
    cx: &Cx<'_, M>,
    pfn: Pfn,
    frame: &Frame<M>,
    (age_min, choice): (u8, Choice),
) -> Option<Going<'vm, M>> {
    if !is_page(frame) || !get(frame) {
        return None;
    }
    // With a reference it stays what it is; before, it may have become something else.
    if is_page(frame) && frame.order() > 0 && frame.folio_lock().try_acquire() {
        let is_partly_mapped = is_partly_mapped(cx, pfn);
        if is_partly_mapped || is_old(cx, frame, age_min) && may_go(cx, pfn, choice) {
            return Some(Going { vm, head: pfn, is_partly_mapped });
        }
        frame.folio_lock().release(cx.vm());
    }
    object::release(cx, pfn);
    None
}

/// Splits a folio that cannot be put out as a whole, as far as that can be done; how many pages that has freed. The
/// caller has its lock and a reference, and no [`Cx`].
pub(super) fn split_instead<M: Machine>(vm: &Vm<M>, pfn: Pfn) -> u64 {
    let is_given_up = vm.physical().frame(pfn).flags() & folio::LAZY_FREE != 0;
    let is_huge = is_huge(vm, pfn);
    let freed = split_cached(vm, pfn);
    Cx::enter(vm).count(Event::HugeSwapOutFallback, u64::from(is_huge && !is_given_up && freed.is_some()));
    freed.unwrap_or(0)
}

/// Gives the folio `pfn`, of several pages, slots if it can be put out as a whole, else splits it if it has somewhere
/// to go; whether it is to be put out. The caller has its lock and a reference, and no [`Cx`].
pub(super) fn give_slots_or_split<M: Machine>(vm: &Vm<M>, pfn: Pfn) -> bool {
    let (goes, is_given) = {
        let (cx, frame) = (Cx::enter(vm), vm.physical().frame(pfn));
        let goes = frame.order() > 0 && has_somewhere_to_go(&cx, frame);
        (goes, goes && give_slots(&cx, pfn))
    };
    if goes && !is_given {
        split_instead(vm, pfn);
    }
    is_given
}

/// Whether a folio has as many pages as a huge page: only those are counted as such.
pub(super) fn is_huge<M: Machine>(vm: &Vm<M>, pfn: Pfn) -> bool {
    u32::from(vm.physical().frame(pfn).order()) == M::Arch::index_bits(0)
}

/// Puts the folio `pfn`, of several pages, into the swap cache, with a slot for each page; whether it is there, so that
/// it can be put out as a whole. The caller has its lock and a reference.
pub(super) fn give_slots<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    let mappings_max = if is_huge(cx.vm(), pfn) { HUGE_MAPPINGS_MAX } else { MAPPINGS_MAX };
    let is_mapped = (1..=mappings_max).contains(&frame.mappings());
    let is_alone = || frame.other_references() == 1 + u32::from(frame.swap_slot().is_some());
    // What is mapped nowhere any more need not be written, but split off.
    if !is_mapped || frame.flags() & (folio::LAZY_FREE | folio::PARTLY_MAPPED) != 0 || !is_alone() {
        return false;
    }
    slot_of(cx, pfn).is_some()
}

/// Splits the folio `pfn`, if it has several pages and is to go. The caller has a reference, and no [`Cx`]; its lock is
/// tried.
pub(super) fn make_single<M: Machine>(vm: &Vm<M>, pfn: Pfn, choice: Choice) {
    let frame = vm.physical().frame(pfn);
    if frame.order() == 0 || !frame.folio_lock().try_acquire() {
        return;
    }
    if frame.order() > 0 && may_go(&Cx::enter(vm), pfn, choice) {
        split_cached(vm, pfn);
    }
    frame.folio_lock().release(vm);
}

/// As [`split_folio`], of one that may be cached: its slots are given up first, if no entry names them, since the
/// cache's reference would keep it whole.
pub(crate) fn split_cached<M: Machine>(vm: &Vm<M>, pfn: Pfn) -> Option<u64> {
    leave_cache_locked(&Cx::enter(vm), pfn);
    split_folio(vm, pfn)
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
    has_somewhere_to_go(cx, cx.vm().physical().frame(pfn)) && (choice == Choice::All || !is_in_use(cx, pfn))
}

/// Whether there is a place for the pages of a folio: room in swap, or that its owner has given it up. Shared memory
/// has none.
fn has_somewhere_to_go<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>) -> bool {
    if !frame.is_kind(Kind::Anonymous) {
        return false;
    }
    let has_room = || cx.swap_reserve().map(|slot| cx.swap_cancel(slot)).is_some();
    frame.flags() & folio::LAZY_FREE != 0 || has_room()
}
