//! Looking at the places of a folio of several pages.
//!
//! Where it was mapped it lies page behind page, if at all: in one slot of an upper table, in one leaf or, where it was
//! moved to a place that is not aligned, in two. Parts of it may have gone, or be moved elsewhere; then they have
//! another place.

use super::{Found, Seek, Visit, What};
use crate::arch::{Absent, Arch};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::space::Inner;
use crate::space::table::Table;
use crate::stat::Event;
use core::ops::ControlFlow;

/// `pages` page numbers from `first` on, as what is before and what is behind the last number that there is: where each
/// begins, and how many they are. An offset and a difference may come to a number below 0 for the first pages of a
/// folio that was moved in parts.
pub(super) fn parts<M: Machine>(first: u64, pages: u64) -> [(u64, u64); 2] {
    let before = ((u64::MAX >> M::Arch::PAGE_SHIFT) - first).saturating_add(1).min(pages);
    [(first, before), (0, pages - before)]
}

/// Looks at the entries of a folio, or a part, whose first page has, or would have, number `first` in `space`, where it
/// is mapped with difference `delta`.
#[cold]
#[inline(never)]
pub(super) fn look<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &'a Inner<M>,
    (first, delta): (u64, u64),
    seek: &Seek,
    visit: &mut Visit<'_, 'a, M>,
) -> ControlFlow<()> {
    if !space.pin() {
        return ControlFlow::Continue(());
    }
    cx.count(Event::RmapLook, 1);
    let (low, high) = (M::Arch::USER_START >> M::Arch::PAGE_SHIFT, M::Arch::USER_END >> M::Arch::PAGE_SHIFT);
    let flow = parts::<M>(first, seek.pages).into_iter().try_for_each(|(start, pages)| {
        let range = (start.max(low), (start + pages).min(high));
        Look { cx, space, first, delta, seek: *seek }.range(range, visit)
    });
    space.unpin();
    flow
}

struct Look<'a, 'c, M: Machine> {
    cx: &'a Cx<'c, M>,
    space: &'a Inner<M>,
    first: u64,
    delta: u64,
    seek: Seek,
}

impl<'a, M: Machine> Look<'a, '_, M> {
    /// Looks at the pages with the numbers from `low` to below `high`, table by table.
    fn range(&self, (low, high): (u64, u64), visit: &mut Visit<'_, 'a, M>) -> ControlFlow<()> {
        let mut here = low << M::Arch::PAGE_SHIFT;
        while here >> M::Arch::PAGE_SHIFT < high {
            let table = self.space.lowest(self.cx, here);
            let left = (high - (here >> M::Arch::PAGE_SHIFT)).div_ceil(table.pages());
            let slots = (table.len() - table.index(here)).min(left as usize);
            let slots = if table.level == 0 { slots } else { 1 };
            // A stale table was empty, or went with all its entries, and in the place of a huge page came a table: what
            // has come there is looked at.
            let Some(flow) = self.slots(&table, here, slots, visit) else { continue };
            flow?;
            here = (here & !(table.span() - 1)) + slots as u64 * table.span();
        }
        ControlFlow::Continue(())
    }

    /// Looks at so many slots of the lowest table there, from `address` on; `None` if it is not that any more.
    fn slots(
        &self,
        table: &Table<'a, M>,
        address: u64,
        slots: usize,
        visit: &mut Visit<'_, 'a, M>,
    ) -> Option<ControlFlow<()>> {
        let low = table.index(address);
        let all = low..low + slots;
        if self.seek.passes_by(table.level) || !all.clone().any(|index| self.is_looked_at(table, index)) {
            return Some(ControlFlow::Continue(()));
        }
        let locked = table.lock(self.cx, self.space, address)?;
        if !table.is_childless(low) {
            return None;
        }
        let base = address & !(table.span() - 1);
        for index in all {
            let word = table.page(index);
            if !self.seek.is_named_by::<M::Arch>(word) || self.is_elsewhere(table, index) {
                continue;
            }
            let address = base + (index - low) as u64 * table.span();
            let number = (address >> M::Arch::PAGE_SHIFT).wrapping_sub(self.first) & (u64::MAX >> M::Arch::PAGE_SHIFT);
            let page = self.seek.from + number;
            let found = Found { space: self.space, leaf: &locked, index, address, word, page };
            if visit(&found).is_break() {
                return Some(ControlFlow::Break(()));
            }
        }
        Some(ControlFlow::Continue(()))
    }

    /// Whether an entry that says a page of the folio is being moved, but not which, belongs to another place: where
    /// the folio lies, page behind page, another page of it may have been moved to, with another difference. That is
    /// what its class says.
    fn is_elsewhere(&self, table: &Table<'a, M>, index: usize) -> bool {
        let tells_page = self.seek.what != What::Migration || table.level > 0;
        !tells_page && self.cx.attributes(table.class(self.cx, index)).delta != self.delta
    }

    /// Whether a slot has to be looked at under the lock, as seen without: it has what is sought, or is about to, or
    /// has got a lower table.
    fn is_looked_at(&self, table: &Table<'_, M>, index: usize) -> bool {
        let word = table.entry(index);
        if table.level > 0 && word.table().is_some() {
            return true;
        }
        let word = word.as_small(table.level);
        self.seek.is_named_by::<M::Arch>(word) || word.absent() == Some(Absent::Splitting)
    }
}
