//! The end of a space: nobody can reach it any more, so pages and tables go without locks, claims or grace periods.

use super::cursor::{Begun, Cursor, Slots, Step};
use super::gone::Gone;
use super::table::Table;
use super::{ClassId, Inner, Runs};
use crate::arch::{Arch, table_order};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::Dying;
use crate::stat::Event;
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;

/// What it is to end a table, in entries.
const TABLE: usize = 8;

/// The end of a space in progress.
struct Teardown<'a, M: Machine> {
    gone: Gone<'a, M>,
    tables: u64,
}

impl<M: Machine> Inner<M> {
    /// Frees everything the space consists of, but the structure itself. The objects that came to their end by that:
    /// they are written back when this is over, so that who waits for it waits for no device.
    pub(super) fn end(&self, vm: &Vm<M>) -> Dying<M> {
        let dying = Dying::new();
        {
            let cx = Cx::enter(vm);
            self.begin_end(&cx);
            if M::guard(Guard::WalksEndFirst) {
                self.end_walks(&cx);
            }
            // From here on no CPU can use its translations: identities are never reused, so what identifiers of
            // CPUs still tag is dead, and no flush is owed for any page (J10).
            if M::guard(Guard::LeaveBeforeFree) {
                cx.detach_all(self.id(), self.tlb());
            }
        }
        let (mut here, mut begun) = (M::Arch::USER_START, Begun::default());
        loop {
            let cx = Cx::enter(vm);
            let mut teardown = Teardown { gone: Gone::new(&cx), tables: 0 };
            let root = self.root_table(&cx);
            let mut cursor = self.cursor_over_all(&cx, here).by_plain_leaves();
            teardown.section(&cx, &mut cursor, &mut begun);
            let is_done = cursor.is_through();
            here = cursor.here();
            if is_done {
                teardown.free_table(&cx, root);
            }
            teardown.account(&cx, self);
            dying.adopt(cx.dying());
            if is_done {
                break;
            }
        }
        vm.spaces().ends().finish(vm);
        dying
    }
}

impl<M: Machine> Teardown<'_, M> {
    /// Ends what the cursor comes to. Tables go when it leaves them, so those on its way are there when another goes
    /// on.
    fn section(&mut self, cx: &Cx<'_, M>, cursor: &mut Cursor<'_, '_, M>, begun: &mut Begun) {
        while let Some(step) = cursor.next() {
            match step {
                Step::Down(table) if table.level > 0 => {
                    if let Some(slots) = cursor.part_of(&table, begun) {
                        self.classes(cx, &table, slots);
                        if begun.is_more() {
                            return;
                        }
                    }
                }
                Step::Down(_) => {}
                Step::Leaf(slots) => {
                    cursor.spend_all(&slots.leaf, slots.high - slots.low + 1);
                    self.pages(cx, &slots);
                    // Those of an upper table went with it.
                    if slots.leaf.level == 0 {
                        self.classes(cx, &slots.leaf, (slots.low, slots.high));
                    }
                }
                Step::Up { child, .. } => {
                    cursor.spend(TABLE);
                    self.free_table(cx, child);
                }
            }
        }
    }

    /// Gives up the classes of a table's slots.
    fn classes(&mut self, cx: &Cx<'_, M>, table: &Table<'_, M>, (low, high): (usize, usize)) {
        table.each_class(cx, low, high, &mut |class, slots| table.end_slots(cx, class, ClassId::NONE, slots));
    }

    /// Unmaps the pages of slots of a leaf.
    fn pages(&mut self, cx: &Cx<'_, M>, slots: &Slots<'_, M>) {
        let (leaf, used) = (slots.leaf, slots.leaf.used());
        if leaf.level > 0 {
            return self.gone.other(cx, leaf.page(slots.low), leaf.pages());
        }
        if (slots.low, slots.high) == (0, leaf.len() - 1) {
            return self.whole(cx, leaf, used);
        }
        let words = leaf.slots(slots.low, slots.high + 1).iter().map(|slot| slot.load(Relaxed));
        words.filter(|word| !word.is_empty()).take(used).for_each(|word| self.gone.entry(cx, word));
    }

    /// Unmaps the pages of a leaf: most are not full, and in order.
    #[inline(always)]
    fn whole(&mut self, cx: &Cx<'_, M>, leaf: Table<'_, M>, used: usize) {
        let (mut left, mut index) = (used, 0);
        while left > 0 {
            let word = leaf.slot(index).load(Relaxed);
            index += 1;
            // In this order, and apart: most are pages, of which nobody need ask whether they are nothing.
            if let Some(pfn) = word.usual_page() {
                left -= 1;
                self.gone.usual(cx, word, pfn);
            } else if !word.is_empty() {
                left -= 1;
                self.gone.other(cx, word, 1);
            }
        }
    }

    /// Frees a table, which may still hold entries.
    fn free_table(&mut self, cx: &Cx<'_, M>, table: Table<'_, M>) {
        Runs::clear(cx, table.frame);
        debug_assert_eq!(table.frame.order(), table_order::<M::Arch>(table.level));
        cx.free_frame(table.pfn);
        self.tables += 1;
    }

    fn account(self, cx: &Cx<'_, M>, space: &Inner<M>) {
        self.gone.account(cx, space);
        cx.count(Event::TableFree, self.tables);
    }
}
