//! Physical memory: one block of the host's, holes included, which is lazily zeroed if it is large.
//!
//! User bytes and table words are accessed as 64-bit atomics alone, never as bytes, so that threads may race on them
//! without undefined behaviour; a store of less than a word is a compare-exchange of the word around it.

use super::block::Block;
use super::tags::TagStore;
use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use vellum::MemoryRange;
use vellum::arch::Arch;
use vellum::phys::Pfn;

/// Physical memory of a machine with pages of `A`'s size.
pub struct HostMemory<A> {
    /// Where frame 0 would lie; only offsets of frames inside `ranges` lead to memory.
    origin: *mut u8,
    /// Holds the memory.
    _block: Block,
    ranges: Vec<MemoryRange>,
    tags: Option<TagStore>,
    _arch: PhantomData<fn(A)>,
}

/// The host has no memory for a machine of that size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHostMemory {
    /// Bytes asked for, from the first range to the last.
    pub bytes: u64,
}

impl fmt::Display for NoHostMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host has no room for {} bytes of simulated memory", self.bytes)
    }
}

impl std::error::Error for NoHostMemory {}

// SAFETY: the memory belongs to this value; its methods access it through atomics alone, and whoever uses
// `HostMemory::frame` answers for what it does with the pointer.
unsafe impl<A> Send for HostMemory<A> {}
// SAFETY: as above.
unsafe impl<A> Sync for HostMemory<A> {}

/// log2 of the bytes of a word.
const WORD_SHIFT: u32 = 3;
const WORD: usize = 1 << WORD_SHIFT;

impl<A: Arch> HostMemory<A> {
    /// Memory for `ranges`, all zero. Ranges that wrap around get none, so that machines with wrong ranges can be made
    /// to test what the core says to them.
    pub fn new(ranges: &[MemoryRange]) -> Result<HostMemory<A>, NoHostMemory> {
        let ends = |range: &MemoryRange| range.start.0.checked_add(range.frames);
        let real = || ranges.iter().filter(|range| range.frames > 0 && ends(range).is_some());
        let first = real().map(|range| range.start.0).min().unwrap_or(0);
        let end = real().filter_map(ends).max().unwrap_or(0);
        let page = 1usize << A::PAGE_SHIFT;
        let error = NoHostMemory { bytes: (end - first).saturating_mul(page as u64) };
        // Aligned by hand: the allocator zeroes lazily only what needs no more than its natural alignment.
        let bytes = usize::try_from(error.bytes).ok().and_then(|bytes| bytes.checked_add(page)).ok_or(error)?;
        let layout = Layout::from_size_align(bytes, WORD).map_err(|_| error)?;
        let tags = TagStore::new::<A>(first, end - first)?;
        let block = Block::zeroed(layout).ok_or(error)?;
        let base = block.start().wrapping_add(block.start().align_offset(page));
        let origin = base.wrapping_sub((first as usize) << A::PAGE_SHIFT);
        Ok(HostMemory { origin, _block: block, ranges: ranges.to_vec(), tags, _arch: PhantomData })
    }

    /// The ranges, as given.
    pub fn ranges(&self) -> &[MemoryRange] {
        &self.ranges
    }

    pub(super) fn tags(&self) -> Option<&TagStore> {
        self.tags.as_ref()
    }

    /// Whether `pfn` is memory.
    pub fn contains(&self, pfn: Pfn) -> bool {
        self.ranges.iter().any(|range| {
            pfn.0.wrapping_sub(range.start.0) < range.frames && range.start.0.checked_add(range.frames).is_some()
        })
    }

    /// Where frame `pfn` lies; leads to memory only if the frame is one of [`HostMemory::ranges`].
    #[inline(always)]
    pub fn frame(&self, pfn: Pfn) -> *mut u8 {
        self.origin.wrapping_add((pfn.0 as usize) << A::PAGE_SHIFT)
    }

    /// The 64-bit word at `index` of the memory that begins at frame `pfn`; `None` where there is no memory.
    #[inline]
    pub fn word(&self, pfn: Pfn, index: usize) -> Option<&AtomicU64> {
        let frame = Pfn(pfn.0.checked_add((index >> (A::PAGE_SHIFT - WORD_SHIFT)) as u64)?);
        if !self.contains(frame) {
            return None;
        }
        let inside = index & ((1 << (A::PAGE_SHIFT - WORD_SHIFT)) - 1);
        let word = self.frame(frame).wrapping_add(inside << WORD_SHIFT).cast::<u64>();
        // SAFETY: the frame lies in the allocation, which is page-aligned there and lives as long as `self`; what may
        // be accessed concurrently (tables, user pages) is accessed by atomics on all sides.
        Some(unsafe { AtomicU64::from_ptr(word) })
    }

    /// Reads bytes of a frame; `None` if they are not all inside one frame of memory.
    #[inline]
    pub fn read(&self, pfn: Pfn, offset: usize, bytes: &mut [u8]) -> Option<()> {
        self.check(offset, bytes.len())?;
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let inside = at % WORD;
            let take = rest.len().min(WORD - inside);
            let word = self.word(pfn, at / WORD)?.load(Relaxed).to_ne_bytes();
            let (now, later) = rest.split_at_mut(take);
            now.copy_from_slice(&word[inside..inside + take]);
            rest = later;
            at += take;
        }
        Some(())
    }

    /// Writes bytes of a frame, aligned words at once; `None` if they are not all inside one frame of memory.
    #[inline]
    pub fn write(&self, pfn: Pfn, offset: usize, bytes: &[u8]) -> Option<()> {
        self.check(offset, bytes.len())?;
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let inside = at % WORD;
            let (now, later) = rest.split_at(rest.len().min(WORD - inside));
            let word = self.word(pfn, at / WORD)?;
            match <[u8; WORD]>::try_from(now) {
                Ok(whole) => word.store(u64::from_ne_bytes(whole), Relaxed),
                Err(_) => merge(word, inside, now),
            }
            rest = later;
            at += now.len();
        }
        Some(())
    }

    fn check(&self, offset: usize, length: usize) -> Option<()> {
        (offset.checked_add(length)? <= 1 << A::PAGE_SHIFT).then_some(())
    }
}

/// Replaces the bytes of `word` from `inside` on.
fn merge(word: &AtomicU64, inside: usize, bytes: &[u8]) {
    let mut seen = word.load(Relaxed);
    loop {
        let mut whole = seen.to_ne_bytes();
        whole[inside..inside + bytes.len()].copy_from_slice(bytes);
        match word.compare_exchange_weak(seen, u64::from_ne_bytes(whole), Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}
