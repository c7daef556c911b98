//! The end of a space: nobody can reach it any more, so pages and tables go without locks, claims or grace periods.

use super::apply::rss_kind;
use super::table::Table;
use super::{Inner, RssKind, Runs};
use crate::arch::{Arch, PageBits, index, table_order};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, Dying};
use crate::phys::{FreeBatch, Kind};
use crate::stat::Event;
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;

/// Lowest tables torn down within one stretch without pre-emption.
const TABLES_PER_SECTION: usize = 64;

/// The end of a space in progress.
struct Teardown<'a, M: Machine> {
    freed: FreeBatch<'a, M>,
    /// Resident pages that went, by kind.
    gone: [u64; RssKind::COUNT],
    tables: u64,
    /// Lowest tables left in this section.
    budget: usize,
}

impl<M: Machine> Inner<M> {
    /// Frees everything the space consists of, but the structure itself. The objects that came to their end by that: they
    /// are written back when this is over, so that who waits for it waits for no device.
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
        loop {
            let cx = Cx::enter(vm);
            let mut teardown = Teardown {
                freed: FreeBatch::new(&cx),
                gone: [0; RssKind::COUNT],
                tables: 0,
                budget: TABLES_PER_SECTION,
            };
            let root = self.root_table(&cx);
            let last = index::<M::Arch>(M::Arch::USER_END - 1, root.level);
            let done = teardown.slots(&cx, root, last);
            if done {
                teardown.free_table(&cx, root);
            }
            teardown.account(&cx, self);
            drop(teardown);
            dying.adopt(cx.dying());
            if done {
                break;
            }
        }
        vm.spaces().ends().finish(vm);
        dying
    }
}

impl<M: Machine> Teardown<'_, M> {
    /// Ends what the slots up to `last` of `table` name; whether nothing was left for lack of budget. Where it stopped
    /// is kept in the claim word, which nobody claims any more.
    fn slots(&mut self, cx: &Cx<'_, M>, table: Table<'_, M>, last: usize) -> bool {
        let runs = table.runs(cx);
        // Slots below the cursor were dealt with in an earlier section.
        let first = table.frame.halves[1].load(Relaxed) as usize;
        for index in first..=last {
            table.frame.halves[1].store(index as u32, Relaxed);
            let Some(child) = table.child(cx, index) else {
                cx.release_class(runs.class(index), 1);
                continue;
            };
            if child.level == 0 {
                if self.budget == 0 {
                    return false;
                }
                self.budget -= 1;
                self.pages(cx, child);
                self.classes(cx, &child);
            } else if !self.slots(cx, child, child.len() - 1) {
                return false;
            }
            self.free_table(cx, child);
        }
        true
    }

    /// Unmaps the pages of a leaf.
    fn pages(&mut self, cx: &Cx<'_, M>, leaf: Table<'_, M>) {
        let mut left = leaf.used();
        let mut index = 0;
        while left > 0 {
            let word = leaf.slot(index).load(Relaxed);
            index += 1;
            if word == 0 {
                continue;
            }
            left -= 1;
            self.page(cx, word);
        }
    }

    /// Drops one mapping.
    #[inline(always)]
    fn page(&mut self, cx: &Cx<'_, M>, word: u64) {
        if !M::Arch::is_page(word) {
            if let Some(kind) = cx.end_absent(word, &mut self.freed) {
                self.gone[kind as usize] += 1;
            }
            return;
        }
        let pfn = M::Arch::pfn(word);
        let frame = cx.vm().physical().frame(pfn);
        if frame.is_kind(Kind::Anonymous) {
            self.gone[RssKind::Anonymous as usize] += 1;
        } else {
            let bits = M::Arch::page_bits(word);
            if bits.has(PageBits::SPECIAL) {
                return;
            }
            self.gone[rss_kind(cx, pfn) as usize] += 1;
            if bits.has(PageBits::DIRTY) {
                object::mark_dirty(frame);
            }
        }
        if cx.drop_page_mapping(pfn) {
            self.freed.add(pfn);
        }
    }

    /// Gives up the classes of a leaf's slots.
    fn classes(&mut self, cx: &Cx<'_, M>, leaf: &Table<'_, M>) {
        let runs = leaf.runs(cx);
        let mut slot = 0;
        while slot < leaf.len() {
            let (class, end) = runs.run(slot, leaf.len());
            cx.release_class(class, (end - slot) as u64);
            slot = end;
        }
    }

    /// Frees a table, which may still hold entries.
    fn free_table(&mut self, cx: &Cx<'_, M>, table: Table<'_, M>) {
        Runs::clear(cx, table.frame);
        debug_assert_eq!(table.frame.order(), table_order::<M::Arch>(table.level));
        cx.free_frame(table.pfn);
        self.tables += 1;
    }

    fn account(&mut self, cx: &Cx<'_, M>, space: &Inner<M>) {
        for (kind, pages) in RssKind::ALL.into_iter().zip(self.gone) {
            space.add_rss(cx, kind, -(pages as i64));
        }
        cx.count(Event::Unmapped, self.gone[..RssKind::Swap as usize].iter().sum());
        cx.count(Event::TableFree, self.tables);
    }
}

impl<M: Machine> Inner<M> {
    /// Calls `visit` with every table and an address it covers, parents first. The caller is in a read-side section;
    /// exact at quiescence.
    pub(crate) fn each_table<'a>(&self, cx: &'a Cx<'_, M>, visit: &mut dyn FnMut(Table<'a, M>, u64)) {
        let root = self.root_table(cx);
        let last = index::<M::Arch>(M::Arch::USER_END - 1, root.level);
        each_below(cx, root, 0, last, visit);
    }
}

fn each_below<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    table: Table<'a, M>,
    base: u64,
    last: usize,
    visit: &mut dyn FnMut(Table<'a, M>, u64),
) {
    visit(table, base);
    if table.level == 0 {
        return;
    }
    for index in 0..=last {
        if let Some(child) = table.child(cx, index) {
            let below = base + ((index as u64) << M::Arch::shift(table.level));
            each_below(cx, child, below, child.len() - 1, visit);
        }
    }
}
