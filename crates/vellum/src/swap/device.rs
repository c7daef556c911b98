//! What the embedder implements: a device that pages are kept on.

use crate::error::IoError;
use core::ops::Deref;

/// A device for swap: that many pages, each of which can be written and read.
///
/// The methods may sleep, and are called with pre-emption on and without a lock of the core held; for different pages
/// also at the same time. They must not wait for an operation of the core.
pub trait SwapDevice: Send + Sync {
    /// Its size in pages; constant.
    fn pages(&self) -> u64;

    /// Fills `into`, which is one page long, with page `page`.
    ///
    /// # Errors
    /// [`IoError`]: whoever needs the page gets an error.
    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError>;

    /// Stores page `page`.
    ///
    /// # Errors
    /// [`IoError`]: the page stays in memory. What the device has then, of the old page and the new, does not matter.
    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError>;

    /// Stores the pages of a folio: `pages` gives them one after the other, of which the first is to be page `first`.
    /// The default writes page by page; a device that takes many pages in one transfer may collect them.
    ///
    /// # Errors
    /// [`IoError`]: all pages stay in memory. What the device has then, of any of them, does not matter.
    fn write_run(&self, first: u64, pages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), IoError> {
        (first..).zip(pages).try_for_each(|(page, from)| self.write(page, from))
    }
}

/// What leads to a device is one: a reference, a `Box`, an `Arc`.
impl<P: Deref<Target: SwapDevice> + Send + Sync> SwapDevice for P {
    fn pages(&self) -> u64 {
        (**self).pages()
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        (**self).read(page, into)
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        (**self).write(page, from)
    }

    fn write_run(&self, first: u64, pages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), IoError> {
        (**self).write_run(first, pages)
    }
}
