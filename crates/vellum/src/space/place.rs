//! Choosing addresses.
//!
//! Each CPU searches its own part of the address space first, its *arena*, from a cursor in its own cache line; so CPUs
//! that map and unmap do not meet in the tree. Unmapping moves the cursor back, so freed addresses are reused. An
//! arena is where a search begins, not a right: when it is full the search covers the whole space.
//!
//! The search reads the tree without a lock; the caller claims what it found and checks again.

use super::table::Table;
use super::{ClassFlags, ClassId, Inner};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use core::sync::atomic::Ordering::Relaxed;

/// Pages kept free below a grows-down mapping by everything but fixed mappings: Linux's `stack_guard_gap`, less in
/// address spaces too small for that.
pub fn stack_guard_pages<A: Arch>() -> u64 {
    ((A::USER_END - A::USER_START) >> A::PAGE_SHIFT >> 5).min(256)
}

/// First address and end of CPU `cpu`'s arena. The lowest quarter of the space is left to programs and their heaps.
pub(crate) fn arena<A: Arch>(cpu: usize, cpus: usize) -> (u64, u64) {
    let table_shift = A::shift(0) + A::index_bits(0);
    let span = A::SEARCH_END - A::USER_START;
    let low = align_up(A::USER_START + span / 4, A::PAGE_SHIFT);
    let share = (A::SEARCH_END - low) / cpus as u64;
    // Whole lowest tables where there is room for that, so that neighbours share none.
    let shift = if share >> table_shift >= 2 { table_shift } else { A::PAGE_SHIFT };
    let (low, share) = (align_up(low, shift), share >> shift << shift);
    let start = (low + share * cpu as u64).min(A::SEARCH_END);
    (start, (start + share).min(A::SEARCH_END))
}

fn align_up(value: u64, shift: u32) -> u64 {
    (value + (1 << shift) - 1) >> shift << shift
}

/// What lies at one address: the class of the lowest slot there and the first address behind the run.
pub(crate) struct Span {
    pub(crate) class: ClassId,
    pub(crate) end: u64,
}

impl<M: Machine> Inner<M> {
    /// The run of slots of one table and one class that begins at `address`, at most up to about `limit`: as it was at one
    /// moment, whoever changes neighbours of it. Whether anything is mapped is decided by this, without a lock (G6).
    pub(crate) fn span_at(&self, cx: &Cx<'_, M>, address: u64, limit: u64) -> Span {
        loop {
            let table = self.lowest(cx, address);
            let Some(sequence) = table.sequence() else {
                table.await_sequence(cx);
                continue;
            };
            let span = self.span_in(cx, &table, address, limit);
            // If a table hangs there by now, the class of its slot says nothing.
            let is_lowest = table.level == 0 || table.entry(table.index(address)).is_empty();
            if is_lowest && table.sequence_is(sequence) || !M::guard(Guard::SpanReread) {
                return span;
            }
        }
    }

    /// [`Inner::span_at`] in the lowest table that covers `address`, perhaps put together of several moments.
    fn span_in(&self, cx: &Cx<'_, M>, table: &Table<'_, M>, address: u64, limit: u64) -> Span {
        let first = table.index(address);
        let base = table.base(address);
        let address_of = |slot: usize| base + ((slot as u64) << M::Arch::shift(table.level));
        let bound = if limit > address_of(table.len() - 1) { table.len() } else { table.index(limit - 1) + 1 };
        let (class, mut end) = table.runs(cx).run(first, bound.max(first + 1));
        if table.level > 0 {
            // The class of a slot with a lower table says nothing: the run ends there.
            end = table.first_entry(first + 1, end).0;
        }
        Span { class, end: address_of(end) }
    }

    /// A free range of `length` bytes at or above `low` and ending at or below `high`: the lowest there is.
    pub(crate) fn gap(&self, cx: &Cx<'_, M>, length: u64, low: u64, high: u64) -> Option<u64> {
        let guard = stack_guard_pages::<M::Arch>() << M::Arch::PAGE_SHIFT;
        let (mut start, mut here) = (low, low);
        while high.checked_sub(start)? >= length {
            let wanted = start + length;
            let span = self.span_at(cx, here, wanted);
            if span.class != ClassId::NONE {
                // Occupied: the next candidate begins behind it.
                (start, here) = (span.end, span.end);
            } else if span.end < wanted {
                here = span.end;
            } else {
                let stack = if self.is_near_stack(start, wanted) { self.stack_within(cx, wanted, guard) } else { None };
                match stack {
                    None => return Some(start),
                    Some(stack) => (start, here) = (stack, stack),
                }
            }
        }
        None
    }

    /// Where a grows-down mapping begins within `guard` bytes from `end`, if one does.
    fn stack_within(&self, cx: &Cx<'_, M>, end: u64, guard: u64) -> Option<u64> {
        let high = end.saturating_add(guard).min(M::Arch::USER_END);
        let (first, class) = self.first_class(cx, end, high)?;
        cx.attributes(class).flags.has(ClassFlags::GROWS_DOWN).then_some(first)
    }

    /// The first mapped address in `start..end`, and of what class it was when it was found: a second look may find it
    /// gone, and not what is mapped behind it (G12M).
    fn first_class(&self, cx: &Cx<'_, M>, start: u64, end: u64) -> Option<(u64, ClassId)> {
        let mut here = start;
        while here < end {
            let span = self.span_at(cx, here, end);
            if span.class != ClassId::NONE {
                return Some((here, span.class));
            }
            here = span.end;
        }
        None
    }

    /// Where this CPU would map next.
    #[inline(always)]
    pub(crate) fn arena_cursor(&self, cx: &Cx<'_, M>) -> u64 {
        self.cursor(cx).load(Relaxed)
    }

    /// A place for `length` bytes: in this CPU's arena from its cursor on, else anywhere in it, else anywhere below `end`.
    pub(crate) fn choose(&self, cx: &Cx<'_, M>, length: u64, end: u64) -> Option<u64> {
        let (low, high) = arena::<M::Arch>(cx.number(), cx.vm().cpu_count());
        let cursor = self.cursor(cx).load(Relaxed).clamp(low, high);
        self.gap(cx, length, cursor, high)
            .or_else(|| self.gap(cx, length, low, high))
            .or_else(|| self.gap(cx, length, low, end))
            .or_else(|| self.gap(cx, length, M::Arch::USER_START, end))
    }

    /// Notes that `start..end` was mapped: the next search begins behind it.
    pub(crate) fn note_mapped(&self, cx: &Cx<'_, M>, end: u64) {
        self.cursor(cx).store(end, Relaxed);
    }

    /// Notes that addresses from `start` on were unmapped: the next search finds them, if they are in the arena.
    pub(crate) fn note_unmapped(&self, cx: &Cx<'_, M>, start: u64) {
        let low = arena::<M::Arch>(cx.number(), cx.vm().cpu_count()).0;
        let cursor = self.cursor(cx);
        if start >= low && start < cursor.load(Relaxed) {
            cursor.store(start, Relaxed);
        }
    }
}
