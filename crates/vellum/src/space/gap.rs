//! Searching for free addresses.
//!
//! A search goes from gap to gap in ascending order and reads the tree without locks: a step is the slots of one table,
//! from an address on, that are all free or all mapped, as they were at one moment. It comes to the next table by way
//! of the one above the last. After some steps it pauses, so that pre-emption is never off for long.
//!
//! What it has gone by in vain is a [`Stretch`], which later searches pass by ([`super::place`]).

use super::table::Table;
use super::{ClassId, Inner, stack_guard_pages};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::vm::Vm;
use core::ops::ControlFlow;

/// After how many steps a search pauses: of some hundred instructions each.
const SECTION: usize = 128;
/// Slots that are gone by at the price of a step.
const PASSED: usize = 32;
/// A search of fewer steps is not worth remembering.
const LONG: usize = 32;

/// Addresses between which there is no room: no gap of `pages` pages or more begins in `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) pages: u64,
}

/// A search for free addresses.
pub(super) struct Search {
    /// How many bytes.
    length: u64,
    /// Where they must end, at most.
    high: u64,
    /// Of what they begin at a multiple.
    span: u64,
    /// Where the gap begins in which it is.
    start: u64,
    /// Up to where that gap is known to be free.
    here: u64,
    /// What it passes by.
    stretch: Option<Stretch>,
    steps: usize,
    /// Where it first came to something mapped.
    first: Option<u64>,
    /// The largest gap that it has gone by from there on, in bytes.
    largest: u64,
}

/// Neighbouring slots of a table that are all free or all mapped.
struct Alike {
    is_mapped: bool,
    /// First address behind them.
    end: u64,
    /// How many.
    slots: usize,
}

/// A table above the last one that was found, and the first address it covers.
type Near<'a, M> = (Table<'a, M>, u64);

impl Search {
    /// One for `length` bytes, not 0, at or above `low` that end at or below `high`.
    pub(super) fn new(length: u64, low: u64, high: u64) -> Self {
        Search { length, high, span: 1, start: low, here: low, stretch: None, steps: 0, first: None, largest: 0 }
    }

    /// This one, for addresses from a multiple of `span` on, a power of two.
    pub(super) fn aligned(mut self, span: u64) -> Self {
        self.span = span;
        self
    }

    /// Where what is sought would begin in the gap.
    fn place(&self) -> u64 {
        self.start.saturating_add(self.span - 1) & !(self.span - 1)
    }

    /// This one, which passes by `stretch` if there is no room for it.
    pub(super) fn passing<A: Arch>(mut self, stretch: Option<Stretch>) -> Self {
        self.stretch = stretch.filter(|stretch| self.length >> A::PAGE_SHIFT >= stretch.pages);
        self.pass::<A>();
        self
    }

    /// Passes by the stretch, if a gap would begin in it here.
    fn pass<A: Arch>(&mut self) {
        let Some(stretch) = self.stretch.filter(|stretch| (stretch.start..stretch.end).contains(&self.start)) else {
            return;
        };
        self.first.get_or_insert(stretch.start);
        self.largest = self.largest.max((stretch.pages - 1) << A::PAGE_SHIFT);
        (self.start, self.here) = (stretch.end, stretch.end);
    }

    /// Goes on behind what is mapped from where it is up to `end`.
    fn leave_gap<A: Arch>(&mut self, end: u64) {
        match self.first {
            None => self.first = Some(self.here),
            Some(_) => self.largest = self.largest.max(self.here - self.start),
        }
        (self.start, self.here) = (end, end);
        self.pass::<A>();
    }

    /// What it has gone by up to where it ended, if that was much: from what was mapped first, as the gap before that
    /// is where others will begin.
    pub(super) fn gone_by<A: Arch>(&self) -> Option<Stretch> {
        // The last gap has room for this one, or was too small for it alone.
        let (start, end) = (self.first?, self.start);
        let pages = (self.largest >> A::PAGE_SHIFT) + 1;
        (self.steps > LONG && start < end).then_some(Stretch { start, end, pages })
    }
}

