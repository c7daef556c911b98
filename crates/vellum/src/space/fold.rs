//! Giving empty page tables back, in a live space.
//!
//! A table without entries whose slots are all of one class says no more than one slot of its parent can: the class
//! goes there, the table is unlinked and marked stale under both locks, its translations are flushed, and it is freed
//! after a grace period. Leaves that an operation is about to empty may go with their entries: see [`super::detach`].

use super::apply::{ClassChange, Fold, PageChange};
use super::claim::{Claim, clear};
use super::collapse::undo_cut;
use super::table::{Locked, Table};
use super::{ClassId, Inner, Runs, Spares};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::stat::Event;
use crate::tlb::Gather;
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;

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
    if is_used || !may_unlink(cx, parent, index, child, class) {
        return false;
    }
    // Whoever maps something in these addresses next does not see this leaf, which says that they are to be flushed
    // first.
    gather.touch_pending(&lower, Guard::SettledByFold, child.base(address), child.len() as u64);
    unlink(cx, &upper, index, &lower, class, spares);
    gather.add_table(child.pfn, address);
    true
}

/// Whether slot `index` of `parent`, which is locked, names `child` and can say `class` instead.
pub(super) fn may_unlink<M: Machine>(
    cx: &Cx<'_, M>,
    parent: &Table<'_, M>,
    index: usize,
    child: &Table<'_, M>,
    class: ClassId,
) -> bool {
    let can_say = parent.class(cx, index) == class || !Runs::needs_spare(cx, parent.frame, parent.len(), index, index);
    can_say && parent.entry(index).table() == Some(child.pfn)
}

/// Takes a table whose slots are all of `class` out of slot `index` of the one above, which says that from now on. See
/// [`may_unlink`]. The flush for it is the caller's to do, before the table is retired.
pub(super) fn unlink<M: Machine>(
    cx: &Cx<'_, M>,
    upper: &Locked<'_, M>,
    index: usize,
    lower: &Locked<'_, M>,
    class: ClassId,
    spares: &mut Spares,
) {
    if upper.table.class(cx, index) != class {
        upper.set_class(cx, index, index, class, Some(spares));
    }
    lower.set_stale();
    upper.take(index);
    cx.release_class(class, lower.table.len() as u64 - 1);
    cx.count(Event::TableFree, 1);
}

/// In [`Inner::emptied`]: the table was left where it is. Bits of an address within a page are free.
const KEPT: u64 = 1;

/// What became of the table in which a range was unmapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emptied {
    /// It has other slots, or is the root.
    No,
    /// It has been given back.
    Folded,
    /// It is empty.
    Left,
}

/// Where the leaf begins that covers `address`: so the place is named at which a CPU has emptied a table.
fn leaf_of<A: Arch>(address: u64) -> u64 {
    address & !((1 << (A::shift(0) + A::index_bits(0))) - 1)
}

impl<M: Machine> Inner<M> {
    /// Gives back the leaf that covers `address` and was emptied by a short operation, and what is above it, if it is
    /// still empty and [`Inner::note_emptied`] does not keep it.
    #[cold]
    pub(crate) fn leaf_emptied(&self, vm: &Vm<M>, address: u64) {
        self.table_emptied(vm, address, Emptied::Left);
    }

    /// After a table at `address` was emptied: notes that, and gives it back if it is there and not to be kept.
    pub(crate) fn table_emptied(&self, vm: &Vm<M>, address: u64, emptied: Emptied) {
        if emptied != Emptied::No && !self.note_emptied(vm, address) && emptied == Emptied::Left {
            self.fold_leaf(vm, address);
        }
    }

    /// Whether the table that this CPU emptied last was at `address`, too.
    fn has_emptied(&self, cx: &Cx<'_, M>, address: u64) -> bool {
        let last = self.emptied(cx).load(Relaxed);
        // Where the first leaf begins at 0 it is never kept: 0 is none.
        last & !KEPT == leaf_of::<M::Arch>(address) && last != 0
    }

    /// Notes that this CPU has emptied a table at `address`; whether that stays. It does if the CPU emptied one there
    /// the last time, too, until it empties another one: who maps and unmaps a page, or a GiB, far from all others,
    /// again and again, does not make the tables each time.
    fn note_emptied(&self, vm: &Vm<M>, address: u64) -> bool {
        let leaf = leaf_of::<M::Arch>(address);
        let last = {
            let cx = Cx::enter(vm);
            let (again, last) = (self.has_emptied(&cx, address), self.emptied(&cx).load(Relaxed));
            self.emptied(&cx).store(if again { leaf | KEPT } else { leaf }, Relaxed);
            if again {
                return true;
            }
            last
        };
        if last & KEPT != 0 {
            self.fold_leaf(vm, last & !KEPT);
        }
        false
    }

    /// Folds the lowest table that covers `address` and what is above it, if it is empty.
    pub(super) fn fold_leaf(&self, vm: &Vm<M>, address: u64) {
        let page = address.max(M::Arch::USER_START);
        let mut claim = Claim::acquire(vm, self, page, page + (1 << M::Arch::PAGE_SHIFT));
        claim.fold_now(&Cx::enter(vm));
        claim.release();
    }
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

    /// Whether the claimed table, which is not the root, could be folded.
    fn has_emptied(&self, cx: &Cx<'_, M>) -> bool {
        let table = self.table(cx);
        table.level < M::Arch::LEVELS - 1 && table.used() == 0 && Runs::uniform(table.frame).is_some()
    }

    /// Unmaps the whole claimed range, as [`Claim::apply`] does: what became of the claimed table. It is left for now
    /// if this CPU emptied it the last time, too.
    pub(crate) fn apply_unmap(&mut self, vm: &Vm<M>, spares: Spares) -> Emptied {
        let level = self.level;
        let fold = if self.space.has_emptied(&Cx::enter(vm), self.start) { Fold::Below } else { Fold::Whole };
        self.apply(vm, ClassChange::Set(ClassId::NONE), PageChange::Zap, spares, fold);
        if level != self.level {
            Emptied::Folded
        } else if self.has_emptied(&Cx::enter(vm)) {
            Emptied::Left
        } else {
            Emptied::No
        }
    }

    /// Folds the tables on the ways to both ends of the range that are not needed, after an operation which failed, and
    /// puts the huge pages together that were cut there.
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
            self.rejoin_at(cx, address);
        }
    }

    /// Puts the huge page together in which `address` was, if it was cut for an operation which failed. Where the claim
    /// itself is in a leaf, none was.
    fn rejoin_at(&self, cx: &Cx<'_, M>, address: u64) {
        if self.level > 0 && self.space.lowest(cx, address).level == 0 {
            undo_cut(cx, self.space, address);
        }
    }

    /// As [`Claim::tidy_part`], of an operation that may have cut all huge pages of the range, and has folded what is
    /// empty. A section for each.
    pub(crate) fn rejoin_all(&self, vm: &Vm<M>) {
        let mut here = self.start;
        while here < self.end && self.level > 0 {
            let leaf = self.space.each_leaf(vm, (here, self.end), &mut |_, slots| match slots.leaf.level {
                0 => ControlFlow::Break(slots.start),
                _ => ControlFlow::Continue(()),
            });
            let Some(address) = leaf.break_value() else { return };
            self.rejoin_at(&Cx::enter(vm), address);
            here = (address | ((1 << M::Arch::shift(1)) - 1)).saturating_add(1);
        }
    }
}
