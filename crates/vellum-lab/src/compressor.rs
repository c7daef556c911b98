//! What compresses pages for the core: LZ4, in its block format.

use crate::failure::{FailureGate, FailurePlan};
use lz4_flex::block;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// The compressor of a machine; on, and without faults, at first.
#[derive(Debug)]
pub struct Compressor {
    is_on: AtomicBool,
    corruption: FailureGate,
}

impl Compressor {
    pub(crate) fn new() -> Compressor {
        Compressor { is_on: AtomicBool::new(true), corruption: FailureGate::new() }
    }

    /// Switches it: off, it compresses nothing more, and still restores what it has compressed.
    pub fn switch(&self, on: bool) {
        self.is_on.store(on, Relaxed);
    }

    /// Lets `plan` decide which pages compressed from now on are damaged, counting them from 0 again. A damaged page
    /// can be restored, and is then another one: what must notice is a checksum.
    pub fn set_corruption(&self, plan: FailurePlan) {
        self.corruption.set(plan);
    }

    /// Pages compressed since the plan was set.
    pub fn compressed(&self) -> u64 {
        self.corruption.attempts()
    }

    /// How many of them the plan damaged.
    pub fn corrupted(&self) -> u64 {
        self.corruption.failures()
    }

    /// See [`vellum::Machine::compress`].
    pub(crate) fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        if !self.is_on.load(Relaxed) {
            return None;
        }
        // The block format's worst case is longer than the page, and the crate wants room for it.
        let mut buffer = vec![0; block::get_maximum_output_size(page.len())];
        let length = block::compress_into(page, &mut buffer).ok().filter(|&length| length < page.len())?;
        let result = into.get_mut(..length)?;
        result.copy_from_slice(&buffer[..length]);
        if !self.corruption.allow() {
            // A block ends with bytes that stand for themselves.
            result.last_mut().into_iter().for_each(|last| *last ^= 0x40);
        }
        Some(length)
    }

    /// See [`vellum::Machine::decompress`].
    pub(crate) fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        block::decompress_into(from, page).is_ok_and(|length| length == page.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn text() -> Vec<u8> {
        b"a page of a program, and again ".iter().copied().cycle().take(PAGE).collect()
    }

    fn noise() -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..)).take(PAGE).collect()
    }

    #[test]
    fn pages_come_back() {
        let compressor = Compressor::new();
        for page in [text(), vec![0; PAGE]] {
            let (mut packed, mut back) = (vec![0; PAGE], vec![0xee; PAGE]);
            let length = compressor.compress(&page, &mut packed).expect("it is full of repetitions");
            assert!(length < PAGE / 8, "{length}");
            assert!(compressor.decompress(&packed[..length], &mut back));
            assert_eq!(back, page);
        }
        assert_eq!((compressor.compressed(), compressor.corrupted()), (2, 0));
    }

    #[test]
    fn what_does_not_get_smaller_is_refused() {
        let compressor = Compressor::new();
        assert_eq!(compressor.compress(&noise(), &mut vec![0; PAGE]), None);
        assert_eq!(compressor.compress(&text(), &mut [0; 8]), None, "nor what does not fit");
        assert_eq!(compressor.compressed(), 0);
    }

    #[test]
    fn damage_is_no_failure_to_restore() {
        let compressor = Compressor::new();
        compressor.set_corruption(FailurePlan::Nth(1));
        for (number, page) in [text(), text(), vec![0; PAGE]].into_iter().enumerate() {
            let (mut packed, mut back) = (vec![0; PAGE], vec![0; PAGE]);
            let length = compressor.compress(&page, &mut packed).unwrap();
            assert!(compressor.decompress(&packed[..length], &mut back), "page {number}");
            assert_eq!(back == page, number != 1, "page {number}");
        }
        assert_eq!((compressor.compressed(), compressor.corrupted()), (3, 1));
    }

    #[test]
    fn garbage_is_not_restored() {
        let compressor = Compressor::new();
        let mut packed = vec![0; PAGE];
        let length = compressor.compress(&text(), &mut packed).unwrap();
        assert!(!compressor.decompress(&packed[..length - 1], &mut [0; PAGE]), "cut");
        assert!(!compressor.decompress(&packed[..length], &mut [0; PAGE / 2]), "longer than the page");
        assert!(!compressor.decompress(&packed[..length], &mut [0; PAGE * 2]), "shorter than the page");
        assert!(!compressor.decompress(&[], &mut [0; PAGE]));
        assert!(!compressor.decompress(&[0xff; 64], &mut [0; PAGE]));
    }

    #[test]
    fn it_can_be_switched_off() {
        let compressor = Compressor::new();
        let (mut packed, mut back) = (vec![0; PAGE], vec![0; PAGE]);
        let length = compressor.compress(&text(), &mut packed).unwrap();
        compressor.switch(false);
        assert_eq!(compressor.compress(&text(), &mut vec![0; PAGE]), None);
        assert!(compressor.decompress(&packed[..length], &mut back) && back == text());
        compressor.switch(true);
        assert_eq!(compressor.compress(&text(), &mut packed), Some(length));
    }
}
