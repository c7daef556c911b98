//! Contents of pages, told apart by digests: there is no room to keep them.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Compressed pages that are remembered at most.
const PAGES_KEPT: usize = 1024;

/// A digest of bytes that nobody else changes.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let digest = words.iter().fold(SEED, |digest, &word| mix(digest, u64::from_ne_bytes(word)));
    rest.iter().fold(mix(digest, bytes.len() as u64), |digest, &byte| mix(digest, u64::from(byte)))
}

/// The digest of a page that others may be storing to.
///
/// # Safety
/// `page` is valid for reads of `bytes` bytes, a multiple of 8, and aligned to 8.
pub(crate) unsafe fn digest_of_page(page: *const u8, bytes: usize) -> u64 {
    // SAFETY: the caller's contract; volatile because of the stores of others.
    let word = |index: usize| unsafe { page.cast::<u64>().add(index).read_volatile() };
    mix((0..bytes / 8).fold(SEED, |digest, index| mix(digest, word(index))), bytes as u64)
}

/// The digest of a page of zeroes.
pub(crate) fn digest_of_zeroes(bytes: usize) -> u64 {
    mix((0..bytes / 8).fold(SEED, |digest, _| mix(digest, 0)), bytes as u64)
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(digest: u64, word: u64) -> u64 {
    let mixed = (digest.rotate_left(5) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 32
}

/// What compressed pages must be restored to.
///
/// An entry is the digest of a page, and that exclusive-ored with the digest of the compressed bytes: if two CPUs write
/// one entry at once, the mixture belongs to no bytes at all.
pub(crate) struct Compressed([[AtomicU64; 2]; PAGES_KEPT]);

impl Compressed {
    pub(crate) const fn new() -> Compressed {
        Compressed([const { [const { AtomicU64::new(0) }; 2] }; PAGES_KEPT])
    }

    /// Remembers the digest of the page that was compressed to `bytes`.
    pub(crate) fn note(&self, bytes: &[u8], page: u64) {
        let key = digest(bytes);
        let [contents, check] = &self.0[key as usize % PAGES_KEPT];
        contents.store(page, Relaxed);
        check.store(page ^ key, Relaxed);
    }

    /// The digest of the page that was compressed to `bytes`, if it is remembered.
    pub(crate) fn page(&self, bytes: &[u8]) -> Option<u64> {
        let key = digest(bytes);
        let [contents, check] = &self.0[key as usize % PAGES_KEPT];
        let page = contents.load(Relaxed);
        (page ^ check.load(Relaxed) == key).then_some(page)
    }
}
