//! Moving the pages of a range to another place.
//!
//! Leaf by leaf: under the locks of both leaves the entries move, the classes of both places change, and the old
//! translations are flushed before the locks go (B7, B8). So at any moment a page is at one of the two places, and a
//! fault finds the class that belongs to it.
//!
//! Huge pages move in the same way, with the entries of upper tables, if the new place is one for a huge page, too, and
//! has no lower table; else they become small ones before anything moves ([`upper`]).

mod upper;

use super::apply::{zap, zap_shown};
use super::cursor::{Begun, Slots, Step};
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

/// A part of a move in one table on each side, of one level.
#[derive(Clone, Copy)]
struct Piece {
    old: u64,
    new: u64,
    length: u64,
}

impl<M: Machine> Inner<M> {
    /// Makes the tables at the new place for all that is at the old one: leaves for pages, and what huge pages need
    /// that move as such. The others become small ones. The commit has begun, so no more come.
    pub(crate) fn make_tables(&self, vm: &Vm<M>, shift: &Shift) -> Result<(), Error> {
        let range = (shift.old, shift.old + shift.length);
        let made = self.each_leaf(vm, range, &mut |cx, slots| match self.make_tables_for(cx, shift, slots) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        });
        made.break_value().map_or(Ok(()), Err)
    }

    fn make_tables_for(&self, cx: &Cx<'_, M>, shift: &Shift, slots: &Slots<'_, M>) -> Result<(), Error> {
        if slots.leaf.level > 0 {
            if self.make_way_for_huge(cx, shift, slots)? {
                return Ok(());
            }
            self.make_table(cx, slots.start, 0)?;
        }
        pieces(shift, slots).try_for_each(|piece| self.make_table(cx, piece.new, 0))
    }

    /// Makes tables on the way to `address` down to one of `level`, unless there are.
    fn make_table(&self, cx: &Cx<'_, M>, address: u64, level: usize) -> Result<(), Error> {
        loop {
            let table = self.lowest(cx, address);
            if table.level <= level {
                return Ok(());
            }
            let class = table.class(cx, table.index(address));
            self.make_child(cx, table, address, class, Maker::Owner)?;
        }
    }

    /// Moves all pages and changes the classes of both places, where there are leaves or huge pages. The commit has
    /// begun, and the tables are there. Other upper slots without a lower table have no pages and get none: the caller
    /// changes them afterwards, all those of a table at once, which needs no side array.
    pub(crate) fn shift_pages(&self, vm: &Vm<M>, shift: &Shift, pool: &mut Spares) {
        let range = (shift.old, shift.old + shift.length);
        let (mut here, mut begun) = (range.0, Begun::default());
        while here < range.1 {
            let cx = self.enter_between_walks(vm);
            let mut cursor = self.cursor_over(&cx, range, here).by_leaves();
            while let Some(step) = cursor.next() {
                match step {
                    Step::Down(table) if shift.may_have_huge(&table) => {
                        if let Some(slots) = cursor.part_of(&table, &mut begun) {
                            self.shift_upper(&cx, &table, (cursor.here(), slots), shift, pool);
                        }
                        if begun.is_more() {
                            break;
                        }
                    }
                    Step::Leaf(slots) if slots.leaf.level == 0 => {
                        for piece in pieces(shift, &slots) {
                            let tables = (Table::at(&cx, slots.leaf.pfn, 0), self.lowest(&cx, piece.new));
                            self.shift_piece(&cx, tables, piece, shift, pool);
                        }
                        break;
                    }
                    _ => {}
                }
            }
            here = cursor.here();
        }
    }

    /// Moves one piece, from one table to another.
    #[inline(always)]
    fn shift_piece(
        &self,
        cx: &Cx<'_, M>,
        (source, target): (Table<'_, M>, Table<'_, M>),
        piece: Piece,
        shift: &Shift,
        pool: &mut Spares,
    ) {
        debug_assert_eq!(source.level, target.level, "there is no table where a page is moved to");
        if source.level != target.level {
            return;
        }
        let one_table = source.pfn == target.pfn;
        // Two tables of a level are locked in the order of their addresses.
        let is_upwards = piece.old < piece.new;
        let (first, second) = if is_upwards { (source, target) } else { (target, source) };
        let Some(lower) = first.lock(cx, self, piece.old.min(piece.new)) else { return };
        let upper = if one_table { None } else { second.lock(cx, self, piece.old.max(piece.new)) };
        let (from, to) = match &upper {
            None if one_table => (&lower, &lower),
            None => return,
            Some(upper) if is_upwards => (&lower, upper),
            Some(upper) => (upper, &lower),
        };
        self.leave_cut(cx, from, piece, shift.new_class);
        let moved = self.shift_entries(cx, from, to, piece);
        let old_place = Flush { start: piece.old, pages: piece.length >> M::Arch::PAGE_SHIFT, tables_freed: false };
        let is_owed = moved > 0 || from.has_pending_flush(Guard::SettledByMove);
        if is_owed && M::guard(Guard::MoveFlushedFirst) {
            cx.flush(self.id(), self.tlb(), old_place);
            cx.count(Event::MovedPage, moved * source.pages());
        }
        shift.set_classes(cx, from, to, piece, pool);
        if !M::guard(Guard::MoveFlushedFirst) {
            drop((upper, lower));
            cx.flush(self.id(), self.tlb(), old_place);
        }
    }

    /// Moves the entries of a piece; how many.
    #[inline(always)]
    fn shift_entries(&self, cx: &Cx<'_, M>, from: &Locked<'_, M>, to: &Locked<'_, M>, piece: Piece) -> u64 {
        let (source, target) = (from.table, to.table);
        let (low, high, target_low) =
            (source.index(piece.old), source.index(piece.old + (piece.length - 1)), target.index(piece.new));
        let mut moved = 0;
        self.moves_begun.fetch_add(1, SeqCst);
        for slot in low..=high {
            let to_slot = target_low + (slot - low);
            if !source.page(slot).is_empty() && target.is_childless(to_slot) {
                let word = from.take(slot);
                note_store(cx, word);
                to.install(to_slot, word);
                moved += 1;
            }
        }
        self.moves_done.fetch_add(1, SeqCst);
        moved
    }
}

