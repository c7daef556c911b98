//! The way to one address.

use super::claim::{Conflict, commit_above};
use super::slot::Slot;
use super::table::Table;
use super::{ClassId, Inner};
use crate::arch::{Absent, Arch, Word, index};
use crate::cpu::{Cx, Reader};
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use core::sync::atomic::Ordering::Acquire;

impl<M: Machine> Inner<M> {
    /// The root table.
    #[inline(always)]
    pub(crate) fn root_table<'a>(&self, cx: &'a Cx<'_, M>) -> Table<'a, M> {
        Table::with_slots(cx, self.root(), self.top, M::Arch::LEVELS - 1)
    }

    /// Goes down to the lowest table that covers `address`. Calls `pass` with each table on the way that has a lower
    /// one, and its level. Touches entries only, no descriptor.
    #[inline(always)]
    pub(super) fn descend(&self, machine: &M, address: u64, mut pass: impl FnMut(usize, Pfn)) -> Lowest<'_, M> {
        let (mut pfn, mut level) = (self.root(), M::Arch::LEVELS - 1);
        // SAFETY: the root lives as long as the space, and has that many slots.
        let mut slot = unsafe { self.top.add(index::<M::Arch>(address, level)).as_ref() };
        while level > 0 {
            let Some(mut below) = slot.load(Acquire).table() else { break };
            if !M::guard(Guard::SingleRead) {
                below = slot.load(Acquire).pfn();
            }
            pass(level, pfn);
            (pfn, level) = (below, level - 1);
            slot = slot_at(machine, pfn, level, address);
        }
        Lowest { pfn, level, slot }
    }

    /// The lowest table that covers `address`: with what every operation on one address begins.
    #[inline(always)]
    pub(crate) fn lowest<'a>(&self, cx: &'a Cx<'_, M>, address: u64) -> Table<'a, M> {
        let lowest = self.descend(cx.vm().machine(), address, |_, _| ());
        Table::at(cx, lowest.pfn, lowest.level)
    }

    /// The entry of the page at `address`, if there is a leaf for it.
    #[inline(always)]
    pub(crate) fn leaf_entry(&self, reader: &Reader<'_, M>, address: u64) -> Option<Word<M::Arch>> {
        let lowest = self.descend(reader.vm().machine(), address, |_, _| ());
        (lowest.level == 0).then(|| lowest.slot.load(Acquire))
    }

    /// The entry of the page at `address`, as it stands in a leaf or, of one that is part of a huge page, would stand
    /// there; empty if there is none.
    #[inline(always)]
    pub(crate) fn page_entry(&self, reader: &Reader<'_, M>, address: u64) -> Word<M::Arch> {
        let lowest = self.descend(reader.vm().machine(), address, |_, _| ());
        let word = lowest.slot.load(Acquire);
        if lowest.level == 0 || word.is_empty() { word } else { self.upper_page_entry(reader, address) }
    }

    /// Waits while somebody has the lock of the lowest table that covers `address`.
    #[cold]
    pub(crate) fn await_lock(&self, reader: &Reader<'_, M>, address: u64) {
        await_table(reader, self.descend(reader.vm().machine(), address, |_, _| ()).pfn);
    }

    /// [`Inner::page_entry`], of a page where there was an entry, but no leaf.
    #[cold]
    fn upper_page_entry(&self, reader: &Reader<'_, M>, address: u64) -> Word<M::Arch> {
        loop {
            let Lowest { pfn, level, slot } = self.descend(reader.vm().machine(), address, |_, _| ());
            let word = slot.load(Acquire);
            if level == 0 {
                return word;
            }
            if word.table().is_some() && M::guard(Guard::TableSeen) {
                continue;
            }
            let word = word.as_small(level);
            let is_splitting = word.absent() == Some(Absent::Splitting);
            if is_splitting && M::guard(Guard::SplittingAwaited) {
                await_table(reader, pfn);
                continue;
            }
            let within = address & ((1 << M::Arch::shift(level)) - 1);
            return if word.is_page() { word.further(within >> M::Arch::PAGE_SHIFT) } else { word };
        }
    }

    /// The tables that cover `address`, from the root down: what each names is read when the next one is asked for.
    pub(super) fn way<'a>(&self, cx: &'a Cx<'_, M>, address: u64) -> impl Iterator<Item = Table<'a, M>> {
        let root = self.root_table(cx);
        let mut last: Option<Table<'a, M>> = None;
        core::iter::from_fn(move || {
            last = match last {
                None => Some(root),
                Some(table) if table.level == 0 => return None,
                Some(table) => Some(table.child(cx, table.index(address))?),
            };
            last
        })
    }

    /// The lowest table that covers both addresses.
    pub(crate) fn covering<'a>(&self, cx: &'a Cx<'_, M>, first: u64, last: u64) -> Table<'a, M> {
        let mut table = self.root_table(cx);
        // Up to where the ways to the two part, or end.
        for next in self.way(cx, first) {
            table = next;
            if table.index(first) != table.index(last) {
                break;
            }
        }
        table
    }

    /// The table of `level` or, if there is none, the lowest above it, that covers `address`.
    pub(crate) fn table_at<'a>(&self, cx: &'a Cx<'_, M>, address: u64, level: usize) -> Table<'a, M> {
        let way = self.way(cx, address).take_while(|table| table.level >= level);
        way.last().unwrap_or_else(|| self.root_table(cx))
    }

    /// Makes the lower table of the slot of `table` covering `address`, if it has none and is still of `class`: all its
    /// slots get that class. If there is a huge page, the table shows its pages from then on.
    ///
    /// Takes the table's lock; allocates.
    pub(crate) fn make_child(
        &self,
        cx: &Cx<'_, M>,
        table: Table<'_, M>,
        address: u64,
        class: ClassId,
        maker: Maker,
    ) -> Result<Made, Error> {
        let index = table.index(address);
        let child = Table::allocate(cx, table.level - 1, class)?;
        let Some(locked) = table.lock(cx, self, address) else {
            child.discard(cx);
            return Ok(Made::LookAgain);
        };
        let waits = maker == Maker::Fault && M::guard(Guard::TablesBreakBeforeMake);
        let commit = if waits { commit_above(cx, self, &table, address) } else { None };
        let has_changed =
            M::guard(Guard::RecheckAbove) && (!table.is_childless(index) || table.class(cx, index) != class);
        // A huge page is being put together there, or moved: a fault waits for that. Who has claimed the place meets no
        // other than one that is moved, and cuts it.
        let is_kept =
            maker == Maker::Fault && M::guard(Guard::CollapsePlaceKept) && table.page(index).absent().is_some();
        if commit.is_some() || has_changed || is_kept {
            drop(locked);
            child.discard(cx);
            return Ok(commit.map_or(Made::LookAgain, Made::Wait));
        }
        cx.retain_class(class, child.len() as u64 - 1);
        match table.entry(index).is_empty() {
            true => locked.hang(index, &child),
            false => self.split_entry(cx, &locked, index, &child, address),
        }
        Ok(Made::LookAgain)
    }
}

