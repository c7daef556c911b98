//! The way through the tables of a range: down, across, up again.
//!
//! There are two ways into the tree. [`Inner::lowest`] goes to one address; a [`Cursor`] goes through a range, table by
//! table, in ascending order, and passes by what has no lower tables. It takes no locks: who needs one takes it where
//! he is told that he has arrived.
//!
//! A long range is gone through in several read-side sections, so that pre-emption is never off for long: a cursor that
//! has done enough pauses, is dropped with its section, and another goes on from [`Cursor::here`]. That one comes down
//! through the tables again in which the first was; [`Cursor::is_fresh`] tells them from those that nobody has been to.
//! So who works on tables as he comes to them, and again as he leaves them, does both once for each.

use super::table::Table;
use super::{Inner, Runs};
use crate::arch::{Arch, LEVELS_MAX, Word};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::vm::Vm;
use core::ops::ControlFlow;

/// After how many entries a cursor pauses: at some hundred instructions each, and with a last step of [`PART`] slots,
/// pre-emption is off for less than fifty thousand. A step by whole leaves may be larger.
const SECTION: usize = 128;
/// The most slots of a leaf in one step.
const PART: usize = 256;
/// The most slots at once where each may have a class of its own: in a table of [`MANY`] runs or more.
const PART_OF_MANY: usize = 16;
const MANY: usize = 16;
/// As many slots as a leaf has, but [`PART_OF_MANY`] where there are many runs.
const PLAIN: usize = usize::MAX - 1;
/// What it is to handle a huge page, in entries.
pub(super) const HUGE: usize = 2;
/// The most huge pages that are handled at once.
const HUGE_AT_ONCE: usize = 32;
/// Slots without a lower table that are passed by at the price of an entry.
const PASSED: usize = 16;
/// What it is to handle a run of classes, in entries.
const RUN: usize = 3;
/// The same where there are many, each perhaps with a record to be made or given up: a part of them is enough for a
/// section.
const RUN_OF_MANY: usize = SECTION / PART_OF_MANY;

/// Where a cursor has come to.
pub(crate) enum Step<'a, M> {
    /// Down, to a table of any level; the first step is to the uppermost.
    Down(Table<'a, M>),
    /// Slots of the leaf to which the last step down led; or one slot of an upper table that has an entry, but no lower
    /// table: a huge page.
    Leaf(Slots<'a, M>),
    /// Up, to the parent of a table with which it is done.
    Up {
        /// The table it has left.
        child: Table<'a, M>,
        /// The one it has come to.
        parent: Table<'a, M>,
        /// A page's address that both cover.
        address: u64,
    },
}

/// Slots of a leaf that lie side by side, or one that shows a huge page.
pub(crate) struct Slots<'a, M> {
    pub(crate) leaf: Table<'a, M>,
    /// The first one.
    pub(crate) low: usize,
    /// The last one.
    pub(crate) high: usize,
    /// Address of the first one.
    pub(crate) start: u64,
}

/// How far one has come with the slots of an upper table that has many runs: its level, and the next slot. Those above
/// it are done.
#[derive(Clone, Copy, Default)]
pub(crate) struct Begun(Option<(usize, usize)>);

impl Begun {
    /// Whether there is more of a table: then the section is to end, and the next one goes on with that.
    #[inline(always)]
    pub(crate) fn is_more(self) -> bool {
        self.0.is_some()
    }
}

/// What is done with the slots of each leaf; whether to go on.
type EachSlots<'v, M, B> = dyn FnMut(&Cx<'_, M>, &Slots<'_, M>) -> ControlFlow<B> + 'v;

impl<M: Machine> Slots<'_, M> {
    /// The address of slot `index`, one of them.
    #[inline(always)]
    pub(crate) fn address(&self, index: usize) -> u64 {
        self.start + (((index - self.low) as u64) << M::Arch::shift(self.leaf.level))
    }
}

