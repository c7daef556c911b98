//! Runs of slots: those of a folio of several pages, as many as it has, aligned and side by side, page *n* in the *n*-th.
//!
//! They are taken, named and given back together, as the folio enters and leaves the swap cache as a whole: with one
//! reference, under the lock of its head, which names the first slot. Each slot names its own page, and counts its own
//! entries. So when the folio has been written and its frames are freed, these are slots like all others, and come back
//! page by page.

use super::areas::Area;
use super::clusters::CLUSTER;
use super::compressed::{Contents, note_contents};
use super::slots::end_slot;
use super::tags::free_tags;
use super::word::SlotWord;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Folio, Frame, FrameArray};
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Runs that are tried before a folio is split instead.
const TRIES: u64 = 64;

/// The slots of a folio, as words.
struct Run<'a, M: Machine> {
    area: &'a Area<M>,
    first: SwapSlot,
    slots: &'a [AtomicU64<M>],
    owners: &'a [AtomicU64<M>],
}

impl<M: Machine> Run<'_, M> {
    fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Something has become of the slots; see [`Area::changed`]. Once for all that was changed before.
    fn changed(&self, cx: &Cx<'_, M>) {
        self.area.changed(cx.vm());
    }
}

/// Changes a slot's word to what `change` makes of it; what it is then, unless that was nothing. [`Run::changed`] is to
/// be called.
fn update<M: Machine>(slot: &AtomicU64<M>, change: impl Fn(SlotWord) -> Option<SlotWord>) -> Option<SlotWord> {
    let mut seen = SlotWord(slot.load(Relaxed));
    loop {
        let new = change(seen)?;
        match slot.compare_exchange(seen.0, new.0, SeqCst) {
            Ok(_) => return Some(new),
            Err(now) => seen = SlotWord(now),
        }
    }
}

