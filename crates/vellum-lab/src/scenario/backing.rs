//! The file of a world.

use crate::poison::lock;
use std::sync::{Arc, Mutex};
use vellum::{Backing, IoError};

/// A file in the host's memory.
#[derive(Clone)]
pub(crate) struct TestFile(Arc<Mutex<Vec<u8>>>, usize);

impl TestFile {
    pub(crate) fn new(pages: usize, page: usize) -> TestFile {
        TestFile(Arc::new(Mutex::new(vec![0; pages * page])), page)
    }

    /// The first word of a page.
    pub(crate) fn word(&self, index: u64) -> u64 {
        let start = index as usize * self.1;
        let bytes = lock(&self.0);
        bytes.get(start..start + 8).map_or(0, |word| u64::from_ne_bytes(word.try_into().unwrap_or_default()))
    }
}

impl Backing for TestFile {
    fn length(&self) -> u64 {
        lock(&self.0).len() as u64
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        let start = index as usize * self.1;
        page.copy_from_slice(lock(&self.0).get(start..start + self.1).ok_or(IoError)?);
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        let start = index as usize * self.1;
        lock(&self.0).get_mut(start..start + self.1).ok_or(IoError)?.copy_from_slice(page);
        Ok(())
    }
}