/// The lowest table on the way to an address.
pub(super) struct Lowest<'a, M> {
    pub(super) pfn: Pfn,
    pub(super) level: usize,
    /// Its slot that covers the address.
    slot: &'a Slot<M>,
}

/// The slot of the table of `level` in frame `pfn`, which lives for `'a`, that covers `address`.
#[inline(always)]
fn slot_at<'a, M: Machine>(machine: &M, pfn: Pfn, level: usize, address: u64) -> &'a Slot<M> {
    let slots = machine.frame(pfn).cast_const().cast::<Slot<M>>();
    // SAFETY: `pfn` is a live table of `level`, as in `Table::slot`.
    unsafe { &*slots.add(index::<M::Arch>(address, level)) }
}

/// Waits a short while for the lock of `table`, which who has it may give up only when this CPU has flushed.
fn await_table<M: Machine>(reader: &Reader<'_, M>, table: Pfn) {
    if M::guard(Guard::ServeWhileLooking) {
        reader.serve_mailbox();
    }
    reader.vm().physical().frame(table).lock.await_release(reader.vm().machine());
}

/// Who makes a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// A fault, which must not do so where a range operation is being committed.
    Fault,
    /// A range operation, in the range it has claimed.
    Owner,
}

/// What came of making a table.
#[derive(Clone, Copy)]
pub(crate) enum Made {
    /// There is one now, or something else has changed: descend anew.
    LookAgain,
    /// A range operation is being committed there: wait for its end.
    Wait(Conflict),
}
