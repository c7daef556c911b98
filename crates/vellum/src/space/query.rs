//! What is mapped: the contents of `/proc/PID/maps` and `smaps`, and the resident set.

use super::place::Span;
use super::{Attributes, ClassFlags, ClassId, Inner, RssKind, Space};
use crate::arch::{Absent, Arch, PageBits, Prot, Word};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Kind, Policy};
use crate::vm::Vm;
use core::ops::ControlFlow;

/// A mapped range: as many slots in a row as have one class, whatever calls made them; guards do not divide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
    /// Access rights.
    pub prot: Prot,
    /// Stores go to the object.
    pub is_shared: bool,
    /// Extends downwards by faults.
    pub grows_down: bool,
    /// No memory is reserved for it.
    pub no_reserve: bool,
    /// Children of fork do not get it.
    pub dont_fork: bool,
    /// Children of fork get it empty.
    pub wipe_on_fork: bool,
    /// Not part of a core dump.
    pub dont_dump: bool,
    /// Huge pages are wanted (`hg` of `VmFlags`).
    pub huge_pages: bool,
    /// Huge pages are not wanted (`nh`).
    pub no_huge_pages: bool,
    /// Its pages count as committed (`ac` of `VmFlags`).
    pub is_committed: bool,
    /// From which node private memory comes.
    pub policy: Policy,
    /// Identity of the object shown, 0 for private anonymous memory.
    pub object: u64,
    /// Offset in the object of the first address, in bytes; 0 for private anonymous memory.
    pub offset: u64,
}

/// A [`MapEntry`] and what of it is resident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmapsEntry {
    /// The range.
    pub map: MapEntry,
    /// Resident pages; untouched anonymous memory that was read shows the zero page, which does not count.
    pub resident: u64,
    /// Resident pages that are private copies or anonymous.
    pub anonymous: u64,
    /// Of those, pages that are shown as huge pages (`AnonHugePages`).
    pub anonymous_huge: u64,
    /// Resident pages of shared memory that are shown as huge pages (`ShmemPmdMapped`).
    pub shared_huge: u64,
    /// Resident pages modified through this mapping.
    pub dirty: u64,
    /// Resident pages mapped more than once.
    pub shared: u64,
    /// Resident pages accessed through this mapping.
    pub referenced: u64,
    /// Pages in swap.
    pub swapped: u64,
    /// Pages that are guarded.
    pub guarded: u64,
}

/// A mapping that is being put together of the spans of its tables.
struct Open<M: Machine> {
    /// Without guards.
    attributes: Attributes<M>,
    map: MapEntry,
    /// Guarded bytes.
    guarded: u64,
}

/// Resident pages of a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rss {
    /// Anonymous pages and private copies (`RssAnon`).
    pub anonymous: u64,
    /// Pages of files (`RssFile`).
    pub file: u64,
    /// Pages of shared memory (`RssShmem`).
    pub shared_memory: u64,
    /// Pages in swap (`VmSwap`): not resident.
    pub swapped: u64,
}

impl Rss {
    /// All resident pages (`VmRSS`).
    pub fn total(&self) -> u64 {
        self.anonymous + self.file + self.shared_memory
    }
}

