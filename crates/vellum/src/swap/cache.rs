//! The swap cache: which frame is the page of a slot.
//!
//! Lookups take no lock, as in the page cache of objects: what they find may leave the cache and be used otherwise at
//! any moment, so they take a reference unless there is none, and then look at the slot again (F3, E12).

use super::areas::Place;
use super::slots::end_slot;
use super::word::SlotWord;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Pfn, release};
use core::sync::atomic::Ordering::Relaxed;

/// A page that was found in the cache, and the head of its folio, which has the reference and the folio lock: itself,
/// most often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    pub(crate) page: Pfn,
    pub(crate) head: Pfn,
}

/// Why a page was not put into the cache to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Another one is there.
    Other,
    /// No entry names the slot any more.
    Gone,
}

impl<M: Machine> Cx<'_, M> {
    /// Puts `pfn` in the cache with `slot`, or a folio with as many slots from there on, which the caller has reserved:
    /// it is to be written. Takes a reference for the cache, and notes `words[0]` of the frame as the owner. The caller
    /// has a reference and the folio lock.
    pub(crate) fn swap_attach(&self, slot: SwapSlot, pfn: Pfn) {
        let whole = self.vm().physical().whole(pfn);
        if whole.order > 0 {
            return self.swap_attach_run(slot, whole);
        }
        let Some(place) = self.swap_place(slot) else {
            debug_assert!(false, "a page for {slot:?}, which does not exist");
            return;
        };
        let frame = self.vm().physical().frame(pfn);
        debug_assert!(frame.swap_slot().is_none(), "{pfn:?} has a slot already");
        frame.get();
        frame.set_swap_slot(Some(slot));
        if let Some(owner) = place.owner() {
            owner.store(frame.words[0].load(Relaxed), Relaxed);
        }
        place.area.cached.fetch_add(1, Relaxed);
        let outcome = place.update(|word| word.is_reserved().then(|| word.cached_by(pfn)));
        debug_assert!(outcome.is_ok(), "a page for {slot:?}, which is {outcome:?}");
    }

    /// The page that is cached with `slot`, with a reference for the caller, to its folio. Its contents may not be
    /// there yet: the caller takes or awaits the folio lock, and then asks [`Cx::swap_is_cached`]. No lock is held:
    /// reclaim may be about to free the page, and is waited for.
    pub(crate) fn swap_lookup(&self, slot: SwapSlot) -> Option<Cached> {
        let place = self.swap_place(slot)?;
        loop {
            let page = place.load().frame()?;
            let head = self.vm().physical().head(page);
            let frame = self.vm().physical().frame(head);
            if !frame.try_get() {
                // About to leave the cache, by who has frozen its counts, or it has left, and was freed.
                if place.load().frame() == Some(page) {
                    frame.folio_lock().await_release(self);
                }
                continue;
            }
            if !M::guard(Guard::CacheRecheck) || self.is_cached_in(&place, page, head) {
                return Some(Cached { page, head });
            }
            release(self, head);
        }
    }

    /// Whether `page` is cached in the place, and is of the folio `head`, to which the caller has a reference.
    fn is_cached_in(&self, place: &Place<'_, M>, page: Pfn, head: Pfn) -> bool {
        place.load().frame() == Some(page) && self.vm().physical().head(page) == head
    }

    /// As [`Cx::swap_lookup`], with locks held: `None` also if the page is about to be freed, whoever may have it.
    pub(crate) fn swap_lookup_locked(&self, slot: SwapSlot) -> Option<Cached> {
        let place = self.swap_place(slot)?;
        let page = place.load().frame()?;
        let head = self.vm().physical().head(page);
        if !self.vm().physical().frame(head).try_get() {
            return None;
        }
        if self.is_cached_in(&place, page, head) {
            return Some(Cached { page, head });
        }
        release(self, head);
        None
    }

    /// Whether `pfn` is cached with `slot`. It stays so while the caller has the folio lock.
    pub(crate) fn swap_is_cached(&self, slot: SwapSlot, pfn: Pfn) -> bool {
        self.swap_place(slot).is_some_and(|place| place.load().frame() == Some(pfn))
    }

    /// Whether a page is cached with `slot`, at this moment.
    pub(crate) fn swap_has_page(&self, slot: SwapSlot) -> bool {
        self.swap_place(slot).is_some_and(|place| place.load().frame().is_some())
    }

    /// Whether entries name `slot` and no page is cached with it, at this moment.
    pub(crate) fn swap_is_away(&self, slot: SwapSlot) -> bool {
        self.swap_place(slot).is_some_and(|place| {
            let word = place.load();
            word.count() > 0 && word.frame().is_none()
        })
    }

    /// Puts `new` in the place of `old`, a folio of the same order, which is cached with `slot` and those behind. Takes
    /// a reference to `new` for the cache, whose reference to `old` becomes the caller's; he has both folio locks.
    pub(crate) fn swap_replace(&self, slot: SwapSlot, old: Pfn, new: Pfn) {
        let frame = self.vm().physical().frame(new);
        frame.get();
        frame.set_swap_slot(Some(slot));
        for page in 0..self.vm().physical().whole(old).pages() {
            let (slot, old, new) = (slot.further(page), old.offset(page), new.offset(page));
            let Some(place) = self.swap_place(slot) else { continue };
            let outcome = place.update(|word| (word.frame() == Some(old)).then(|| word.cached_by(new)));
            debug_assert!(outcome.is_ok(), "{old:?}, whose folio lock is held, is not cached with {slot:?}");
        }
        self.vm().physical().frame(old).set_swap_slot(None);
    }

    /// Puts `pfn` in the cache with `slot`, which an entry names: the page is about to be read, by the caller, who
    /// alone knows the frame and has its folio lock. Takes a reference for the cache. The stamp of when the page left
    /// memory; 0 if there is none.
    ///
    /// # Errors
    /// [`Inserted`]; nothing has changed.
    pub(crate) fn swap_insert(&self, slot: SwapSlot, pfn: Pfn) -> Result<u64, Inserted> {
        let place = self.swap_place(slot).ok_or(Inserted::Gone)?;
        let frame = self.vm().physical().frame(pfn);
        debug_assert!(frame.swap_slot().is_none(), "{pfn:?} has a slot already");
        // Before others can find it there.
        frame.get();
        frame.set_swap_slot(Some(slot));
        place.area.cached.fetch_add(1, Relaxed);
        let is_free = |word: SlotWord| word.count() > 0 && word.frame().is_none() && !word.is_reserved();
        let outcome = place.update(|word| is_free(word).then(|| word.cached_by(pfn)));
        match outcome {
            Ok((before, _)) => Ok(before.shadow()),
            Err(word) => {
                place.area.cached.fetch_sub(1, Relaxed);
                frame.set_swap_slot(None);
                frame.put();
                Err(if word.frame().is_some() { Inserted::Other } else { Inserted::Gone })
            }
        }
    }

    /// Takes `pfn`, a page or a folio, out of the cache, if it is there with `slot`, and those behind: the cache's
    /// reference is the caller's then. `shadow`, of which 40 bits count, is noted with the slot; if no entry names
    /// that, it is free afterwards, and its tags and contents are gone. The caller has the folio lock, and has written
    /// the page, unless no entry names the slot.
    pub(crate) fn swap_detach(&self, slot: SwapSlot, pfn: Pfn, shadow: u64) -> bool {
        let whole = self.vm().physical().whole(pfn);
        if whole.order > 0 {
            return self.swap_detach_run(slot, whole, shadow);
        }
        let Some(place) = self.swap_place(slot) else { return false };
        let outcome = place.update(|word| {
            let is_last = word.count() == 0;
            (word.frame() == Some(pfn)).then(|| if is_last { word.ending() } else { word.stored(shadow) })
        });
        let Ok((_, new)) = outcome else { return false };
        place.area.cached.fetch_sub(1, Relaxed);
        self.vm().physical().frame(pfn).set_swap_slot(None);
        if new.is_reserved() {
            end_slot(self, &place);
        }
        true
    }
}
