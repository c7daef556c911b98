//! Taking a page out of all its entries, and putting it into them: for swap, for migration, and to undo either.
//!
//! Unmapping is a transaction ([`Unmapped`]): each entry passes, under its leaf's lock, from showing the page to saying
//! where it is; dropped before [`Unmapped::complete`], it puts back what it took: entries, the slot's count, the
//! exclusive mark, dirty marks and resident counts. Tags stay in the frame until the frame is freed, so they need no
//! undoing. The way back is the same as the end of a migration ([`restore_migrated`]), with the page in its old frame.

use super::walk::{each_mapping, walk_mapped};
use super::{Found, Name, Seek, walk};
use crate::arch::{Absent, PageBits, Prot, SwapSlot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Folio, Frame, Kind, Pfn, folio};
use crate::space::apply::{readable, rss_kind_of};
use crate::space::{Attributes, ClassFlags, RssKind, UnmapBatch};
use crate::tlb::Flush;
use crate::vm::Vm;
use core::mem::ManuallyDrop;
use core::ops::{ControlFlow, Range};

/// What the entries of a page say while it is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholder {
    /// Nothing: it is an object's page, and a fault gets it from there.
    Nothing,
    /// That it is in that slot, or a page of a folio as many slots further on. It is in the swap cache there.
    Slot(SwapSlot),
    /// That it is being moved.
    Migration,
}

/// Entries of one page or folio that are taken, or get their pages back, in one section, where there may be more of
/// them.
pub(crate) const PART: u32 = 96;

/// What it is to take a huge entry that is flushed by itself, in entries.
pub(crate) const FLUSHED: u32 = 12;

/// Takes page `pfn` out of its entries, as far as they are found; the flushes are the batch's to do. Whether all were
/// found and taken: else everything is as before. So it can be put back by [`Unmapped`].
pub(crate) fn unmap<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    batch: &mut UnmapBatch<'a, M>,
    pfn: Pfn,
    into: Placeholder,
) -> bool {
    let frame = cx.vm().physical().frame(pfn);
    let (at_first, of) = (frame.mappings(), Folio { head: pfn, order: frame.order() });
    let taken = {
        let batch = &mut *batch;
        each_mapping(cx, frame, &Seek::page(of), move |found| take(cx, batch, (pfn, frame), into, found))
    };
    let is_unmapped = is_unmapped(frame, into, (at_first, taken));
    if !is_unmapped {
        undo_in_part(cx, batch, of, into);
    }
    is_unmapped
}

/// Puts back what [`unmap`] has taken of a page, or folio, that it has not taken out of all entries.
#[cold]
fn undo_in_part<M: Machine>(cx: &Cx<'_, M>, batch: &mut UnmapBatch<'_, M>, of: Folio, into: Placeholder) {
    if into == Placeholder::Nothing {
        // These entries are not put back: nobody may use their translations when the folio lock is free.
        batch.flush();
    }
    // A folio has its way back in sections of its own.
    let comes_back = of.order == 0 || into == Placeholder::Migration;
    if comes_back && M::guard(Guard::FailedUnmapUndone) {
        put_back(cx, of.head, into);
    }
}

/// A page, or a folio of several, that was taken out of all its entries. The caller has the folio lock and a reference,
/// from before the begin to after the end.
pub(crate) struct Unmapped<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    pfn: Pfn,
    into: Placeholder,
}

impl<'vm, M: Machine> Unmapped<'vm, M> {
    /// As [`unmap`] for a page or folio that is to be moved, however many entries it has: [`PART`] of them in each
    /// section, with a flush of their own. Without a [`Cx`]; `None` if it is as before.
    #[inline(never)]
    pub(crate) fn begin_in_parts(vm: &'vm Vm<M>, pfn: Pfn, into: Placeholder) -> Option<Self> {
        let whole = vm.physical().whole(pfn);
        let at_first = vm.physical().frame(pfn).mappings();
        // If more come than there were, who forks is faster.
        let (mut taken, most) = (0, 2 * at_first as u64 + u64::from(PART));
        let is_through = parts(whole, at_first).all(|pages| {
            // As of huge ones, which are all in the first part. How many were taken says nothing of the other parts:
            // some of those may have gone since, and others have come.
            let is_none = vm.physical().frame(pfn).mappings() == 0;
            is_none || take_all(vm, (whole, Seek::page(whole).part(pages)), into, &mut taken, most)
        });
        // Dropped, if that is not all, it puts back what was taken.
        let this = Unmapped::of(vm, pfn, into);
        (is_through && is_unmapped(vm.physical().frame(pfn), into, (at_first, taken))).then_some(this)
    }

