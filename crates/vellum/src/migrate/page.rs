//! Moving one page or folio, which is unmapped and whose folio lock is held.
//!
//! A page is moved in one section. What takes longer, a folio of several pages and a page that many map, is moved in
//! several: it is copied with pre-emption on, and its entries get it back in parts.

use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Folio, Frame, Kind, Pfn, folio};
use crate::rmap::{Name, PART, Placeholder, Unmapped, restore_migrated, restore_page};
use crate::sync::fence;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// A page on its way.
pub(super) struct Move<'vm, M: Machine> {
    pub(super) from: Pfn,
    to: Pfn,
    unmapped: Unmapped<'vm, M>,
    /// The contents are in the new frame already, where [`Guard::FlushBeforeCopy`] is off.
    is_copied: bool,
}

impl<'vm, M: Machine> Move<'vm, M> {
    /// The move from one frame to another of a page that is unmapped, its entries saying `into`.
    #[inline(always)]
    pub(super) fn new(vm: &'vm Vm<M>, (from, to): (Pfn, Pfn), into: Placeholder, is_copied: bool) -> Self {
        Move { from, to, unmapped: Unmapped::of(vm, from, into), is_copied }
    }

    /// The move from one frame to another of a page that is unmapped so.
    pub(super) fn of(unmapped: Unmapped<'vm, M>, (from, to): (Pfn, Pfn)) -> Self {
        Move { from, to, unmapped, is_copied: false }
    }

    /// Copies so many a page of the folio, if that is not done.
    #[inline(always)]
    fn copy_page(&self, cx: &Cx<'_, M>, page: u64) {
        if !self.is_copied {
            copy_page(cx, self.from.offset(page), self.to.offset(page));
        }
    }

    /// Copies all pages of the folio, with pre-emption on between them, if that is not done.
    fn copy_in_parts(&self, vm: &Vm<M>) {
        let pages = vm.physical().whole(self.from).pages();
        (0..pages).for_each(|page| self.copy_page(&Cx::enter(vm), page));
    }
}

/// Makes the frame `to`, just allocated, a page like the `old` one, or a folio of the same order, which nobody can find
/// yet: with one reference and its folio lock, for the caller.
pub(super) fn prepare<M: Machine>(cx: &Cx<'_, M>, old: &Frame<M>, to: Pfn) {
    let new = cx.vm().physical().frame(to);
    new.be_as(old);
    // A page of an object gets its name when it is in the cache: who comes upon it by its frame number takes it for a
    // page of the object, with as many references as such a page has.
    let owner = if old.is_kind(Kind::File) { 0 } else { old.words[0].load(Relaxed) };
    new.words[0].store(owner, Relaxed);
    new.words[1].store(old.words[1].load(Relaxed), Relaxed);
    new.words[2].store(0, Relaxed);
    object::begin_filling(new);
    new.begin_locked();
}

/// Gives up the folio lock of a page, and the caller's reference to it.
pub(super) fn let_go<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) {
    cx.vm().physical().frame(pfn).folio_lock().release(cx.vm());
    object::release(cx, pfn);
}

/// Copies the contents and the tags, of all pages of a folio.
pub(super) fn copy<M: Machine>(cx: &Cx<'_, M>, from: Pfn, to: Pfn) {
    (0..cx.vm().physical().whole(from).pages()).for_each(|page| copy_page(cx, from.offset(page), to.offset(page)));
}

fn copy_page<M: Machine>(cx: &Cx<'_, M>, from: Pfn, to: Pfn) {
    let machine = cx.vm().machine();
    // SAFETY: both frames are a page long; the new one is the caller's alone, and he has a reference to the old.
    unsafe { machine.copy_page(machine.frame(from), machine.frame(to)) };
    if M::guard(Guard::MoveTakesTags) {
        cx.copy_tags(from, to);
    }
}

/// Whether what becomes of the page or folio in `frame` is too much for one section.
pub(super) fn takes_long<M: Machine>(frame: &Frame<M>) -> bool {
    frame.order() > 0 || frame.mappings() > PART
}

/// Moves the page; whether that was possible, else everything is as it was. Both folio locks and the caller's
/// references are given up.
pub(super) fn carry_out<M: Machine>(cx: &Cx<'_, M>, this: Move<'_, M>) -> bool {
    let (old, new) = (cx.vm().physical().frame(this.from), cx.vm().physical().frame(this.to));
    let is_file = old.is_kind(Kind::File);
    let is_moved = if is_file {
        move_file(cx, &this, old, new)
    } else {
        let put = |slot| {
            take_over(cx, &this, slot);
            restore_page(cx, this.from, this.to);
        };
        move_anonymous::<M>(old, || this.copy_page(cx, 0), put)
    };
    if !is_moved {
        give_up(cx, this);
        return false;
    }
    // A file's page that was moved has gone with its lock and its references.
    if !is_file {
        let_go(cx, this.from);
    }
    let_go(cx, this.to);
    this.unmapped.complete();
    true
}

