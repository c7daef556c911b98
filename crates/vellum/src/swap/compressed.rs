//! The compressed tier: pages kept in memory, made small; and checksums.
//!
//! What is known of a slot's contents is one word:
//!
//! | lowest bit | what |
//! |---|---|
//! | – | the word is 0: nothing was written |
//! | 1 | the page is on the device; the upper 63 bits are the lower ones of its checksum |
//! | 0 | the page is here: the address of an object, with log2 of its size in bits 1-4 |
//!
//! An object is of a slab cache: a header, and what [`Machine::compress`] made of the page. The checksum in the header
//! is that of the page, so it tells of a wrong object as well as of a compressor that does not restore what it was
//! given.
//!
//! Whoever writes or reads a slot has the folio lock of the page that is cached with it; freeing comes after the last
//! entry, and when no page is cached. So nobody frees an object that somebody reads.

use super::areas::Place;
use super::io::SwapError;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Pfn, Physical, SLAB_MAX, release};
use crate::stat::Event;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// How much the tier holds, and may hold.
pub(super) struct Pool<M> {
    /// Bytes; 0 if the tier is off.
    limit: AtomicU64<M>,
    pages: AtomicU64<M>,
    /// Bytes of the objects.
    bytes: AtomicU64<M>,
}

impl<M: Machine> Pool<M> {
    pub(super) const fn new() -> Self {
        Pool { limit: AtomicU64::new(0), pages: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Pages, and the bytes they take.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.pages.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Makes room for an object, if there is some.
    fn enter(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_add(bytes, Relaxed);
        let has_room = before.saturating_add(bytes) <= self.limit.load(Relaxed);
        if has_room {
            self.pages.fetch_add(1, Relaxed);
        } else {
            self.bytes.fetch_sub(bytes, Relaxed);
        }
        has_room
    }

    fn leave(&self, bytes: u64) {
        self.pages.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// What precedes the compressed page.
#[repr(C)]
struct Header {
    /// Bytes that follow.
    length: u64,
    /// Of the page.
    checksum: u64,
}

const HEADER: usize = size_of::<Header>();
/// The longest compressed page.
const LENGTH_MAX: usize = SLAB_MAX - HEADER;

const ON_DEVICE: u64 = 1;
const SHIFT: u64 = 0xf << 1;

/// What is known of a slot's contents.
#[derive(Clone, Copy)]
pub(super) enum Contents {
    /// Nothing was written.
    None,
    /// They are on the device, with this checksum, less its highest bit.
    OnDevice(u64),
    /// They are in this object of so many bytes.
    Compressed(NonNull<u8>, usize),
}

impl Contents {
    #[inline(always)]
    pub(super) fn of(word: u64) -> Contents {
        if word & ON_DEVICE != 0 {
            return Contents::OnDevice(word >> 1);
        }
        let object = NonNull::new(with_exposed_provenance_mut((word & !SHIFT) as usize));
        object.map_or(Contents::None, |object| Contents::Compressed(object, 1 << ((word & SHIFT) >> 1)))
    }

    #[inline(always)]
    fn raw(self) -> u64 {
        match self {
            Contents::None => 0,
            Contents::OnDevice(checksum) => checksum << 1 | ON_DEVICE,
            Contents::Compressed(object, bytes) => {
                object.as_ptr().expose_provenance() as u64 | (bytes.ilog2() as u64) << 1
            }
        }
    }

    /// Contents on the device.
    pub(super) fn on_device(page: &[u8]) -> Contents {
        Contents::OnDevice(checksum(page) << 1 >> 1)
    }

    /// Whether `page` is what was written to the device.
    pub(super) fn is_of(checksum_on_device: u64, page: &[u8]) -> bool {
        checksum(page) << 1 >> 1 == checksum_on_device
    }
}

impl<M: Machine> Place<'_, M> {
    /// What is known of the contents.
    pub(super) fn known_contents(&self) -> Contents {
        self.contents().map_or(Contents::None, |word| Contents::of(word.load(Acquire)))
    }

    /// Notes new contents; an older compressed copy is freed.
    pub(super) fn set_contents(&self, cx: &Cx<'_, M>, contents: Contents) {
        if let Some(word) = self.contents() {
            note_contents(cx, word, contents);
        }
    }

    /// Forgets the contents, freeing a compressed copy.
    pub(super) fn free_contents(&self, cx: &Cx<'_, M>) {
        self.set_contents(cx, Contents::None);
    }
}

impl<M: Machine> Vm<M> {
    /// Lets the compressed tier of swap take up to `frames` frames of memory; 0, which it is at first, for none: then
    /// pages go to the devices. What is in it stays. It needs a machine that compresses
    /// ([`Machine::compress`]).
    pub fn set_compressed_limit(&self, frames: u64) {
        self.swap().pool.limit.store(frames.saturating_mul(Physical::<M>::PAGE as u64), Relaxed);
    }
}

/// Notes new contents in a slot's word; an older compressed copy is freed.
pub(super) fn note_contents<M: Machine>(cx: &Cx<'_, M>, word: &AtomicU64<M>, contents: Contents) {
    if let Contents::Compressed(object, bytes) = Contents::of(word.swap(contents.raw(), AcqRel)) {
        cx.vm().swap().pool.leave(bytes as u64);
        cx.slab_free(object, bytes);
    }
}

/// As [`note_contents`], without a [`Cx`].
pub(super) fn replace_contents<M: Machine>(vm: &Vm<M>, word: &AtomicU64<M>, contents: Contents) {
    if let Contents::Compressed(object, bytes) = Contents::of(word.swap(contents.raw(), AcqRel)) {
        vm.swap().pool.leave(bytes as u64);
        Cx::enter(vm).slab_free(object, bytes);
    }
}

/// Whether there is a compressed tier.
pub(super) fn has_tier<M: Machine>(vm: &Vm<M>) -> bool {
    vm.swap().pool.limit.load(Relaxed) > 0
}

/// Makes a compressed copy of `page`; `None` if the tier is off, the page does not get small enough, or there is no
/// room. Without a [`Cx`].
pub(super) fn compress<M: Machine>(vm: &Vm<M>, page: &[u8]) -> Option<Contents> {
    if !has_tier(vm) {
        return None;
    }
    let contents = compress_into_pool(vm, page);
    let event = if contents.is_some() { Event::CompressedOut } else { Event::CompressedReject };
    Cx::enter(vm).count(event, 1);
    contents
}

fn compress_into_pool<M: Machine>(vm: &Vm<M>, page: &[u8]) -> Option<Contents> {
    let scratch = Scratch::new(vm)?;
    // SAFETY: the frame is the scratch's alone, a page long, and initialised since it was cleared.
    let buffer = unsafe { core::slice::from_raw_parts_mut(vm.machine().frame(scratch.pfn), Physical::<M>::PAGE) };
    let length = vm.machine().compress(page, buffer).filter(|&length| length <= LENGTH_MAX)?;
    let compressed = buffer.get(..length)?;
    let bytes = (HEADER + length).next_power_of_two().max(64);
    if !vm.swap().pool.enter(bytes as u64) {
        return None;
    }
    let Ok(object) = Cx::enter(vm).slab_alloc_with(bytes, AllocFlags::RESERVE) else {
        vm.swap().pool.leave(bytes as u64);
        return None;
    };
    // SAFETY: the object is large enough for both, aligned, and nobody else's.
    unsafe {
        object.cast::<Header>().write(Header { length: length as u64, checksum: checksum(page) });
        object.add(HEADER).copy_from_nonoverlapping(NonNull::from(compressed).cast(), length);
    }
    Some(Contents::Compressed(object, bytes))
}

/// Restores `page` from a compressed copy of `bytes` bytes, which nobody frees meanwhile.
///
/// # Errors
/// [`SwapError::Corrupt`]: what `page` is then does not matter.
pub(super) fn decompress<M: Machine>(
    vm: &Vm<M>,
    object: NonNull<u8>,
    bytes: usize,
    page: &mut [u8],
) -> Result<(), SwapError> {
    // SAFETY: the object is that large, aligned, was filled before it was named, and does not change.
    let header = unsafe { object.cast::<Header>().read() };
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    if length > bytes - HEADER {
        return Err(SwapError::Corrupt);
    }
    // SAFETY: as above; so many bytes follow the header.
    let compressed = unsafe { core::slice::from_raw_parts(object.add(HEADER).as_ptr(), length) };
    let is_restored = vm.machine().decompress(compressed, page);
    if is_restored && checksum(page) == header.checksum { Ok(()) } else { Err(SwapError::Corrupt) }
}

/// A frame to compress into.
struct Scratch<'a, M: Machine> {
    vm: &'a Vm<M>,
    pfn: Pfn,
}

impl<'a, M: Machine> Scratch<'a, M> {
    fn new(vm: &'a Vm<M>) -> Option<Self> {
        let pfn = Cx::enter(vm).alloc_zeroed(0, AllocFlags::RESERVE).ok()?;
        vm.physical().frame(pfn).set_counts(1, 0);
        Some(Scratch { vm, pfn })
    }
}

impl<M: Machine> Drop for Scratch<'_, M> {
    fn drop(&mut self) {
        release(&Cx::enter(self.vm), self.pfn);
    }
}

/// A checksum of a page, 64 bits.
///
/// Each word is xored into a state, which is then multiplied by an odd number and rotated. These steps can be undone,
/// so pages that differ in one word have different states from there on, and different checksums in the end; of other
/// differences one in 2^64 goes unnoticed, unless somebody looks for it. There are four states, for every fourth word,
/// so that the processor need not wait for one multiplication to begin the next. The last steps make one of them, in
/// which each has its place, and spread each bit over all.
pub(super) fn checksum(page: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let take = |state: &mut u64, word: &[u8; 8]| *state = mix(*state, u64::from_le_bytes(*word));
    let (words, rest) = page.as_chunks::<8>();
    let (blocks, left) = words.as_chunks::<8>();
    let (mut a, mut b, mut c, mut d) = (page.len() as u64, 1, 2, 3);
    for [one, two, three, four, five, six, seven, eight] in blocks {
        take(&mut a, one);
        take(&mut b, two);
        take(&mut c, three);
        take(&mut d, four);
        take(&mut a, five);
        take(&mut b, six);
        take(&mut c, seven);
        take(&mut d, eight);
    }
    let state = [b, c, d].into_iter().fold(a, mix);
    let state = left.iter().fold(state, |state, word| mix(state, u64::from_le_bytes(*word)));
    let state = rest.iter().fold(state, |state, &byte| mix(state, byte as u64));
    let state = (state ^ state >> 32).wrapping_mul(FACTOR);
    state ^ state >> 29
}

const _: () = assert!(HEADER == 16 && SLAB_MAX.ilog2() < 16, "log2 of an object's size fits its four bits");

#[cfg(test)]
impl<M: Machine> Place<'_, M> {
    /// The compressed copy with its header.
    pub(super) fn compressed_copy(&self) -> Option<NonNull<[u8]>> {
        match self.known_contents() {
            Contents::Compressed(object, bytes) => Some(NonNull::slice_from_raw_parts(object, bytes)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::checksum;
    use std::vec::Vec;

    #[test]
    fn one_changed_word_and_words_that_changed_places_show() {
        let page: Vec<u8> = (0..4096 + 13).map(|byte| (byte * 7 % 251) as u8).collect();
        let known = checksum(&page);
        for byte in 0..page.len() {
            let mut other = page.clone();
            other[byte] ^= 0x80;
            assert_ne!(checksum(&other), known, "byte {byte}");
        }
        for word in 1..512 {
            let mut other = page.clone();
            other[..8 * (word + 1)].rotate_right(8);
            assert_ne!(checksum(&other), known, "words 0 to {word}");
        }
        assert_ne!(checksum(&page[..4096]), known);
    }
}