    /// Page `pfn`, which was unmapped ([`unmap`]) and not put back since.
    #[inline(always)]
    pub(crate) fn of(vm: &'vm Vm<M>, pfn: Pfn, into: Placeholder) -> Self {
        Unmapped { vm, pfn, into }
    }

    /// The page stays unmapped.
    #[inline(always)]
    pub(crate) fn complete(self) {
        core::mem::forget(self);
    }

    /// Puts the page back, inside the core.
    pub(crate) fn undo(self, cx: &Cx<'_, M>) {
        let this = ManuallyDrop::new(self);
        put_back(cx, this.pfn, this.into);
    }
}

impl<M: Machine> Drop for Unmapped<'_, M> {
    fn drop(&mut self) {
        match self.into {
            Placeholder::Migration => restore_migrated(self.vm, self.vm.physical().whole(self.pfn), self.pfn),
            into => put_back(&Cx::enter(self.vm), self.pfn, into),
        }
    }
}

/// Whether the page or folio in `frame` is unmapped, which had `at_first` mappings, and of which `taken` entries were
/// taken.
#[inline(always)]
fn is_unmapped<M: Machine>(frame: &Frame<M>, into: Placeholder, (at_first, taken): (u32, u32)) -> bool {
    match into {
        // Whatever has become of those that there were: a fault may have come back to a page of an object.
        Placeholder::Nothing | Placeholder::Slot(_) => frame.mappings() == 0,
        // An entry that says so is a mapping still, and cannot be met, nor taken, a second time. Of many entries some
        // may come and others go meanwhile, so it is asked also how many there are now.
        Placeholder::Migration => {
            let are_few = frame.order() == 0 && at_first <= PART;
            taken >= at_first && (are_few || frame.mappings() <= taken)
        }
    }
}

/// The pages of a page or folio that has so many entries, in parts of [`PART`] of them, if each page has as many as the
/// others: so a section need not pass by what those before it have dealt with, in each of the spaces.
fn parts(of: Folio, entries: u32) -> impl Iterator<Item = Range<u64>> {
    let each = u64::from(entries).div_ceil(of.pages()).max(1);
    let step = (u64::from(PART) / each).max(1);
    (0..of.pages()).step_by(step as usize).map(move |first| first..of.pages().min(first + step))
}

/// Takes all entries that are sought of a page or folio, in sections; whether it came to their end before `most` were
/// `taken`.
fn take_all<M: Machine>(vm: &Vm<M>, what: (Folio, Seek), into: Placeholder, taken: &mut u32, most: u64) -> bool {
    while take_part(&Cx::enter(vm), what, into, taken).is_break() {
        if u64::from(*taken) >= most {
            return false;
        }
    }
    true
}

