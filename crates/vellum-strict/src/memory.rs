//! What is known of the machine's memory.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;
use vellum::arch::Arch;
use vellum::phys::NODES_MAX;
use vellum::{Machine, MemoryRange, Pfn};

/// Ranges whose place is remembered. Of further ones only the pages' order is known.
const RANGES_KEPT: usize = 64;

/// Frame numbers have fewer bits.
const PFN_BITS: u32 = 40;

/// Where the ranges lie.
pub(crate) struct Memory {
    ranges: AtomicUsize,
    /// A digest of all ranges.
    digest: AtomicUsize,
    /// By range: the address of its first page.
    bases: [AtomicUsize; RANGES_KEPT],
}

impl Memory {
    pub(crate) const fn new() -> Memory {
        Memory {
            ranges: AtomicUsize::new(0),
            digest: AtomicUsize::new(0),
            bases: [const { AtomicUsize::new(0) }; RANGES_KEPT],
        }
    }

    /// Looks at the machine's memory for the first time.
    pub(crate) fn note<M: Machine>(&self, machine: &M) {
        let ranges = machine.memory();
        self.ranges.store(ranges.len(), Relaxed);
        self.digest.store(digest(ranges), Relaxed);
        for (base, range) in self.bases.iter().zip(ranges).filter(|(_, range)| range.frames > 0) {
            base.store(machine.frame(range.start).addr(), Relaxed);
        }
    }

    /// Whether the ranges are what they were.
    pub(crate) fn is_same(&self, ranges: &[MemoryRange]) -> bool {
        self.ranges.load(Relaxed) == ranges.len() && self.digest.load(Relaxed) == digest(ranges)
    }

    /// Where `pfn` must lie; `None` if it is no frame of the machine.
    pub(crate) fn place<M: Machine>(&self, machine: &M, pfn: Pfn) -> Option<usize> {
        let ranges = machine.memory();
        let index = ranges.iter().position(|range| pfn.0.wrapping_sub(range.start.0) < range.frames)?;
        let offset = (pfn.0 - ranges[index].start.0) as usize;
        Some(self.base(machine, index).wrapping_add(offset << M::Arch::PAGE_SHIFT))
    }

    /// Whether a whole page of the machine's memory lies at `address`.
    pub(crate) fn is_page<M: Machine>(&self, machine: &M, address: usize) -> bool {
        let is_inside = |(index, range): (usize, &MemoryRange)| {
            let offset = address.wrapping_sub(self.base(machine, index));
            ((offset >> M::Arch::PAGE_SHIFT) as u64) < range.frames
        };
        address.is_multiple_of(1 << M::Arch::PAGE_SHIFT) && machine.memory().iter().enumerate().any(is_inside)
    }

    fn base<M: Machine>(&self, machine: &M, index: usize) -> usize {
        let kept = self.bases.get(index).map(|base| base.load(Relaxed));
        kept.unwrap_or_else(|| machine.memory().get(index).map_or(0, |range| machine.frame(range.start).addr()))
    }
}

/// The first range that breaks a rule, if one does.
pub(crate) fn wrong_range(ranges: &[MemoryRange]) -> Option<usize> {
    let mut end = 0;
    ranges.iter().position(|range| {
        let next = range.start.0.checked_add(range.frames);
        let is_wrong =
            range.start.0 < end || usize::from(range.node) >= NODES_MAX || next.is_none_or(|next| next > 1 << PFN_BITS);
        end = next.unwrap_or(u64::MAX);
        is_wrong
    })
}

/// The first range whose pages are not where they may be, if there is one: not page-aligned, null, or in another
/// range's place.
pub(crate) fn wrong_base<M: Machine>(machine: &M) -> Option<usize> {
    let ranges = machine.memory();
    let bytes = |range: &MemoryRange| (range.frames as usize) << M::Arch::PAGE_SHIFT;
    let base = |range: &MemoryRange| machine.frame(range.start).addr();
    (0..ranges.len()).filter(|&index| ranges[index].frames > 0).find(|&index| {
        let (first, length) = (base(&ranges[index]), bytes(&ranges[index]));
        let overlaps = |other: &MemoryRange| {
            other.frames > 0 && first < base(other).saturating_add(bytes(other)) && base(other) < first + length
        };
        let is_wrong = first == 0 || !first.is_multiple_of(1 << M::Arch::PAGE_SHIFT);
        is_wrong || first.checked_add(length).is_none() || ranges[..index].iter().any(overlaps)
    })
}

/// FNV-1a over what the ranges say.
fn digest(ranges: &[MemoryRange]) -> usize {
    let words = ranges.iter().flat_map(|range| [range.start.0, range.frames, u64::from(range.node)]);
    words.fold(0xcbf2_9ce4_8422_2325u64, |digest, word| (digest ^ word).wrapping_mul(0x100_0000_01b3)) as usize
}