impl<M: Machine> Cx<'_, M> {
    /// As many free slots as a folio of `order` has pages: the first one. They are the caller's, as one of
    /// [`Cx::swap_reserve`] is. `None` if no area has them side by side, as far as was looked.
    pub(crate) fn swap_reserve_run(&self, order: u8) -> Option<SwapSlot> {
        let mut tried = 0;
        while let Some(area) = self.best_area(tried) {
            tried |= 1 << area.id.number;
            if let Some(first) = area.take_run(self, 1 << order) {
                return Some(SwapSlot::new(area.id.number, first));
            }
        }
        None
    }

    /// As [`Cx::swap_attach`], of all pages of a folio, for slots from `first` on that the caller has reserved.
    pub(super) fn swap_attach_run(&self, first: SwapSlot, folio: Folio) {
        let frame = self.vm().physical().frame(folio.head);
        let Some(run) = self.swap_run(first, folio.pages()) else {
            debug_assert!(false, "a folio for {first:?}, where there is no run");
            return;
        };
        frame.get();
        frame.set_swap_slot(Some(first));
        run.area.cached.fetch_add(run.len(), Relaxed);
        let owner = frame.words[0].load(Relaxed);
        run.owners.iter().for_each(|word| word.store(owner, Relaxed));
        for (page, slot) in (0..).zip(run.slots) {
            // Nobody else changes a reserved one.
            slot.store(SlotWord::RESERVED.cached_by(folio.head.offset(page)).0, SeqCst);
        }
        run.changed(self);
    }

    /// One more entry names each of the `pages` slots from `first` on; see [`Cx::swap_dup`]. The folio that is cached
    /// there has its lock held, by the caller.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if no more entries of one can be counted: nothing has changed.
    pub(crate) fn swap_dup_run(&self, first: SwapSlot, pages: u64) -> Result<(), Error> {
        let run = self.swap_run(first, pages).ok_or(Error::Invalid { what: "swap slot" })?;
        if !self.vm().machine().allow_allocation(0) {
            return Err(Error::OutOfMemory);
        }
        let more = |word: SlotWord| (word.count() < SlotWord::COUNT_MAX).then(|| word.with_count(word.count() + 1));
        let counted = run.slots.iter().take_while(|slot| update(slot, more).is_some()).count();
        let result = if counted == run.slots.len() { Ok(()) } else { Err(Error::OutOfMemory) };
        if result.is_err() {
            self.swap_put_run(first, counted as u64);
        }
        run.changed(self);
        result
    }

    /// Takes back what [`Cx::swap_dup_run`] did for `pages` slots from `first` on: the folio is cached there still.
    pub(crate) fn swap_put_run(&self, first: SwapSlot, pages: u64) {
        let Some(run) = self.swap_run(first, pages) else { return };
        let fewer = |word: SlotWord| word.count().checked_sub(1).map(|count| word.with_count(count));
        run.slots.iter().for_each(|slot| _ = update(slot, fewer));
        run.changed(self);
    }

    /// Whether no entry names any of the `pages` slots from `first` on. It stays so for whoever has the folio lock of
    /// what is cached there.
    pub(crate) fn swap_run_is_unnamed(&self, first: SwapSlot, pages: u64) -> bool {
        // Backwards: whoever unmaps them begins with the first.
        let is_unnamed = |slot: &AtomicU64<M>| SlotWord(slot.load(SeqCst)).count() == 0;
        self.swap_run(first, pages).is_some_and(|run| run.slots.iter().rev().all(is_unnamed))
    }

    /// As [`Cx::swap_detach`], of a folio with all its slots; all of it is there, since the caller has the folio lock.
    pub(super) fn swap_detach_run(&self, first: SwapSlot, folio: Folio, shadow: u64) -> bool {
        let Some(run) = self.swap_run(first, folio.pages()) else { return false };
        let frame: &Frame<M> = self.vm().physical().frame(folio.head);
        if frame.swap_slot() != Some(first) {
            return false;
        }
        let stored = |word: SlotWord| Some(if word.count() == 0 { word.ending() } else { word.stored(shadow) });
        // Before the slots, of which some end at once: who sees the cache's reference without it takes it for
        // somebody's.
        frame.set_swap_slot(None);
        // As long as all of them end, those that do wait for the last: all at once is cheaper.
        let mut waiting = 0;
        for (page, slot) in (0..).zip(run.slots) {
            // Whose exchange says that a slot ends, ends it: this one, or that of who drops its last entry from then
            // on.
            let is_mine = update(slot, stored).is_some_and(SlotWord::is_reserved);
            if is_mine && waiting == page {
                waiting += 1;
            } else if is_mine {
                self.end_one(&run, page);
            }
        }
        run.area.cached.fetch_sub(run.len(), Relaxed);
        if waiting == run.len() {
            self.end_run(&run);
        } else {
            (0..waiting).for_each(|page| self.end_one(&run, page));
            run.changed(self);
        }
        true
    }

    /// Frees the slots of a run, all of which are the caller's alone, with what belongs to them; see [`end_slot`].
    fn end_run<'a>(&'a self, run: &Run<'a, M>) {
        let words = |array: &'a FrameArray<M>| array.run(self.vm(), run.first.offset(), run.len()).unwrap_or_default();
        words(&run.area.arrays.contents).iter().for_each(|word| note_contents(self, word, Contents::None));
        // However many of the pages it was that had theirs saved.
        if M::guard(Guard::FolioTagsFreed) {
            words(&run.area.arrays.tags).iter().for_each(|word| free_tags(self, word));
        }
        run.owners.iter().for_each(|owner| owner.store(0, Relaxed));
        let mut bad = 0;
        for (offset, slot) in (run.first.offset()..).zip(run.slots) {
            let left = SlotWord(slot.load(Acquire)).ended();
            slot.store(left.0, Release);
            if left.is_bad() {
                bad += 1;
                run.area.count_in_cluster(self.vm(), offset / CLUSTER, 1);
            }
        }
        run.area.bad.fetch_add(bad, Relaxed);
        run.area.count_run(self, run.first.offset(), run.len(), false);
        run.area.end_use(self.vm(), run.len());
    }

    /// Frees a slot of a run, which is the caller's alone.
    fn end_one(&self, run: &Run<'_, M>, page: u64) {
        if let Some(place) = self.swap_place(run.first.further(page)) {
            end_slot(self, &place);
        }
    }

    /// The words of `pages` slots from `first` on, if they are a run.
    fn swap_run(&self, first: SwapSlot, pages: u64) -> Option<Run<'_, M>> {
        let (vm, area) = (self.vm(), self.swap_area(first.area())?);
        let slots = area.arrays.slots.run(vm, first.offset(), pages)?;
        let owners = area.arrays.owners.run(vm, first.offset(), pages)?;
        Some(Run { area, first, slots, owners })
    }
}