/// Takes [`PART`] entries that are sought of a page or folio, if there are as many, and flushes; breaks off if there
/// may be more.
fn take_part<M: Machine>(
    cx: &Cx<'_, M>,
    (whole, seek): (Folio, Seek),
    into: Placeholder,
    taken: &mut u32,
) -> ControlFlow<()> {
    let (mut batch, mut left) = (UnmapBatch::new(cx), PART);
    let frame = cx.vm().physical().frame(whole.head);
    *taken += each_mapping(cx, frame, &seek, |found| {
        let has_room = left > 0;
        let is_flushed = into == Placeholder::Nothing && found.is_huge();
        left = left.saturating_sub(if is_flushed { FLUSHED } else { 1 });
        has_room && take(cx, &mut batch, (whole.head, frame), into, found)
    });
    batch.flush();
    if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Takes one entry; whether that was possible.
#[inline(always)]
fn take<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    batch: &mut UnmapBatch<'a, M>,
    (pfn, frame): (Pfn, &Frame<M>),
    into: Placeholder,
    found: &Found<'a, '_, M>,
) -> bool {
    let into = match into {
        Placeholder::Slot(first) if found.is_huge() => return take_huge(cx, pfn, first, found),
        Placeholder::Nothing if found.is_huge() => return take_shared(cx, frame, found),
        Placeholder::Slot(first) => {
            let slot = first.further(found.word.pfn().0 - pfn.0);
            if cx.swap_dup(slot).is_err() {
                return false;
            }
            Placeholder::Slot(slot)
        }
        into => into,
    };
    // What of the entry's bits is kept.
    let noted = |bits: PageBits| {
        let loses = into == Placeholder::Migration && !M::guard(Guard::DirtyMoves);
        if loses { bits.without(PageBits::DIRTY) } else { bits }
    };
    let old = match into {
        Placeholder::Nothing => found.leaf.take(found.index),
        _ => {
            let change = |word: Word<M::Arch>| Word::of_absent(absent::<M>(pfn, into, noted(word.bits())));
            found.leaf.update_from(found.index, found.word, change).0
        }
    };
    let bits = noted(old.bits());
    note_stores(frame, bits);
    batch.add(found.space, found.leaf, found.address, bits);
    match into {
        Placeholder::Migration => return true,
        Placeholder::Nothing => found.space.add_rss(cx, rss_kind_of(frame), -1),
        Placeholder::Slot(_) => {
            found.space.add_rss(cx, RssKind::Anonymous, -1);
            found.space.add_rss(cx, RssKind::Swap, 1);
        }
    }
    // The caller has a reference.
    frame.drop_mapping();
    true
}

/// What may still be stored to until the flush, through an entry with `bits`, counts as stored to from now on (A1, A2).
#[inline(always)]
fn note_stores<M: Machine>(frame: &Frame<M>, bits: PageBits) {
    if UnmapBatch::<M>::may_be_stored_to(bits) || bits.has(PageBits::DIRTY) {
        frame.set_flags(folio::DIRTY);
    }
}

/// Takes the entry of a huge page, which becomes a table of entries that name its slots; whether that was possible.
/// Flushed.
#[cold]
#[inline(never)]
fn take_huge<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn, first: SwapSlot, found: &Found<'_, '_, M>) -> bool {
    let place = (found.index, found.address);
    let Some(bits) = found.space.put_out_huge(cx, found.leaf, place, first) else { return false };
    let (frame, pages) = (cx.vm().physical().frame(pfn), found.pages() as i64);
    note_stores(frame, bits);
    found.space.add_rss(cx, RssKind::Anonymous, -pages);
    found.space.add_rss(cx, RssKind::Swap, pages);
    // The caller has a reference.
    frame.drop_mapping();
    true
}

/// Takes the entry of a huge page of an object, which becomes empty. Flushed at once: a table may come there as soon as
/// the lock goes, and what a batch owes to the table above is not looked for below it.
#[cold]
#[inline(never)]
fn take_shared<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, found: &Found<'_, '_, M>) -> bool {
    let bits = found.leaf.take(found.index).bits();
    note_stores(frame, bits);
    let what = Flush { start: found.address, pages: found.pages(), tables_freed: false };
    if M::guard(Guard::SharedHugeFlushed) {
        cx.flush(found.space.id(), found.space.tlb(), what);
    }
    found.space.add_rss(cx, rss_kind_of(frame), -(found.pages() as i64));
    // The caller has a reference.
    frame.drop_mapping();
    true
}

