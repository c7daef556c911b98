//! Preparing the edges of a claimed range, so that the commit cannot fail.
//!
//! After [`Claim::split`] every slot the range touches either lies wholly inside it or names a lower table, and each
//! table at an edge has, in [`Spares`], the side array it may need. What was made for nothing is given back by
//! [`Claim::tidy`](super::fold).

use super::claim::Claim;
use super::table::Table;
use super::walk::Maker;
use super::{ClassId, Inner, Runs, Spares};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::vm::Vm;

impl<M: Machine> Claim<'_, M> {
    /// Prepares both edges. On an error nothing visible has changed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn split(&self, vm: &Vm<M>, holes: Holes) -> Result<Spares, Error> {
        let cx = Cx::enter(vm);
        split_at(&cx, self.space, self.start, holes)?;
        split_at(&cx, self.space, self.end, holes)?;
        self.reserve(&cx, Need::Exact)
    }

    /// A side array for every table on the edges that has slots of its own in the range, for a commit in several steps.
    /// One is enough: of the borders between runs that a table has when its runs no longer fit the descriptor, those of the
    /// range are at most three, so it does not go back to that before the last step.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn reserve_fully(&self, vm: &Vm<M>) -> Result<Spares, Error> {
        self.reserve(&Cx::enter(vm), Need::Any)
    }

    fn reserve(&self, cx: &Cx<'_, M>, need: Need) -> Result<Spares, Error> {
        let mut spares = Spares::default();
        let last = self.end - 1;
        let mut right = Some(self.table(cx));
        let mut left = None;
        let mut add = |table: &Table<'_, M>, low, high| -> Result<(), Error> {
            let is_needed = match need {
                Need::Exact => Runs::needs_spare(cx, table.frame, table.len(), low, high),
                Need::Any => table.level == 0 || (low..=high).any(|slot| table.entry(slot).is_empty()),
            };
            if is_needed {
                spares.add(Runs::allocate_spare(cx, table.len())?);
            }
            Ok(())
        };
        let mut result = Ok(());
        // One path until the ways to the two ends part, then two.
        while result.is_ok() && (left.is_some() || right.is_some()) {
            let (low, high) = (left.take(), right.take());
            if let Some(table) = high {
                let first = if low.is_some() || table.base(self.start) != table.base(last) {
                    0
                } else {
                    table.index(self.start)
                };
                result = add(&table, first, table.index(last));
                right = child_of(cx, &table, last);
                if low.is_none() && first == table.index(self.start) && first != table.index(last) {
                    left = child_of(cx, &table, self.start);
                }
            }
            if let Some(table) = low {
                result = result.and_then(|()| add(&table, table.index(self.start), table.len() - 1));
                left = child_of(cx, &table, self.start);
            }
        }
        result.inspect_err(|_| spares.free(cx))?;
        Ok(spares)
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

/// Which tables want a side array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Those whose runs may not fit after one change.
    Exact,
    /// All.
    Any,
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