impl<M: Machine> Inner<M> {
    /// A free range of `length` bytes, not 0, at or above `low` and ending at or below `high`: the lowest there is.
    pub(crate) fn gap(&self, vm: &Vm<M>, length: u64, low: u64, high: u64) -> Option<u64> {
        self.search(vm, &mut Search::new(length, low, high))
    }

    /// Whether the `length` bytes from `start` on, not 0, are free, and no stack begins too close above.
    pub(crate) fn is_free(&self, vm: &Vm<M>, start: u64, length: u64) -> bool {
        let end = start + length;
        let span = self.span_at(&Cx::enter(vm), start, end);
        // Most often one run of free slots is all there is to see.
        let is_one_run = span.class == ClassId::NONE && span.end >= end && !self.is_near_stack(start, end);
        is_one_run || self.gap(vm, length, start, end) == Some(start)
    }

    /// Searches to the end: what it finds.
    pub(super) fn search(&self, vm: &Vm<M>, search: &mut Search) -> Option<u64> {
        loop {
            if let ControlFlow::Break(found) = self.search_section(&Cx::enter(vm), search) {
                return found;
            }
        }
    }

    /// Searches in one read-side section: what it finds, if it comes to an end.
    pub(super) fn search_section(&self, cx: &Cx<'_, M>, search: &mut Search) -> ControlFlow<Option<u64>> {
        let guard = stack_guard_pages::<M::Arch>() << M::Arch::PAGE_SHIFT;
        let root = self.root_table(cx);
        let mut near = (root, root.base(search.here));
        let mut left = SECTION;
        while left > 0 {
            let place = search.place();
            if search.high.checked_sub(place).is_none_or(|room| room < search.length) {
                return ControlFlow::Break(None);
            }
            let wanted = place + search.length;
            let alike = self.alike_at(cx, &mut near, search.here, wanted);
            let steps = 1 + alike.slots / PASSED;
            left = left.saturating_sub(steps);
            search.steps += steps;
            if alike.is_mapped {
                search.leave_gap::<M::Arch>(alike.end);
            } else if alike.end < wanted {
                search.here = alike.end;
            } else {
                let is_near = self.is_near_stack(place, wanted);
                match if is_near { self.stack_within(cx, wanted, guard) } else { None } {
                    None => return ControlFlow::Break(Some(place)),
                    Some(stack) => {
                        search.largest = search.largest.max(stack - search.start);
                        (search.start, search.here) = (stack, stack);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The slots from `address` on, of the lowest table there, that are all mapped or, up to about `limit`, all free:
    /// as they were at one moment, as [`Inner::span_at`].
    fn alike_at<'a>(&self, cx: &'a Cx<'_, M>, near: &mut Near<'a, M>, address: u64, limit: u64) -> Alike {
        let find = || self.lowest_by(cx, near, address);
        self.read_lowest(cx, address, find, |table| {
            let (first, base) = (table.index(address), table.base(address));
            let address_of = |slot: usize| base + ((slot as u64) << M::Arch::shift(table.level));
            let bound = if limit > address_of(table.len() - 1) { table.len() } else { table.index(limit - 1) + 1 };
            let (is_mapped, mut end) = table.runs(cx).alike(first, bound.max(first + 1), table.len());
            if table.level > 0 {
                // The class of a slot with a lower table says nothing.
                end = table.first_entry(first + 1, end).0;
            }
            Alike { is_mapped, end: address_of(end), slots: end - first }
        })
    }

    /// The lowest table that covers `address`: down from the one in `near` if that covers it, else from the root.
    fn lowest_by<'a>(&self, cx: &'a Cx<'_, M>, near: &mut Near<'a, M>, address: u64) -> Table<'a, M> {
        let mut table = if near.0.base(address) == near.1 { near.0 } else { self.root_table(cx) };
        while table.level > 0
            && let Some(child) = table.child(cx, table.index(address))
        {
            *near = (table, table.base(address));
            table = child;
        }
        table
    }
}
