//! From a frame number to its descriptor.
//!
//! Memory is divided into sections of `1 << SECTION_SHIFT` frames. The table of sections holds, for each, a *biased*
//! pointer: the address at which the descriptor of frame 0 would lie if the section's array reached down to it. The
//! table's own address is biased in the same way, by the number of the first section. So a lookup is a shift, a load,
//! a shift and an addition, on any layout of memory. A section's array covers its frames from the first to the last
//! that exist, and those before them that would be in one huge page with the first: so what any tail says leads to a
//! descriptor. Those of a hole are [`Kind::Absent`](super::Kind::Absent), which is what zeroes say.
//!
//! Read-only once built.

use super::frame::order_of_none;
use super::{Frame, ORDER_MAX, Pfn};
use crate::machine::{Machine, MemoryRange};
use core::ptr::NonNull;

/// log2 of the frames of a section.
pub(super) const SECTION_SHIFT: u32 = 15;
const SECTION_FRAMES: u64 = 1 << SECTION_SHIFT;

const _: () = assert!(ORDER_MAX as u32 <= SECTION_SHIFT, "blocks lie within sections");

/// The frames of a section that have descriptors, relative to its begin.
#[derive(Clone, Copy)]
struct Span {
    first: u32,
    frames: u32,
}

/// One section, for several lookups.
pub(super) struct Section<'a, M> {
    base: *const Frame<M>,
    first: u64,
    frames: u64,
    _map: &'a MemoryMap<M>,
}

impl<'a, M: Machine> Section<'a, M> {
    /// The descriptor of any frame number, if it is one of this section.
    #[inline(always)]
    pub(super) fn get(&self, pfn: Pfn) -> Option<&'a Frame<M>> {
        if pfn.0.wrapping_sub(self.first) >= self.frames {
            return None;
        }
        // SAFETY: the frame is within the section's span, so its array has the descriptor.
        Some(unsafe { &*self.base.wrapping_add(pfn.0 as usize) })
    }
}

/// The table of sections.
pub(super) struct MemoryMap<M> {
    /// Biased by `first`, as are the pointers it leads to.
    bases: *const *const Frame<M>,
    spans: *const Span,
    /// Number of the first section, and number of sections.
    first: u64,
    sections: u64,
}

// SAFETY: the tables are never written after boot, and frame descriptors are made of atomics.
unsafe impl<M: Machine> Send for MemoryMap<M> {}
// SAFETY: as above.
unsafe impl<M: Machine> Sync for MemoryMap<M> {}

impl<M: Machine> MemoryMap<M> {
    /// Builds the table for `ranges`, which are valid, with memory from `carve(node, bytes, align)`: zeroed, and valid
    /// for as long as the map is used. `None` when that ends.
    pub(super) fn build(
        ranges: &[MemoryRange],
        mut carve: impl FnMut(u8, usize, usize) -> Option<NonNull<u8>>,
    ) -> Option<Self> {
        let present = || ranges.iter().filter(|range| range.frames > 0);
        let (low, high) = (present().next()?, present().next_back()?);
        let first = low.start.0 >> SECTION_SHIFT;
        let sections = ((high.start.0 + high.frames - 1) >> SECTION_SHIFT) - first + 1;
        let bytes = (sections as usize).checked_mul(size_of::<*const Frame<M>>())?;
        let bases = carve(low.node, bytes, align_of::<*const Frame<M>>())?.cast::<*const Frame<M>>();
        let spans =
            carve(low.node, (sections as usize).checked_mul(size_of::<Span>())?, align_of::<Span>())?.cast::<Span>();

        for range in present() {
            let end = range.start.0 + range.frames;
            let mut pfn = range.start.0;
            while pfn < end {
                let place = ((pfn >> SECTION_SHIFT) - first) as usize;
                let section_end = ((pfn >> SECTION_SHIFT) + 1) << SECTION_SHIFT;
                // SAFETY: `place < sections`, the table has that many zeroed entries, and nobody else knows it.
                let span = unsafe { spans.add(place).as_mut() };
                if span.frames == 0 {
                    let low = pfn >> order_of_none::<M::Arch>() << order_of_none::<M::Arch>();
                    let first_frame = low % SECTION_FRAMES;
                    let last_frame = last_of_section(ranges, section_end);
                    *span = Span { first: first_frame as u32, frames: (last_frame - first_frame + 1) as u32 };
                    let array =
                        carve(range.node, span.frames as usize * size_of::<Frame<M>>(), align_of::<Frame<M>>())?;
                    let base = array.cast::<Frame<M>>().as_ptr().cast_const().wrapping_sub(low as usize);
                    // SAFETY: as above, for the other table.
                    unsafe { bases.add(place).write(base) };
                }
                pfn = section_end.min(end);
            }
        }
        let bases = bases.as_ptr().cast_const().wrapping_sub(first as usize);
        Some(MemoryMap { bases, spans: spans.as_ptr(), first, sections })
    }

