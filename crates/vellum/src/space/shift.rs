//! Moving the pages of a range to another place.
//!
//! Leaf by leaf: under the locks of both leaves the entries move, the classes of both places change, and the old
//! translations are flushed before the locks go (B7, B8). So at any moment a page is at one of the two places, and a
//! fault finds the class that belongs to it.

use super::apply::{zap, zap_shown};
use super::cursor::Slots;
use super::table::{Locked, Table};
use super::walk::Maker;
use super::{ClassId, Inner, Spares};
use crate::arch::{Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::Kind;
use crate::stat::Event;
use crate::tlb::{Flush, Gather};
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::SeqCst;

/// A move of `length` bytes from `old` to `new`, within a claim of both.
#[derive(Clone, Copy)]
pub(crate) struct Shift {
    pub(crate) old: u64,
    pub(crate) new: u64,
    pub(crate) length: u64,
    /// What it is to be.
    pub(crate) old_class: ClassId,
    /// What the new range is to be.
    pub(crate) new_class: ClassId,
}

/// A part of a move in one leaf on each side.
#[derive(Clone, Copy)]
struct Piece {
    old: u64,
    new: u64,
    length: u64,
}

impl<M: Machine> Inner<M> {
    /// Makes the leaves at the new place for all pages that are at the old one, where huge pages become small ones. The commit
    /// has begun, so no more come.
    pub(crate) fn make_leaves(&self, vm: &Vm<M>, shift: &Shift) -> Result<(), Error> {
        let range = (shift.old, shift.old + shift.length);
        let made = self.each_leaf(vm, range, &mut |cx, slots| {
            let places = || pieces(shift, slots).map(|piece| self.make_leaf(cx, piece.new));
            let split = if slots.leaf.level > 0 { self.make_leaf(cx, slots.start) } else { Ok(()) };
            match split.and_then(|()| places().collect()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        made.break_value().map_or(Ok(()), Err)
    }

    /// Moves all pages and changes the classes of both places, where there are leaves. The commit has begun, and the leaves
    /// are there. Upper slots without a lower table have no pages and get none: the caller changes them afterwards, all those
    /// of a table at once, which needs no side array.
    pub(crate) fn shift_pages(&self, vm: &Vm<M>, shift: &Shift, pool: &mut Spares) {
        let range = (shift.old, shift.old + shift.length);
        let mut here = range.0;
        while here < range.1 {
            let cx = self.enter_between_walks(vm);
            let mut cursor = self.cursor_over(&cx, range, here).by_leaves();
            if let Some(slots) = cursor.next_leaf() {
                for piece in pieces(shift, &slots) {
                    self.shift_piece(&cx, piece, shift, pool);
                }
            }
            here = cursor.here();
        }
    }

    fn make_leaf(&self, cx: &Cx<'_, M>, address: u64) -> Result<(), Error> {
        loop {
            let table = self.lowest(cx, address);
            if table.level == 0 {
                return Ok(());
            }
            let class = table.class(cx, table.index(address));
            self.make_child(cx, table, address, class, Maker::Owner)?;
        }
    }

    /// Moves one piece, whose leaves exist.
    fn shift_piece(
        &self,
        cx: &Cx<'_, M>,
        piece: Piece,
        &Shift { old_class, new_class, .. }: &Shift,
        pool: &mut Spares,
    ) {
        let (source, target) = (self.lowest(cx, piece.old), self.lowest(cx, piece.new));
        debug_assert!(source.level == 0 && target.level == 0, "a page is moved to where there is no leaf");
        let one_leaf = source.pfn == target.pfn;
        // Two leaves are locked in the order of their addresses.
        let (first, second) = if piece.old < piece.new { (piece.old, piece.new) } else { (piece.new, piece.old) };
        let at = |address: u64| -> Table<'_, M> { if address == piece.old { source } else { target } };
        let Some(lower) = at(first).lock(cx, self, first) else { return };
        let upper = if one_leaf { None } else { at(second).lock(cx, self, second) };
        let (from, to) = match &upper {
            None if one_leaf => (&lower, &lower),
            None => return,
            Some(upper) if piece.old < piece.new => (&lower, upper),
            Some(upper) => (upper, &lower),
        };
        self.leave_cut(cx, from, piece, new_class);
        let pages = piece.length >> M::Arch::PAGE_SHIFT;
        let (low, target_low) = (source.index(piece.old), target.index(piece.new));
        let mut moved = 0;
        self.moves_begun.fetch_add(1, SeqCst);
        for page in 0..pages as usize {
            if !source.entry(low + page).is_empty() {
                let word = from.take(low + page);
                note_store(cx, word);
                to.install(target_low + page, word);
                moved += 1;
            }
        }
        self.moves_done.fetch_add(1, SeqCst);
        let old_place = Flush { start: piece.old, pages, tables_freed: false };
        let is_owed = moved > 0 || from.has_pending_flush(Guard::SettledByMove);
        if is_owed && M::guard(Guard::MoveFlushedFirst) {
            cx.flush(self.id(), self.tlb(), old_place);
            cx.count(Event::MovedPage, moved);
        }
        from.set_counted_class(cx, low, low + pages as usize - 1, old_class, pool);
        to.set_counted_class(cx, target_low, target_low + pages as usize - 1, new_class, pool);
        if !M::guard(Guard::MoveFlushedFirst) {
            drop((upper, lower));
            cx.flush(self.id(), self.tlb(), old_place);
        }
    }
}

/// The parts of a move of which `slots` are the old place.
fn pieces<M: Machine>(shift: &Shift, slots: &Slots<'_, M>) -> impl Iterator<Item = Piece> {
    let leaf = 1u64 << (M::Arch::shift(0) + M::Arch::index_bits(0));
    let length = (slots.high - slots.low + 1) as u64 * slots.leaf.span();
    let (old, new) = (slots.start, shift.new + (slots.start - shift.old));
    // At most two: the new place of what one leaf can show lies in at most two.
    let first = length.min(leaf - (new & (leaf - 1)));
    let rest = Piece { old: old + first, new: new + first, length: length - first };
    [Piece { old, new, length: first }, rest].into_iter().filter(|piece| piece.length > 0)
}

impl<M: Machine> Inner<M> {
    /// Removes those entries of a piece that show what is being cut off, or out of, the object of `class`, which the piece
    /// is about to get. So truncation, which finds an entry neither at its old place nor at the new one if it looks first at this and
    /// then at that, has nothing to find: who sees here, under the locks of both leaves, that nothing is being cut has
    /// moved before truncation comes to the new place (F11).
    fn leave_cut<'a>(&self, cx: &'a Cx<'_, M>, from: &Locked<'a, M>, piece: Piece, class: ClassId) {
        if !class.is_stored() {
            return;
        }
        let attributes = cx.attributes(class);
        let Some(object) = attributes.object else { return };
        // SAFETY: the operation holds the class, which has a reference to its object.
        let object = unsafe { object.as_ref() };
        let first = (piece.new >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
        let pages = piece.length >> M::Arch::PAGE_SHIFT;
        let (kept, hole) = (object.uncut(first, pages), object.hole_within(first, pages));
        if kept == pages && hole.is_empty() {
            return;
        }
        let low = from.table.index(piece.old);
        let address = |page: u64| piece.old + (page << M::Arch::PAGE_SHIFT);
        let slot = |page: u64| low + page as usize;
        let mut gather = Gather::new(cx, self.id(), self.tlb());
        if kept < pages && M::guard(Guard::CutLeftBehind) {
            zap(cx, self, from, slot(kept), slot(pages) - 1, address(kept), &mut gather);
        }
        if !hole.is_empty() && M::guard(Guard::HoleLeftBehind) {
            zap_shown(cx, self, from, slot(hole.start), slot(hole.end) - 1, address(hole.start), &mut gather);
        }
        gather.finish();
    }
}

/// Notes what an entry on its way says of stores to a page of an object: a write-back whose walk meets the entry neither
/// at its old place nor at the new one finds it with the page (B22).
fn note_store<M: Machine>(cx: &Cx<'_, M>, word: Word<M::Arch>) {
    if !word.is_page() || !word.bits().has(PageBits::DIRTY) {
        return;
    }
    let frame = cx.vm().physical().folio(word.pfn());
    if frame.is_kind(Kind::File) && M::guard(Guard::MovedDirtyNoted) {
        object::mark_dirty(frame);
    }
}
