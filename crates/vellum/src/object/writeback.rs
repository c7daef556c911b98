//! Bringing what was stored to cached pages of a file to its backing.
//!
//! A page's dirty mark is cleared *before* its contents are taken, so a store that comes later is marked again. What is
//! written is a copy: the backing gets a page that does not change under its hands while users store to the original
//! (E15). Only when the object is at its end, and nobody else has a way to its pages, the page itself is handed out,
//! so that freeing memory needs none.
//!
//! Stores through mappings are noted in their entries. So the entries of a page are made clean first, under its folio
//! lock, and flushed, once for a batch of pages: a store that comes later faults, and is noted again (B7).
//!
//! One CPU writes an object back at a time, holding its [`SleepLock`]: two states of one page reach the backing in
//! order, and whoever returns knows that what was dirty before it began has been written (B22). For that it waits for
//! whoever has such a page, or an entry of it, in his hands: who writes or moves the page, for its folio lock; who
//! takes the entry, for the leaf's lock; and the end of a space, which no walk enters.

use super::Inner;
use super::page::{Writing, clear_tail, is_page_of, may_be_unwritten};
use super::{Backing, IoError, release};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Pfn, Physical};
use crate::rmap::clean_entries;
use crate::space::UnmapBatch;
use crate::stat::Event;
use crate::vm::Vm;
use core::ptr::NonNull;

/// Pages that may be dirty collected at a time.
const BATCH: usize = 16;
/// Cached pages looked at before the core is left for a moment.
const SCAN: usize = 1024;

/// What a pass over an object has done.
#[derive(Default)]
struct Outcome {
    written: u64,
    failed: u64,
    first_failed: Option<u64>,
}

/// See [`super::Object::write_back`].
pub(super) fn write_back<M: Machine>(vm: &Vm<M>, inner: &Inner<M>) -> Result<u64, Error> {
    let Some(backing) = inner.backing() else { return Ok(0) };
    let _writing = M::guard(Guard::WriteBacksInTurn).then(|| inner.writing.lock(vm));
    let mut copy = None;
    let outcome = each_dirty(vm, inner, |index, pfn| {
        let copy = match &mut copy {
            Some(copy) => copy,
            none => none.insert(CopyFrame::new(vm)?),
        };
        Ok(write_if_dirty(vm, backing, index, pfn, |_| Some(copy.fill_from(pfn))))
    })?;
    match outcome.first_failed {
        Some(index) => Err(Error::Io { index }),
        None => Ok(outcome.written),
    }
}

/// Writes back what is dirty in an object that nobody refers to any more, counting failures.
pub(super) fn write_back_last<M: Machine>(vm: &Vm<M>, inner: &Inner<M>) {
    let Some(backing) = inner.backing() else { return };
    let outcome = each_dirty(vm, inner, |index, pfn| {
        // SAFETY: the frame is a page long and was initialised when it was cleared or read; neither handles nor
        // mappings lead to it any more, so that its contents are this operation's alone.
        let page = |_| Some(unsafe { core::slice::from_raw_parts_mut(vm.machine().frame(pfn), Physical::<M>::PAGE) });
        Ok(write_if_dirty(vm, backing, index, pfn, page))
    });
    let failed = outcome.map_or(0, |outcome| outcome.failed);
    if failed > 0 {
        Cx::enter(vm).count(Event::WriteBackError, failed);
    }
}

/// Calls `write` with each page that is dirty, in order; it says whether it has written the page.
fn each_dirty<M: Machine>(
    vm: &Vm<M>,
    inner: &Inner<M>,
    mut write: impl FnMut(u64, Pfn) -> Result<Result<bool, IoError>, Error>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let mut from = Some(0);
    while let Some(first) = from {
        let mut batch = Batch::collect(vm, inner, first);
        from = batch.following;
        let written_before = outcome.written;
        batch.lock_and_clean(inner);
        let at_once = batch.locked;
        // Those whose folio lock somebody has come last: then there is no other in this hand while it is waited for
        // (F8).
        for waits in [false, true] {
            for place in (0..batch.count).filter(|&place| at_once[place] != waits) {
                let (index, pfn) = batch.pages[place];
                if waits {
                    lock_and_clean(vm, inner, pfn);
                    batch.locked[place] = true;
                }
                // Truncated since, it is nobody's page any more, and what the file has there now is something else.
                let is_ours =
                    is_page_of(vm.physical().frame(pfn), NonNull::from(inner)) || !M::guard(Guard::WrittenWhileOwned);
                let result = if is_ours { write(index, pfn) } else { Ok(Ok(false)) };
                batch.unlock(place);
                outcome.note(index, result)?;
            }
        }
        batch.written = outcome.written - written_before;
    }
    Ok(outcome)
}