impl<M: Machine> Space<'_, M> {
    /// Calls `visit` for each mapped range in ascending order, neighbours of equal attributes joined.
    ///
    /// Reads without locks: beside concurrent changes each part is as it was at some moment, as `/proc/PID/maps` is.
    pub fn maps(&self, visit: &mut dyn FnMut(&MapEntry)) {
        self.each_range(&mut |open| visit(&open.map));
    }

    /// As [`Space::maps`], with what is resident.
    pub fn smaps(&self, visit: &mut dyn FnMut(&SmapsEntry)) {
        self.each_range(&mut |Open { map, guarded, .. }| {
            let mut entry = SmapsEntry {
                map: *map,
                resident: 0,
                anonymous: 0,
                anonymous_huge: 0,
                shared_huge: 0,
                dirty: 0,
                shared: 0,
                referenced: 0,
                swapped: 0,
                guarded: guarded >> M::Arch::PAGE_SHIFT,
            };
            self.count_resident(&mut entry);
            visit(&entry);
        });
    }

    /// Calls `visit` for each guarded range in ascending order: where it begins, and its end, exclusive.
    ///
    /// Reads without locks, as [`Space::maps`].
    pub fn guards(&self, visit: &mut dyn FnMut(u64, u64)) {
        let (mut here, end) = (M::Arch::USER_START, M::Arch::USER_END);
        let mut open: Option<(u64, u64)> = None;
        while here < end {
            let (is_guard, next) = {
                let cx = Cx::enter(self.vm());
                let span = self.inner().span_at(&cx, here, end);
                (span.class != ClassId::NONE && cx.attributes(span.class).is_guarded(), span.end.min(end))
            };
            match &mut open {
                Some((_, last)) if is_guard => *last = next,
                _ => {
                    open.take().inspect(|&(start, end)| visit(start, end));
                    open = is_guard.then_some((here, next));
                }
            }
            here = next;
        }
        open.inspect(|&(start, end)| visit(start, end));
    }

    /// Resident pages. Exact while nothing changes them.
    pub fn rss(&self) -> Rss {
        let of = |kind| self.inner().rss_of(self.vm(), kind);
        Rss {
            anonymous: of(RssKind::Anonymous),
            file: of(RssKind::File),
            shared_memory: of(RssKind::SharedMemory),
            swapped: of(RssKind::Swap),
        }
    }

    /// The first mapped address of a range, whose parts beyond the user range are not mapped.
    ///
    /// Reads without locks, as [`Space::maps`].
    pub fn first_mapped(&self, start: u64, length: u64) -> Option<u64> {
        let (start, end) = (start.max(M::Arch::USER_START), start.saturating_add(length).min(M::Arch::USER_END));
        self.inner().first_attributes(self.vm(), start, end).map(|(address, ..)| address)
    }

    /// The first address of a range that is not mapped; nothing is beyond the user range.
    ///
    /// Reads without locks, as [`Space::maps`].
    pub fn first_hole(&self, start: u64, length: u64) -> Option<u64> {
        let end = start.saturating_add(length);
        if start < M::Arch::USER_START {
            return (length > 0).then_some(start);
        }
        let within = end.min(M::Arch::USER_END);
        self.inner().first_hole(self.vm(), start, within).or((within < end).then_some(within.max(start)))
    }

    /// Page tables of the space, the root included.
    pub fn table_pages(&self) -> u64 {
        self.inner().count_tables(self.vm())
    }

    fn each_range(&self, visit: &mut dyn FnMut(&Open<M>)) {
        let end = M::Arch::USER_END;
        let mut here = M::Arch::USER_START;
        let mut open: Option<Open<M>> = None;
        while here < end {
            let (found, next) = {
                let cx = Cx::enter(self.vm());
                let span = self.inner().span_at(&cx, here, end);
                (describe(&cx, span.class, here, span.end.min(end)), span.end.min(end))
            };
            match (&mut open, found) {
                (Some(open), Some(found)) if open.attributes == found.attributes && open.map.end == here => {
                    open.map.end = next;
                    open.guarded += found.guarded;
                }
                (_, found) => {
                    open.take().inspect(|open| visit(open));
                    open = found;
                }
            }
            here = next;
        }
        open.inspect(|open| visit(open));
    }

    /// Counts the resident pages of `entry`'s range.
    fn count_resident(&self, entry: &mut SmapsEntry) {
        let range = (entry.map.start, entry.map.end);
        let _ = self.inner().each_leaf(self.vm(), range, &mut |cx, slots| {
            (slots.low..=slots.high).for_each(|index| entry.add(cx, slots.leaf.page(index), slots.leaf.pages()));
            ControlFlow::<()>::Continue(())
        });
    }
}

impl SmapsEntry {
    /// Counts an entry that shows so many pages.
    fn add<M: Machine>(&mut self, cx: &Cx<'_, M>, word: Word<M::Arch>, pages: u64) {
        if !word.is_page() {
            self.add_absent(cx, word, pages);
            return;
        }
        if word.bits().has(PageBits::SPECIAL) {
            return;
        }
        let (pfn, bits) = (word.pfn(), word.bits());
        let frame = cx.vm().physical().folio(pfn);
        let if_so = |so: bool| if so { pages } else { 0 };
        self.resident += pages;
        self.anonymous += if_so(frame.kind() == Kind::Anonymous);
        self.anonymous_huge += if_so(frame.kind() == Kind::Anonymous && pages > 1);
        self.shared_huge += if_so(frame.kind() == Kind::File && pages > 1);
        self.dirty += if_so(bits.has(PageBits::DIRTY));
        // A folio that is mapped page by page has many mappings; an exclusive page has one.
        self.shared += if_so(frame.mappings() > 1 && !bits.has(PageBits::EXCLUSIVE));
        self.referenced += if_so(bits.has(PageBits::ACCESSED));
    }

