//! Side arrays that an operation has prepared, so that its commit cannot fail.

use super::table::Table;
use crate::arch::LEVELS_MAX;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;

/// How many arrays are freed in one read-side section.
const PORTION: usize = 64;

/// Side arrays for the tables that an operation changes, by the tables' levels. Must be freed.
///
/// An operation that changes a table once, or part by part from one end to the other, needs one for each table on the
/// ways to its two ends, at most: [`Spares::default`].
///
/// One that changes tables in many steps has a *pool*: one for each table that may need an array and has none. A table
/// which goes back to inline runs gives its array to the pool, and takes one again when its runs do not fit any more.
/// So there are, at any moment, as many arrays in the pool as there are such tables without one, and it cannot run dry.
/// That another table takes an array at once which readers without a lock may still look at does no harm: what they
/// find there are classes that are held, or were when they began; and whose sequence count has changed look again.
#[derive(Default)]
pub(crate) struct Spares {
    /// Those never used: frame + 1 of the first, linked as what waits for a grace period is.
    fresh: [u64; LEVELS_MAX],
    /// Those that tables have given back, which readers may still look at.
    used: [u64; LEVELS_MAX],
    /// How many there are.
    count: usize,
    is_pool: bool,
    /// Whether there are some for tables, too, whose slots in the range all have lower tables.
    pub(super) has_for_full: bool,
}

impl Spares {
    /// None yet; there are to be some for every table on the ways to both ends that may need one.
    pub(super) fn of_edges() -> Self {
        Spares { has_for_full: true, ..Default::default() }
    }

    /// A pool: of none, yet.
    pub(crate) fn pool() -> Self {
        Spares { is_pool: true, ..Default::default() }
    }

    /// Takes one for a table of `level`.
    pub(super) fn take<M: Machine>(&mut self, cx: &Cx<'_, M>, level: usize) -> Option<Pfn> {
        let taken = pop(cx, &mut self.used[level]).or_else(|| pop(cx, &mut self.fresh[level]))?;
        self.count -= 1;
        Some(taken)
    }

    /// Adds one, never used, for a table of `level`.
    pub(super) fn add<M: Machine>(&mut self, cx: &Cx<'_, M>, level: usize, pfn: Pfn) {
        push(cx, &mut self.fresh[level], pfn);
        self.count += 1;
    }

    /// What becomes of the array that a table of `level` has no more use for.
    pub(super) fn give_back<M: Machine>(&mut self, cx: &Cx<'_, M>, level: usize, pfn: Pfn) {
        match self.is_pool {
            true => {
                push(cx, &mut self.used[level], pfn);
                self.count += 1;
            }
            false => cx.retire_table(pfn),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Frees what is left of those for the edges of one range.
    pub(crate) fn free<M: Machine>(&mut self, cx: &Cx<'_, M>) {
        while self.free_one(cx) {}
    }

    /// Frees what is left of a pool, some in each read-side section.
    pub(crate) fn free_pool<M: Machine>(mut self, vm: &Vm<M>) {
        while !self.is_empty() {
            let cx = Cx::enter(vm);
            let _ = (0..PORTION).all(|_| self.free_one(&cx));
        }
    }

    /// Frees one; whether there was one.
    fn free_one<M: Machine>(&mut self, cx: &Cx<'_, M>) -> bool {
        if self.is_empty() {
            return false;
        }
        self.count -= 1;
        if let Some(pfn) = self.fresh.iter_mut().find_map(|first| pop(cx, first)) {
            cx.free_frame(pfn);
            return true;
        }
        let used = self.used.iter_mut().find_map(|first| pop(cx, first));
        used.inspect(|&pfn| cx.retire_table(pfn)).is_some()
    }
}

fn push<M: Machine>(cx: &Cx<'_, M>, first: &mut u64, pfn: Pfn) {
    cx.vm().physical().frame(pfn).link.store(*first, Relaxed);
    *first = pfn.0 + 1;
}

fn pop<M: Machine>(cx: &Cx<'_, M>, first: &mut u64) -> Option<Pfn> {
    let pfn = Pfn(first.checked_sub(1)?);
    *first = cx.vm().physical().frame(pfn).link.load(Relaxed);
    Some(pfn)
}

/// For which tables a pool has been given an array, on a way through ascending ranges: the last one of each level. A
/// table that comes after another of its level never comes again.
#[derive(Default)]
pub(crate) struct Counted([Option<Pfn>; LEVELS_MAX]);

impl Counted {
    /// Counts `table`; whether it was not yet.
    pub(super) fn count<M: Machine>(&mut self, table: &Table<'_, M>) -> bool {
        self.0[table.level].replace(table.pfn) != Some(table.pfn)
    }
}
