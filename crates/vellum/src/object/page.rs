//! Getting a page of an object, and what the descriptor of a cached page says.
//!
//! | where | what | written by |
//! |---|---|---|
//! | `words[0]` | address of the object's [`Inner`]; 0 once it has left the cache | who adds and removes the page |
//! | `words[1]` | index in the object | who adds the page |
//! | `words[2]` | flags: see [`crate::phys::folio`] | who adds the page, then its users, atomically |
//! | `halves[0]` | [`READING`] or [`AWAITED`] → [`UP_TO_DATE`], [`FAILED`] or [`WITHDRAWN`] | who adds the page |
//!
//! Of a folio of several pages its head says it, with the index of the first page.
//!
//! A page of a file enters the cache *before* it is read, marked [`READING`]: so it is read once however many CPUs want
//! it, and what was read can never replace something newer. The others sleep on the mark. A page that could not be
//! read leaves the cache before they are woken, and each of them reports the error.
//!
//! Nobody uses a page, of shared memory either, before who added it has looked at the length *again*: the object may
//! have been made shorter, and who did that may have passed by already. Then the page is withdrawn, and who waits for
//! it looks anew (F13). So is one in a hole that is being made (F17).

use super::{Backing, Inner, IoError, PageError, release};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::folio::{DIRTY, SHARED_MEMORY, WRITING};
use crate::phys::{AllocFlags, Frame, Kind, Pfn, Physical, refaulted};
use crate::space::RssKind;
use crate::sync::fence;
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// In `halves[0]`: the contents are being read, or the page is about to be withdrawn.
pub(super) const READING: u32 = 1;
/// The contents are there.
pub(super) const UP_TO_DATE: u32 = 2;
/// The contents could not be read, and the page has left the cache.
const FAILED: u32 = 3;
/// The page has left the cache unread, as the object had become shorter, or a hole is made there.
pub(super) const WITHDRAWN: u32 = 4;
/// As [`READING`], and somebody sleeps for it.
const AWAITED: u32 = 5;

/// Notes that the cached page of `frame` was stored to: called for each dirty entry that is removed or made clean, and
/// for stores by the core itself, while the caller still has a mapping or a reference.
#[inline(always)]
pub(crate) fn mark_dirty<M: Machine>(frame: &Frame<M>) {
    // An exchange also where the mark is set: it orders the store to the page before a write-back that clears the mark.
    frame.set_flags(DIRTY);
}

/// Whether the cached page of `frame` was stored to.
#[inline(always)]
pub(super) fn is_dirty<M: Machine>(frame: &Frame<M>) -> bool {
    frame.flags() & DIRTY != 0
}

/// What a cached page counts as where it is mapped.
#[inline(always)]
pub(crate) fn rss_kind<M: Machine>(frame: &Frame<M>) -> RssKind {
    if frame.flags_relaxed() & SHARED_MEMORY != 0 { RssKind::SharedMemory } else { RssKind::File }
}

/// Whether the cached page of `frame` may hold what is not in the backing yet: it was stored to, is being written, or
/// entries, or who is taking one, may have noted a store. The caller has a reference.
pub(super) fn may_be_unwritten<M: Machine>(frame: &Frame<M>) -> bool {
    // In this order: who drops a mapping has marked the page. One look at the flags, as one mark passes into the other.
    let is_mapped = frame.mappings() > 0;
    let awaited = if M::guard(Guard::WritesAwaited) { DIRTY | WRITING } else { DIRTY };
    is_mapped || frame.flags() & awaited != 0
}

/// A page being written. Ends on every way out, so that nobody waits for a backing that has panicked: what was not
/// written is marked as stored to again.
pub(super) struct Writing<'a, M: Machine> {
    frame: &'a Frame<M>,
    /// Whether what was stored is in the backing.
    pub(super) is_written: bool,
}

impl<'a, M: Machine> Writing<'a, M> {
    /// Where the page is marked as stored to, marks it as being written instead. The caller has the folio lock.
    pub(super) fn begin(frame: &'a Frame<M>) -> Option<Self> {
        if !is_dirty(frame) {
            return None;
        }
        let taken = if M::guard(Guard::DirtyTakenFirst) { DIRTY } else { 0 };
        frame.update_flags(|flags| flags & !taken | WRITING);
        Some(Writing { frame, is_written: false })
    }
}

impl<M: Machine> Drop for Writing<'_, M> {
    fn drop(&mut self) {
        let taken = if M::guard(Guard::DirtyTakenFirst) { 0 } else { DIRTY };
        let dirty = if self.is_written { 0 } else { DIRTY };
        self.frame.update_flags(|flags| flags & !(taken | WRITING) | dirty);
    }
}

