//! Private memory that was never stored to: it moves without a trace of where it was.
//!
//! Pages that move keep their names, so what they move with says how far it was moved, and is not one with memory that
//! is mapped beside it afresh. Where there are no pages, nothing need say so. But a fault may bring the first page at
//! any moment: so the old place is looked at leaf by leaf, under each one's lock, and goes at once where there is none.
//! A fault that comes later finds nothing, as after the move. If a page turns up further on, the rest moves as all
//! others do.

use super::apply::zap;
use super::cursor::Slots;
use super::shift::Shift;
use super::table::Table;
use super::{ClassId, Inner, Spares};
use crate::arch::{PageBits, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::tlb::Gather;
use crate::vm::Vm;

impl<M: Machine> Inner<M> {
    /// Removes the old place of a move from all leaves, unless it is to stay, as long as no page is there; whether none
    /// was. The zero page is none. The commit has begun, so no leaves come.
    ///
    /// If the old place is to stay, what is faulted in there meanwhile stays with it, as after the move.
    pub(crate) fn vacate(&self, vm: &Vm<M>, shift: &Shift, pool: &mut Spares) -> bool {
        let range = (shift.old, shift.old + shift.length);
        let mut here = range.0;
        while here < range.1 {
            let cx = Cx::enter(vm);
            // A leaf at once, as its classes change.
            let mut cursor = self.cursor_over(&cx, range, here).by_leaves();
            while let Some(slots) = cursor.next_leaf() {
                if !self.vacate_slots(&cx, &slots, shift, pool) {
                    return false;
                }
                cursor.spend(slots.leaf.used());
            }
            here = cursor.here();
        }
        true
    }

    fn vacate_slots(&self, cx: &Cx<'_, M>, slots: &Slots<'_, M>, shift: &Shift, pool: &mut Spares) -> bool {
        let Slots { leaf, low, high, start } = *slots;
        let too_early = if M::guard(Guard::VacantUnderLock) { None } else { Some(is_vacant(&leaf, low, high)) };
        let Some(locked) = leaf.lock(cx, self, start) else { return true };
        // What was there may still be reached as long as it is to be flushed.
        let is_owed = locked.has_pending_flush(Guard::SettledByMove);
        if is_owed || !too_early.unwrap_or_else(|| is_vacant(&leaf, low, high)) {
            return false;
        }
        // Of an upper table all classes change at once, later, and no page comes there meanwhile, as it is claimed.
        if shift.old_class == ClassId::NONE && leaf.level == 0 {
            let mut gather = Gather::new(cx, self.id(), self.tlb());
            zap(cx, self, &locked, low, high, start, &mut gather);
            gather.finish();
            locked.set_counted_class(cx, low, high, ClassId::NONE, pool);
        }
        true
    }
}

/// Whether the slots `low..=high` show no pages.
fn is_vacant<M: Machine>(table: &Table<'_, M>, low: usize, high: usize) -> bool {
    let is_zero = |word: Word<M::Arch>| word.is_empty() || word.is_page() && word.bits().has(PageBits::SPECIAL);
    (low..=high).all(|slot| is_zero(table.page(slot)))
}
