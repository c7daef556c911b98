//! The two phases: unmap a list with one flush, then write and free.

use super::folio::{is_huge, make_single, split_instead};
use super::lazy;
use super::list::{Isolated, LENGTH};
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Kind, Pfn, folio, stamp};
use crate::rmap::{self, Name, Placeholder, Unmapped, renew_if_accessed, restore_folio};
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

/// A page that was unmapped. Its folio lock is held, and there is a reference to it. No more than that, as there are
/// many and they are on the stack: the rest says its frame, as long as the lock is held.
#[derive(Clone, Copy)]
struct Page {
    pfn: Pfn,
    home: Home,
    /// The frame with its contents as they were before the flush, where [`Guard::FlushBeforeWrite`] is off: its number
    /// + 1.
    early: u64,
}

/// Where a page's contents are, or go.
#[derive(Clone, Copy)]
enum Home {
    /// A file, to which there is a reference.
    File,
    /// A slot of swap, in whose cache the page is.
    Swap(SwapSlot),
    /// Nowhere: its owner has given it up.
    Nowhere,
}

impl Home {
    /// The file, and the place in it, of the page in `frame`, whose home it is.
    fn file<M: Machine>(frame: &Frame<M>) -> (NonNull<object::Inner<M>>, u64) {
        match Name::of(frame) {
            Some(Name::Object { object, index }) => (object, index),
            _ => unreachable!("whoever has the folio lock takes a page from its file"),
        }
    }

    /// What the entries of such a page say while it is unmapped.
    fn placeholder(self) -> Placeholder {
        match self {
            Home::File => Placeholder::Nothing,
            Home::Swap(slot) => Placeholder::Slot(slot),
            Home::Nowhere => Placeholder::Migration,
        }
    }
}

/// Pages that are finished in one section: each may have to be put back, which takes a thousand instructions.
const PART: usize = 16;

/// Pages that are looked at in the place of candidates that are in use, within the section in which the others are
/// unmapped.
const MORE: usize = 8;

/// Where candidates come from: of so many pages that are looked at they are added to the list, which has room for them.
/// Whether there may be more.
pub(super) type Source<'s, M> = dyn FnMut(&Cx<'_, M>, usize, &mut Isolated<LENGTH>) -> bool + 's;

/// As [`shrink`], of a list in which there may be folios of several pages: those that are to go are split first.
pub(super) fn shrink_singly<M: Machine>(vm: &Vm<M>, list: &Isolated<LENGTH>, choice: Choice) -> u64 {
    list.pages().iter().for_each(|&pfn| make_single(vm, pfn, choice));
    shrink(vm, list, choice)
}

/// Reclaims of a list of single pages what can be; how many were freed. Without a [`Cx`]; the list's references are
/// dropped.
pub(crate) fn shrink<M: Machine>(vm: &Vm<M>, list: &Isolated<LENGTH>, choice: Choice) -> u64 {
    let mut given = Some(list);
    let mut source = |_: &Cx<'_, M>, _: usize, into: &mut Isolated<LENGTH>| {
        given.take().into_iter().flat_map(Isolated::pages).for_each(|&pfn| into.push(pfn));
        false
    };
    shrink_from(vm, &mut source, choice)
}

/// Reclaims one list of pages from `source`. Candidates that are in use take no place in the list: the flush is to
/// serve as many pages as it can.
pub(super) fn shrink_from<M: Machine>(vm: &Vm<M>, source: &mut Source<'_, M>, choice: Choice) -> u64 {
    let mut pages = Pages { vm, list: [None; LENGTH] };
    let mut freed = unmap(vm, source, choice, &mut pages.list);
    for page in pages.list.iter_mut().flatten() {
        // One after the other: the device may be slow, and the pages' locks are needed.
        write(vm, page);
    }
    for part in pages.list.chunks_mut(PART) {
        let cx = Cx::enter(vm);
        freed += part.iter_mut().filter_map(Option::take).map(|page| u64::from(finish(&cx, page))).sum::<u64>();
    }
    freed
}