/// Whether the contents of a cached page are there.
#[inline(always)]
pub(crate) fn is_up_to_date<M: Machine>(frame: &Frame<M>) -> bool {
    frame.halves[0].load(Acquire) == UP_TO_DATE
}

/// The frame of page `index`, with a reference for the caller, and whether it had to be read from the backing (a major
/// fault). Sleeps for I/O: called without a [`Cx`], and with a reference to the object.
///
/// # Errors
/// [`PageError`]; the cache is as before.
pub(crate) fn get_page<M: Machine>(
    vm: &Vm<M>,
    object: NonNull<Inner<M>>,
    index: u64,
) -> Result<(Pfn, bool), PageError> {
    // SAFETY: the caller has a reference.
    let inner = unsafe { object.as_ref() };
    loop {
        if index >= inner.pages() {
            return Err(PageError::BeyondEnd { index });
        }
        if inner.is_cut(index) || inner.is_in_hole(index) {
            inner.await_cut(vm);
            continue;
        }
        let found = inner.cache().find(&Cx::enter(vm), index);
        let added = match found {
            Some(pfn) => Added::Other(pfn),
            None => add_page(vm, inner, index)?,
        };
        match added {
            Added::Ours(pfn) => {
                if let Some(was_read) = fill_added(vm, inner, index, pfn)? {
                    return Ok((pfn, was_read));
                }
            }
            Added::Other(pfn) => {
                if let Some(pfn) = wait(vm, index, pfn)? {
                    return Ok((pfn, false));
                }
            }
        }
    }
}

/// Waits until what is being done to page `index` is over: until it is read, or the object shorter, or the hole made.
/// Adds nothing, unlike [`get_page`]. Called as that.
pub(crate) fn await_page<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, index: u64) {
    if inner.is_cut(index) || inner.is_in_hole(index) {
        return inner.await_cut(vm);
    }
    let found = inner.cache().find(&Cx::enter(vm), index);
    if let Some(Ok(Some(pfn))) = found.map(|pfn| wait(vm, index, pfn)) {
        release(&Cx::enter(vm), pfn);
    }
}

/// Makes the page that the caller has added ready for use; whether it had to be read. `None`: it is withdrawn.
fn fill_added<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, index: u64, pfn: Pfn) -> Result<Option<bool>, PageError> {
    let mut reading = Reading { vm, inner, index, pfn, outcome: FAILED };
    // Either whoever truncates, or makes a hole, finds the page, or what he has said is seen here.
    fence::<M>(SeqCst);
    if index >= inner.pages() {
        // He may have passed by already.
        reading.outcome = WITHDRAWN;
        return Err(PageError::BeyondEnd { index });
    }
    if inner.is_in_hole(index) && M::guard(Guard::HoleLookedForAgain) {
        reading.outcome = WITHDRAWN;
        return Ok(None);
    }
    if let Some(backing) = inner.backing() {
        fill(vm, backing, index, pfn).map_err(|IoError| PageError::Io { index })?;
    }
    reading.outcome = UP_TO_DATE;
    Ok(Some(inner.is_file()))
}

/// Reads the pages of a file from `first` on that are not cached, up to `count` and its end, as far as memory and
/// the backing allow; how many. Sleeps for I/O: called as [`get_page`].
pub(crate) fn read_ahead<M: Machine>(vm: &Vm<M>, object: NonNull<Inner<M>>, first: u64, count: u64) -> u64 {
    // SAFETY: the caller has a reference.
    let inner = unsafe { object.as_ref() };
    if !inner.is_file() {
        return 0;
    }
    let end = first.saturating_add(count).min(inner.pages());
    let mut reads = 0;
    for index in first..end {
        let is_cached = inner.cache().has(&Cx::enter(vm), index);
        if is_cached {
            continue;
        }
        let Ok((pfn, was_read)) = get_page(vm, object, index) else { break };
        release(&Cx::enter(vm), pfn);
        reads += was_read as u64;
    }
    reads
}

/// Marks a page, whose contents are about to be put there by the caller, as being read. It is not in the cache yet.
pub(crate) fn begin_filling<M: Machine>(frame: &Frame<M>) {
    frame.halves[0].store(READING, Release);
}

/// Marks a page's contents as there, and wakes who waits for them.
pub(crate) fn end_filling<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>) {
    publish(cx.vm(), frame, UP_TO_DATE);
}

/// Says what has become of a page that was being read, and wakes who waits for that.
pub(super) fn publish<M: Machine>(vm: &Vm<M>, frame: &Frame<M>, outcome: u32) {
    let state = &frame.halves[0];
    if state.swap(outcome, AcqRel) == AWAITED && M::guard(Guard::ReadersWoken) {
        vm.machine().wake(state.as_core());
    }
}

