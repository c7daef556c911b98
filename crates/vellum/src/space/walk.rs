//! Lockless descents.

use super::claim::{Conflict, commit_above};
use super::table::Table;
use super::{ClassId, Inner};
use crate::arch::{Arch, index};
use crate::cpu::{Cx, Reader};
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::Acquire;

impl<M: Machine> Inner<M> {
    /// The root table.
    #[inline(always)]
    pub(crate) fn root_table<'a>(&self, cx: &'a Cx<'_, M>) -> Table<'a, M> {
        Table::at(cx, self.root(), M::Arch::LEVELS - 1)
    }

    /// The lowest table that covers `address`. The descent every operation begins with: it touches entries only, no
    /// descriptor.
    #[inline(always)]
    pub(crate) fn lowest<'a>(&self, cx: &'a Cx<'_, M>, address: u64) -> Table<'a, M> {
        let machine = cx.vm().machine();
        let (mut pfn, mut level) = (self.root(), M::Arch::LEVELS - 1);
        while level > 0 {
            let slots = machine.frame(pfn).cast_const().cast::<AtomicU64<M>>();
            // SAFETY: `pfn` is a live table of `level`, as in `Table::slot`.
            let slot = unsafe { &*slots.add(index::<M::Arch>(address, level)) };
            match M::Arch::table_of(slot.load(Acquire)) {
                Some(below) if M::guard(Guard::SingleRead) => (pfn, level) = (below, level - 1),
                Some(_) => (pfn, level) = (M::Arch::pfn(slot.load(Acquire)), level - 1),
                None => break,
            }
        }
        Table::at(cx, pfn, level)
    }

    /// The entry of the page at `address`, 0 if there is none.
    #[inline(always)]
    pub(crate) fn page_entry(&self, reader: &Reader<'_, M>, address: u64) -> u64 {
        let mut pfn = self.root();
        for level in (0..M::Arch::LEVELS).rev() {
            let slots = reader.vm().machine().frame(pfn).cast_const().cast::<AtomicU64<M>>();
            // SAFETY: `pfn` is a live table of `level`, as in `Table::slot`.
            let word = unsafe { &*slots.add(index::<M::Arch>(address, level)) }.load(Acquire);
            if level == 0 {
                return word;
            }
            match M::Arch::table_of(word) {
                Some(below) => pfn = below,
                None => return 0,
            }
        }
        0
    }

    /// The lowest table that covers both addresses.
    pub(crate) fn covering<'a>(&self, cx: &'a Cx<'_, M>, first: u64, last: u64) -> Table<'a, M> {
        let mut table = self.root_table(cx);
        while table.level > 0 && table.index(first) == table.index(last) {
            match table.child(cx, table.index(first)) {
                Some(child) => table = child,
                None => break,
            }
        }
        table
    }

    /// The table of `level` or, if there is none, the lowest above it, that covers `address`.
    pub(crate) fn table_at<'a>(&self, cx: &'a Cx<'_, M>, address: u64, level: usize) -> Table<'a, M> {
        let mut table = self.root_table(cx);
        while table.level > level {
            match table.child(cx, table.index(address)) {
                Some(child) => table = child,
                None => break,
            }
        }
        table
    }

    /// Makes the lower table of the slot of `table` covering `address`, if it has none and is still of `class`: all its
    /// slots get that class.
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
        let has_changed = M::guard(Guard::RecheckAbove) && (table.entry(index) != 0 || table.class(cx, index) != class);
        if commit.is_some() || has_changed {
            drop(locked);
            child.discard(cx);
            return Ok(commit.map_or(Made::LookAgain, Made::Wait));
        }
        cx.retain_class(class, child.len() as u64 - 1);
        locked.install(index, M::Arch::table(child.pfn));
        Ok(Made::LookAgain)
    }
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