/// Puts the folio `head`, of several pages, out as a whole, to the slots of swap with which it is cached: one walk, one
/// flush, and one transfer. If that is not possible it is split, as far as it can be. How many pages were freed.
/// Without a [`Cx`]; the caller's folio lock and reference are given up.
#[cold]
#[inline(never)]
pub(super) fn put_out<M: Machine>(vm: &Vm<M>, head: Pfn) -> u64 {
    let mut between = Pages { vm, list: [unmap_folio(vm, head)] };
    let is_dirty = vm.physical().frame(head).flags() & folio::DIRTY != 0;
    between.list.iter_mut().flatten().filter(|_| is_dirty).for_each(|page| write(vm, page));
    if let Some(page) = &between.list[0].take() {
        let (cx, whole) = (Cx::enter(vm), vm.physical().whole(head));
        let is_huge = is_huge(vm, head);
        if free_unmapped(&cx, page) {
            cx.count(Event::HugeSwapOut, u64::from(is_huge));
            return whole.pages();
        }
    }
    give_up_folio(vm, head)
}

/// Pages between the two phases. Dropping it puts back what is left, so that nobody waits for a backing or a device
/// that has panicked.
struct Pages<'vm, M: Machine, const N: usize> {
    vm: &'vm Vm<M>,
    list: [Option<Page>; N],
}

impl<M: Machine, const N: usize> Drop for Pages<'_, M, N> {
    fn drop(&mut self) {
        for page in self.list.iter_mut().filter_map(Option::take) {
            if let Home::Swap(first) = page.home {
                restore_folio(self.vm, first, page.pfn);
            }
            put_back(&Cx::enter(self.vm), page);
        }
    }
}

/// The first phase: those that can go are unmapped, until there are enough of them, with one flush; and those of them
/// that are clean are freed; how many. The others are left in `pages`.
fn unmap<M: Machine>(
    vm: &Vm<M>,
    source: &mut Source<'_, M>,
    choice: Choice,
    pages: &mut [Option<Page>; LENGTH],
) -> u64 {
    let mut list = Isolated::new();
    fill(&Cx::enter(vm), source, &mut list);
    let freed = unmap_list(&Cx::enter(vm), &mut list, source, choice, pages);
    freed + pages.chunks_mut(PART).map(|part| finish_clean(&Cx::enter(vm), part)).sum::<u64>()
}

/// Looks for candidates until the list is full or there are no more: in a section of its own, as what follows is long
/// enough.
fn fill<M: Machine>(cx: &Cx<'_, M>, source: &mut Source<'_, M>, list: &mut Isolated<LENGTH>) {
    while !list.is_full() && source(cx, list.room(), list) {}
}

/// Unmaps those of the list, and of what comes from `source` in the place of others, that can go, with one flush; how
/// many were freed before that, which is none. The lists that this needs are off the stack when pages are written.
#[inline(never)]
fn unmap_list<M: Machine>(
    cx: &Cx<'_, M>,
    list: &mut Isolated<LENGTH>,
    source: &mut Source<'_, M>,
    choice: Choice,
    pages: &mut [Option<Page>; LENGTH],
) -> u64 {
    let mut batch = UnmapBatch::new(cx);
    let (mut count, mut looks, mut goes_on) = (0, MORE, true);
    while goes_on {
        for page in list.pages().iter().filter_map(|&pfn| begin(cx, &mut batch, pfn, choice)) {
            pages[count] = Some(page);
            count += 1;
        }
        list.clear();
        let more = looks.min(LENGTH - count);
        looks -= more;
        goes_on = more > 0 && (source(cx, more, list) || !list.is_empty());
    }
    let mut freed = 0;
    if !M::guard(Guard::BatchFlushBeforeFree) {
        freed += finish_clean(cx, pages);
    }
    batch.flush();
    freed
}

/// Frees those of `pages` that need not be written; how many.
fn finish_clean<M: Machine>(cx: &Cx<'_, M>, pages: &mut [Option<Page>]) -> u64 {
    let mut freed = 0;
    for place in pages {
        if let Some(page) = place.take_if(|page| cx.vm().physical().frame(page.pfn).flags() & folio::DIRTY == 0) {
            freed += u64::from(finish(cx, page));
        }
    }
    freed
}

