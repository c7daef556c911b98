//! The two phases: unmap a list with one flush, then write and free.

use super::lazy;
use super::list::{Isolated, LENGTH};
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Kind, Pfn, folio, stamp};
use crate::rmap::{Name, Placeholder, Unmapped, renew_if_accessed};
use crate::space::UnmapBatch;
use crate::stat::Event;
use crate::swap::{self, leave_cache_locked};
use crate::vm::Vm;
use core::ptr::NonNull;

/// What a page has to be for it to go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Not accessed since it was last looked at.
    Unused,
    /// Anything.
    All,
}

/// A page that was unmapped, or is about to be. Its folio lock is held, and there is a reference to it.
struct Page<'vm, M: Machine> {
    pfn: Pfn,
    home: Home<M>,
    unmapped: Option<Unmapped<'vm, M>>,
    /// Its contents as they were before the flush, where [`Guard::FlushBeforeWrite`] is off.
    early: Option<Pfn>,
}

/// Where a page's contents are, or go.
#[derive(Clone, Copy)]
pub(super) enum Home<M> {
    /// A file, to which there is a reference.
    File(NonNull<object::Inner<M>>, u64),
    /// A slot of swap, in whose cache the page is.
    Swap(SwapSlot),
    /// Nowhere: its owner has given it up.
    Nowhere,
}

/// Where candidates come from: given for how many there is room, at most so many; none when there are no more.
pub(super) type Source<'s, M> = dyn FnMut(&Cx<'_, M>, usize) -> Isolated<LENGTH> + 's;

/// Reclaims of the list what can be; how many pages were freed. Without a [`Cx`]; the list's references are dropped.
pub(crate) fn shrink<M: Machine>(vm: &Vm<M>, list: &Isolated<LENGTH>, choice: Choice) -> u64 {
    let mut given = Some(list.clone());
    shrink_from(vm, &mut |_, _| given.take().unwrap_or(Isolated::new()), choice)
}

/// Reclaims one list of pages from `source`. Candidates that are in use take no place in the list: the flush is to
/// serve as many pages as it can.
pub(super) fn shrink_from<M: Machine>(vm: &Vm<M>, source: &mut Source<'_, M>, choice: Choice) -> u64 {
    let mut pages = Pages { vm, list: [const { None }; LENGTH] };
    let mut freed = unmap(vm, source, choice, &mut pages.list);
    for page in pages.list.iter_mut().flatten() {
        // One after the other: the device may be slow, and the pages' locks are needed.
        write(vm, page);
    }
    let cx = Cx::enter(vm);
    for page in pages.list.iter_mut().filter_map(Option::take) {
        freed += u64::from(finish(&cx, page));
    }
    freed
}

/// Pages between the two phases. Dropping it puts back what is left, so that nobody waits for a backing or a device that
/// has panicked.
struct Pages<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    list: [Option<Page<'vm, M>>; LENGTH],
}

impl<M: Machine> Drop for Pages<'_, M> {
    fn drop(&mut self) {
        self.list.iter_mut().filter_map(Option::take).for_each(|page| put_back(&Cx::enter(self.vm), page));
    }
}

/// The first phase: those that can go are unmapped, until there are enough of them, with one flush; and those of them
/// that are clean are freed; how many. The others are left in `pages`.
fn unmap<'vm, M: Machine>(
    vm: &'vm Vm<M>,
    source: &mut Source<'_, M>,
    choice: Choice,
    pages: &mut [Option<Page<'vm, M>>; LENGTH],
) -> u64 {
    let cx = Cx::enter(vm);
    let mut batch = UnmapBatch::new(&cx);
    let mut count = 0;
    while count < LENGTH {
        let list = source(&cx, LENGTH - count);
        if list.is_empty() {
            break;
        }
        for page in list.pages().iter().filter_map(|&pfn| begin(&cx, &mut batch, pfn, choice)) {
            pages[count] = Some(page);
            count += 1;
        }
    }
    let mut freed = 0;
    if !M::guard(Guard::BatchFlushBeforeFree) {
        freed += finish_clean(&cx, pages);
    }
    batch.flush();
    drop(batch);
    freed + finish_clean(&cx, pages)
}

