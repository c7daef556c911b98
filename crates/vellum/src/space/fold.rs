//! Giving empty page tables back, in a live space.
//!
//! A table without entries whose slots are all of one class says no more than one slot of its parent can: the class
//! goes there, the table is unlinked and marked stale under both locks, its translations are flushed, and it is freed
//! after a grace period.

use super::claim::{Claim, clear};
use super::table::Table;
use super::{Inner, Runs, Spares};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::stat::Event;
use crate::tlb::Gather;

/// Folds `child`, which covers `address`, into its slot of `parent`, if it is empty and of one class. The caller has
/// claimed the slot, or the range of the whole child.
pub(crate) fn fold_child<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    parent: &Table<'a, M>,
    child: &Table<'a, M>,
    address: u64,
    spares: &mut Spares,
    gather: &mut Gather<'a, M>,
) -> bool {
    if child.used() != 0 {
        return false;
    }
    let index = parent.index(address);
    let Some(upper) = parent.lock(cx, space, address) else { return false };
    let Some(lower) = child.lock(cx, space, address) else { return false };
    let Some(class) = lower.uniform_class() else { return false };
    let is_used = M::guard(Guard::EmptyUnderLock) && child.used() != 0;
    if is_used || M::Arch::table_of(parent.entry(index)) != Some(child.pfn) {
        return false;
    }
    if parent.class(cx, index) != class {
        if Runs::needs_spare(cx, parent.frame, parent.len(), index, index) {
            return false;
        }
        upper.set_class(cx, index, index, class, Some(spares));
    }
    // Whoever maps something in these addresses next does not see this leaf, which says that they are to be flushed
    // first.
    gather.touch_pending(&lower, Guard::SettledByFold, child.base(address), child.len() as u64);
    lower.set_stale();
    upper.take(index);
    cx.release_class(class, child.len() as u64 - 1);
    cx.count(Event::TableFree, 1);
    gather.add_table(child.pfn, address);
    true
}

impl<M: Machine> Claim<'_, M> {
    /// Folds the claimed table, and those above it that become empty by that, as long as nobody else has claims there.
    pub(crate) fn fold<'a>(&mut self, cx: &'a Cx<'_, M>, gather: &mut Gather<'a, M>) {
        loop {
            let table = self.table(cx);
            if table.level == M::Arch::LEVELS - 1 || table.used() != 0 || Runs::uniform(table.frame).is_none() {
                return;
            }
            let Some(parent) = self.move_up(cx) else { return };
            fold_child(cx, self.space, &parent, &table, self.start, &mut Spares::default(), gather);
            clear(cx.vm(), table.pfn);
        }
    }

    /// [`Claim::fold`] with a flush of its own.
    pub(crate) fn fold_now(&mut self, cx: &Cx<'_, M>) {
        let mut gather = Gather::new(cx, self.space.id(), self.space.tlb());
        self.fold(cx, &mut gather);
    }

    /// Folds the tables on the ways to both ends of the range that are not needed, after an operation which failed.
    pub(crate) fn tidy(&mut self, cx: &Cx<'_, M>) {
        self.tidy_part(cx);
        self.fold_now(cx);
    }

    /// [`Claim::tidy`] below the claimed table.
    pub(crate) fn tidy_part(&self, cx: &Cx<'_, M>) {
        // No fault puts a table where one was unlinked before the flush for that (B17).
        self.begin_commit();
        let mut gather = Gather::new(cx, self.space.id(), self.space.tlb());
        for address in [self.start, self.end - 1] {
            loop {
                let child = self.space.lowest(cx, address);
                if child.level >= self.table(cx).level {
                    break;
                }
                let parent = self.space.table_at(cx, address, child.level + 1);
                if !fold_child(cx, self.space, &parent, &child, address, &mut Spares::default(), &mut gather) {
                    break;
                }
            }
        }
    }
}