/// Unmaps the folio `head`, of several pages, with a flush of its own; `None` if that is not possible, and it is as
/// before but that its mappings may be small ones. Its lock is held, and there is a reference.
#[inline(never)]
fn unmap_folio<M: Machine>(vm: &Vm<M>, head: Pfn) -> Option<Page> {
    let cx = Cx::enter(vm);
    cx.count(Event::Scanned, 1);
    let home = Home::Swap(vm.physical().frame(head).swap_slot()?);
    let mut batch = UnmapBatch::new(&cx);
    rmap::unmap(&cx, &mut batch, head, home.placeholder()).then_some(Page { pfn: head, home, early: 0 })
}

/// Gives up putting out the folio `head`: it gets its entries back, leaves the swap cache and is split, as far as all
/// that can be done; how many pages that has freed. The caller's lock and reference go.
pub(super) fn give_up_folio<M: Machine>(vm: &Vm<M>, head: Pfn) -> u64 {
    let frame = vm.physical().frame(head);
    if let Some(first) = frame.swap_slot() {
        restore_folio(vm, first, head);
    }
    let freed = split_instead(vm, head);
    let cx = Cx::enter(vm);
    cx.count(Event::PutBack, 1);
    frame.folio_lock().release(vm);
    object::release(&cx, head);
    freed
}

/// Locks and unmaps a page, if it can go; else its reference is dropped.
fn begin<'a, M: Machine>(cx: &'a Cx<'_, M>, batch: &mut UnmapBatch<'a, M>, pfn: Pfn, choice: Choice) -> Option<Page> {
    let frame = cx.vm().physical().frame(pfn);
    cx.count(Event::Scanned, 1);
    // Never waiting: other folio locks are held (F8).
    if !frame.folio_lock().try_acquire() {
        object::release(cx, pfn);
        return None;
    }
    let goes = frame.order() == 0 && (choice == Choice::All || !is_in_use(cx, pfn));
    let Some(home) = goes.then(|| home_of(cx, pfn)).flatten() else {
        frame.folio_lock().release(cx.vm());
        object::release(cx, pfn);
        return None;
    };
    if !rmap::unmap(cx, batch, pfn, home.placeholder()) {
        give_up(cx, Page { pfn, home, early: 0 });
        return None;
    }
    let early = (!M::guard(Guard::FlushBeforeWrite)).then(|| copy_of(cx, pfn)).flatten();
    Some(Page { pfn, home, early: early.map_or(0, |copy| copy.0 + 1) })
}

/// Whether the page was accessed since this was last asked; then it is as good as new.
pub(super) fn is_in_use<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> bool {
    let is_in_use = renew_if_accessed(cx, pfn);
    if is_in_use {
        cx.count(Event::Activated, 1);
    }
    is_in_use
}

/// Where the page's contents can go; `None` if it must stay. Its folio lock is held.
fn home_of<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> Option<Home> {
    let frame = cx.vm().physical().frame(pfn);
    match frame.kind() {
        Kind::File => {
            if frame.flags() & folio::SHARED_MEMORY != 0 || !object::is_up_to_date(frame) {
                return None;
            }
            let Some(Name::Object { object, .. }) = Name::of(frame) else { return None };
            // SAFETY: the page names the object in this section, so it is freed after that; it may be dying.
            unsafe { object.as_ref() }.try_get().then_some(Home::File)
        }
        Kind::Anonymous if frame.flags() & folio::LAZY_FREE != 0 => Some(Home::Nowhere),
        Kind::Anonymous => slot_of(cx, pfn).map(Home::Swap),
        _ => None,
    }
}