/// As [`carry_out`], of what [takes long](takes_long), without a [`Cx`].
#[cold]
#[inline(never)]
pub(super) fn carry_out_in_parts<M: Machine>(vm: &Vm<M>, this: Move<'_, M>) -> bool {
    let (old, whole) = (vm.physical().frame(this.from), vm.physical().whole(this.from));
    if old.is_kind(Kind::File) {
        return carry_out_shared(vm, this, whole);
    }
    let is_moved = move_anonymous::<M>(
        old,
        || this.copy_in_parts(vm),
        |slot| {
            take_over(&Cx::enter(vm), &this, slot);
            restore_migrated(vm, whole, this.to);
        },
    );
    if is_moved {
        this.unmapped.complete();
    } else {
        // It is put back.
        drop(this.unmapped);
    }
    let cx = Cx::enter(vm);
    let_go(&cx, this.from);
    let_go(&cx, this.to);
    is_moved
}

/// As [`carry_out_in_parts`], of a folio of shared memory, which no entry shows: whoever looks it up finds the new one,
/// and waits for its contents.
fn carry_out_shared<M: Machine>(vm: &Vm<M>, this: Move<'_, M>, whole: Folio) -> bool {
    let (old, new) = (vm.physical().frame(this.from), vm.physical().frame(this.to));
    let is_moved = {
        let cx = Cx::enter(vm);
        take_flags(&cx, old, new);
        object::move_folio(&cx, whole, this.to)
    };
    if is_moved {
        this.copy_in_parts(vm);
        let cx = Cx::enter(vm);
        object::end_filling(&cx, new);
        cx.free_frame(this.from);
    } else {
        let_go(&Cx::enter(vm), this.from);
    }
    let_go(&Cx::enter(vm), this.to);
    this.unmapped.complete();
    is_moved
}

/// Puts the page back. Both folio locks and the caller's references are given up.
pub(super) fn give_up<M: Machine>(cx: &Cx<'_, M>, this: Move<'_, M>) {
    this.unmapped.undo(cx);
    let_go(cx, this.from);
    let_go(cx, this.to);
}

/// Whether nobody has a reference to an unmapped page but the caller and the swap cache, where it has a slot.
fn is_alone<M: Machine>(old: &Frame<M>, slot: Option<SwapSlot>) -> bool {
    // Against those who take a reference first and look at the entry again.
    fence::<M>(SeqCst);
    let known = 1 + u32::from(slot.is_some());
    old.other_references() == known || !M::guard(Guard::MoveCounted)
}

/// Gives the new page what is noted of the old one, and its place in the swap cache.
fn take_over<M: Machine>(cx: &Cx<'_, M>, this: &Move<'_, M>, slot: Option<SwapSlot>) {
    let (old, new) = (cx.vm().physical().frame(this.from), cx.vm().physical().frame(this.to));
    take_flags(cx, old, new);
    if let Some(slot) = slot {
        // The cache's reference to the old frame becomes ours.
        cx.swap_replace(slot, this.from, this.to);
        old.put();
    }
}

/// The order in which what is anonymous is moved; whether it was, as nobody else has a reference. `put` gives what
/// stands in the new frame its entries, and the slot of swap that it is cached with.
#[inline(always)]
fn move_anonymous<M: Machine>(old: &Frame<M>, copy: impl Fn(), put: impl FnOnce(Option<SwapSlot>)) -> bool {
    let (slot, is_early) = (old.swap_slot(), !M::guard(Guard::CopyAfterCount));
    if is_early {
        copy();
    }
    if !is_alone(old, slot) {
        return false;
    }
    if !is_early {
        copy();
    }
    put(slot);
    true
}

/// The page has no entries, so its counts can be frozen while it is replaced; whoever looks it up in between finds the
/// new frame, and waits for its contents.
fn move_file<M: Machine>(cx: &Cx<'_, M>, this: &Move<'_, M>, old: &Frame<M>, new: &Frame<M>) -> bool {
    if !object::is_up_to_date(old) {
        return false;
    }
    let Some(Name::Object { object, index }) = Name::of(old) else { return false };
    // SAFETY: the page names the object in this section; it may be dying, and then its pages are not worth moving.
    let inner = unsafe { object.as_ref() };
    if !inner.try_get() {
        return false;
    }
    let is_early = !M::guard(Guard::CopyAfterFreeze);
    if is_early {
        this.copy_page(cx, 0);
    }
    let is_alone = old.freeze(2) || !M::guard(Guard::MoveFrozen);
    if is_alone {
        take_flags(cx, old, new);
        new.words[0].store(old.words[0].load(Relaxed), Relaxed);
        // The cache's reference.
        new.get();
        let is_replaced = inner.cache().replace(cx, index, this.from, this.to);
        debug_assert!(is_replaced, "a page whose lock is held is in its cache");
        if !M::guard(Guard::CopiedBeforeShown) {
            object::end_filling(cx, new);
        }
        if !is_early {
            this.copy_page(cx, 0);
        }
        object::end_filling(cx, new);
        old.words[0].store(0, SeqCst);
        old.folio_lock().release(cx.vm());
        cx.free_frame(this.from);
    }
    cx.put_object(object);
    is_alone
}

/// Gives the new frame what the old one's flags say of the page, but for its place in swap; its age is counted in turns
/// of the other node's hand from now on.
fn take_flags<M: Machine>(cx: &Cx<'_, M>, old: &Frame<M>, new: &Frame<M>) {
    let kept = folio::DIRTY | folio::SHARED_MEMORY | folio::LAZY_FREE | folio::UP_TO_DATE | folio::PARTLY_MAPPED;
    let physical = cx.vm().physical();
    let generation = match old.generation() {
        0 => 0,
        known => physical.generation_before(new.node(), physical.age_of(old.node(), known)),
    };
    new.add_flags(old.flags() & kept, generation);
}