/// A way through the tables of a range, within a read-side section. See the module.
pub(crate) struct Cursor<'a, 'c, M: Machine> {
    cx: &'a Cx<'c, M>,
    /// The tables on the way down to where it is, by their levels.
    path: [Table<'a, M>; LEVELS_MAX],
    /// Up to where each of them is gone through, exclusive.
    ends: [u64; LEVELS_MAX],
    /// The level of the uppermost table.
    top: usize,
    /// The level of the table where it is; above `top` before the first step.
    level: usize,
    /// The first address of the range.
    start: u64,
    /// The address to which it comes next.
    here: u64,
    /// The most slots in one step.
    part: usize,
    /// What it may still do in this section, in entries.
    left: usize,
    came_down: bool,
}

impl<'a, 'c, M: Machine> Cursor<'a, 'c, M> {
    /// A cursor over `start..end`, not empty, which `table` covers, that goes on from `here`.
    pub(crate) fn new(cx: &'a Cx<'c, M>, table: Table<'a, M>, (start, end): (u64, u64), here: u64) -> Self {
        let top = table.level;
        Cursor {
            cx,
            path: [table; LEVELS_MAX],
            ends: [end; LEVELS_MAX],
            top,
            level: top + 1,
            start,
            here,
            part: PART,
            left: SECTION,
            came_down: true,
        }
    }

    /// This cursor, with all slots of a leaf in one step.
    pub(crate) fn by_leaves(self) -> Self {
        Cursor { part: usize::MAX, ..self }
    }

    /// This cursor, with all slots of a leaf in one step, unless it has many runs.
    pub(crate) fn by_plain_leaves(self) -> Self {
        Cursor { part: PLAIN, ..self }
    }

    /// From here on as many slots of a leaf in one step as may be changed one after the other: see
    /// [`Runs::may_change_in_parts`].
    #[inline(always)]
    pub(crate) fn set_in_parts(&mut self, may: bool) {
        self.part = if may { PART } else { usize::MAX };
    }

    /// This cursor, without pauses.
    pub(crate) fn without_pauses(self) -> Self {
        Cursor { left: usize::MAX, ..self }
    }

    /// The address to which it comes next: from where another cursor would go on.
    #[inline(always)]
    pub(crate) fn here(&self) -> u64 {
        self.here
    }

    /// Whether it has come to its end, and not to a pause.
    #[inline(always)]
    pub(crate) fn is_through(&self) -> bool {
        self.level == self.top && self.here >= self.ends[self.top]
    }

    /// Whether no cursor over this range has been to the table before, to which the last step led down.
    #[inline(always)]
    pub(crate) fn is_fresh(&self, table: &Table<'a, M>) -> bool {
        self.here == table.base(self.here).max(self.start)
    }

    /// The first and the last slot of the range in `table`, to which the last step led down.
    #[inline(always)]
    pub(crate) fn slots_of(&self, table: &Table<'a, M>) -> (usize, usize) {
        (table.index(self.here), table.index(self.ends[table.level] - 1))
    }

    /// The slots of the range in the upper table to which the last step led down that are to be worked on now: all at
    /// once, or some of them, if there are many runs; noted as handled. None if that was done before. `begun` stays
    /// from one section to the next.
    ///
    /// In parts only where there is a side array, so that what is half-changed fits.
    #[inline(always)]
    pub(crate) fn part_of(&mut self, table: &Table<'a, M>, begun: &mut Begun) -> Option<(usize, usize)> {
        if !self.is_fresh(table) || begun.0.is_some_and(|(level, _)| level < table.level) {
            return None;
        }
        let (first, last) = self.slots_of(table);
        let low = begun.0.map_or(first, |(_, next)| next);
        let part = match Self::has_many_runs(table) {
            true => PART_OF_MANY,
            false => self.part_of_huge(table, (low, last)),
        };
        let high = last.min(low.saturating_add(part - 1));
        *begun = Begun((high < last).then_some((table.level, high + 1)));
        self.spend_all(table, high - low + 1);
        Some((low, high))
    }

    /// How many of the slots `low..=last` of an upper table are worked on at once for their huge pages; notes that as
    /// handled.
    fn part_of_huge(&mut self, table: &Table<'a, M>, (low, last): (usize, usize)) -> usize {
        if table.used() == 0 || table.level > M::Arch::HUGE_LEVEL {
            return usize::MAX;
        }
        let mut huge = 0;
        for slot in table.own_entries(low, last + 1) {
            if huge == HUGE_AT_ONCE && Runs::may_change_in_parts(table.frame) {
                self.spend(HUGE_AT_ONCE * HUGE);
                return slot - low;
            }
            huge += 1;
        }
        self.spend(huge * HUGE);
        usize::MAX
    }