/// Frees those of `pages` that need not be written; how many.
fn finish_clean<M: Machine>(cx: &Cx<'_, M>, pages: &mut [Option<Page<'_, M>>; LENGTH]) -> u64 {
    let mut freed = 0;
    for place in pages {
        if let Some(page) = place.take_if(|page| cx.vm().physical().frame(page.pfn).flags() & folio::DIRTY == 0) {
            freed += u64::from(finish(cx, page));
        }
    }
    freed
}

/// Locks and unmaps a page, if it can go; else its reference is dropped.
fn begin<'vm, 'a, M: Machine>(
    cx: &'a Cx<'vm, M>,
    batch: &mut UnmapBatch<'a, M>,
    pfn: Pfn,
    choice: Choice,
) -> Option<Page<'vm, M>> {
    let frame = cx.vm().physical().frame(pfn);
    cx.count(Event::Scanned, 1);
    // Never waiting: other folio locks are held (F8).
    if !frame.folio_lock().try_acquire() {
        object::release(cx, pfn);
        return None;
    }
    let is_unused = choice == Choice::All || !is_in_use(cx, pfn);
    let Some(home) = is_unused.then(|| home_of(cx, pfn)).flatten() else {
        frame.folio_lock().release(cx.vm());
        object::release(cx, pfn);
        return None;
    };
    let into = match home {
        Home::File(..) => Placeholder::Nothing,
        Home::Swap(slot) => Placeholder::Slot(slot),
        Home::Nowhere => Placeholder::Migration,
    };
    let unmapped = Unmapped::begin(cx, batch, pfn, into);
    let page = Page { pfn, home, unmapped, early: None };
    if page.unmapped.is_none() {
        put_back(cx, page);
        return None;
    }
    let early = (!M::guard(Guard::FlushBeforeWrite)).then(|| copy_of(cx, pfn)).flatten();
    Some(Page { early, ..page })
}

/// Whether the page was accessed since this was last asked; then it is as good as new.
fn is_in_use<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let is_in_use = renew_if_accessed(cx, pfn);
    if is_in_use {
        cx.count(Event::Activated, 1);
    }
    is_in_use
}

/// Where the page's contents can go; `None` if it must stay. Its folio lock is held.
fn home_of<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> Option<Home<M>> {
    let frame = cx.vm().physical().frame(pfn);
    match frame.kind() {
        Kind::File => {
            if frame.flags() & folio::SHARED_MEMORY != 0 || !object::is_up_to_date(frame) {
                return None;
            }
            let Some(Name::Object { object, index }) = Name::of(frame) else { return None };
            // SAFETY: the page names the object in this section, so it is freed after that; it may be dying.
            unsafe { object.as_ref() }.try_get().then_some(Home::File(object, index))
        }
        Kind::Anonymous if frame.flags() & folio::LAZY_FREE != 0 => Some(Home::Nowhere),
        Kind::Anonymous => slot_of(cx, pfn).map(Home::Swap),
        _ => None,
    }
}

/// The slot that an anonymous page goes to: the one it is cached with, or a new one. Its folio lock is held.
fn slot_of<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> Option<SwapSlot> {
    let frame = cx.vm().physical().frame(pfn);
    if let Some(slot) = frame.swap_slot() {
        if frame.flags() & folio::UP_TO_DATE == 0 {
            return None;
        }
        if cx.swap_takes_pages(slot) || !M::guard(Guard::NotPutWhereOff) {
            return Some(slot);
        }
        // Whoever empties the area would have to read it again (E20). While other entries name the slot the page stays.
        if !leave_cache_locked(cx, pfn) {
            return None;
        }
    }
    // Not where the page is only just being made.
    let slot = (frame.mappings() > 0).then(|| cx.swap_reserve()).flatten()?;
    if frame.mappings() == 0 {
        cx.swap_cancel(slot);
        return None;
    }
    cx.swap_attach(slot, pfn);
    frame.set_flags(folio::DIRTY | folio::UP_TO_DATE);
    Some(slot)
}

/// A frame with the page's contents of this moment.
fn copy_of<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> Option<Pfn> {
    let copy = cx.alloc_frame(0, crate::phys::AllocFlags::RESERVE).ok()?;
    let machine = cx.vm().machine();
    // SAFETY: both frames are a page long; the copy is this operation's alone, and there is a reference to the source.
    unsafe { machine.snapshot_page(machine.frame(pfn), machine.frame(copy)) };
    Some(copy)
}

