//! Moving huge pages as wholes.
//!
//! Where the old and the new place lie alike in the places of huge pages, the entry of an upper table goes from one to
//! the other as that of a leaf does: taken, flushed and installed under the locks of both tables, whatever it says of
//! the page, so that reverse mapping finds it as it finds small ones. Nothing is allocated for it but upper tables,
//! before anything moves.
//!
//! What decides is seen when the tables of both places are frozen, and stays so: no fault, and nobody who works on a
//! folio, puts a table there, no huge page comes into a claimed place, and collapse has claims of its own. Those claims
//! are above the leaves, as there are none. Where the new place has a lower table, of what is replaced there, a huge
//! page becomes small ones.

use super::{Piece, Shift};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::space::apply::zap;
use crate::space::cursor::Slots;
use crate::space::table::{Locked, Table};
use crate::space::{Inner, Spares};
use crate::tlb::Gather;

impl Shift {
    /// Whether huge pages, in tables with slots of so many bytes, may move as wholes.
    pub(crate) fn keeps(&self, span: u64) -> bool {
        (self.old ^ self.new) & (span - 1) == 0 && self.length >= span
    }

    /// Whether the table, at the old place, may have huge pages that move as wholes.
    #[inline(always)]
    pub(super) fn may_have_huge<M: Machine>(&self, table: &Table<'_, M>) -> bool {
        table.level > 0 && table.level <= M::Arch::HUGE_LEVEL && self.keeps(table.span())
    }

    /// Whether a slot that begins at `start`, at the old place, moves as a whole.
    fn has_whole(&self, start: u64, span: u64) -> bool {
        let is_whole = start & (span - 1) == 0 && start >= self.old;
        is_whole && self.keeps(span) && start - self.old <= self.length - span
    }
}

impl<M: Machine> Inner<M> {
    /// Makes the tables at the new place that the huge page of `slots` needs to move as one; whether it can.
    pub(super) fn make_way_for_huge(&self, cx: &Cx<'_, M>, shift: &Shift, slots: &Slots<'_, M>) -> Result<bool, Error> {
        let level = slots.leaf.level;
        if !shift.has_whole(slots.start, slots.leaf.span()) {
            return Ok(false);
        }
        let new = shift.new + (slots.start - shift.old);
        self.make_table(cx, new, level)?;
        Ok(self.lowest(cx, new).level == level)
    }

    /// Moves the huge pages of some slots of an upper table in which `here` is, at the old place.
    pub(super) fn shift_upper(
        &self,
        cx: &Cx<'_, M>,
        table: &Table<'_, M>,
        (here, (low, high)): (u64, (usize, usize)),
        shift: &Shift,
        pool: &mut Spares,
    ) {
        let (base, span) = (table.base(here), table.span());
        let mut old = (base + low as u64 * span).max(shift.old);
        let end = (base + (high as u64 + 1) * span).min(shift.old + shift.length);
        while old < end {
            let new = shift.new + (old - shift.old);
            // As far as one table goes at the new place.
            let length = (end - old).min(table.len() as u64 * span - (new - table.base(new)));
            let piece = Piece { old, new, length };
            old += length;
            if table.own_entries(table.index(piece.old), table.index(old - 1) + 1).next().is_some() {
                self.shift_piece(cx, (*table, self.table_at(cx, new, table.level)), piece, shift, pool);
            }
        }
    }

    /// As [`Inner::leave_cut`], of the huge pages of a piece, which shows `object` from page `first` on: one of which a
    /// part goes is removed whole, as truncation does it, since faults bring the rest back.
    pub(super) fn leave_cut_huge<'a>(
        &self,
        cx: &'a Cx<'_, M>,
        from: &Locked<'a, M>,
        piece: Piece,
        object: &object::Inner<M>,
        first: u64,
    ) {
        let (table, pages) = (&from.table, from.table.pages());
        let end = table.index(piece.old + (piece.length - 1)) + 1;
        let mut gather = Gather::new(cx, self.id(), self.tlb());
        for slot in table.own_entries(table.index(piece.old), end) {
            let start = table.base(piece.old) + slot as u64 * table.span();
            // The edges of a piece may lie within slots that have lower tables.
            let first = first.wrapping_add((start.wrapping_sub(piece.old) as i64 >> M::Arch::PAGE_SHIFT) as u64);
            let is_whole = object.uncut(first, pages) == pages && object.hole_within(first, pages).is_empty();
            if !is_whole && M::guard(Guard::HugeLeftBehind) {
                zap(cx, self, from, slot, slot, start, &mut gather);
            }
        }
        gather.finish();
    }
}