impl Outcome {
    /// Notes what came of page `index`.
    fn note(&mut self, index: u64, result: Result<Result<bool, IoError>, Error>) -> Result<(), Error> {
        match result? {
            Ok(was_dirty) => self.written += was_dirty as u64,
            Err(IoError) => {
                self.failed += 1;
                self.first_failed.get_or_insert(index);
            }
        }
        Ok(())
    }
}

/// Takes the folio lock of a page, sleeping for it, and makes the page's entries clean. Sleeps, without the lock, for
/// spaces at their end that may show the page: for those whose end had begun when the others' entries had been made
/// clean, and no others, so that it is not for ever.
fn lock_and_clean<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, pfn: Pfn) {
    let lock = vm.physical().frame(pfn).folio_lock();
    let mut which = None;
    loop {
        lock.acquire(vm);
        if !M::guard(Guard::BusyMadeClean) {
            return;
        }
        let awaited = {
            let cx = Cx::enter(vm);
            let mut batch = UnmapBatch::new(&cx);
            clean_entries(&cx, &mut batch, inner, pfn, which)
        };
        let Some(end) = awaited else { return };
        lock.release(vm);
        which = which.or_else(|| Some(vm.spaces().ends().begun()));
        vm.spaces().ends().wait(vm, &end);
    }
}

/// Writes page `index` of an object, whose folio lock is held and which no entry showed when it was taken, if it is
/// dirty; whether it is clean now. For reclaim, which needs no memory for it if there is none: the page itself is
/// handed to the backing. A page in which the object ends is not: the object may grow meanwhile, and what is stored
/// then would be cleared with what lies behind the end. It is written from a copy, or not.
pub(crate) fn write_unmapped<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, index: u64, pfn: Pfn) -> bool {
    let Some(backing) = inner.backing() else { return false };
    let mut copy = None;
    let copy = &mut copy;
    let was_dirty = write_if_dirty(vm, backing, index, pfn, move |length| {
        if length / Physical::<M>::PAGE as u64 == index {
            return CopyFrame::new(vm).ok().map(|frame| copy.insert(frame).fill_from(pfn));
        }
        // SAFETY: the frame is a page long and initialised, and nothing of it is cleared. Who faults it in meanwhile may
        // store to it: then it is marked again, and whatever the backing gets of that is as good.
        Some(unsafe { core::slice::from_raw_parts_mut(vm.machine().frame(pfn), Physical::<M>::PAGE) })
    });
    if matches!(was_dirty, Ok(true)) {
        Cx::enter(vm).count(Event::PageOut, 1);
    }
    was_dirty.is_ok()
}

/// Writes page `index` if it is dirty; whether it was. `contents` gives them, which can change until it is called, by
/// the object's length; or nothing, if there is no memory for them.
fn write_if_dirty<'a, M: Machine>(
    vm: &Vm<M>,
    backing: &dyn Backing,
    index: u64,
    pfn: Pfn,
    contents: impl FnOnce(u64) -> Option<&'a mut [u8]>,
) -> Result<bool, IoError> {
    let Some(mut writing) = Writing::begin(vm.physical().frame(pfn)) else { return Ok(false) };
    // Where the file has become shorter there is nowhere to write it.
    let length = backing.length();
    let has_place = index < length.div_ceil(Physical::<M>::PAGE as u64);
    if has_place {
        let page = contents(length).ok_or(IoError)?;
        clear_tail::<M>(length, index, page);
        backing.write(index, page)?;
    }
    writing.is_written = true;
    Ok(has_place)
}