/// Whether the cached page of `frame` belongs to `object`, still. Exact for who holds the lock of a leaf that shows, or
/// is about to show, the page.
#[inline(always)]
pub(crate) fn is_page_of<M: Machine>(frame: &Frame<M>, object: NonNull<Inner<M>>) -> bool {
    frame.words[0].load(SeqCst) == object.as_ptr().expose_provenance() as u64
}

/// Which frame has become the page.
enum Added {
    /// The new one.
    Ours(Pfn),
    /// One that somebody else had added.
    Other(Pfn),
}

/// Allocates page `index`, zeroed, and adds it to the cache; it is to be made ready for use then.
fn add_page<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, index: u64) -> Result<Added, PageError> {
    let flags = if inner.is_file() { 0 } else { SHARED_MEMORY };
    let is_ready = !inner.is_file() && !M::guard(Guard::LastLookFirst);
    let state = if is_ready { UP_TO_DATE } else { READING };
    let cx = Cx::enter(vm);
    let pfn = cx.alloc_zeroed(0, AllocFlags::NONE).map_err(|_| PageError::OutOfMemory)?;
    let frame = vm.physical().frame(pfn);
    frame.set_kind(Kind::File, 0);
    frame.words[0].store(core::ptr::from_ref(inner).expose_provenance() as u64, Relaxed);
    frame.words[1].store(index, Relaxed);
    frame.words[2].store(flags, Relaxed);
    frame.halves[0].store(state, Relaxed);
    // The caller's reference and the cache's.
    frame.set_counts(2, 0);
    let result = inner.cache().insert(&cx, index, pfn);
    if let Ok((added, shadow)) = result
        && added == pfn
    {
        if let Some(stamp) = shadow {
            refaulted(&cx, frame, stamp);
        }
        return Ok(Added::Ours(pfn));
    }
    // By chance a lookup of a page that was in this frame before has a reference.
    frame.put();
    release(&cx, pfn);
    result.map(|(other, _)| Added::Other(other)).map_err(|_| PageError::OutOfMemory)
}

/// Waits until the contents of `pfn`, to which the caller has a reference, are there; or drops that reference. `None`:
/// the page was withdrawn.
pub(super) fn wait<M: Machine>(vm: &Vm<M>, index: u64, pfn: Pfn) -> Result<Option<Pfn>, PageError> {
    let state = &vm.physical().folio(pfn).halves[0];
    loop {
        match state.load(Acquire) {
            READING => {
                let _ = state.compare_exchange(READING, AWAITED, SeqCst);
            }
            AWAITED => vm.machine().sleep(state.as_core(), AWAITED),
            UP_TO_DATE => return Ok(Some(pfn)),
            outcome => {
                release(&Cx::enter(vm), pfn);
                return if outcome == WITHDRAWN { Ok(None) } else { Err(PageError::Io { index }) };
            }
        }
    }
}

/// A page being read. Ends on every way out, so that nobody waits for a backing that has panicked.
struct Reading<'a, M: Machine> {
    vm: &'a Vm<M>,
    inner: &'a Inner<M>,
    index: u64,
    pfn: Pfn,
    outcome: u32,
}

impl<M: Machine> Drop for Reading<'_, M> {
    fn drop(&mut self) {
        let cx = Cx::enter(self.vm);
        let is_ready = self.outcome == UP_TO_DATE;
        let is_removed = !is_ready && self.inner.cache().remove(&cx, self.index, self.pfn);
        publish(self.vm, self.vm.physical().frame(self.pfn), self.outcome);
        if !is_ready {
            release(&cx, self.pfn);
        }
        if is_removed {
            // The cache's: if somebody else removed the page, he has it.
            release(&cx, self.pfn);
        }
    }
}

fn fill<M: Machine>(vm: &Vm<M>, backing: &dyn Backing, index: u64, pfn: Pfn) -> Result<(), IoError> {
    // SAFETY: the frame is a page long, and initialised since it was cleared. The caller has a reference, and nobody
    // else accesses the contents of a page before it is up to date.
    let page = unsafe { core::slice::from_raw_parts_mut(vm.machine().frame(pfn), Physical::<M>::PAGE) };
    // Before: what the file has grown by meanwhile, it has grown by zeroes, whatever was read (F15).
    let length = backing.length();
    backing.read(index, page)?;
    let length = if M::guard(Guard::LengthBeforeRead) { length } else { backing.length() };
    clear_tail::<M>(length, index, page);
    Ok(())
}

/// Clears what of page `index` lies beyond the end of a file of `length` bytes.
pub(super) fn clear_tail<M: Machine>(length: u64, index: u64, page: &mut [u8]) {
    let start = index.saturating_mul(Physical::<M>::PAGE as u64);
    let valid = length.saturating_sub(start).min(page.len() as u64);
    page[valid as usize..].fill(0);
}
