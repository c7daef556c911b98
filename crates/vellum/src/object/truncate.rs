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

use super::page::{mark_dirty, release, wait};
use super::{Inner, Source};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Physical;
use crate::space::apply::{zap, zap_shown};
use crate::space::{self, Attributes, Space};
use crate::sync::fence;
use crate::tlb::Gather;
use crate::vm::Vm;
use core::ops::{ControlFlow, Range};
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
    unmap(vm, inner, &Loss { pages: pages..u64::MAX, takes_copies: true });
    drop_pages(vm, inner, pages..u64::MAX);
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
    if offset != 0 {
        clear(vm, inner, index, offset..page as usize, false);
    }
}

/// Clears those bytes of page `index`, if the page is cached; it is noted as stored to, if `is_store`. Sleeps until it has
/// been read: without a [`Cx`].
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
        mark_dirty(vm.physical().frame(found));
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

/// Pages that an object loses.
pub(super) struct Loss {
    /// Which.
    pub(super) pages: Range<u64>,
    /// Whether private copies of them are lost too.
    pub(super) takes_copies: bool,
}

/// Removes the entries of all mappings of the object that show what it loses.
pub(super) fn unmap<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, loss: &Loss) {
    // Either who brings entries finds that the object is being cut, or the tables that he has made are seen here.
    fence::<M>(SeqCst);
    let mut last = None;
    while let Some((place, space)) = next_place(vm, inner, last) {
        last = Some(place);
        if let Some(space) = space {
            unmap_in(&space, inner, loss, place.1);
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

/// As [`unmap`], of what `space` maps with difference `delta`: a leaf a section.
fn unmap_in<M: Machine>(space: &Space<'_, M>, inner: &Inner<M>, loss: &Loss, delta: u64) {
    // No mapping shows pages behind that.
    let most = (i64::MAX as u64 >> M::Arch::PAGE_SHIFT) + 1;
    let (first, end) = (loss.pages.start.min(most), loss.pages.end.min(most));
    let (mut here, end) = (address_of::<M::Arch>(first, delta), address_of::<M::Arch>(end, delta));
    while here < end {
        here = unmap_leaf(&Cx::enter(space.vm()), space.inner(), inner, here..end, loss.takes_copies, delta);
    }
}

/// Where a mapping with difference `delta` shows page `index`, or would if it were in the user range: else the end of the
/// range that is nearest.
fn address_of<A: Arch>(index: u64, delta: u64) -> u64 {
    match index.wrapping_add(delta) {
        page if (page as i64) < 0 => A::USER_START,
        page if page < A::USER_END >> A::PAGE_SHIFT => (page << A::PAGE_SHIFT).max(A::USER_START),
        _ => A::USER_END,
    }
}

/// Upper slots without a table that are passed by before the core is left for a moment.
const LOOK: usize = 64;

/// Removes the entries of `range` in its first leaf; the address behind it.
fn unmap_leaf<M: Machine>(
    cx: &Cx<'_, M>,
    space: &space::Inner<M>,
    inner: &Inner<M>,
    range: Range<u64>,
    takes_copies: bool,
    delta: u64,
) -> u64 {
    let mut here = range.start;
    let mut leaf = space.lowest(cx, here);
    for _ in 0..LOOK {
        if leaf.level == 0 {
            break;
        }
        here = leaf.slot_end(here);
        if here >= range.end {
            return here;
        }
        leaf = space.lowest(cx, here);
    }
    // A stale leaf was empty, and has a successor.
    let Some(locked) = (leaf.level == 0).then(|| leaf.lock(cx, space, here)).flatten() else { return here };
    let leaf_end = leaf.base(here) + leaf.span() * leaf.len() as u64;
    let slots = leaf.index(range.end.min(leaf_end) - 1) + 1;
    let mut gather = Gather::new(cx, space.id(), space.tlb());
    let mut slot = leaf.index(here);
    while slot < slots {
        let (class, end) = leaf.runs(cx).run(slot, slots);
        let attributes = (class != space::ClassId::NONE).then(|| cx.attributes(class));
        let shows = |attributes: &Attributes<M>| {
            attributes.delta == delta && attributes.object.is_some_and(|object| core::ptr::eq(object.as_ptr(), inner))
        };
        if let Some(attributes) = attributes.filter(shows) {
            let address = leaf.base(here) + ((slot as u64) << M::Arch::PAGE_SHIFT);
            let zap = if takes_copies || !attributes.is_private() { zap } else { zap_shown };
            zap(cx, space, &locked, slot, end - 1, address, &mut gather);
        }
        slot = end;
    }
    if M::guard(Guard::CutFlushedUnderLock) {
        // There is no claim: another mapping may come here as soon as the lock goes.
        gather.finish();
    }
    drop(locked);
    leaf_end
}
