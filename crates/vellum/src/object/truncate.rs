//! Making an object shorter, and longer.
//!
//! An object may end within a page. What lies behind the end there belongs to nothing, and programs can store to it all
//! the same. So it is cleared when the object has become shorter, and again before it becomes longer: an object grows
//! by zeroes (F15). Who does that has a reference, so that the page is not moved meanwhile. It may be written: of what
//! is written, all is zero that lies behind the end.
//!
//! The length changes first, so that nobody adds a page behind it any more (who did so meanwhile sees that afterwards,
//! and takes it back). Then it is said from where on the object is being cut. From then on nobody brings an entry of
//! what lies there to another place who finds that out with the lock of the leaf that he changes: a fault shows nothing
//! from there on, though the cache has it still (F14), and a move leaves behind what it finds from there on (F11). Then
//! entries go, then pages leave the cache. A fault that comes to its leaf's lock later finds the page without an
//! object, and looks again (F11); so does one that has copied the page for a private mapping (F12).

use super::folio::{drop_folio, first_across, split_across};
use super::inner::Source;
use super::page::{mark_dirty, wait};
use super::unmap::{Loss, unmap};
use super::{Inner, release};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Kind, Physical};
use crate::sync::fence;
use crate::vm::Vm;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::SeqCst;

/// See [`super::Object::truncate`].
pub(super) fn truncate<M: Machine>(vm: &Vm<M>, object: NonNull<Inner<M>>, length: u64) -> Result<(), Error> {
    // SAFETY: the caller's handle.
    let inner = unsafe { object.as_ref() };
    let _guard = inner.cutting.lock(vm);
    match &inner.source {
        Source::SharedMemory(now) if length > now.load(SeqCst) => {
            return Err(Error::Invalid { what: "an object can only be made shorter" });
        }
        Source::SharedMemory(now) => {
            let committed = inner.committed_pages();
            now.store(length, SeqCst);
            Cx::enter(vm).commit_pages(inner.committed_pages() as i64 - committed as i64);
        }
        Source::File(_) if inner.length() > length => {
            return Err(Error::Invalid { what: "the backing is longer than the object is to be" });
        }
        Source::File(_) => {}
    }
    // A backing that is shorter still ends the object where it does.
    let length = length.min(inner.length());
    let pages = length.div_ceil(Physical::<M>::PAGE as u64);
    {
        let _cut = Cut::from(inner, pages);
        unmap(vm, inner, &Loss { pages: pages..u64::MAX, takes_copies: true });
        cut_folio(vm, inner, pages);
        drop_pages(vm, inner, pages..u64::MAX);
    }
    if M::guard(Guard::TailCut) {
        clear_behind(vm, inner, length);
    }
    Ok(())
}

/// Makes single pages of a folio across the end, of which what goes has no entries any more. Its other pages are said
/// to be in a hole meanwhile, so that nobody shows them.
fn cut_folio<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, end: u64) {
    let first = first_across(&Cx::enter(vm), inner, end);
    if first < end {
        let _hole = inner.hole.begin(&(first..end));
        unmap(vm, inner, &Loss { pages: first..end, takes_copies: false });
        split_across(vm, inner, end);
    }
}

/// The object is being cut, until this is dropped: then those who wait for that go on.
struct Cut<'a, M: Machine>(&'a Inner<M>);

impl<'a, M: Machine> Cut<'a, M> {
    fn from(inner: &'a Inner<M>, first: u64) -> Self {
        inner.cut_from.store(first, SeqCst);
        Cut(inner)
    }
}

impl<M: Machine> Drop for Cut<'_, M> {
    fn drop(&mut self) {
        self.0.cut_from.store(u64::MAX, SeqCst);
    }
}

/// See [`super::Object::grow`].
pub(super) fn grow<M: Machine, R>(vm: &Vm<M>, object: NonNull<Inner<M>>, extend: impl FnOnce() -> R) -> R {
    // SAFETY: the caller's handle.
    let inner = unsafe { object.as_ref() };
    let _guard = inner.cutting.lock(vm);
    if M::guard(Guard::TailClearedBeforeGrowth) {
        clear_behind(vm, inner, inner.length());
    }
    extend()
}

