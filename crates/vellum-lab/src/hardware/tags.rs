//! Memory tags: one for each granule of physical memory, and the check of an access against them.
//!
//! Only an access through a translation with [`PageBits::TAGGED`] is checked. Addresses carry no tag here: who makes an
//! access says which tag it bears, and 0 is what an ordinary pointer has. Values that match every tag, which some
//! processors have, are not modelled; nor are instruction fetches checked.
//!
//! A tag stays until somebody sets it, whatever becomes of the frame.

use super::memory::{HostMemory, NoHostMemory};
use super::mmu::{Fault, FaultReason, Translated};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Arch, PageBits, TagFormat};
use vellum::ops::Access;
use vellum::phys::Pfn;

/// The tags of a machine's memory, holes included: one lazily zeroed byte each.
pub(super) struct TagStore {
    block: *mut u8,
    layout: Layout,
    /// The frame whose tags come first.
    first: u64,
    format: TagFormat,
}

// SAFETY: the block belongs to this value, which accesses it through atomics alone.
unsafe impl Send for TagStore {}
// SAFETY: as above.
unsafe impl Sync for TagStore {}

impl TagStore {
    /// The tags of `frames` frames from `first` on, all zero; `None` if `A` has no tags.
    pub(super) fn new<A: Arch>(first: u64, frames: u64) -> Result<Option<TagStore>, NoHostMemory> {
        let Some(format) = A::semantics().tags else { return Ok(None) };
        let bytes = frames << (A::PAGE_SHIFT - format.granule_shift);
        let error = NoHostMemory { bytes };
        let layout = Layout::from_size_align((bytes as usize).max(1), 1).map_err(|_| error)?;
        // SAFETY: the layout's size is not 0.
        let block = unsafe { alloc_zeroed(layout) };
        if block.is_null() {
            return Err(error);
        }
        Ok(Some(TagStore { block, layout, first, format }))
    }

    /// The tag of the granule that holds byte `offset` of frame `pfn`, which must be memory.
    fn tag<A: Arch>(&self, pfn: Pfn, offset: usize) -> Option<&AtomicU8> {
        let shift = self.format.granule_shift;
        let granule = (pfn.0.checked_sub(self.first)? as usize).checked_mul(1 << (A::PAGE_SHIFT - shift))?;
        let place = granule.checked_add(offset >> shift).filter(|&place| place < self.layout.size())?;
        // SAFETY: the byte lies in the block, which lives as long as `self` and is accessed by atomics alone.
        Some(unsafe { AtomicU8::from_ptr(self.block.add(place)) })
    }

    /// The bits that a tag has.
    fn mask(&self) -> u8 {
        (u16::MAX >> (16 - self.format.bits)) as u8
    }
}

impl Drop for TagStore {
    fn drop(&mut self) {
        // SAFETY: `block` was allocated with `layout` and nothing refers to it any more.
        unsafe { dealloc(self.block, self.layout) }
    }
}

impl<A: Arch> HostMemory<A> {
    fn tag_and_store(&self, pfn: Pfn, offset: usize) -> Option<(&AtomicU8, &TagStore)> {
        let store = self.tags()?;
        let inside = self.contains(pfn) && offset < 1 << A::PAGE_SHIFT;
        Some((store.tag::<A>(pfn, offset).filter(|_| inside)?, store))
    }

    /// The tag of the granule that holds byte `offset` of a frame; `None` where there are no tags or no memory.
    pub fn tag(&self, pfn: Pfn, offset: usize) -> Option<u8> {
        self.tag_and_store(pfn, offset).map(|(tag, _)| tag.load(Relaxed))
    }

    /// Sets the tag of every granule that has one of `length` bytes from `offset` on; `None` where there are no tags or
    /// no memory, or beyond the frame. Bits that tags do not have are dropped.
    pub fn set_tags(&self, pfn: Pfn, offset: usize, length: usize, tag: u8) -> Option<()> {
        let granule = 1usize << self.tags()?.format.granule_shift;
        let end = offset.checked_add(length).filter(|&end| end <= 1 << A::PAGE_SHIFT)?;
        for at in (offset & !(granule - 1)..end).step_by(granule) {
            let (place, store) = self.tag_and_store(pfn, at)?;
            place.store(tag & store.mask(), Relaxed);
        }
        Some(())
    }

    /// The tags of a frame, packed: the bits of the first granule's are the lowest ones of the first byte. For
    /// [`vellum::Machine::read_tags`]; zero where there are none.
    pub fn pack_tags(&self, pfn: Pfn, into: &mut [u8]) {
        into.fill(0);
        let Some(format) = A::semantics().tags else { return };
        for (granule, bits) in places::<A>(format).enumerate() {
            let tag = u16::from(self.tag(pfn, granule << format.granule_shift).unwrap_or(0)) << (bits % 8);
            for (byte, part) in into.iter_mut().skip(bits / 8).zip(tag.to_le_bytes()) {
                *byte |= part;
            }
        }
    }

    /// Sets the tags of a frame from the form of [`HostMemory::pack_tags`]. For [`vellum::Machine::write_tags`].
    pub fn unpack_tags(&self, pfn: Pfn, tags: &[u8]) {
        let Some(format) = A::semantics().tags else { return };
        for (granule, bits) in places::<A>(format).enumerate() {
            let byte = |place: usize| tags.get(place).copied().unwrap_or(0);
            let pair = u16::from_le_bytes([byte(bits / 8), byte(bits / 8 + 1)]);
            self.set_tags(pfn, granule << format.granule_shift, 1, (pair >> (bits % 8)) as u8);
        }
    }

    /// What the processor does with an access of `length` bytes at `address` that bears `tag`, once it is translated:
    /// if the mapping has tags, compares those of all granules that it touches. The access stays inside the page.
    pub fn check_tags(
        &self,
        to: &Translated,
        address: u64,
        access: Access,
        length: usize,
        tag: u8,
    ) -> Result<(), Fault> {
        let Some(store) = self.tags().filter(|_| to.bits.has(PageBits::TAGGED)) else { return Ok(()) };
        let (expected, granule) = (tag & store.mask(), 1u64 << store.format.granule_shift);
        let end = address.saturating_add(length as u64);
        let mut at = address;
        while at < end {
            // Where there is no memory, another check has said so.
            let found = self.tag(to.pfn, at as usize & ((1 << A::PAGE_SHIFT) - 1));
            if let Some(found) = found.filter(|&found| found != expected) {
                return Err(Fault { address: at, access, reason: FaultReason::Tag { expected, found } });
            }
            at = (at & !(granule - 1)).saturating_add(granule);
        }
        Ok(())
    }
}

/// Where the tag of each granule of a page begins in the packed form, in bits.
fn places<A: Arch>(format: TagFormat) -> impl Iterator<Item = usize> {
    (0..1 << (A::PAGE_SHIFT - format.granule_shift)).map(move |granule: usize| granule * format.bits as usize)
}