impl Shift {
    /// Gives the slots of a piece, on both sides, the classes that they are to have.
    #[inline(always)]
    fn set_classes<M: Machine>(
        &self,
        cx: &Cx<'_, M>,
        from: &Locked<'_, M>,
        to: &Locked<'_, M>,
        piece: Piece,
        pool: &mut Spares,
    ) {
        let last = piece.length - 1;
        let low = first_slot(&from.table, piece.old, self.old);
        from.set_counted_class(cx, low, from.table.index(piece.old + last), self.old_class, pool);
        let low = first_slot(&to.table, piece.new, self.new);
        to.set_counted_class(cx, low, to.table.index(piece.new + last), self.new_class, pool);
    }
}

/// The first slot of a table whose class changes with that of `address`, in a move from, or to, `start` on. Of a leaf
/// that is its own. In an upper table those before it go along which have no pages: so it never has more than one run
/// more than before.
#[inline(always)]
fn first_slot<M: Machine>(table: &Table<'_, M>, address: u64, start: u64) -> usize {
    table.index(if table.level == 0 { address } else { table.base(address).max(start) })
}

/// The parts of a move of which `slots` are the old place.
fn pieces<M: Machine>(shift: &Shift, slots: &Slots<'_, M>) -> impl Iterator<Item = Piece> {
    let leaf = 1u64 << (M::Arch::shift(0) + M::Arch::index_bits(0));
    let (old, new) = (slots.start, shift.new + (slots.start - shift.old));
    // Of a huge page that is to be cut all may be there, of which a part moves.
    let all = (slots.high - slots.low + 1) as u64 * slots.leaf.span();
    let length = all.min(shift.old + shift.length - old);
    // At most two: the new place of what one leaf can show lies in at most two.
    let first = length.min(leaf - (new & (leaf - 1)));
    let rest = Piece { old: old + first, new: new + first, length: length - first };
    [Piece { old, new, length: first }, rest].into_iter().filter(|piece| piece.length > 0)
}

impl<M: Machine> Inner<M> {
    /// Removes those entries of a piece that show what is being cut off, or out of, the object of `class`, which the
    /// piece is about to get. So truncation, which finds an entry neither at its old place nor at the new one if it
    /// looks first at this and then at that, has nothing to find: who sees here, under the locks of both leaves, that
    /// nothing is being cut has moved before truncation comes to the new place (F11).
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
        if from.table.level > 0 {
            return self.leave_cut_huge(cx, from, piece, object, first);
        }
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

/// Notes what an entry on its way says of stores to a page of an object: a write-back whose walk meets the entry
/// neither at its old place nor at the new one finds it with the page (B22).
fn note_store<M: Machine>(cx: &Cx<'_, M>, word: Word<M::Arch>) {
    if !word.is_page() || !word.bits().has(PageBits::DIRTY) {
        return;
    }
    let frame = cx.vm().physical().folio(word.pfn());
    if frame.is_kind(Kind::File) && M::guard(Guard::MovedDirtyNoted) {
        object::mark_dirty(frame);
    }
}
