//! Small pages of shared memory become a huge one, for all who map it.
//!
//! It goes as a hole is made (see [`super::punch`]): nobody makes the object shorter meanwhile, and it is said that the
//! pages are in a hole, though they stay. So faults wait, moves leave entries of them behind, and nobody adds one.
//! Their entries go, flushed, and private copies stay. What is in the cache then has one reference, the cache's, unless
//! somebody holds it: if so, all stays as it is, and faults bring the entries back.
//!
//! Else the counts of all pages are frozen, and under the cache's lock the folio's pages take their places, though
//! their contents are not there: who looks one up waits for them, as for those of a page that is being read. Then it is
//! no hole any more. What was there is copied, with pre-emption on between pages, and the rest cleared. The old pages
//! are a list meanwhile, by where descriptors name an object.

use super::Inner;
use super::cache::{Cache, frame_of};
use super::folio::{Pages, Shows};
use super::page::{READING, UP_TO_DATE, is_up_to_date, publish};
use super::radix::Reserve;
use super::unmap::{Loss, unmap};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::folio::{PARTLY_MAPPED, SHARED_MEMORY};
use crate::phys::{Folio, Kind, Pfn, release};
use crate::space::collapse::Kept;
use crate::sync::Rank;
use crate::vm::Vm;
use core::ops::Range;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

/// What an object has in the cache where a huge page could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// One.
    Whole,
    /// So many single pages.
    Single(u64),
    /// Somebody has a reference to one, or it is being added, or taken away.
    Busy,
    /// What can be no huge page for now, however often it is tried: not all lies before the end, or a page is of a
    /// folio of which a part has gone.
    Parts,
}

/// The pages that a folio has replaced.
struct Old {
    /// Which of its places they were in.
    places: Pages,
    /// The first of a list of them.
    first: Option<Pfn>,
}

impl<M: Machine> Cache<M> {
    /// Freezes the counts of what is cached at `indices`, if those are single pages and nobody has a reference but the
    /// cache; how many they are. Its lock is held.
    fn freeze_all(&self, cx: &Cx<'_, M>, indices: &Range<u64>) -> Option<u64> {
        let (mut frozen, mut is_alone) = (0, true);
        self.tree.each_slot(cx, indices.clone(), |_, slot| {
            let Some(pfn) = frame_of(slot.load(Relaxed)).filter(|_| is_alone) else { return };
            let frame = cx.vm().physical().frame(pfn);
            let is_single = frame.is_single(Kind::File) && is_up_to_date(frame);
            is_alone = is_single && (frame.freeze(1) || !M::guard(Guard::GatherFrozen));
            frozen += u64::from(is_alone);
        });
        if is_alone {
            return Some(frozen);
        }
        self.tree.each_slot(cx, indices.clone(), |_, slot| {
            if let Some(pfn) = frame_of(slot.load(Relaxed)).filter(|_| frozen > 0) {
                cx.vm().physical().frame(pfn).unfreeze(1);
                frozen -= 1;
            }
        });
        None
    }

    /// Puts the pages of a folio, which has a reference for each, in the places from `first` on, and in those of what
    /// is there.
    ///
    /// # Errors
    /// Why not; nothing has changed.
    fn replace_all(&self, cx: &Cx<'_, M>, first: u64, of: Folio) -> Result<Old, Kept> {
        let indices = first..first + of.pages();
        let mut reserve = Reserve::new(cx);
        loop {
            reserve.fill(self.tree.missing_of(cx, &indices)).map_err(|_| Kept::OutOfMemory)?;
            let guard = self.lock.lock(cx, Rank::Object);
            if reserve.len() < self.tree.missing_of(cx, &indices) {
                // The tree has grown since; it does so only so often.
                continue;
            }
            let frozen = self.freeze_all(cx, &indices).ok_or(Kept::Busy)?;
            self.tree.make_slots(cx, &guard, &indices, &mut reserve);
            let mut old = Old { places: Pages::NONE, first: None };
            self.tree.each_slot(cx, indices, |index, slot| {
                if let Some(pfn) = frame_of(slot.load(Relaxed)) {
                    old.add(cx, pfn, index - first);
                }
                slot.store(of.head.offset(index - first).0 + 1, Release);
            });
            self.pages.add_owned(of.pages() - frozen);
            return Ok(old);
        }
    }
}

impl Old {
    /// Adds a page, which has left the cache: it names the next of the list, and no object.
    fn add<M: Machine>(&mut self, cx: &Cx<'_, M>, pfn: Pfn, place: u64) {
        let frame = cx.vm().physical().frame(pfn);
        frame.words[0].store(self.first.map_or(0, |next| next.0 + 1), SeqCst);
        frame.words[1].store(place, Relaxed);
        self.places.add(place);
        self.first = Some(pfn);
    }

