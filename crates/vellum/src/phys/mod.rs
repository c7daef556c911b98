//! Physical memory: frame descriptors, the buddy allocator of each node, the free lists of each CPU, slab caches.
//!
//! From the bottom: `memmap` finds a frame's descriptor; `buddy` keeps free blocks per node, under `Rank::Zone`;
//! `percpu` keeps single free frames per CPU, without a lock, and is where allocations enter; `run` frees many frames
//! at once; `policy` chooses among nodes; `head` makes blocks of pages that count as one, and `split` makes single
//! pages of such a block; `scan` goes round the frames for reclaim; `isolate` puts blocks together for compaction;
//! `workingset` notes pages that come back soon; `array` makes long arrays of frames; `slab` cuts frames into small
//! objects, under `Rank::Slab`, of which `magazine` keeps some for each CPU; `boot` carves the core's own structures
//! from the machine's memory and hands over the rest; `audit` recounts everything.
//!
//! No global allocator and no infallible allocation: running out of memory is [`Error::OutOfMemory`](crate::Error),
//! and leaves everything as it was.

mod array;
mod audit;
mod boot;
mod buddy;
pub(crate) mod folio;
mod frame;
mod free_batch;
mod head;
mod isolate;
mod list;
mod magazine;
mod memmap;
mod percpu;
mod policy;
mod scan;
mod slab;
mod split;
mod stats;
mod stock;
mod tags;
#[cfg(test)]
mod tests;
mod workingset;

pub use crate::pfn::Pfn;
pub(crate) use array::FrameArray;
pub use audit::{FrameList, PhysAudit, PhysAuditError};
pub(crate) use boot::BootMemory;
pub use folio::PageFlags;
pub use frame::{Frame, Kind};
pub(crate) use free_batch::FreeBatch;
pub(crate) use head::{COPY_OF_OBJECT, Folio, folio_offset};
pub(crate) use magazine::Magazines;
pub(crate) use percpu::{CpuLists, release};
pub use policy::{NodeSet, Policy};
pub(crate) use slab::SLAB_MAX;
pub use stats::NodeStats;
pub(crate) use stock::Stock;
pub(crate) use tags::tag_bytes;
pub(crate) use workingset::{refaulted, stamp};

use crate::arch::{Arch, flag_set};
use crate::machine::Machine;
use crate::placed::Placed;
use crate::structure::{SharedWord, Structure, holds};
use buddy::Zone;
use core::ptr::NonNull;
use memmap::MemoryMap;
use slab::SlabClass;

/// The largest number of NUMA nodes.
pub const NODES_MAX: usize = 16;

/// The largest order of a block: `1 << ORDER_MAX` frames.
pub(crate) const ORDER_MAX: u8 = 10;

const ORDERS: usize = ORDER_MAX as usize + 1;

flag_set! {
    /// How a frame is to be allocated.
    AllocFlags: u8 {
        /// The allocation serves to free memory: it may use the reserve, and is exempt from failure injection.
        RESERVE = 1;
    }
}

/// All memory of one machine.
pub(crate) struct Physical<M: Machine> {
    map: MemoryMap<M>,
    /// By node, up to the last one that has memory, and one that has none.
    zones: Placed<[Zone<M>]>,
    /// By size of objects.
    slabs: Placed<[SlabClass<M>]>,
    /// Frames a CPU takes from a zone at a time; scaled down where memory is small.
    batch: u32,
}

impl<M: Machine> Physical<M> {
    /// Bytes of a page.
    pub(crate) const PAGE: usize = 1 << <M::Arch as Arch>::PAGE_SHIFT;

    /// The descriptor of a frame of this machine; about four instructions.
    ///
    /// `pfn` must be a frame of [`Machine::memory`]: one the allocator gave out, or one found in a page-table entry the
    /// core wrote. For any other number use [`Physical::get`].
    #[inline(always)]
    pub(crate) fn frame(&self, pfn: Pfn) -> &Frame<M> {
        self.map.frame(pfn)
    }

    /// The descriptor of any frame number, if it has one; holes between ranges may, of [`Kind::Absent`].
    #[inline]
    pub(crate) fn get(&self, pfn: Pfn) -> Option<&Frame<M>> {
        self.map.get(pfn)
    }

    /// The frame which `pointer` lies in, if it lies in the direct map.
    pub(crate) fn pfn_of(&self, machine: &M, pointer: NonNull<u8>) -> Option<Pfn> {
        pfn_of(machine, pointer.as_ptr())
    }

    /// What of physical memory's own structures lies at `address`.
    pub(crate) fn structure_at(&self, address: usize) -> Option<Structure> {
        let descriptor = || {
            let (_, frame) = self.map.descriptor_at(address)?;
            Some(match frame.kind() {
                Kind::Table => Structure::TableDescriptor(frame.table_level()),
                kind => Structure::Descriptor(kind),
            })
        };
        self.zone_at(address)
            .map(Structure::Zone)
            .or_else(|| slab::cache_at(&self.slabs, address).map(Structure::SlabCache))
            .or_else(descriptor)
    }

    /// The node whose allocator lies at `address`.
    pub(crate) fn zone_at(&self, address: usize) -> Option<u8> {
        self.zones.iter().position(|zone| holds(zone, address)).map(|node| node as u8)
    }

    /// Which word of a descriptor lies at `address`.
    pub(crate) fn word_at(&self, address: usize) -> Option<SharedWord> {
        let (pfn, frame) = self.map.descriptor_at(address)?;
        frame.word_at(pfn, address)
    }

    fn zone(&self, node: u8) -> &Zone<M> {
        &self.zones[(node as usize).min(self.zones.len() - 1)]
    }

    /// The nodes that have memory, nearest to `node` first: by difference of numbers, the higher of two equal ones.
    fn nodes_near(&self, node: u8) -> impl Iterator<Item = u8> + '_ {
        let centre = node as usize % NODES_MAX;
        (0..2 * NODES_MAX)
            .filter_map(move |step| match step % 2 {
                0 => centre.checked_sub(step / 2),
                _ => Some(centre + step.div_ceil(2)),
            })
            .filter(|&node| self.zones.get(node).is_some_and(|zone| zone.managed() > 0))
            .map(|node| node as u8)
    }
}

/// The frame which `pointer` lies in, if it lies in the direct map: searches the machine's ranges.
fn pfn_of<M: Machine>(machine: &M, pointer: *const u8) -> Option<Pfn> {
    machine.memory().iter().filter(|range| range.frames > 0).find_map(|range| {
        let page = pointer.addr().wrapping_sub(machine.frame(range.start).addr()) >> <M::Arch as Arch>::PAGE_SHIFT;
        ((page as u64) < range.frames).then(|| range.start.offset(page as u64))
    })
}
