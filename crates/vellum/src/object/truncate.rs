//! Making an object shorter, and longer.
//!
//! An object may end within a page. What lies behind the end there belongs to nothing, and programs can store to it all
//! the same. So it is cleared when the object has become shorter, and again before it becomes longer: an object grows by
//! zeroes (F15). Who does that has a reference, so that the page is not moved meanwhile. It may be written: of what is
//! written, all is zero that lies behind the end.
//!
//! The length changes first, so that nobody adds a page behind it any more (who did so meanwhile sees that afterwards,
//! and takes it back). Then it is said from where on the object is being cut. From then on nobody brings an entry of what
//! lies there to another place who finds that out with the lock of the leaf that he changes: a fault shows nothing from
//! there on, though the cache has it still (F14), and a move leaves behind what it finds from there on (F11).
//! Then entries go, then pages leave the cache. A fault that comes to its leaf's lock later finds the page without an
//! object, and looks again (F11); so does one that has copied the page for a private mapping (F12).
//!
//! One pass over the places finds every entry, with the core left after each leaf. A mover who did not find out that the
//! object is being cut had the locks of the leaves that he changes before that was said, so that their classes were on the
//! chain by then; and who looks there waits for the lock. Fork asks nothing: it copies to a space that is younger, to which
//! the pass comes later.

use super::page::{release, wait};
use super::{Inner, Source};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Physical;
use crate::space::apply::zap;
use crate::space::{self, Space};
use crate::sync::fence;
use crate::tlb::Gather;
use crate::vm::Vm;
use core::ops::ControlFlow;
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
        Source::SharedMemory(now) => now.store(length, SeqCst),
        Source::File(_) if inner.length() > length => {
            return Err(Error::Invalid { what: "the backing is longer than the object is to be" });
        }
        Source::File(_) => {}
    }
    // A backing that is shorter still ends the object where it does.
    let length = length.min(inner.length());
    let pages = length.div_ceil(Physical::<M>::PAGE as u64);
    inner.cut_from.store(pages, SeqCst);
    unmap_from(vm, inner, pages);
    drop_pages(vm, inner, pages);
    inner.cut_from.store(u64::MAX, SeqCst);
    if M::guard(Guard::TailCut) {
        clear_behind(vm, inner, length);
    }
    Ok(())
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
    if M::guard(Guard::TailClearedBeforeGrowth) {
        clear_behind(vm, inner, old);
    }
    now.store(length, SeqCst);
    Ok(())
}

/// Clears what lies behind `length` in the page in which that is, if the page is cached. Sleeps until it has been read:
/// without a [`Cx`].
fn clear_behind<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, length: u64) {
    let page = Physical::<M>::PAGE as u64;
    let (index, offset) = (length / page, (length % page) as usize);
    if offset == 0 {
        return;
    }
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
    unsafe { vm.machine().copy_user(from.add(offset), to.add(offset), Physical::<M>::PAGE - offset) };
    release(&cx, found);
}