/// Some pages that may hold what is not written yet, each with a reference. Dropping it gives those back, and the locks
/// that it still has, and counts what was written: so nobody waits for a backing that has panicked.
struct Batch<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    pages: [(u64, Pfn); BATCH],
    count: usize,
    /// Which pages' folio locks it has.
    locked: [bool; BATCH],
    /// Where to go on; `None` at the end.
    following: Option<u64>,
    written: u64,
}

impl<'vm, M: Machine> Batch<'vm, M> {
    /// The first pages at or above `from` that may hold what is not in the backing yet.
    fn collect(vm: &'vm Vm<M>, inner: &Inner<M>, from: u64) -> Self {
        let (pages, locked) = ([(0, Pfn(0)); BATCH], [false; BATCH]);
        let mut batch = Batch { vm, pages, count: 0, locked, following: Some(from), written: 0 };
        let cx = Cx::enter(vm);
        for _ in 0..SCAN {
            let Some((index, _)) = batch.following.and_then(|from| inner.cache().next(&cx, from)) else {
                batch.following = None;
                break;
            };
            batch.following = index.checked_add(1);
            // With a reference: a frame that has left the cache says nothing of the page. One whose contents are not
            // there yet may be where the page is being moved to.
            let is_in_transit_too = M::guard(Guard::TransitAwaited);
            let page = if is_in_transit_too { inner.cache().find(&cx, index) } else { inner.lookup(&cx, index) };
            let Some(pfn) = page else { continue };
            if !may_be_unwritten(vm.physical().frame(pfn)) {
                release(&cx, pfn);
                continue;
            }
            batch.pages[batch.count] = (index, pfn);
            batch.count += 1;
            if batch.count == BATCH {
                break;
            }
        }
        batch
    }

    /// Takes the folio locks that are free, and makes those pages' entries clean with one flush. Those for which
    /// something else is to be waited for are left unlocked.
    fn lock_and_clean(&mut self, inner: &Inner<M>) {
        let mut waits = [false; BATCH];
        let cx = Cx::enter(self.vm);
        let mut batch = UnmapBatch::new(&cx);
        for (place, &(_, pfn)) in self.pages[..self.count].iter().enumerate() {
            self.locked[place] = self.vm.physical().frame(pfn).folio_lock().try_acquire();
            waits[place] = self.locked[place] && clean_entries(&cx, &mut batch, inner, pfn, None).is_some();
        }
        batch.flush();
        (0..self.count).filter(|&place| waits[place]).for_each(|place| self.unlock(place));
    }

    /// Releases the folio lock of a page, if it has it.
    fn unlock(&mut self, place: usize) {
        if core::mem::take(&mut self.locked[place]) {
            self.vm.physical().frame(self.pages[place].1).folio_lock().release(self.vm);
        }
    }
}

impl<M: Machine> Drop for Batch<'_, M> {
    fn drop(&mut self) {
        (0..self.count).for_each(|place| self.unlock(place));
        let cx = Cx::enter(self.vm);
        cx.count(Event::PageOut, self.written);
        for &(_, pfn) in &self.pages[..self.count] {
            release(&cx, pfn);
        }
    }
}

/// A frame that pages are copied to, to be written from there.
struct CopyFrame<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    pfn: Pfn,
}

impl<'vm, M: Machine> CopyFrame<'vm, M> {
    fn new(vm: &'vm Vm<M>) -> Result<Self, Error> {
        let pfn = Cx::enter(vm).alloc_zeroed(0, AllocFlags::RESERVE)?;
        Ok(CopyFrame { vm, pfn })
    }

    /// Copies the contents of `source`, which users may be storing to.
    fn fill_from(&mut self, source: Pfn) -> &mut [u8] {
        let (from, to) = (self.vm.machine().frame(source), self.vm.machine().frame(self.pfn));
        // SAFETY: both frames are a page long and page-aligned. `to` is this value's alone; the caller has a reference
        // to the source.
        unsafe { self.vm.machine().snapshot_page(from, to) };
        // SAFETY: the frame is a page long, initialised, and this value's alone.
        unsafe { core::slice::from_raw_parts_mut(to, Physical::<M>::PAGE) }
    }
}

impl<M: Machine> Drop for CopyFrame<'_, M> {
    fn drop(&mut self) {
        Cx::enter(self.vm).free_frame(self.pfn);
    }
}