    /// Copies what they hold to their places in the folio, frees them, and clears its other pages; with pre-emption on,
    /// between pages.
    fn fill<M: Machine>(self, vm: &Vm<M>, of: Folio) {
        let machine = vm.machine();
        let mut next = self.first;
        while let Some(pfn) = next {
            let cx = Cx::enter(vm);
            let frame = vm.physical().frame(pfn);
            next = frame.words[0].load(Relaxed).checked_sub(1).map(Pfn);
            let to = of.head.offset(frame.words[1].load(Relaxed));
            // SAFETY: both frames are a page long; nobody has a reference to the old one, and nobody uses the new one before it
            // is up to date.
            unsafe { machine.copy_page(machine.frame(pfn), machine.frame(to)) };
            frame.words[0].store(0, Relaxed);
            cx.free_frame(pfn);
        }
        for place in (0..of.pages()).filter(|&place| !self.places.has(place)) {
            // SAFETY: as above.
            unsafe { machine.clear_page(machine.frame(of.head.offset(place))) };
        }
    }
}

/// What an object has in the cache from page `first` on, where a huge page of so many pages could be: as it was lately.
pub(crate) fn look_at_cached<M: Machine>(cx: &Cx<'_, M>, inner: &Inner<M>, first: u64, pages: u64) -> Cached {
    if first.checked_add(pages).is_none_or(|end| end > inner.pages()) {
        return Cached::Parts;
    }
    let (mut count, mut is_alone, mut is_part) = (0, inner.is_within(first, pages), false);
    let is_whole = |pfn: Pfn| {
        let frame = cx.vm().physical().frame(pfn);
        frame.kind_and_order() == (Kind::File, pages.ilog2() as u8)
            && inner.shows_whole(frame, first, pages) == Shows::Whole
    };
    if inner.cache.tree.slot(cx, first).and_then(|slot| frame_of(slot.load(Relaxed))).is_some_and(is_whole) {
        return Cached::Whole;
    }
    inner.cache.tree.each_slot(cx, first..first + pages, |_, slot| {
        if let Some(pfn) = frame_of(slot.load(Relaxed)) {
            let frame = cx.vm().physical().frame(pfn);
            is_alone &= frame.is_single(Kind::File) && frame.other_references() == 1;
            is_part |= cx.vm().physical().folio(pfn).flags_relaxed() & PARTLY_MAPPED != 0;
            count += 1;
        }
    });
    match is_alone {
        true => Cached::Single(count),
        false if is_part => Cached::Parts,
        false => Cached::Busy,
    }
}

/// Makes one folio, `of`, of the pages of shared memory from `first` on. It is not cleared, and nobody else's, with its
/// lock and a reference, of which the caller is rid when it is the object's; he has a reference to that. Sleeps while
/// the object is made longer or shorter; without a [`Cx`].
///
/// # Errors
/// Why not; all is as before but that faults must bring the entries of the pages back.
pub(crate) fn gather<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, first: u64, of: Folio) -> Result<(), Kept> {
    let _guard = inner.cutting.lock(vm);
    if !inner.is_within(first, of.pages()) {
        return Err(Kept::Changed);
    }
    let pages = first..first + of.pages();
    let hole = inner.hole.begin(&pages);
    unmap(vm, inner, &Loss { pages, takes_copies: false });
    let frame = vm.physical().frame(of.head);
    let old = {
        let cx = Cx::enter(vm);
        frame.words[1].store(first, Relaxed);
        frame.words[2].store(SHARED_MEMORY, Relaxed);
        frame.halves[0].store(if M::guard(Guard::GatheredAwaited) { READING } else { UP_TO_DATE }, Relaxed);
        frame.set_kind(Kind::File, of.order);
        frame.words[0].store(core::ptr::from_ref(inner).expose_provenance() as u64, SeqCst);
        frame.add_references(of.pages());
        inner.cache.has_folios.store(1, SeqCst);
        inner.cache.replace_all(&cx, first, of).inspect_err(|_| {
            frame.words[0].store(0, SeqCst);
            frame.drop_references(of.pages());
        })?
    };
    drop(hole);
    old.fill(vm, of);
    publish(vm, frame, UP_TO_DATE);
    let cx = Cx::enter(vm);
    frame.folio_lock().release(vm);
    release(&cx, of.head);
    Ok(())
}
