//! Counting the entries that name a slot, and the end of a slot.

use super::areas::Place;
use super::clusters::CLUSTER;
use super::word::SlotWord;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use core::sync::atomic::Ordering::{Relaxed, Release};

/// What is left of a slot when an entry that named it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Other entries name it.
    Named,
    /// No entry names it, but this page is in the swap cache with it: reclaim takes that out, or who looks for it now.
    Cached(Pfn),
    /// It is free.
    Free,
}

impl<M: Machine> Cx<'_, M> {
    /// One more entry names the slot. The caller has such an entry, under its table's lock, or the folio lock of the
    /// page that is cached there.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if no more entries can be counted: nothing has changed.
    pub(crate) fn swap_dup(&self, slot: SwapSlot) -> Result<(), Error> {
        let place = self.swap_place(slot).ok_or(NO_SLOT)?;
        // So many entries are rare; a laboratory wants to see what becomes of it.
        if !self.vm().machine().allow_allocation(0) {
            return Err(Error::OutOfMemory);
        }
        let outcome = place.update(|word| {
            let is_kept = word.count() > 0 || word.frame().is_some();
            (is_kept && word.count() < SlotWord::COUNT_MAX).then(|| word.with_count(word.count() + 1))
        });
        match outcome {
            Ok(_) => Ok(()),
            Err(word) if word.count() == SlotWord::COUNT_MAX => Err(Error::OutOfMemory),
            Err(word) => {
                debug_assert!(false, "one more entry for slot {slot:?}, which is {word:?}");
                Err(NO_SLOT)
            }
        }
    }

    /// One entry less names the slot, the caller's. If it was the last and the page is not cached, the slot is free
    /// afterwards, and its tags and contents are gone: the caller has restored the tags before, if he wants them (E8).
    pub(crate) fn swap_put(&self, slot: SwapSlot) -> Left {
        let Some(place) = self.swap_place(slot) else {
            debug_assert!(false, "an entry less for {slot:?}, which does not exist");
            return Left::Free;
        };
        let outcome = place.update(|word| {
            let count = word.count().checked_sub(1)?;
            let is_last = count == 0 && word.frame().is_none();
            Some(if is_last { word.ending() } else { word.with_count(count) })
        });
        match outcome {
            Ok((_, new)) if new.is_reserved() => {
                end_slot(self, &place);
                Left::Free
            }
            Ok((_, new)) => new.frame().filter(|_| new.count() == 0).map_or(Left::Named, Left::Cached),
            Err(word) => {
                debug_assert!(false, "an entry less for slot {slot:?}, which is {word:?}");
                Left::Free
            }
        }
    }

    /// Entries that name the slot.
    pub(crate) fn swap_count(&self, slot: SwapSlot) -> u32 {
        self.swap_place(slot).map_or(0, |place| place.load().count())
    }

    /// Whether one entry alone names the slot, which then is the caller's.
    pub(crate) fn swap_is_last_use(&self, slot: SwapSlot) -> bool {
        self.swap_count(slot) == 1
    }

    /// What `words[0]` of its page said when the slot was given to it; 0 if there is none.
    pub(crate) fn swap_owner(&self, slot: SwapSlot) -> u64 {
        self.swap_place(slot).and_then(|place| place.owner()).map_or(0, |owner| owner.load(Relaxed))
    }

    /// Once it is free the slot is not given out again. The caller has a page in it, or an entry.
    pub(crate) fn swap_mark_bad(&self, slot: SwapSlot) {
        if let Some(place) = self.swap_place(slot) {
            let outcome = place.update(|word| word.is_used().then(|| word.bad()));
            debug_assert!(outcome.is_ok(), "slot {slot:?} is marked, and free");
        }
    }
}

const NO_SLOT: Error = Error::Invalid { what: "swap slot" };

/// Frees a slot that no entry names and no page is in; its word is reserved, so it is the caller's alone. What belongs
/// to it goes before somebody else can have it.
pub(super) fn end_slot<M: Machine>(cx: &Cx<'_, M>, place: &Place<'_, M>) {
    if M::guard(Guard::TagsFreedWithSlot) {
        place.free_tags(cx);
    }
    place.free_contents(cx);
    if let Some(owner) = place.owner() {
        owner.store(0, Relaxed);
    }
    let left = place.load().ended();
    if left.is_bad() {
        place.area.bad.fetch_add(1, Relaxed);
    }
    place.word.store(left.0, Release);
    if !left.is_bad() {
        place.area.count_in_cluster(cx.vm(), place.offset / CLUSTER, -1);
    }
    place.area.end_use(cx.vm(), 1);
}