    /// Whether a table has so many runs that it is gone through in small parts.
    #[inline(always)]
    pub(crate) fn has_many_runs(table: &Table<'a, M>) -> bool {
        Runs::count(table.frame) >= MANY
    }

    /// The table above `table`, to which the last step led down, if it has been there.
    #[inline(always)]
    pub(crate) fn parent_of(&self, table: &Table<'a, M>) -> Option<Table<'a, M>> {
        (table.level < self.top).then(|| self.path[table.level + 1])
    }

    /// Goes to the end of the table to which the last step led down.
    pub(crate) fn pass_by(&mut self) {
        self.here = self.ends[self.level];
    }

    /// Notes that its user has handled as many entries where it came to, besides the step itself.
    #[inline(always)]
    pub(crate) fn spend(&mut self, entries: usize) {
        self.left = self.left.saturating_sub(entries);
    }

    /// [`Cursor::spend`], for so many slots of a table: their pages, if it is a leaf, and runs.
    #[inline(always)]
    pub(crate) fn spend_all(&mut self, table: &Table<'a, M>, slots: usize) {
        match table.level {
            0 => self.spend(table.used().min(slots)),
            _ if slots == 1 => self.spend(HUGE),
            _ => {}
        }
        self.spend_runs(table, slots);
    }

    /// [`Cursor::spend`], for the runs of so many slots of a table.
    #[inline(always)]
    pub(crate) fn spend_runs(&mut self, table: &Table<'a, M>, slots: usize) {
        let runs = Runs::count(table.frame);
        self.spend(if runs >= MANY { RUN_OF_MANY } else { RUN } * runs.min(slots));
    }

    /// The next step; none at its end, or if it pauses.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Step<'a, M>> {
        if self.level > self.top {
            self.level = self.top;
            return Some(Step::Down(self.path[self.top]));
        }
        let table = self.path[self.level];
        if self.here >= self.ends[self.level] {
            return self.up(table);
        }
        if self.left == 0 && !self.came_down {
            return None;
        }
        self.came_down = false;
        self.spend(1);
        if self.level == 0 {
            return Some(Step::Leaf(self.leaf(table)));
        }
        let Some((slot, word)) = self.skip_to_entry(&table) else { return self.up(table) };
        match word.table() {
            Some(child) => Some(self.down(Table::at(self.cx, child, table.level - 1), &table)),
            None => Some(Step::Leaf(self.huge(table, slot))),
        }
    }

    /// The next slots of a leaf, whatever steps lie between; none at its end, or if it pauses.
    #[inline]
    pub(crate) fn next_leaf(&mut self) -> Option<Slots<'a, M>> {
        loop {
            if let Step::Leaf(slots) = self.next()? {
                return Some(slots);
            }
        }
    }