/// The slot that an anonymous page goes to: the one it is cached with, or a new one. Its folio lock is held. Of a folio
/// of several, the first of as many.
pub(super) fn slot_of<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> Option<SwapSlot> {
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
    if frame.mappings() == 0 {
        return None;
    }
    let slot = match frame.order() {
        0 => cx.swap_reserve()?,
        order => cx.swap_reserve_run(order)?,
    };
    if frame.order() == 0 && frame.mappings() == 0 {
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
fn write<M: Machine>(vm: &Vm<M>, page: &mut Page) {
    let frame = vm.physical().frame(page.pfn);
    let early = page.early.checked_sub(1).map(Pfn);
    match page.home {
        Home::File => {
            let (object, index) = Home::file(frame);
            // SAFETY: there is a reference to it.
            object::write_unmapped(vm, unsafe { object.as_ref() }, index, page.pfn);
        }
        Home::Swap(slot) => {
            let whole = vm.physical().whole(page.pfn);
            if swap::save_folio_tags(vm, slot, whole).is_err() {
                return;
            }
            let refused = Refused(frame);
            if M::guard(Guard::DirtyClearedFirst) {
                frame.clear_flags(folio::DIRTY);
            }
            let is_refused = match whole.order {
                0 => swap::write_page(vm, slot, early.unwrap_or(page.pfn)).is_err(),
                _ => swap::write_folio(vm, slot, whole).is_err(),
            };
            if !is_refused || !M::guard(Guard::RefusedStaysDirty) {
                core::mem::forget(refused);
            }
            if !is_refused && !M::guard(Guard::DirtyClearedFirst) {
                frame.clear_flags(folio::DIRTY);
            }
        }
        Home::Nowhere => {}
    }
    if let Some(copy) = early {
        page.early = 0;
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
fn finish<M: Machine>(cx: &Cx<'_, M>, page: Page) -> bool {
    if let Home::Nowhere = page.home {
        return lazy::finish(cx, page.pfn, Unmapped::of(cx.vm(), page.pfn, Placeholder::Migration));
    }
    let is_freed = free_unmapped(cx, &page);
    if !is_freed {
        put_back(cx, page);
    }
    is_freed
}

/// Frees a page, or a folio of several, that is unmapped, if it is clean and nobody else has a reference to it; whether
/// it was so.
#[inline(always)]
fn free_unmapped<M: Machine>(cx: &Cx<'_, M>, page: &Page) -> bool {
    let frame = cx.vm().physical().frame(page.pfn);
    let is_dirty = || frame.flags() & folio::DIRTY != 0;
    let was_dirty = is_dirty();
    // The cache's reference and ours. Only when nobody else can have one is it certain that nobody makes the page dirty
    // any more (I8).
    if was_dirty && !M::guard(Guard::DirtyAfterFreeze) || !frame.freeze(2) {
        return false;
    }
    let is_dirty = if M::guard(Guard::DirtyAfterFreeze) { is_dirty() } else { was_dirty };
    if is_dirty {
        frame.unfreeze(2);
        return false;
    }
    let number = stamp(cx, frame.node());
    match page.home {
        Home::File => {
            let (object, index) = Home::file(frame);
            // SAFETY: there is a reference to it.
            unsafe { object.as_ref() }.cache().evict(cx, index, page.pfn, number);
            cx.put_object(object);
            cx.count(Event::StolenFile, 1);
        }
        Home::Swap(slot) => {
            cx.swap_detach(slot, page.pfn, number);
            cx.count(Event::StolenAnonymous, cx.vm().physical().whole(page.pfn).pages());
        }
        Home::Nowhere => {}
    }
    frame.folio_lock().release(cx.vm());
    cx.free_frame(page.pfn);
    true
}

/// Puts a page back into its entries, and gives it up.
fn put_back<M: Machine>(cx: &Cx<'_, M>, page: Page) {
    Unmapped::of(cx.vm(), page.pfn, page.home.placeholder()).undo(cx);
    give_up(cx, page);
}

/// Gives a page up as a candidate, which is in its entries: everything is as it was before.
fn give_up<M: Machine>(cx: &Cx<'_, M>, page: Page) {
    let frame = cx.vm().physical().frame(page.pfn);
    match page.home {
        Home::File => cx.put_object(Home::file(frame).0),
        Home::Swap(_) if frame.flags() & folio::DIRTY != 0 => {
            leave_cache_locked(cx, page.pfn);
        }
        Home::Swap(_) | Home::Nowhere => {}
    }
    if let Some(copy) = page.early.checked_sub(1) {
        cx.free_frame(Pfn(copy));
    }
    cx.count(Event::PutBack, 1);
    frame.folio_lock().release(cx.vm());
    object::release(cx, page.pfn);
}
