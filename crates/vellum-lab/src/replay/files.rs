//! Files of a replay: their contents are a function of path and offset, and they have no end.

use rustc_hash::FxHashMap;
use std::sync::Mutex;
use vellum::{Backing, IoError};

use crate::contract;
use crate::poison::lock;

/// The page of a file that nobody has written to.
pub(crate) fn fill_page(identity: u64, index: u64, page: &mut [u8]) {
    let mut word = identity ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for bytes in page.chunks_mut(8) {
        // SplitMix64.
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = word;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        bytes.copy_from_slice(&mixed.to_le_bytes()[..bytes.len()]);
    }
}

/// A file.
#[derive(Debug, Default)]
pub(crate) struct PatternFile {
    identity: u64,
    /// Pages written back, which differ from the pattern.
    written: Mutex<FxHashMap<u64, Box<[u8]>>>,
}

impl PatternFile {
    /// A file whose contents depend on `identity`.
    pub(crate) fn new(identity: u64) -> PatternFile {
        PatternFile { identity, written: Mutex::default() }
    }

    /// What its contents depend on.
    pub(crate) fn identity(&self) -> u64 {
        self.identity
    }
}

impl Backing for PatternFile {
    fn length(&self) -> u64 {
        contract::may_sleep("Backing::length");
        // All that offsets can express.
        i64::MAX as u64 & !0xfff
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        match lock(&self.written).get(&index) {
            Some(bytes) => page.copy_from_slice(bytes),
            None => fill_page(self.identity, index, page),
        }
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        lock(&self.written).insert(index, page.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_depend_on_file_and_offset_alone() {
        let page = |identity, index| {
            let mut page = [0; 64];
            fill_page(identity, index, &mut page);
            page
        };
        assert_eq!(page(1, 7), page(1, 7));
        assert_ne!(page(1, 7), page(2, 7));
        assert_ne!(page(1, 7), page(1, 8));
    }

    #[test]
    fn written_pages_are_read_again() {
        let file = PatternFile::default();
        file.write(3, &[7; 16]).unwrap();
        let mut page = [0; 16];
        file.read(3, &mut page).unwrap();
        assert_eq!(page, [7; 16]);
    }
}
