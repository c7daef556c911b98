//! Claims: how range operations exclude each other, and leave faults alone.
//!
//! Guarantee: between [`Claim::acquire`] and [`Claim::release`] no other range operation overlaps the range, and the
//! structure of the tree there changes only by faults, which may put a table where there was none until the commit
//! begins ([`Claim::begin_commit`]). No lock is held, so the operation may allocate, do I/O and sleep.
//!
//! A claim is a word in the descriptor of the lowest table that covers the range: the first and the last slot
//! concerned. A table has one claim at a time. To acquire: write the word under the table's lock, then look at the
//! tables above; if one has a claim on the way down to here, withdraw and wait for it. Then wait until no table below,
//! in the range, has a claim. Of two operations on overlapping ranges one stands above the other or both at one table.
//! At one table the lock decides. Otherwise each writes its own word and then reads the other's, all sequentially
//! consistent, so at least one sees the other; the lower withdraws, the upper waits. Nobody waits while another waits
//! for him. An operation on two ranges may have two claims: [`super::pair`] says why that holds for it, too.
//!
//! A short operation within one leaf holds the leaf's lock from beginning to end instead ([`super::leaf`]): it looks
//! for claims after it has taken the lock, and who has claimed waits until he has seen each leaf's lock free.

use super::Inner;
use super::cursor::{Cursor, Step};
use super::table::Table;
use crate::arch::{Arch, index};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::Dying;
use crate::phys::Pfn;
use crate::stat::Event;
use crate::sync::fence;
use crate::vm::Vm;
use core::sync::atomic::Ordering::SeqCst;

const HELD: u32 = 1 << 31;
/// The range is being changed: no fault may make tables in it.
const COMMITTING: u32 = 1 << 30;

/// A claimed range. Must be released; see the module's documentation.
pub(crate) struct Claim<'s, M: Machine> {
    vm: &'s Vm<M>,
    pub(crate) space: &'s Inner<M>,
    table: Pfn,
    pub(super) level: usize,
    pub(crate) start: u64,
    /// Exclusive.
    pub(crate) end: u64,
    /// Objects whose last reference the operation dropped. They are destroyed after the claim: a backing which is
    /// written to may fault in the same range.
    pub(crate) dying: Dying<M>,
}

/// Somebody else's claim, to be waited for.
#[derive(Clone, Copy)]
pub(crate) struct Conflict {
    table: Pfn,
    seen: u32,
}

/// What came of a try to claim a range.
enum Tried {
    /// It is claimed: at this table, of this level.
    Claimed(Pfn, usize),
    /// The tree has changed meanwhile.
    Changed,
    /// No table of a level so low covers it.
    TooHigh,
    /// Another claim is in the way.
    Conflict(Conflict),
    /// As [`Tried::Conflict`], and it may be waiting for the lower range.
    GiveWay(Conflict),
}

/// Why a range could not be claimed by those terms.
pub(super) enum Refused {
    /// There is no table for it of a level so low.
    TooHigh,
    /// A claim is in the way whose owner may wait for the lower range: that is to be given back before he is waited
    /// for.
    GiveWay(Conflict),
}

/// What a claim must be, besides free.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Its table is of a lower level than this.
    pub(super) below: usize,
    /// Its table is of this level at least, even if a lower one covers the range.
    pub(super) from: usize,
    /// An address of the lower range that the operation has claimed already, if it claims two.
    pub(super) lower: Option<u64>,
}

/// Slots that are looked at one by one before a [`Cursor`] is made.
const FEW: usize = 8;

/// What stands above a table.
enum Above {
    /// No claim on the way.
    Clear,
    /// A claim.
    Claimed(Conflict),
    /// A claim whose owner may wait for what the caller has claimed.
    MayWait(Conflict),
    /// The way no longer leads to the table: it has been unlinked.
    Unlinked,
}

pub(super) fn encode(first: usize, last: usize) -> u32 {
    HELD | (first as u32) << 15 | last as u32
}

