//! Lockless descents.

use super::table::Table;
use super::{ClassId, Inner};
use crate::arch::{Arch, index};
use crate::cpu::{Cx, Reader};
use crate::error::Error;
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
            let word = unsafe { &*slots.add(index::<M::Arch>(address, level)) }.load(Acquire);
            match M::Arch::table_of(word) {
                Some(below) => (pfn, level) = (below, level - 1),
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

    /// The lower table of the slot of `table` covering `address`, made if there is none: all its slots get the class
    /// the slot had. `None` if `table` has become stale, or the class is no longer `class`: look again.
    ///
    /// Takes the table's lock; allocates.
    pub(crate) fn make_child<'a>(
        &self,
        cx: &'a Cx<'_, M>,
        table: Table<'a, M>,
        address: u64,
        class: ClassId,
    ) -> Result<Option<Table<'a, M>>, Error> {
        let index = table.index(address);
        let child = Table::allocate(cx, table.level - 1, class)?;
        let Some(locked) = table.lock(cx, self, address) else {
            child.discard(cx);
            return Ok(None);
        };
        if let Some(other) = table.child(cx, index) {
            drop(locked);
            child.discard(cx);
            return Ok(Some(other));
        }
        if table.class(cx, index) != class {
            drop(locked);
            child.discard(cx);
            return Ok(None);
        }
        cx.retain_class(class, child.len() as u64 - 1);
        locked.install(index, M::Arch::table(child.pfn));
        Ok(Some(child))
    }
}
