//! Claiming two ranges at once: the old and the new place of a move.
//!
//! One claim of all between them, their *hull*, keeps everybody out of what is between, and visits all tables there. So
//! where the ranges lie far apart they are claimed one by one, the lower one first: if in the lowest table that could
//! cover both, where they *part*, each lies within a slot of its own, and that is no table of leaves, of which there
//! are too few for two claims to pay. The tables below those slots are made first, as a fault makes them, so that both
//! claims stand below: a table has one claim at a time, and the place where the ranges part is everybody's. If such a
//! table goes before it is claimed, both claims are given back, and all begins anew.
//!
//! *Nobody waits in a circle.* Say that a claim begins where the first of its slots does. Who waits with a claim in hand
//! waits for another which begins behind it or, if at the same address, at a lower table:
//!
//! * He has claimed a range, and waits for claims below it: each of these stands at a table of his slots.
//! * He has claimed the lower range, and tries to claim the upper one. He waits for a claim at the table of that, or above it. Up
//!   to where the ranges part it lies within the upper one's slot. At that table it covers the upper one's slot. If it covers
//!   the lower one's too, or stands still higher and covers the slot that both are in, it came later, since the lower claim was
//!   not made before all above had been looked at. If that slot is between others of its, all of the slot is in its range: so
//!   it sees the lower claim, and waits for it, and is passed by. When the lower claim ends it looks on at higher
//!   addresses, and finds the upper one. If the slot is its first or its last one, nobody knows whether the lower range is in
//!   its range, whose owner may wait for that or not: then the lower claim is given back before he is waited for, and all
//!   begins anew. What is left begins behind the lower range's slot.
//!
//! So of those who wait for each other in a circle each would have to wait for a claim that begins behind the last.
//! Short operations wait for nothing with a lock in hand, faults have no claims. A claim is moved up
//! ([`Claim::move_up`]) only to be ended; and one of two only when the other's table is there or the other has ended,
//! since the word of the table where they part has room for one.

use super::Inner;
use super::claim::{Claim, Refused, Terms, wait};
use super::walk::{Made, Maker};
use crate::arch::{Arch, index};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::vm::Vm;

/// How often two ranges are tried to be claimed one by one, before their hull is claimed: each time another operation
/// has changed the tables between, or had to be given way to, so this is for those who are never alone.
const TRIES: usize = 8;

/// Two claimed ranges. Must be ended.
pub(crate) struct ClaimPair<'s, M: Machine> {
    vm: &'s Vm<M>,
    /// The lower one, or the hull of both.
    lower: Claim<'s, M>,
    upper: Option<Claim<'s, M>>,
}

impl<'s, M: Machine> ClaimPair<'s, M> {
    /// Claims two ranges, not empty. Sleeps while another operation has a claim that overlaps with one of them or, if
    /// they lie near each other, with what is between; allocates tables if it can.
    pub(crate) fn acquire(vm: &'s Vm<M>, space: &'s Inner<M>, one: (u64, u64), other: (u64, u64)) -> Self {
        let is_ordered = one.0 < other.0 || !M::guard(Guard::LowerClaimedFirst);
        let (first, second) = if is_ordered { (one, other) } else { (other, one) };
        if let Some(level) = parting::<M::Arch>(first, second)
            && let Some(pair) = Self::acquire_apart(vm, space, first, second, level)
        {
            return pair;
        }
        Self::acquire_one(vm, space, one.0.min(other.0), one.1.max(other.1))
    }

    /// Claims one range, of which the others are parts.
    pub(crate) fn acquire_one(vm: &'s Vm<M>, space: &'s Inner<M>, start: u64, end: u64) -> Self {
        ClaimPair { vm, lower: Claim::acquire(vm, space, start, end), upper: None }
    }

    /// Claims two ranges that part at a table of `level`, below that; `None` if there is no memory for the tables, or
    /// if it has been tried often enough.
    fn acquire_apart(
        vm: &'s Vm<M>,
        space: &'s Inner<M>,
        first: (u64, u64),
        second: (u64, u64),
        level: usize,
    ) -> Option<Self> {
        let below = if M::guard(Guard::ClaimedBelowParting) { level } else { M::Arch::LEVELS };
        for _ in 0..TRIES {
            if [first.0, second.0].iter().any(|&address| space.make_way(vm, address, below - 1).is_err()) {
                break;
            }
            let Ok(lower) = Claim::acquire_on(vm, space, first, Terms { below, from: 0, lower: None }) else {
                continue;
            };
            let terms = Terms { below, from: 0, lower: Some(first.0) };
            match Claim::acquire_on(vm, space, second, terms) {
                Ok(upper) => return Some(ClaimPair { vm, lower, upper: Some(upper) }),
                // Its table has been folded.
                Err(Refused::TooHigh) => lower.release(),
                Err(Refused::GiveWay(conflict)) => {
                    lower.release();
                    wait(vm, conflict);
                }
            }
        }
        space.fold_leaf(vm, first.0);
        space.fold_leaf(vm, second.0);
        None
    }

    /// A part of one of the claimed ranges, to work on. To be ended by [`ClaimPair::join`].
    pub(crate) fn part(&self, start: u64, end: u64) -> Claim<'s, M> {
        let of_upper = self.upper.as_ref().filter(|upper| (upper.start..upper.end).contains(&start));
        of_upper.unwrap_or(&self.lower).part(start, end)
    }

    /// Ends the work on a part.
    pub(crate) fn join(&self, part: Claim<'s, M>) {
        self.lower.join(part);
    }

    /// Folds what is empty, and ends both claims.
    pub(crate) fn end(self) {
        let ClaimPair { vm, mut lower, upper } = self;
        lower.fold_now(&Cx::enter(vm));
        let Some(mut upper) = upper else { return lower.release() };
        // The objects end with the last claim, and that of the lower range before the other is moved up to where it may
        // be.
        upper.dying.adopt(&lower.dying);
        lower.release();
        upper.fold_now(&Cx::enter(vm));
        upper.release();
    }
}

impl<M: Machine> Inner<M> {
    /// Makes tables on the way to `address`, down to one of `level`, as a fault does: without a claim.
    pub(super) fn make_way(&self, vm: &Vm<M>, address: u64, level: usize) -> Result<(), Error> {
        loop {
            let conflict = {
                let cx = Cx::enter(vm);
                let table = self.lowest(&cx, address);
                if table.level <= level {
                    return Ok(());
                }
                let class = table.class(&cx, table.index(address));
                match self.make_child(&cx, table, address, class, Maker::Fault)? {
                    Made::LookAgain => continue,
                    Made::Wait(conflict) => conflict,
                }
            };
            wait(vm, conflict);
        }
    }
}

/// The level of the lowest table that could cover both ranges, if they are claimed one by one: each lies in a slot of
/// its own there, and it is no table of pages or of leaves.
fn parting<A: Arch>(one: (u64, u64), other: (u64, u64)) -> Option<usize> {
    let part = |level: &usize| index::<A>(one.0, *level) != index::<A>(other.0, *level);
    let level = (2..A::LEVELS).rev().find(part)?;
    let is_in_one_slot = |range: (u64, u64)| range.0 >> A::shift(level) == (range.1 - 1) >> A::shift(level);
    (is_in_one_slot(one) && is_in_one_slot(other)).then_some(level)
}

#[cfg(test)]
mod tests;