impl<M: Machine> Area<M> {
    /// Takes `pages` free slots side by side, aligned; the first.
    fn take_run(&self, cx: &Cx<'_, M>, pages: u64) -> Option<u64> {
        if !self.begin_use(cx.vm(), pages) {
            return None;
        }
        let first = self.find_run(cx, pages);
        match first {
            Some(first) => {
                self.count_run(cx, first, pages, true);
                self.run_hand.store(first + pages, Relaxed);
            }
            None => self.end_use(cx.vm(), pages),
        }
        first
    }

    /// Looks for slots, from where the last ones were found, among clusters that have as many free ones, and takes
    /// them.
    fn find_run(&self, cx: &Cx<'_, M>, pages: u64) -> Option<u64> {
        let runs = self.slots() / pages;
        let begin = self.run_hand.load(Relaxed) / pages;
        let places = (0..runs.min(TRIES)).map(|step| (begin + step) % runs * pages);
        places.into_iter().find(|&first| self.may_have_run(cx, first, pages) && self.take_all(cx, first, pages))
    }

    /// Whether the clusters of a run have as many free slots, as is recorded.
    fn may_have_run(&self, cx: &Cx<'_, M>, first: u64, pages: u64) -> bool {
        clusters(first, pages).all(|(cluster, slots)| self.used_in_cluster(cx.vm(), cluster) + slots <= CLUSTER)
    }

    /// Takes all slots of a run, if they are free; else none.
    fn take_all(&self, cx: &Cx<'_, M>, first: u64, pages: u64) -> bool {
        let Some(slots) = self.arrays.slots.run(cx.vm(), first, pages) else { return false };
        // Looking is cheap: most runs that cannot be had are not touched.
        if slots.iter().rev().any(|slot| slot.load(Relaxed) != SlotWord::FREE.0) {
            return false;
        }
        let take = |slot: &&AtomicU64<M>| {
            slot.load(Relaxed) == SlotWord::FREE.0
                && slot.compare_exchange(SlotWord::FREE.0, SlotWord::RESERVED.0, AcqRel).is_ok()
        };
        let taken = slots.iter().take_while(take).count();
        if taken < slots.len() {
            slots[..taken].iter().for_each(|slot| slot.store(SlotWord::FREE.0, Release));
        }
        taken == slots.len()
    }

    /// Counts the slots of a run with their clusters: as used, or as free.
    fn count_run(&self, cx: &Cx<'_, M>, first: u64, pages: u64, are_used: bool) {
        for (cluster, slots) in clusters(first, pages) {
            self.count_in_cluster(cx.vm(), cluster, if are_used { slots as i64 } else { -(slots as i64) });
        }
    }
}

/// The clusters that a run lies in, and how many of its slots each has.
fn clusters(first: u64, pages: u64) -> impl Iterator<Item = (u64, u64)> {
    (first / CLUSTER..=(first + pages - 1) / CLUSTER).map(move |cluster| (cluster, pages.min(CLUSTER)))
}
