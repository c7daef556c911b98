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
//! One pass over the places finds every entry, with the core left whenever enough was done. A mover who did not find out that the
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
use crate::space;
use crate::space::apply::zap;
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
    {
        let _cut = Cut::from(inner, pages);
        unmap_from(vm, inner, pages);
        drop_pages(vm, inner, pages);
    }
    if M::guard(Guard::TailCut) {
        clear_behind(vm, inner, length);
    }
    Ok(())
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
    let mut pass = Pass { first, done: None, inside: None, work: 0 };
    while pass.goes_on(&Cx::enter(vm), inner) {}
}

/// A space by its age, which is its identity, and a difference between addresses and offsets there.
type Place = (u64, u64);

/// How far a pass over the places is where an object is shown. By age, parents first: what fork copies before the pass comes
/// to the parent, it finds in the child (F11). A place that comes meanwhile in a space it has passed shows nothing of what is
/// being cut off.
struct Pass {
    /// The first page that goes.
    first: u64,
    /// The last place that was gone through, or is about to be.
    done: Option<Place>,
    /// Up to where of a place that is only gone through in part.
    inside: Option<(Place, u64)>,
    /// What was done in this section, in slots.
    work: usize,
}

impl Pass {
    /// Work, in slots, after which the core is left for a moment.
    const SECTION: usize = 512;
    /// What it is to look at a place or a table, in slots.
    const LOOK: usize = 8;

    /// Goes on for a section; whether it may not be at the end.
    fn goes_on<M: Machine>(&mut self, cx: &Cx<'_, M>, inner: &Inner<M>) -> bool {
        self.work = 0;
        let (places, count) = self.next_places(cx, inner);
        for &(place, space) in places[..count].iter().flatten() {
            // What cannot be pinned ends: nobody runs in it.
            if space.pin() {
                let is_through = self.cut(cx, space, inner, place);
                space.unpin();
                if !is_through {
                    return true;
                }
            }
            self.done = Some(place);
        }
        count > 0
    }

    /// The first places behind those that are done.
    fn next_places<'a, M: Machine>(&self, cx: &'a Cx<'_, M>, inner: &Inner<M>) -> (Places<'a, M>, usize) {
        let (mut places, mut count) = ([None; PLACES], 0);
        let _ = cx.each_class_of(inner, &mut |class| {
            if let Some(space) = class.space {
                // SAFETY: the class was found in this section, see `rmap::walk`.
                let space = unsafe { space.as_ref() };
                let age = if M::guard(Guard::ParentsCutFirst) { space.id() } else { u64::MAX - space.id() };
                let place = (age, class.delta);
                if Some(place) > self.done {
                    insert(&mut places, &mut count, (place, space));
                }
            }
            ControlFlow::Continue(())
        });
        (places, count)
    }

    /// Goes through a place; whether it came to the end.
    fn cut<M: Machine>(&mut self, cx: &Cx<'_, M>, space: &space::Inner<M>, inner: &Inner<M>, place: Place) -> bool {
        let (_, delta) = place;
        let inside = self.inside.take().filter(|&(inside, _)| inside == place).map(|(_, here)| here);
        let Some(mut here) = inside.or_else(|| first_address::<M>(self.first, delta)) else { return true };
        while here < M::Arch::USER_END {
            if self.work >= Self::SECTION {
                self.inside = Some((place, here));
                return false;
            }
            let (slots, next) = cut_table(cx, space, inner, here, delta);
            self.work += slots + Self::LOOK;
            here = next;
        }
        self.work += Self::LOOK;
        true
    }
}

/// Places found in one look at the classes of an object, which may be many.
const PLACES: usize = 32;
type Places<'a, M> = [Option<(Place, &'a space::Inner<M>)>; PLACES];

/// Adds a place to the first ones, in order, unless it is known or comes behind as many as there is room for.
fn insert<'a, M: Machine>(places: &mut Places<'a, M>, count: &mut usize, new: (Place, &'a space::Inner<M>)) {
    let known = |at: usize| places[at].map_or((u64::MAX, u64::MAX), |(place, _)| place);
    let at = (0..*count).find(|&at| known(at) >= new.0).unwrap_or(*count);
    if at == PLACES || at < *count && known(at) == new.0 {
        return;
    }
    *count = (*count + 1).min(PLACES);
    places[at..*count].rotate_right(1);
    places[at] = Some(new);
}

/// Where page `first` would be mapped with difference `delta`, at least: a mapping that begins later in the object begins at a
/// higher address. `None` if no mapping shows pages so far behind.
fn first_address<M: Machine>(first: u64, delta: u64) -> Option<u64> {
    let limit = M::Arch::USER_END >> M::Arch::PAGE_SHIFT;
    if first > i64::MAX as u64 >> M::Arch::PAGE_SHIFT {
        return None;
    }
    match first.wrapping_add(delta) {
        page if page < limit => Some((page << M::Arch::PAGE_SHIFT).max(M::Arch::USER_START)),
        // Below the user range: all that is mapped lies behind `first`.
        page if (page as i64) < 0 => Some(M::Arch::USER_START),
        _ => None,
    }
}

/// Removes the entries from `here` on in a leaf, or passes by a slot that has none; how many slots showed the object, and the
/// address behind.
fn cut_table<M: Machine>(
    cx: &Cx<'_, M>,
    space: &space::Inner<M>,
    inner: &Inner<M>,
    here: u64,
    delta: u64,
) -> (usize, u64) {
    let leaf = space.lowest(cx, here);
    if leaf.level > 0 {
        return (0, leaf.slot_end(here));
    }
    // A stale leaf was empty, and has a successor.
    let Some(locked) = leaf.lock(cx, space, here) else { return (0, here) };
    let mut gather = Gather::new(cx, space.id(), space.tlb());
    let (mut slot, mut shown) = (leaf.index(here), 0);
    while slot < leaf.len() {
        let (class, end) = leaf.runs(cx).run(slot, leaf.len());
        let shows = class != space::ClassId::NONE && {
            let attributes = cx.attributes(class);
            attributes.delta == delta && attributes.object.is_some_and(|object| core::ptr::eq(object.as_ptr(), inner))
        };
        if shows {
            let address = leaf.base(here) + ((slot as u64) << M::Arch::PAGE_SHIFT);
            zap(cx, space, &locked, slot, end - 1, address, &mut gather);
            shown += end - slot;
        }
        slot = end;
    }
    if M::guard(Guard::CutFlushedUnderLock) {
        // There is no claim: another mapping may come here as soon as the lock goes.
        gather.finish();
    }
    drop(locked);
    (shown, leaf.base(here) + leaf.span() * leaf.len() as u64)
}