/// The second phase of a page that was stored to: it is written where it belongs. If that fails it stays marked.
fn write<M: Machine>(vm: &Vm<M>, page: &mut Page<'_, M>) {
    let frame = vm.physical().frame(page.pfn);
    match page.home {
        Home::File(object, index) => {
            // SAFETY: there is a reference to it.
            object::write_unmapped(vm, unsafe { object.as_ref() }, index, page.pfn);
        }
        Home::Swap(slot) => {
            if Cx::enter(vm).save_tags(slot, page.pfn).is_err() {
                return;
            }
            let refused = Refused(frame);
            if M::guard(Guard::DirtyClearedFirst) {
                frame.clear_flags(folio::DIRTY);
            }
            let is_refused = swap::write_page(vm, slot, page.early.unwrap_or(page.pfn)).is_err();
            if !is_refused || !M::guard(Guard::RefusedStaysDirty) {
                core::mem::forget(refused);
            }
            if !is_refused && !M::guard(Guard::DirtyClearedFirst) {
                frame.clear_flags(folio::DIRTY);
            }
        }
        Home::Nowhere => {}
    }
    if let Some(copy) = page.early.take() {
        Cx::enter(vm).free_frame(copy);
    }
}

/// A page that is being written to its slot: dropping this marks it as stored to, also if the device has panicked.
struct Refused<'a, M: Machine>(&'a Frame<M>);

impl<M: Machine> Drop for Refused<'_, M> {
    fn drop(&mut self) {
        self.0.set_flags(folio::DIRTY);
    }
}

/// Frees a page that is unmapped and clean, and that nobody else has a reference to; else puts it back. Whether it was
/// freed.
fn finish<M: Machine>(cx: &Cx<'_, M>, mut page: Page<'_, M>) -> bool {
    let frame = cx.vm().physical().frame(page.pfn);
    if let Home::Nowhere = page.home {
        return lazy::finish(cx, page.pfn, page.unmapped.take());
    }
    let is_dirty = || frame.flags() & folio::DIRTY != 0;
    let was_dirty = is_dirty();
    // The cache's reference and ours. Only when nobody else can have one is it certain that nobody makes the page dirty
    // any more (I8).
    if was_dirty && !M::guard(Guard::DirtyAfterFreeze) || !frame.freeze(2) {
        put_back(cx, page);
        return false;
    }
    let is_dirty = if M::guard(Guard::DirtyAfterFreeze) { is_dirty() } else { was_dirty };
    if is_dirty {
        frame.unfreeze(2);
        put_back(cx, page);
        return false;
    }
    let number = stamp(cx, frame.node());
    match page.home {
        Home::File(object, index) => {
            // SAFETY: there is a reference to it.
            unsafe { object.as_ref() }.cache().evict(cx, index, page.pfn, number);
            cx.put_object(object);
            cx.count(Event::StolenFile, 1);
        }
        Home::Swap(slot) => {
            cx.swap_detach(slot, page.pfn, number);
            cx.count(Event::StolenAnonymous, 1);
        }
        Home::Nowhere => {}
    }
    if let Some(unmapped) = page.unmapped.take() {
        unmapped.complete();
    }
    frame.folio_lock().release(cx.vm());
    cx.free_frame(page.pfn);
    true
}

/// Gives a page up as a candidate: everything is as it was before.
fn put_back<M: Machine>(cx: &Cx<'_, M>, mut page: Page<'_, M>) {
    let frame = cx.vm().physical().frame(page.pfn);
    if let Some(unmapped) = page.unmapped.take() {
        unmapped.undo(cx);
    }
    match page.home {
        Home::File(object, _) => cx.put_object(object),
        Home::Swap(_) if frame.flags() & folio::DIRTY != 0 => {
            leave_cache_locked(cx, page.pfn);
        }
        Home::Swap(_) | Home::Nowhere => {}
    }
    if let Some(copy) = page.early.take() {
        cx.free_frame(copy);
    }
    cx.count(Event::PutBack, 1);
    frame.folio_lock().release(cx.vm());
    object::release(cx, page.pfn);
}