/// First and last slot of a claim, and whether the range is being changed; `None` if nothing is claimed.
pub(crate) fn claimed(claim: u32) -> Option<(u16, u16, bool)> {
    let (first, last) = ((claim >> 15 & 0x7fff) as u16, (claim & 0x7fff) as u16);
    (claim & HELD != 0).then_some((first, last, claim & COMMITTING != 0))
}

#[inline(always)]
pub(super) fn covers(claim: u32, index: usize) -> bool {
    let (first, last) = (((claim >> 15) & 0x7fff) as usize, (claim & 0x7fff) as usize);
    claim & HELD != 0 && (first..=last).contains(&index)
}

impl<'s, M: Machine> Claim<'s, M> {
    /// Claims `start..end`, not empty. Sleeps while another operation has a claim that overlaps.
    pub(crate) fn acquire(vm: &'s Vm<M>, space: &'s Inner<M>, start: u64, end: u64) -> Self {
        Self::acquire_from(vm, space, (start, end), 0)
    }

    /// [`Claim::acquire`], at a table of level `from` or above: by who takes tables below that out of the tree. It
    /// excludes others as any claim does, which look for it on their whole way down.
    pub(crate) fn acquire_from(vm: &'s Vm<M>, space: &'s Inner<M>, range: (u64, u64), from: usize) -> Self {
        let terms = Terms { below: M::Arch::LEVELS, from, lower: None };
        loop {
            // No table is of so high a level.
            if let Ok(claim) = Self::acquire_on(vm, space, range, terms) {
                return claim;
            }
        }
    }

    /// [`Claim::acquire`], by some terms.
    pub(super) fn acquire_on(
        vm: &'s Vm<M>,
        space: &'s Inner<M>,
        (start, end): (u64, u64),
        terms: Terms,
    ) -> Result<Self, Refused> {
        let claim = loop {
            let conflict = {
                let cx = Cx::enter(vm);
                match Self::try_acquire(&cx, space, (start, end), terms) {
                    Tried::Claimed(table, level) => {
                        break Claim { vm, space, table, level, start, end, dying: Dying::new() };
                    }
                    Tried::Changed => continue,
                    Tried::TooHigh => return Err(Refused::TooHigh),
                    Tried::GiveWay(conflict) => return Err(Refused::GiveWay(conflict)),
                    Tried::Conflict(conflict) => {
                        cx.count(Event::ClaimWait, 1);
                        conflict
                    }
                }
            };
            wait(vm, conflict);
        };
        if claim.level > 0 {
            claim.drain();
        }
        Ok(claim)
    }

    fn try_acquire(cx: &Cx<'_, M>, space: &Inner<M>, (start, end): (u64, u64), terms: Terms) -> Tried {
        let lowest = space.covering(cx, start, end - 1);
        let table = if lowest.level >= terms.from { lowest } else { space.table_at(cx, start, terms.from) };
        if table.level >= terms.below {
            return Tried::TooHigh;
        }
        let (first, last) = (table.index(start), table.index(end - 1));
        {
            let Some(_locked) = table.lock(cx, space, start) else { return Tried::Changed };
            if first == last && table.level > terms.from && table.child(cx, first).is_some() {
                return Tried::Changed;
            }
            let seen = table.claim().load(SeqCst);
            if seen != 0 {
                return Tried::Conflict(Conflict { table: table.pfn, seen });
            }
            table.claim().swap(encode(first, last), SeqCst);
        }
        match claim_above(cx, space, &table, start, terms.lower) {
            Above::Clear => Tried::Claimed(table.pfn, table.level),
            Above::Claimed(conflict) => {
                clear(cx.vm(), table.pfn);
                Tried::Conflict(conflict)
            }
            Above::MayWait(conflict) => {
                clear(cx.vm(), table.pfn);
                Tried::GiveWay(conflict)
            }
            Above::Unlinked => {
                clear(cx.vm(), table.pfn);
                Tried::Changed
            }
        }
    }

    /// From here on until the end of the claim, faults which would have to make a table in the range wait: what had no
    /// table when the commit came to it has none until the end.
    pub(crate) fn begin_commit(&self) {
        self.vm.physical().frame(self.table).halves[1].fetch_or(COMMITTING, SeqCst);
    }