    /// Counts what an entry says that shows no page: one that is being moved is resident all the while.
    fn add_absent<M: Machine>(&mut self, cx: &Cx<'_, M>, word: Word<M::Arch>, pages: u64) {
        let if_so = |so: bool| if so { pages } else { 0 };
        match word.absent() {
            Some(Absent::Swap { .. }) => self.swapped += pages,
            Some(Absent::Migration { pfn, is_exclusive, is_dirty, is_accessed }) => {
                let frame = cx.vm().physical().frame(pfn);
                let is_anonymous = frame.kind() == Kind::Anonymous;
                self.resident += pages;
                self.anonymous += if_so(is_anonymous);
                self.anonymous_huge += if_so(is_anonymous && pages > 1);
                self.dirty += if_so(is_dirty);
                self.shared += if_so(frame.mappings() > 1 && !is_exclusive);
                self.referenced += if_so(is_accessed);
            }
            Some(Absent::Poison | Absent::Splitting) | None => {}
        }
    }
}

/// The range of `class` from `start` to `end`; `None` if nothing is mapped.
fn describe<M: Machine>(cx: &Cx<'_, M>, class: ClassId, start: u64, end: u64) -> Option<Open<M>> {
    if class == ClassId::NONE {
        return None;
    }
    let attributes = cx.attributes(class);
    let page = start >> M::Arch::PAGE_SHIFT;
    let map = MapEntry {
        start,
        end,
        prot: attributes.prot,
        is_shared: !attributes.is_private(),
        grows_down: attributes.flags.has(ClassFlags::GROWS_DOWN),
        no_reserve: attributes.flags.has(ClassFlags::NO_RESERVE),
        dont_fork: attributes.flags.has(ClassFlags::DONT_FORK),
        wipe_on_fork: attributes.flags.has(ClassFlags::WIPE_ON_FORK),
        dont_dump: attributes.flags.has(ClassFlags::DONT_DUMP),
        huge_pages: attributes.flags.has(ClassFlags::HUGE_PAGES),
        no_huge_pages: attributes.flags.has(ClassFlags::NO_HUGE_PAGES),
        is_committed: attributes.is_committed(),
        policy: attributes.policy,
        object: attributes.object.map_or(0, object_id),
        offset: attributes.object.map_or(0, |_| page.wrapping_sub(attributes.delta) << M::Arch::PAGE_SHIFT),
    };
    let guarded = if attributes.is_guarded() { end - start } else { 0 };
    Some(Open { attributes: attributes.unguarded(), map, guarded })
}

/// What is done with each span, and where it begins; whether to go on.
type EachSpan<'v, M, B> = dyn FnMut(&Cx<'_, M>, u64, &Span) -> ControlFlow<B> + 'v;

impl<M: Machine> Inner<M> {
    /// Calls `visit` with all spans of `start..end`, and where each begins, until it breaks off: what there is at
    /// several moments, unless it is claimed. Each is in a read-side section of its own, as there may be one for each
    /// page.
    pub(crate) fn each_span<B>(
        &self,
        vm: &Vm<M>,
        (start, end): (u64, u64),
        visit: &mut EachSpan<'_, M, B>,
    ) -> ControlFlow<B> {
        let mut here = start;
        while here < end {
            let cx = Cx::enter(vm);
            let Span { class, end: span_end } = self.span_at(&cx, here, end);
            let span = Span { class, end: span_end.min(end) };
            visit(&cx, here, &span)?;
            here = span.end;
        }
        ControlFlow::Continue(())
    }

    /// The first address of `start..end` that is mapped, what class it was of when it was found, and what that says: a
    /// second look may find something else there (G12M).
    pub(crate) fn first_attributes(&self, vm: &Vm<M>, start: u64, end: u64) -> Option<(u64, ClassId, Attributes<M>)> {
        let found = self.each_span(vm, (start, end), &mut |cx, here, span| match span.class {
            ClassId::NONE => ControlFlow::Continue(()),
            class => ControlFlow::Break((here, class, cx.attributes(class))),
        });
        found.break_value()
    }

    /// The first address of `start..end` that is not mapped.
    pub(crate) fn first_hole(&self, vm: &Vm<M>, start: u64, end: u64) -> Option<u64> {
        let found = self.each_span(vm, (start, end), &mut |_, here, span| match span.class {
            ClassId::NONE => ControlFlow::Break(here),
            _ => ControlFlow::Continue(()),
        });
        found.break_value()
    }
}

fn object_id<M: Machine>(object: core::ptr::NonNull<object::Inner<M>>) -> u64 {
    // SAFETY: found in a class within the read-side section the caller is in, so its memory is still there.
    unsafe { object.as_ref() }.id()
}
