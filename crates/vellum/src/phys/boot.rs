//! From the machine's memory ranges to a working [`Physical`].
//!
//! Boot memory is carved downwards from the ends of ranges and never given back: first the table of sections and the
//! frame descriptors, each on the node it describes where that has room, then what the caller asks for. How much of a
//! range is taken is noted *in the range's first page*, which is therefore never carved; so any number of ranges can
//! be handled without memory to note it in. What remains is handed to the buddy allocators.
//!
//! Single-threaded, by ownership of the [`BootMemory`]: no locks.

use super::buddy::{Zone, ZoneLists};
use super::frame::order_of_none;
use super::memmap::MemoryMap;
use super::slab::{self, SlabClass};
use super::{Kind, NODES_MAX, ORDER_MAX, Pfn, Physical, percpu, pfn_of};
use crate::error::BootError;
use crate::machine::{Machine, MemoryRange};
use crate::placed::Placed;
use core::ptr::NonNull;

/// Frame numbers have at most this many bits: as many as every architecture's entries hold.
const PFN_BITS: u32 = 40;

/// Memory before there is an allocator.
pub(crate) struct BootMemory<'m, M: Machine> {
    machine: &'m M,
    map: MemoryMap<M>,
    zones: Placed<[Zone<M>]>,
    slabs: Placed<[SlabClass<M>]>,
}

impl<'m, M: Machine> BootMemory<'m, M> {
    /// Checks the machine's ranges and makes a descriptor for each frame, of [`Kind::Reserved`] until
    /// [`BootMemory::finish`].
    pub(crate) fn new(machine: &'m M) -> Result<Self, BootError> {
        let ranges = machine.memory();
        check(ranges)?;
        for range in ranges.iter().filter(|range| range.frames > 0) {
            // SAFETY: the first page of a range, before anything has been carved.
            unsafe { set_taken(machine, range, 0) };
        }
        let too_little = BootError::TooLittleMemory { frames: ranges.iter().map(|range| range.frames).sum() };
        let map = MemoryMap::build(ranges, |node, bytes, align| carve(machine, Some(node), bytes, align));
        let map = map.ok_or(too_little)?;
        for range in ranges {
            for offset in 0..range.frames {
                map.frame(range.start.offset(offset)).set_present(range.node, offset == 0);
            }
        }
        let nodes = ranges.iter().filter(|range| range.frames > 0).map(|range| range.node as usize + 1).max();
        let zones = (nodes.unwrap_or(0) + 1).min(NODES_MAX);
        let zones = place_all(machine, zones, |_| Zone::new()).ok_or(too_little)?;
        let slabs = place_all(machine, slab::CLASSES, |_| SlabClass::new()).ok_or(too_little)?;
        Ok(BootMemory { machine, map, zones, slabs })
    }

    /// `count` values for good, each what `make` says for its number: small ones, as they are made on the stack.
    pub(crate) fn place_all<T>(&mut self, count: usize, make: impl FnMut(usize) -> T) -> Option<Placed<[T]>> {
        place_all(self.machine, count, make)
    }

    /// A value for good; a small one, as for [`BootMemory::place_all`].
    pub(crate) fn place<T>(&mut self, value: T) -> Option<Placed<T>> {
        let place = self.alloc(size_of::<T>(), align_of::<T>())?.cast::<T>();
        // SAFETY: the allocation is large enough, aligned, there for good, and nobody else's.
        unsafe {
            place.write(value);
            Some(Placed::new(place))
        }
    }

    /// `bytes` of zeroed memory for good, contiguous, aligned to `align` (a power of two).
    pub(crate) fn alloc(&mut self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        carve(self.machine, None, bytes, align)
    }

    /// What a frame is used for so far.
    #[cfg(test)]
    pub(super) fn frame_kind(&self, pfn: Pfn) -> Option<Kind> {
        self.map.get(pfn).map(|frame| frame.kind())
    }

    /// Takes a page that stays zero, then as [`BootMemory::finish`]; `None` when there is no room for it.
    pub(crate) fn finish_with_zero_page(mut self) -> Option<(Pfn, Physical<M>)> {
        let page = self.alloc(Physical::<M>::PAGE, Physical::<M>::PAGE)?;
        Some((pfn_of(self.machine, page.as_ptr())?, self.finish()))
    }

    /// Hands what is left to the allocators.
    pub(crate) fn finish(self) -> Physical<M> {
        let BootMemory { machine, map, mut zones, slabs } = self;
        // Downwards, so that the lists end up in ascending order and low memory is used first.
        for range in machine.memory().iter().rev().filter(|range| range.frames > 0) {
            // SAFETY: the range's first page is not carved, and noted there since `new`.
            let taken = unsafe { taken(machine, range) }.div_ceil(Physical::<M>::PAGE) as u64;
            let zone = &mut zones.get_mut()[range.node as usize];
            zone.grow(range.frames, range.frames - taken);
            release(&mut ZoneLists::exclusive(zone, &map), &map, range.start, range.frames - taken);
        }
        for zone in zones.get_mut() {
            zone.set_watermarks(Physical::<M>::PAGE);
        }
        let managed = zones.iter().map(Zone::managed).sum();
        let batch = percpu::batch_for(managed, machine.cpu_count());
        Physical { map, zones, slabs, batch }
    }
}