/// Takes the pages from `first` on out of the cache.
fn drop_pages<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, first: u64) {
    let mut from = Some(first);
    while let Some(start) = from {
        let found = {
            let cx = Cx::enter(vm);
            inner.cache.next(&cx, start).map(|(index, _)| (index, inner.cache.find(&cx, index)))
        };
        let Some((index, page)) = found else { return };
        from = index.checked_add(1);
        let Some(pfn) = page else { continue };
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

/// Removes the entries of all mappings of the object that show its pages from `first` on, or private copies of them.
fn unmap_from<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, first: u64) {
    // Either who brings entries finds that the object is being cut, or the tables that he has made are seen here.
    fence::<M>(SeqCst);
    let mut last = None;
    while let Some((place, space)) = next_place(vm, inner, last) {
        last = Some(place);
        if let Some(space) = space {
            unmap_in(&space, inner, first, place.1);
        }
    }
}

/// A space by its age, which is its identity, and a difference between addresses and offsets there.
type Place = (u64, u64);

/// The place behind `last` where the object is shown, and a handle of its space; none if that has come to its end, and
/// nobody runs in it. By age, parents first: what fork copies before truncation comes to the parent, it finds in the child
/// (F11). A place that comes meanwhile in a space it has passed shows nothing of what is being cut off.
fn next_place<'vm, M: Machine>(
    vm: &'vm Vm<M>,
    inner: &Inner<M>,
    last: Option<Place>,
) -> Option<(Place, Option<Space<'vm, M>>)> {
    let cx = Cx::enter(vm);
    let mut next = None;
    let _ = cx.each_class_of(inner, &mut |class| {
        if let Some(space) = class.space {
            // SAFETY: the class was found in this section, see `rmap::walk`.
            let space = unsafe { space.as_ref() };
            let age = if M::guard(Guard::ParentsCutFirst) { space.id() } else { u64::MAX - space.id() };
            let place = (age, class.delta);
            if Some(place) > last && next.is_none_or(|(next, _)| place < next) {
                next = Some((place, space));
            }
        }
        ControlFlow::Continue(())
    });
    next.map(|(place, space)| (place, Space::of_living(vm, space)))
}

/// As [`unmap_from`], of what `space` maps with difference `delta`: a leaf a section.
fn unmap_in<M: Machine>(space: &Space<'_, M>, inner: &Inner<M>, first: u64, delta: u64) {
    let limit = M::Arch::USER_END >> M::Arch::PAGE_SHIFT;
    if first > i64::MAX as u64 >> M::Arch::PAGE_SHIFT {
        // No mapping shows pages so far behind.
        return;
    }
    // Where page `first` would be; a mapping that begins later in the object begins at a higher address.
    let start = match first.wrapping_add(delta) {
        page if page < limit => page << M::Arch::PAGE_SHIFT,
        // Below the user range: all that is mapped lies behind `first`.
        page if (page as i64) < 0 => M::Arch::USER_START,
        _ => return,
    };
    let mut here = start.max(M::Arch::USER_START);
    while here < M::Arch::USER_END {
        here = unmap_leaf(&Cx::enter(space.vm()), space.inner(), inner, here, delta);
    }
}

/// Upper slots without a table that are passed by before the core is left for a moment.
const LOOK: usize = 64;

/// Removes the entries from `here` on in the next leaf; the address behind it.
fn unmap_leaf<M: Machine>(cx: &Cx<'_, M>, space: &space::Inner<M>, inner: &Inner<M>, here: u64, delta: u64) -> u64 {
    let mut here = here;
    let mut leaf = space.lowest(cx, here);
    for _ in 0..LOOK {
        if leaf.level == 0 {
            break;
        }
        here = leaf.slot_end(here);
        if here >= M::Arch::USER_END {
            return here;
        }
        leaf = space.lowest(cx, here);
    }
    // A stale leaf was empty, and has a successor.
    let Some(locked) = (leaf.level == 0).then(|| leaf.lock(cx, space, here)).flatten() else { return here };
    let mut gather = Gather::new(cx, space.id(), space.tlb());
    let mut slot = leaf.index(here);
    while slot < leaf.len() {
        let (class, end) = leaf.runs(cx).run(slot, leaf.len());
        let shows = class != space::ClassId::NONE && {
            let attributes = cx.attributes(class);
            attributes.delta == delta && attributes.object.is_some_and(|object| core::ptr::eq(object.as_ptr(), inner))
        };
        if shows {
            let address = leaf.base(here) + ((slot as u64) << M::Arch::PAGE_SHIFT);
            zap(cx, space, &locked, slot, end - 1, address, &mut gather);
        }
        slot = end;
    }
    if M::guard(Guard::CutFlushedUnderLock) {
        // There is no claim: another mapping may come here as soon as the lock goes.
        gather.finish();
    }
    drop(locked);
    leaf.base(here) + leaf.span() * leaf.len() as u64
}