/// What an entry that showed `pfn` with `bits` says from now on.
fn absent<M: Machine>(pfn: Pfn, into: Placeholder, bits: PageBits) -> Absent {
    let is_exclusive = bits.has(PageBits::EXCLUSIVE);
    match into {
        Placeholder::Slot(slot) => Absent::Swap { slot, is_exclusive: is_exclusive && M::guard(Guard::ExclusiveKept) },
        _ => Absent::Migration {
            pfn,
            is_exclusive,
            is_dirty: bits.has(PageBits::DIRTY),
            is_accessed: bits.has(PageBits::ACCESSED),
        },
    }
}

/// Undoes an unmapping.
fn put_back<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn, into: Placeholder) {
    match into {
        Placeholder::Nothing => {}
        Placeholder::Slot(slot) => _ = restore_swapped(cx, slot, pfn, 0..cx.vm().physical().whole(pfn).pages()),
        Placeholder::Migration => restore_page(cx, pfn, pfn),
    }
}

/// Maps the pages of the folio `head`, which is in the swap cache and whose folio lock is held, wherever entries name
/// its slots, the first of which is `first`, as far as they are found: so many in each section, without a [`Cx`].
pub(crate) fn restore_folio<M: Machine>(vm: &Vm<M>, first: SwapSlot, head: Pfn) {
    let whole = vm.physical().whole(head);
    let each = Cx::enter(vm).swap_count(first);
    // Each section has something to do. What spaces that go on forking add meanwhile is as good as it is.
    let mut left = whole.pages();
    for pages in parts(whole, each.saturating_mul(whole.pages() as u32)) {
        while left > 0 && restore_swapped(&Cx::enter(vm), first, head, pages.clone()).is_break() {
            left -= 1;
        }
    }
}