/// Refuses what [`MemoryMap`] and the page tables could not represent.
fn check(ranges: &[MemoryRange]) -> Result<(), BootError> {
    let mut end = 0;
    for (index, range) in ranges.iter().enumerate() {
        if range.node as usize >= NODES_MAX {
            return Err(BootError::BadNode { index });
        }
        let fits = |pfn: u64| pfn <= 1 << PFN_BITS;
        if range.start.0 < end || !fits(range.start.0) || !fits(range.frames) || !fits(range.start.0 + range.frames) {
            return Err(BootError::BadRange { index });
        }
        end = range.start.0 + range.frames;
    }
    Ok(())
}

/// Makes `frames` frames from `start` free blocks, as large as their alignment allows, highest first.
fn release<M: Machine>(lists: &mut ZoneLists<'_, M, ()>, map: &MemoryMap<M>, start: Pfn, frames: u64) {
    let mut end = start.0 + frames;
    while end > start.0 {
        let order = end.trailing_zeros().min((end - start.0).ilog2()).min(ORDER_MAX as u32) as u8;
        let block = end - (1 << order);
        for pfn in block + 1..end {
            map.frame(Pfn(pfn)).set_kind(Kind::Tail, order_of_none::<M::Arch>());
        }
        lists.insert(Pfn(block), order);
        end = block;
    }
}

/// See [`BootMemory::place_all`].
fn place_all<M: Machine, T>(machine: &M, count: usize, mut make: impl FnMut(usize) -> T) -> Option<Placed<[T]>> {
    let first = carve(machine, None, count.checked_mul(size_of::<T>())?, align_of::<T>())?.cast::<T>();
    // SAFETY: the allocation has room for `count` values, is aligned for them, there for good, and nobody else's; all are
    // written before they are handed over.
    unsafe {
        (0..count).for_each(|number| first.add(number).write(make(number)));
        Some(Placed::new(NonNull::slice_from_raw_parts(first, count)))
    }
}

/// Takes `bytes` of zeroed memory from the range with the most left, on `node` if it has enough.
fn carve<M: Machine>(machine: &M, node: Option<u8>, bytes: usize, align: usize) -> Option<NonNull<u8>> {
    if !align.is_power_of_two() {
        return None;
    }
    let on_node = node.and_then(|node| carve_largest(machine, bytes, align, |range| range.node == node));
    on_node.or_else(|| carve_largest(machine, bytes, align, |_| true))
}

fn carve_largest<M: Machine>(
    machine: &M,
    bytes: usize,
    align: usize,
    is_wanted: impl Fn(&MemoryRange) -> bool,
) -> Option<NonNull<u8>> {
    let left = |range: &MemoryRange| {
        // SAFETY: only ranges with frames are candidates, and their first pages hold the note since `BootMemory::new`.
        range.frames as usize * Physical::<M>::PAGE - unsafe { taken(machine, range) }
    };
    let candidates = machine.memory().iter().filter(|range| range.frames > 0 && is_wanted(range));
    let range = candidates.max_by_key(|range| left(range))?;
    let begin = machine.frame(range.start);
    let end = begin.addr().checked_add(left(range))?;
    let address = end.checked_sub(bytes)? & !(align - 1);
    let offset = address.checked_sub(begin.addr())?;
    if offset < Physical::<M>::PAGE {
        return None;
    }
    // SAFETY: the first page holds the note. From `offset`, which is above it, to the part already taken nothing is
    // used, and the pages of a range are consecutive in memory.
    unsafe {
        set_taken(machine, range, range.frames as usize * Physical::<M>::PAGE - offset);
        let memory = begin.add(offset);
        memory.write_bytes(0, bytes);
        NonNull::new(memory)
    }
}

/// The bytes carved from the end of `range`.
///
/// # Safety
/// The range has a frame, [`set_taken`] was called on it, and [`BootMemory::finish`] has not released it.
unsafe fn taken<M: Machine>(machine: &M, range: &MemoryRange) -> usize {
    // SAFETY: the machine's memory is readable, page-aligned, and nobody else uses that page meanwhile.
    unsafe { machine.frame(range.start).cast::<usize>().read() }
}

/// Notes that `bytes` bytes are carved from the end of `range`.
///
/// # Safety
/// The range has a frame and [`BootMemory::finish`] has not released it.
unsafe fn set_taken<M: Machine>(machine: &M, range: &MemoryRange, bytes: usize) {
    // SAFETY: as in `taken`, for writing.
    unsafe { machine.frame(range.start).cast::<usize>().write(bytes) }
}
