//! Files whose contents are known, and what was written back to them.

use crate::contract;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, PoisonError};
use vellum::{Backing, IoError};

/// A file in memory: a pattern, overlaid with what was written.
#[derive(Debug)]
pub struct PatternFile {
    number: u64,
    length: AtomicU64,
    written: Mutex<FxHashMap<u64, Box<[u8]>>>,
    /// In bytes: what was not written since is zero.
    holes: Mutex<Vec<Range<u64>>>,
}

impl PatternFile {
    /// File `number`, of `length` bytes.
    pub fn new(number: u64, length: u64) -> Self {
        PatternFile { number, length: AtomicU64::new(length), written: Mutex::default(), holes: Mutex::default() }
    }

    /// Makes it shorter, if it is longer than `length` bytes.
    pub fn shorten(&self, length: u64) {
        self.length.fetch_min(length, SeqCst);
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many bytes of page `index` lie before the end.
    pub fn used_bytes(&self, index: u64, page_size: usize) -> usize {
        self.length().saturating_sub(index * page_size as u64).min(page_size as u64) as usize
    }

    fn is_hole(&self, offset: u64) -> bool {
        let holes = self.holes.lock().unwrap_or_else(PoisonError::into_inner);
        holes.iter().any(|hole| hole.contains(&offset))
    }

    /// What page `index` holds now.
    pub fn page(&self, index: u64, page: &mut [u8]) {
        match self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&index) {
            Some(written) => page.copy_from_slice(written),
            None if self.is_hole(index * page.len() as u64) => page.fill(0),
            None => fill(self.number, index, page),
        }
    }
}

/// The pattern of page `index` of file `number`.
pub fn fill(number: u64, index: u64, page: &mut [u8]) {
    let start = (number * 101 + index * 37) as u8;
    for (offset, byte) in page.iter_mut().enumerate() {
        *byte = start.wrapping_add(offset as u8) | 1;
    }
}

impl Backing for PatternFile {
    fn length(&self) -> u64 {
        contract::may_sleep("Backing::length");
        self.length.load(SeqCst)
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        self.page(index, page);
        Ok(())
    }

    fn can_punch(&self) -> bool {
        true
    }

    /// Whole pages.
    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        contract::may_sleep("Backing::punch");
        let hole = start..start + length;
        let page = |bytes: &[u8]| bytes.len() as u64;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|&index, bytes| !hole.contains(&(index * page(bytes))));
        self.holes.lock().unwrap_or_else(PoisonError::into_inner).push(hole);
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(index, page.into());
        Ok(())
    }
}
