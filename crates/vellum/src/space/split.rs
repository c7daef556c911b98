//! Preparing the edges of a claimed range, so that the commit cannot fail.
//!
//! After [`Claim::split`] every slot the range touches either lies wholly inside it or names a lower table, and each
//! table at an edge has, in [`Spares`], the side array it may need. What was made for nothing is given back by
//! [`Claim::tidy`](super::fold). Who changes parts of what he has claimed in many steps cuts each, and reserves for all
//! of them together.

use super::claim::Claim;
use super::table::Table;
use super::walk::Maker;
use super::{ClassId, Counted, Inner, Runs, Spares};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::vm::Vm;

/// What is done with a table on the way to an edge, and with its first and last slot in the range.
type Visit<'v, 'a, M> = dyn FnMut(&Table<'a, M>, usize, usize) -> Result<(), Error> + 'v;

impl<M: Machine> Claim<'_, M> {
    /// Prepares both edges. On an error nothing visible has changed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn split(&self, vm: &Vm<M>, holes: Holes) -> Result<Spares, Error> {
        let cx = Cx::enter(vm);
        self.cut_within(&cx, holes)?;
        let mut spares = Spares::of_edges();
        let reserved = self.each_edge(&cx, &mut |table, low, high| match Runs::needs_spare(
            &cx,
            table.frame,
            table.len(),
            low,
            high,
        ) {
            true => Runs::allocate_spare(&cx, table, &mut spares),
            false => Ok(()),
        });
        reserved.inspect_err(|_| spares.free(&cx))?;
        Ok(spares)
    }

    /// Makes the tables for both edges. On an error nothing visible has changed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn cut(&self, vm: &Vm<M>, holes: Holes) -> Result<(), Error> {
        self.cut_within(&Cx::enter(vm), holes)
    }

    /// Makes tables where an edge lies within a huge page: all that a commit needs which changes no classes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; no page has changed.
    pub(crate) fn cut_pages(&self, vm: &Vm<M>) -> Result<(), Error> {
        let cx = Cx::enter(vm);
        split_page_at(&cx, self.space, self.start)?;
        split_page_at(&cx, self.space, self.end)
    }

    fn cut_within(&self, cx: &Cx<'_, M>, holes: Holes) -> Result<(), Error> {
        split_at(cx, self.space, self.start, holes)?;
        split_at(cx, self.space, self.end, holes)
    }

    /// Gives `pool` a side array for every table on the edges, which are cut, that has slots of its own in the range
    /// and no array yet, for a commit in many steps. Those between the edges need none: all of their slots are changed,
    /// in at most two steps where they are of one class before. `counted` are the tables that were seen to so far, for
    /// ranges that lie below this one.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn reserve_in(&self, vm: &Vm<M>, pool: &mut Spares, counted: &mut Counted) -> Result<(), Error> {
        let cx = Cx::enter(vm);
        self.each_edge(&cx, &mut |table, low, high| {
            let has_slots = table.level == 0 || (low..=high).any(|slot| table.is_childless(slot));
            match has_slots && counted.count(table) && !Runs::has_side(table.frame) {
                true => Runs::allocate_spare(&cx, table, pool),
                false => Ok(()),
            }
        })
    }

    /// Calls `visit` with each table on the ways to both ends, in ascending order on each level, and with the slots of
    /// the range there, from the first to the last.
    fn each_edge<'a>(&self, cx: &'a Cx<'_, M>, visit: &mut Visit<'_, 'a, M>) -> Result<(), Error> {
        let last = self.end - 1;
        let mut right = Some(self.table(cx));
        let mut left = None;
        // One path until the ways to the two ends part, then two.
        let mut have_parted = false;
        while left.is_some() || right.is_some() {
            let (low, high) = (left.take(), right.take());
            if let Some(table) = &low {
                visit(table, table.index(self.start), table.len() - 1)?;
                left = child_of(cx, table, self.start);
            }
            if let Some(table) = high {
                let first = if have_parted { 0 } else { table.index(self.start) };
                visit(&table, first, table.index(last))?;
                right = child_of(cx, &table, last);
                if !have_parted && first != table.index(last) {
                    have_parted = true;
                    left = child_of(cx, &table, self.start);
                }
            }
        }
        Ok(())
    }
}

/// Whether slots that are not mapped will be changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holes {
    /// They will: they are cut at the edges like others.
    Cut,
    /// They will not: they stay whole.
    Leave,
}

fn child_of<'a, M: Machine>(cx: &'a Cx<'_, M>, table: &Table<'a, M>, address: u64) -> Option<Table<'a, M>> {
    if table.level == 0 { None } else { table.child(cx, table.index(address)) }
}

/// Makes tables until `address` is the first address of a slot, or of a hole if those need no tables.
fn split_at<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, address: u64, holes: Holes) -> Result<(), Error> {
    if address == M::Arch::USER_END && address & ((1 << M::Arch::shift(M::Arch::LEVELS - 1)) - 1) == 0 {
        // The tables behind it are not ours.
        return Ok(());
    }
    loop {
        let table = space.lowest(cx, address);
        if address & ((1 << M::Arch::shift(table.level)) - 1) == 0 {
            return Ok(());
        }
        let class = table.class(cx, table.index(address));
        if class == ClassId::NONE && holes == Holes::Leave {
            return Ok(());
        }
        space.make_child(cx, table, address, class, Maker::Owner)?;
    }
}

/// Makes tables until no huge page lies across `address`.
fn split_page_at<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, address: u64) -> Result<(), Error> {
    loop {
        let table = space.lowest(cx, address.min(M::Arch::USER_END - 1));
        let index = table.index(address);
        if address & (table.span() - 1) == 0 || table.page(index).is_empty() {
            return Ok(());
        }
        space.make_child(cx, table, address, table.class(cx, index), Maker::Owner)?;
    }
}