    #[inline(always)]
    fn down(&mut self, child: Table<'a, M>, parent: &Table<'a, M>) -> Step<'a, M> {
        self.ends[child.level] = self.ends[parent.level].min(parent.slot_end(self.here));
        self.path[child.level] = child;
        self.level = child.level;
        self.came_down = true;
        Step::Down(child)
    }

    /// Leaves `table`, unless it is the uppermost.
    #[inline(always)]
    fn up(&mut self, child: Table<'a, M>) -> Option<Step<'a, M>> {
        if self.level == self.top {
            return None;
        }
        self.level += 1;
        self.came_down = false;
        let address = (self.here - 1) >> M::Arch::PAGE_SHIFT << M::Arch::PAGE_SHIFT;
        Some(Step::Up { child, parent: self.path[self.level], address })
    }

    #[inline(always)]
    fn leaf(&mut self, leaf: Table<'a, M>) -> Slots<'a, M> {
        let (low, start) = (leaf.index(self.here), self.here);
        let is_whole = self.part == usize::MAX || !Self::has_many_runs(&leaf);
        let part = if is_whole { self.part } else { PART_OF_MANY };
        let slots = ((self.ends[0] - start) >> M::Arch::PAGE_SHIFT).min(part as u64);
        self.here += slots << M::Arch::PAGE_SHIFT;
        Slots { leaf, low, high: low + slots as usize - 1, start }
    }

    /// Goes back to the beginning of `slots`, which it has just come to: the table there has changed.
    #[cold]
    pub(crate) fn look_again(&mut self, slots: &Slots<'a, M>) {
        self.here = slots.start;
    }

    /// A slot with a huge page, where the cursor is.
    #[cold]
    fn huge(&mut self, table: Table<'a, M>, slot: usize) -> Slots<'a, M> {
        let start = self.here;
        self.here = table.slot_end(start).min(self.ends[table.level]);
        Slots { leaf: table, low: slot, high: slot, start }
    }

    /// The first entry in the rest of the upper table `table`, at whose beginning the cursor is then; or it is behind
    /// that rest.
    #[inline(always)]
    fn skip_to_entry(&mut self, table: &Table<'a, M>) -> Option<(usize, Word<M::Arch>)> {
        let end = self.ends[table.level];
        let (first, last) = (table.index(self.here), table.index(end - 1));
        // Most tables with none at all are large, untouched mappings.
        let begin = if table.used() == 0 { last + 1 } else { first };
        let (slot, word) = table.first_entry(begin, last + 1);
        self.spend((slot - begin) / PASSED);
        if word.is_empty() {
            self.here = end;
            return None;
        }
        if slot > first {
            self.here = table.base(self.here) + ((slot as u64) << M::Arch::shift(table.level));
        }
        Some((slot, word))
    }
}

impl<M: Machine> Inner<M> {
    /// A cursor from the root down over the user range, that goes on from `here`.
    pub(crate) fn cursor_over_all<'a, 'c>(&self, cx: &'a Cx<'c, M>, here: u64) -> Cursor<'a, 'c, M> {
        Cursor::new(cx, self.root_table(cx), (M::Arch::USER_START, M::Arch::USER_END), here)
    }

    /// A cursor from the root down over `range`, not empty, that goes on from `here`.
    pub(crate) fn cursor_over<'a, 'c>(&self, cx: &'a Cx<'c, M>, range: (u64, u64), here: u64) -> Cursor<'a, 'c, M> {
        Cursor::new(cx, self.root_table(cx), range, here)
    }

    /// Calls `visit` with the slots of all leaves of `start..end`, some in each read-side section, until it breaks off.
    pub(crate) fn each_leaf<B>(
        &self,
        vm: &Vm<M>,
        (start, end): (u64, u64),
        visit: &mut EachSlots<'_, M, B>,
    ) -> ControlFlow<B> {
        let mut here = start;
        while here < end {
            let cx = Cx::enter(vm);
            let mut cursor = self.cursor_over(&cx, (start, end), here);
            while let Some(slots) = cursor.next_leaf() {
                visit(&cx, &slots)?;
                let count = slots.high - slots.low + 1;
                cursor.spend(count / PASSED + slots.leaf.used().min(count) / 2);
            }
            here = cursor.here();
        }
        ControlFlow::Continue(())
    }

    /// Calls `visit` with every table and the first address it covers, parents first. Exact at quiescence.
    pub(crate) fn each_table<'a>(&self, cx: &'a Cx<'_, M>, visit: &mut dyn FnMut(Table<'a, M>, u64)) {
        let mut cursor = self.cursor_over_all(cx, M::Arch::USER_START).without_pauses();
        while let Some(step) = cursor.next() {
            if let Step::Down(table) = step {
                visit(table, table.base(cursor.here()));
            }
        }
    }

    /// How many tables there are.
    pub(crate) fn count_tables(&self, vm: &Vm<M>) -> u64 {
        let mut here = M::Arch::USER_START;
        let mut count = 0;
        loop {
            let cx = Cx::enter(vm);
            let mut cursor = self.cursor_over_all(&cx, here);
            while let Some(step) = cursor.next() {
                if let Step::Down(table) = step {
                    count += u64::from(cursor.is_fresh(&table));
                }
            }
            if cursor.is_through() {
                return count;
            }
            here = cursor.here();
        }
    }
}

#[cfg(test)]
mod tests;
