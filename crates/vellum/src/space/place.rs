//! Choosing addresses.
//!
//! Each CPU searches its own part of the address space first, its *arena*, from a cursor in its own cache line; so CPUs
//! that map and unmap do not meet in the tree. Unmapping moves the cursor back, so freed addresses are reused. An
//! arena is where a search begins, not a right: when it is full the search covers the whole space.
//!
//! What consists of whole slots of an upper table prefers to begin with one ([`preferred_span`]); the cursor stays
//! before what is left free for that, so that what is smaller goes there.
//!
//! A gap that is too small for most would be where each search begins, and goes by all that is mapped above. So the CPU
//! remembers one *stretch* without room, beside its cursor: that no gap of so many pages begins in it. Who searches for
//! as many passes it by. A long search makes one, of all that it has gone by and passed by; it gets shorter when in its
//! midst as much is unmapped, or something beside what is free. Other CPUs do not heed it: what they unmap is found by
//! the search of everything without which there is no room.
//!
//! The search reads the tree without a lock; the caller claims what it found and checks again.

use super::gap::{Search, Stretch};
use super::table::Table;
use super::{ClassFlags, ClassId, Inner};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;

/// An arena has as many times the span to which mappings in it are aligned, at least.
const SPANS: u64 = 16;

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

/// Of what a mapping of `length` bytes begins at a multiple, if there is room: of what the largest slots span of which
/// it can consist. So it needs no lower tables, and may have huge pages. `None` for shorter ones, for those that would
/// end within a slot all the same, whose neighbours shall be adjacent, and where little room is left by the spans.
fn preferred_span<A: Arch>(length: u64, cpus: usize) -> Option<u64> {
    if length >> A::shift(1) == 0 {
        return None;
    }
    let (start, end) = arena::<A>(0, cpus);
    let mut spans = (1..A::LEVELS).rev().map(|level| 1 << A::shift(level));
    spans.find(|span| length.is_multiple_of(*span) && *span <= (end - start) / SPANS)
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
    /// The run of slots of one table and one class that begins at `address`, at most up to about `limit`: as it was at
    /// one moment, whoever changes neighbours of it. Whether anything is mapped is decided by this, without a lock
    /// (G6).
    pub(crate) fn span_at(&self, cx: &Cx<'_, M>, address: u64, limit: u64) -> Span {
        let find = || self.lowest(cx, address);
        self.read_lowest(cx, address, find, |table| self.span_in(cx, table, address, limit))
    }

    /// What `read` makes of the lowest table that covers `address`, which `find` finds, as that was at one moment.
    #[inline(always)]
    pub(super) fn read_lowest<'a, T>(
        &self,
        cx: &'a Cx<'_, M>,
        address: u64,
        mut find: impl FnMut() -> Table<'a, M>,
        read: impl Fn(&Table<'a, M>) -> T,
    ) -> T {
        loop {
            let table = find();
            let Some(sequence) = table.sequence() else {
                table.await_sequence(cx);
                continue;
            };
            let seen = read(&table);
            // If a table hangs there by now, the class of its slot says nothing.
            let is_lowest = table.is_childless(table.index(address));
            if is_lowest && table.sequence_is(sequence) || !M::guard(Guard::SpanReread) {
                return seen;
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

    /// Where a grows-down mapping begins within `guard` bytes from `end`, if one does.
    pub(super) fn stack_within(&self, cx: &Cx<'_, M>, end: u64, guard: u64) -> Option<u64> {
        let high = end.saturating_add(guard).min(M::Arch::USER_END);
        let (first, class) = self.first_class(cx, end, high)?;
        cx.attributes(class).flags.has(ClassFlags::GROWS_DOWN).then_some(first)
    }

    /// The first mapped address in `start..end`, and of what class it was when it was found: a second look may find it
    /// gone, and not what is mapped behind it (G12M). Goes by what is free alone, for which there are few tables.
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

    /// A place for `length` bytes: in this CPU's arena from its cursor on, at a multiple of what [`preferred_span`]
    /// says if there is one; else anywhere in it or above it, else anywhere below `end`, wherever other CPUs may have
    /// unmapped something meanwhile.
    pub(crate) fn choose(&self, vm: &Vm<M>, length: u64, end: u64) -> Option<u64> {
        if let Some(span) = preferred_span::<M::Arch>(length, vm.cpu_count())
            && let Some(found) = self.search_ahead(vm, length, span).0
        {
            return Some(found);
        }
        let (found, cursor, stretch) = self.search_ahead(vm, length, 1);
        let again = || {
            let low = arena::<M::Arch>(Cx::enter(vm).number(), vm.cpu_count()).0;
            let mut search = Search::new(length, low, end).passing::<M::Arch>(stretch);
            let found = self.search(vm, &mut search);
            self.note_search(&Cx::enter(vm), &search, cursor);
            found
        };
        found.or_else(again).or_else(|| self.gap(vm, length, M::Arch::USER_START, end))
    }

    /// Searches this CPU's arena from its cursor on for `length` bytes at a multiple of `span`: what it finds, the
    /// cursor, and what it has passed by.
    fn search_ahead(&self, vm: &Vm<M>, length: u64, span: u64) -> (Option<u64>, u64, Option<Stretch>) {
        let (cursor, stretch, mut search) = {
            let cx = Cx::enter(vm);
            let (low, high) = arena::<M::Arch>(cx.number(), vm.cpu_count());
            let (cursor, stretch) = (self.cursor(&cx).load(Relaxed).clamp(low, high), self.stretch(&cx));
            let mut search = Search::new(length, cursor, high).aligned(span).passing::<M::Arch>(stretch);
            if let ControlFlow::Break(found) = self.search_section(&cx, &mut search) {
                self.note_search(&cx, &search, cursor);
                return (found, cursor, stretch);
            }
            (cursor, stretch, search)
        };
        let found = self.search(vm, &mut search);
        self.note_search(&Cx::enter(vm), &search, cursor);
        (found, cursor, stretch)
    }

    /// Remembers what a search that has ended has gone by, if that was much and reaches up to the cursor, where the
    /// next one begins.
    fn note_search(&self, cx: &Cx<'_, M>, search: &Search, cursor: u64) {
        if let Some(stretch) = search.gone_by::<M::Arch>().filter(|stretch| stretch.end >= cursor) {
            self.set_stretch(cx, stretch);
        }
    }

    /// Notes that `start..end` was mapped: the next search begins behind it. But what may have been left free before
    /// it, so that it begins at a multiple, is for others.
    pub(crate) fn note_mapped(&self, cx: &Cx<'_, M>, start: u64, end: u64) {
        let cursor = self.cursor(cx);
        let span = preferred_span::<M::Arch>(end - start, cx.vm().cpu_count());
        if span.is_none_or(|span| !start.is_multiple_of(span) || start == cursor.load(Relaxed)) {
            cursor.store(end, Relaxed);
        }
    }

    /// Notes that `start..end` was unmapped: the next search finds it, if it is in the arena.
    #[inline(always)]
    pub(crate) fn note_unmapped(&self, cx: &Cx<'_, M>, start: u64, end: u64) {
        let low = arena::<M::Arch>(cx.number(), cx.vm().cpu_count()).0;
        let (cursor, [_, of_end]) = self.cursor_and_stretch(cx);
        if start >= low && start < cursor.load(Relaxed) {
            cursor.store(start, Relaxed);
        }
        if start < of_end.load(Relaxed) {
            self.cut_stretch(cx, start, end);
        }
    }

    /// The stretch of the address space where this CPU has seen no room, if there is one.
    fn stretch(&self, cx: &Cx<'_, M>) -> Option<Stretch> {
        let [start, end] = self.cursor_and_stretch(cx).1.each_ref().map(|word| word.load(Relaxed));
        let page = 1 << M::Arch::PAGE_SHIFT;
        (end != 0).then_some(Stretch { start, end: end & !(page - 1), pages: end & (page - 1) })
    }

    /// Remembers a stretch, unless it has larger gaps than can be said: its pages are the last bits of its end.
    fn set_stretch(&self, cx: &Cx<'_, M>, Stretch { start, end, pages }: Stretch) {
        if pages >> M::Arch::PAGE_SHIFT != 0 {
            return;
        }
        let (_, [of_start, of_end]) = self.cursor_and_stretch(cx);
        of_start.store(start, Relaxed);
        of_end.store(if start < end { end | pages } else { 0 }, Relaxed);
    }

    /// Takes what was unmapped out of the stretch, if there may be room now: the larger part is left.
    #[cold]
    fn cut_stretch(&self, cx: &Cx<'_, M>, start: u64, end: u64) {
        let Some(stretch) = self.stretch(cx).filter(|stretch| start < stretch.end && stretch.start < end) else {
            return;
        };
        let page = 1 << M::Arch::PAGE_SHIFT;
        let is_mapped = |address: u64| self.span_at(cx, address, address + page).class != ClassId::NONE;
        // What is free below it is part of the same gap, which begins there.
        let begins = start > M::Arch::USER_START && is_mapped(start - page);
        let is_alone = begins && end < M::Arch::USER_END && is_mapped(end);
        if is_alone && (end - start) >> M::Arch::PAGE_SHIFT < stretch.pages {
            return;
        }
        let (below, above) = (start.saturating_sub(stretch.start), stretch.end.saturating_sub(end));
        let left = match begins && below > above {
            true => Stretch { end: start, ..stretch },
            false => Stretch { start: end, ..stretch },
        };
        self.set_stretch(cx, left);
    }
}