/// See [`super::Object::extend`].
pub(super) fn extend<M: Machine>(vm: &Vm<M>, object: NonNull<Inner<M>>, length: u64) -> Result<(), Error> {
    // SAFETY: the caller's handle.
    let inner = unsafe { object.as_ref() };
    let _guard = inner.cutting.lock(vm);
    let Source::SharedMemory(now) = &inner.source else {
        return Err(Error::Invalid { what: "a file grows by its backing" });
    };
    let old = now.load(SeqCst);
    if length < old {
        return Err(Error::Invalid { what: "an object that is to grow would become shorter" });
    }
    if length > i64::MAX as u64 {
        return Err(Error::OutOfRange { start: 0, length });
    }
    let pages = |length: u64| length.div_ceil(Physical::<M>::PAGE as u64);
    let more = if inner.is_committed { pages(length) - pages(old) } else { 0 };
    let _ticket = vm.may_commit(more, || 0)?;
    if M::guard(Guard::TailClearedBeforeGrowth) {
        clear_behind(vm, inner, old);
    }
    now.store(length, SeqCst);
    Cx::enter(vm).commit_pages(more as i64);
    Ok(())
}

/// Clears what lies behind `length` in the page in which that is, if the page is cached. Sleeps until it has been read:
/// without a [`Cx`].
fn clear_behind<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, length: u64) {
    let page = Physical::<M>::PAGE as u64;
    let (index, offset) = (length / page, (length % page) as usize);
    if offset != 0 {
        clear(vm, inner, index, offset..page as usize, false);
    }
}

/// Clears those bytes of page `index`, if the page is cached; it is noted as stored to, if `is_store`. Sleeps until it
/// has been read: without a [`Cx`].
pub(super) fn clear<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, index: u64, bytes: Range<usize>, is_store: bool) {
    // Either who adds the page sees the length, or the page is found here.
    fence::<M>(SeqCst);
    let found = loop {
        let Some(found) = inner.cache.find(&Cx::enter(vm), index) else { return };
        // One that could not be read, or was withdrawn, is not there any more.
        if let Ok(Some(pfn)) = wait(vm, index, found) {
            break pfn;
        }
    };
    let cx = Cx::enter(vm);
    let (from, to) = (vm.machine().frame(vm.zero_page()), vm.machine().frame(found));
    // SAFETY: both are a page long. The reference keeps the page where it is, and what it is; programs may access it.
    // Nobody stores to the zero page.
    unsafe { vm.machine().copy_user(from.add(bytes.start), to.add(bytes.start), bytes.len()) };
    if is_store {
        mark_dirty(vm.physical().folio(found));
    }
    release(&cx, found);
}

/// Takes those pages out of the cache.
pub(super) fn drop_pages<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, pages: Range<u64>) {
    let mut from = Some(pages.start);
    while let Some(start) = from {
        let found = {
            let cx = Cx::enter(vm);
            let next = inner.cache.next(&cx, start).filter(|(index, _)| pages.contains(index));
            next.map(|(index, _)| (index, inner.cache.find(&cx, index)))
        };
        let Some((index, page)) = found else { return };
        from = index.checked_add(1);
        let Some(pfn) = page else { continue };
        if !vm.physical().frame(pfn).is_single(Kind::File) {
            // What has left it, and is there again as small pages, is come to next.
            drop_folio(vm, inner, pfn, &pages);
            continue;
        }
        // Who writes or moves the page has its lock. Who reads it finds afterwards that it is not the cache's any more.
        let frame = vm.physical().frame(pfn);
        let awaits = M::guard(Guard::TruncateAwaitsLock);
        if awaits {
            frame.folio_lock().acquire(vm);
        }
        let is_removed = inner.cache.remove(&Cx::enter(vm), index, pfn);
        if awaits {
            frame.folio_lock().release(vm);
        }
        let cx = Cx::enter(vm);
        release(&cx, pfn);
        if is_removed {
            release(&cx, pfn);
        }
    }
}