    /// See [`super::Physical::frame`].
    #[inline(always)]
    pub(super) fn frame(&self, pfn: Pfn) -> &Frame<M> {
        debug_assert!(self.get(pfn).is_some(), "{pfn:?} is not a frame of this machine");
        // SAFETY: `pfn` is a frame of the machine (the caller's contract), so its section is in the table and its
        // descriptor in the section's array; both biased pointers keep the provenance of what they were made from.
        unsafe {
            let base = *self.bases.wrapping_add((pfn.0 >> SECTION_SHIFT) as usize);
            &*base.wrapping_add(pfn.0 as usize)
        }
    }

    /// The descriptors of a block, which is aligned to its size and consists of frames of the machine.
    #[inline]
    pub(super) fn block(&self, pfn: Pfn, order: u8) -> &[Frame<M>] {
        debug_assert!(order <= ORDER_MAX && self.get(pfn.offset((1 << order) - 1)).is_some());
        // SAFETY: a block does not extend across sections, so its descriptors lie in one array.
        unsafe { core::slice::from_raw_parts(self.frame(pfn), 1 << order) }
    }

    /// Passes the descriptors of consecutive frames of the machine to `each`, in ascending order and as few slices.
    pub(super) fn each_part(&self, pfn: Pfn, frames: u64, mut each: impl FnMut(Pfn, &[Frame<M>])) {
        let (mut pfn, end) = (pfn, pfn.0 + frames);
        while pfn.0 < end {
            let section_end = ((pfn.0 >> SECTION_SHIFT) + 1) << SECTION_SHIFT;
            let count = section_end.min(end) - pfn.0;
            debug_assert!(self.get(pfn.offset(count - 1)).is_some());
            // SAFETY: these frames exist and are of one section, so their descriptors lie in one array.
            each(pfn, unsafe { core::slice::from_raw_parts(self.frame(pfn), count as usize) });
            pfn = pfn.offset(count);
        }
    }

    /// Where the descriptors of the section of `pfn` lie, which is a frame of the machine.
    #[inline(always)]
    pub(super) fn section(&self, pfn: Pfn) -> Section<'_, M> {
        debug_assert!(self.get(pfn).is_some(), "{pfn:?} is not a frame of this machine");
        let section = pfn.0 >> SECTION_SHIFT;
        // SAFETY: the section is in the tables, see `frame`.
        let (base, span) =
            unsafe { (*self.bases.wrapping_add(section as usize), *self.spans.add((section - self.first) as usize)) };
        Section { base, first: (section << SECTION_SHIFT) + span.first as u64, frames: span.frames as u64, _map: self }
    }

    /// See [`super::Physical::get`].
    #[inline]
    pub(super) fn get(&self, pfn: Pfn) -> Option<&Frame<M>> {
        let section = pfn.0 >> SECTION_SHIFT;
        let place = section.wrapping_sub(self.first);
        if place >= self.sections {
            return None;
        }
        // SAFETY: `place` is within the table.
        let span = unsafe { *self.spans.add(place as usize) };
        let offset = (pfn.0 % SECTION_FRAMES).wrapping_sub(span.first as u64);
        if offset >= span.frames as u64 {
            return None;
        }
        // SAFETY: the section is in the table and the frame within its span, so the array has its descriptor.
        Some(unsafe { &*(*self.bases.wrapping_add(section as usize)).wrapping_add(pfn.0 as usize) })
    }

    /// The descriptor which contains `address`, and whose it is.
    pub(super) fn descriptor_at(&self, address: usize) -> Option<(Pfn, &Frame<M>)> {
        (0..self.sections).find_map(|place| {
            // SAFETY: `place` is within the table.
            let span = unsafe { *self.spans.add(place as usize) };
            let first = Pfn(((self.first + place) << SECTION_SHIFT) + span.first as u64);
            let begin = (&raw const *self.get(first)?).addr();
            let number = address.checked_sub(begin)? / size_of::<Frame<M>>();
            let pfn = first.offset(number as u64);
            (number < span.frames as usize).then(|| (pfn, self.frame(pfn)))
        })
    }

    /// Every frame that has a descriptor, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Pfn, &Frame<M>)> + '_ {
        (0..self.sections).flat_map(move |place| {
            // SAFETY: `place` is within the table.
            let span = unsafe { *self.spans.add(place as usize) };
            let begin = ((self.first + place) << SECTION_SHIFT) + span.first as u64;
            (begin..begin + span.frames as u64).map(|pfn| (Pfn(pfn), self.frame(Pfn(pfn))))
        })
    }
}

/// The last frame that exists before `section_end`, relative to its section, which has one.
fn last_of_section(ranges: &[MemoryRange], section_end: u64) -> u64 {
    let last = ranges.iter().rfind(|range| range.frames > 0 && range.start.0 < section_end);
    let end = last.map_or(section_end, |range| (range.start.0 + range.frames).min(section_end));
    (end - 1) % SECTION_FRAMES
}