    /// [`Claim::begin_commit`], and waits for faults which were about to make a table: from here on the tables of the
    /// range stay as they are.
    pub(crate) fn freeze_tables(&self) {
        self.begin_commit();
        self.each_below(|cx, table| {
            if table.level > 0 {
                table.frame.lock.wait_free(cx);
            }
            None
        });
    }

    /// Waits until no table below has a claim in the range. One that comes there afterwards finds this one.
    fn drain(&self) {
        if self.has_nothing_below() {
            return;
        }
        self.each_below(|cx, table| {
            if table.pfn == self.table {
                return None;
            }
            let seen = table.claim().load(SeqCst);
            if seen != 0 {
                return Some(Conflict { table: table.pfn, seen });
            }
            // Operations within one leaf hold its lock instead of a claim; see `super::leaf`.
            table.frame.lock.wait_free(cx);
            None
        });
    }

    /// Whether the claimed table has no lower ones in the range, of a few slots: then there is nobody to be waited for.
    fn has_nothing_below(&self) -> bool {
        let cx = Cx::enter(self.vm);
        // As in `each_below`.
        fence::<M>(SeqCst);
        let table = self.table(&cx);
        let (first, last) = (table.index(self.start), table.index(self.end - 1));
        last - first < FEW && (first..=last).all(|index| table.child(&cx, index).is_none())
    }

    /// Calls `look` with the claimed table and those below it in the range, some in each read-side section. If it
    /// returns somebody else's claim, that is waited for, and then it looks from there on again.
    fn each_below(&self, look: impl Fn(&Cx<'_, M>, &Table<'_, M>) -> Option<Conflict>) {
        let mut here = self.start;
        while here < self.end {
            let mut conflict = None;
            {
                let cx = Cx::enter(self.vm);
                // The claim is written before tables below are read, also such as were put there only just now.
                fence::<M>(SeqCst);
                let mut cursor = Cursor::new(&cx, self.table(&cx), (self.start, self.end), here);
                while let Some(step) = cursor.next() {
                    if let Step::Down(table) = step {
                        conflict = look(&cx, &table);
                        if conflict.is_some() {
                            break;
                        }
                    }
                }
                here = cursor.here();
            }
            if let Some(conflict) = conflict {
                wait(self.vm, conflict);
            }
        }
    }

    /// A part of the claimed range, to work on; the claim itself stays with the whole. To be ended by [`Claim::join`].
    pub(crate) fn part(&self, start: u64, end: u64) -> Self {
        let Claim { vm, space, table, level, .. } = *self;
        Claim { vm, space, table, level, start, end, dying: Dying::new() }
    }

    /// Ends the work on a part.
    pub(crate) fn join(&self, part: Self) {
        self.dying.adopt(&part.dying);
    }

    /// The claimed table.
    pub(crate) fn table<'a>(&self, cx: &'a Cx<'_, M>) -> Table<'a, M> {
        Table::at(cx, self.table, self.level)
    }

    /// Moves the claim to the parent of its table, which is about to be unlinked, if nobody has a claim there or above.
    /// The parent, with the new claim on it.
    pub(crate) fn move_up<'a>(&mut self, cx: &'a Cx<'_, M>) -> Option<Table<'a, M>> {
        let parent = self.space.table_at(cx, self.start, self.level + 1);
        debug_assert!(parent.level == self.level + 1);
        let index = parent.index(self.start);
        {
            let _locked = parent.lock(cx, self.space, self.start)?;
            if parent.claim().load(SeqCst) != 0 {
                return None;
            }
            parent.claim().swap(encode(index, index) | COMMITTING, SeqCst);
        }
        if !matches!(claim_above(cx, self.space, &parent, self.start, None), Above::Clear) {
            clear(self.vm, parent.pfn);
            return None;
        }
        (self.table, self.level) = (parent.pfn, parent.level);
        Some(parent)
    }

