//! Files of Vellum's side.

use crate::arena::PAGE;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vellum::{Backing, IoError};
use vellum_lab::contract;

/// A file in memory.
pub struct Contents(Mutex<Vec<u8>>);

impl Contents {
    /// A file of these bytes.
    pub fn new(bytes: Vec<u8>) -> Contents {
        Contents(Mutex::new(bytes))
    }

    /// Makes it so long, by zeroes if it was shorter.
    pub fn set_length(&self, length: u64) {
        self.lock().resize(length as usize, 0);
    }

    /// What has reached it.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backing for Contents {
    fn length(&self) -> u64 {
        self.lock().len() as u64
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        let bytes = self.lock();
        let from = bytes.get((index * PAGE) as usize..).unwrap_or_default();
        let count = from.len().min(page.len());
        page[..count].copy_from_slice(&from[..count]);
        // What lies behind the end is not to be seen.
        page[count..].fill(0xee);
        Ok(())
    }

    fn can_punch(&self) -> bool {
        true
    }

    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        contract::may_sleep("Backing::punch");
        let mut bytes = self.lock();
        let end = (start + length).min(bytes.len() as u64) as usize;
        bytes.get_mut(start as usize..end).unwrap_or_default().fill(0);
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        let mut bytes = self.lock();
        let to = bytes.get_mut((index * PAGE) as usize..).unwrap_or_default();
        let count = to.len().min(page.len());
        to[..count].copy_from_slice(&page[..count]);
        Ok(())
    }
}