/// Maps `pfn`, a page or folio which is in the swap cache and whose folio lock is held, wherever entries name its slot,
/// as far as they are found: those that are missed are as good as they are. Of a folio so with these pages, one by one,
/// and the walk breaks off after [`PART`] of their entries, as the result says.
fn restore_swapped<M: Machine>(cx: &Cx<'_, M>, first: SwapSlot, pfn: Pfn, pages: Range<u64>) -> ControlFlow<()> {
    let frame = cx.vm().physical().frame(pfn);
    let whole = cx.vm().physical().whole(pfn).pages();
    let is_over = || match whole {
        1 => cx.swap_count(first) == 0,
        _ => cx.swap_run_is_unnamed(first.further(pages.start), pages.end - pages.start),
    };
    // If an entry names a slot, in this section, a descendant of its owner lives; else there may be no such node any
    // more.
    let Some(name) = Name::of(frame).filter(|_| !is_over()) else { return ControlFlow::Continue(()) };
    let mut restored = 0;
    walk(cx, &name, &Seek::swap(first, whole).part(pages.clone()), &mut |found| {
        let Some(Absent::Swap { slot, is_exclusive }) = found.word.absent() else {
            return ControlFlow::Continue(());
        };
        let page = pfn.offset(slot.behind(first));
        let flags = if is_exclusive { PageBits::EXCLUSIVE } else { PageBits::NONE };
        frame.add_mapping();
        found.leaf.update_from(found.index, found.word, |_| Word::of_page(page, bits_of(cx, found, frame, flags)));
        found.space.add_rss(cx, RssKind::Anonymous, 1);
        found.space.add_rss(cx, RssKind::Swap, -1);
        if M::guard(Guard::SlotCountUndone) {
            cx.swap_put(slot);
        }
        restored += 1;
        let is_enough = whole > 1 && restored == PART;
        if is_enough || is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Maps `to`, or the page of that folio, wherever entries say that a page is being moved from the folio `from`,
/// [`PART`] of them in each section. Without a [`Cx`]; the folio locks of both are held.
///
/// Afterwards no entry says so but in spaces that end, and in leaves that were taken out of the tree. What is left of
/// the old frame's mappings is on its way out: the gathers, operations and ends of spaces that took those entries drop
/// them.
pub(crate) fn restore_migrated<M: Machine>(vm: &Vm<M>, from: Folio, to: Pfn) {
    for pages in parts(from, vm.physical().frame(from.head).mappings()) {
        let seek = Seek::migration(from).part(pages);
        while restore_part(&Cx::enter(vm), (from, seek), to, PART).is_break() {}
    }
}

/// As [`restore_migrated`], of what has few entries, in one section.
pub(crate) fn restore_page<M: Machine>(cx: &Cx<'_, M>, from: Pfn, to: Pfn) {
    let whole = cx.vm().physical().whole(from);
    _ = restore_part(cx, (whole, Seek::migration(whole)), to, u32::MAX);
}

/// As [`restore_migrated`] for `most` of the entries that are sought; breaks off if there may be more.
#[inline(always)]
fn restore_part<M: Machine>(cx: &Cx<'_, M>, (from, seek): (Folio, Seek), to: Pfn, most: u32) -> ControlFlow<()> {
    let old = cx.vm().physical().frame(from.head);
    let mappings = old.mappings();
    if mappings == 0 {
        return ControlFlow::Continue(());
    }
    // Else the folio has become single pages.
    let is_folio = cx.vm().physical().frame(to).order() == from.order;
    let mut left = most;
    walk_mapped(cx, old, &seek, mappings, &mut |found| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        let page = if is_folio { (to, found.page) } else { (to.offset(found.page), 0) };
        restore_one(cx, found, from.head, page);
        if from.head != to && old.mappings() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Maps so many a page of the folio `head` in place of one entry that says it is being moved from `from`. The entry
/// counts as a mapping of that folio from then on.
#[inline(always)]
fn restore_one<M: Machine>(cx: &Cx<'_, M>, found: &Found<'_, '_, M>, from: Pfn, (head, page): (Pfn, u64)) {
    let Some(Absent::Migration { is_exclusive, is_dirty, is_accessed, .. }) = found.word.absent() else {
        return;
    };
    let flag = |on: bool, flag: PageBits| if on { flag } else { PageBits::NONE };
    let flags = flag(is_exclusive, PageBits::EXCLUSIVE)
        | flag(is_dirty, PageBits::DIRTY)
        | flag(is_accessed, PageBits::ACCESSED);
    let counted = cx.vm().physical().frame(head);
    let word = Word::of_page(head.offset(page), bits_of(cx, found, counted, flags));
    if from != head {
        counted.add_mapping();
    }
    found.leaf.update_from(found.index, found.word, |_| word);
    if from != head {
        // The caller has a reference.
        cx.vm().physical().frame(from).drop_mapping();
    }
}

/// The bits of an entry that shows the folio, or a page of it, in the place found: what its class grants, the right to
/// write as far as faults need not intervene, and `flags`.
#[inline(always)]
fn bits_of<M: Machine>(cx: &Cx<'_, M>, found: &Found<'_, '_, M>, folio: &Frame<M>, flags: PageBits) -> PageBits {
    let attributes: Attributes<M> = cx.attributes(found.leaf.table.class(cx, found.index));
    let rights = readable::<M::Arch>(attributes.prot);
    let is_anonymous = folio.is_kind(Kind::Anonymous);
    let may_write = if attributes.is_private() {
        is_anonymous && flags.has(PageBits::EXCLUSIVE)
    } else {
        flags.has(PageBits::DIRTY)
    };
    let rights = if may_write { rights } else { rights.without(Prot::WRITE) };
    let tags = if attributes.flags.has(ClassFlags::TAGGED) { PageBits::TAGGED } else { PageBits::NONE };
    PageBits::of(rights) | flags | tags
}

/// Empties the entries that say a page is being moved from `pfn`, whose folio lock is held: the page is dropped, and
/// its mappings with it.
pub(crate) fn discard_migrating<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) {
    let frame = cx.vm().physical().frame(pfn);
    if frame.mappings() == 0 {
        return;
    }
    let Some(name) = Name::of(frame) else { return };
    let _ = walk(cx, &name, &Seek::migration(Folio::single(pfn)), &mut |found| {
        found.leaf.take(found.index);
        found.space.add_rss(cx, rss_kind_of(frame), -1);
        // The caller has a reference.
        frame.drop_mapping();
        if frame.mappings() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}