    /// Ends the claim, wakes who waits for it, and destroys the objects that nothing refers to any more, which may
    /// sleep.
    pub(crate) fn release(self) {
        clear(self.vm, self.table);
        self.dying.destroy(self.vm);
    }
}

/// Clears the claim of a table that the caller claimed, which may have been unlinked since.
pub(crate) fn clear<M: Machine>(vm: &Vm<M>, table: Pfn) {
    let word = &vm.physical().frame(table).halves[1];
    word.store(0, SeqCst);
    vm.machine().wake(word.as_core());
}

/// Sleeps until the claim may be gone.
pub(crate) fn wait<M: Machine>(vm: &Vm<M>, conflict: Conflict) {
    // Frame descriptors are never freed; at worst the table is gone and the wait ends early.
    vm.machine().sleep(vm.physical().frame(conflict.table).halves[1].as_core(), conflict.seen);
}

/// What stands above `table` on the way to it, for a caller who has claimed `lower`, if he claims two ranges.
fn claim_above<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    table: &Table<'_, M>,
    address: u64,
    lower: Option<u64>,
) -> Above {
    for above in space.way(cx, address) {
        if above.level <= table.level {
            return if above.pfn == table.pfn { Above::Clear } else { Above::Unlinked };
        }
        let seen = above.claim().load(SeqCst);
        if covers(seen, above.index(address)) {
            let conflict = Conflict { table: above.pfn, seen };
            match lower.map_or(Manner::Apart, |lower| manner(&above, seen, address, lower)) {
                Manner::Apart => return Above::Claimed(conflict),
                Manner::MayWait => return Above::MayWait(conflict),
                Manner::Waits => {}
            }
        }
    }
    Above::Unlinked
}

/// What somebody's claim has to do with the lower one of two ranges, which is claimed.
enum Manner {
    /// Nothing: he does not wait for it.
    Apart,
    /// He waits for it, or is going to: he is passed by.
    Waits,
    /// It lies in the first or the last of his slots, perhaps outside of his range.
    MayWait,
}

/// What the claim `seen` of a table on the way to `address` has to do with `lower`, which came first.
fn manner<M: Machine>(above: &Table<'_, M>, seen: u32, address: u64, lower: u64) -> Manner {
    if !M::guard(Guard::WaiterPassed) {
        return Manner::Apart;
    }
    if !M::guard(Guard::OthersAwaited) {
        return Manner::Waits;
    }
    let slot = above.index(lower);
    if above.base(lower) != above.base(address) || !covers(seen, slot) {
        return Manner::Apart;
    }
    // All of a slot between others is his.
    let is_between = covers(seen, slot.wrapping_sub(1)) && covers(seen, slot + 1);
    if is_between { Manner::Waits } else { Manner::MayWait }
}

/// Whether somebody has claimed a slot on the way to `address` down to `table`, whose lock the caller has taken before.
pub(crate) fn is_claimed<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, table: &Table<'_, M>, address: u64) -> bool {
    let mut is_claimed = covers(table.claim().load(SeqCst), table.index(address));
    space.descend(cx.vm().machine(), address, |level, pfn| {
        let claim = || cx.vm().physical().frame(pfn).halves[1].load(SeqCst);
        is_claimed |= level > table.level && covers(claim(), index::<M::Arch>(address, level));
    });
    is_claimed
}

/// The claim in whose range `address` is, if it is being committed: whoever holds the lock of the table `table` on the
/// way there may not make a table below it. Sequentially consistent: an operation marks its claim before it takes the
/// lock, so it either finds the table made, or is seen here.
pub(crate) fn commit_above<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    table: &Table<'_, M>,
    address: u64,
) -> Option<Conflict> {
    let way = space.way(cx, address).take_while(|above| above.level >= table.level);
    let mut claims = way.map(|above| (above, above.claim().load(SeqCst)));
    let (above, seen) = claims.find(|(above, seen)| covers(*seen, above.index(address)) && seen & COMMITTING != 0)?;
    Some(Conflict { table: above.pfn, seen })
}

#[cfg(test)]
mod tests;
