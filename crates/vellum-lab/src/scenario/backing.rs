//! The file of a world, and its swap.
//!
//! Both are host variables that CPUs share. What the core keeps CPUs from doing at once is not looked at here; what it
//! hands out of memory, and the pages of swap, are touched as what they stand for.

use crate::contract;
use crate::explore::{access, sim};
use crate::poison::lock;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use vellum::{Backing, IoError, SwapDevice};

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

impl TestFile {
    /// Makes it `pages` pages long.
    pub(crate) fn truncate(&self, pages: u64) {
        lock(&self.0).truncate(pages as usize * self.1);
    }
}

impl Backing for TestFile {
    fn length(&self) -> u64 {
        contract::may_sleep("Backing::length");
        lock(&self.0).len() as u64
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        access::touch_at(&[(page.as_ptr().addr(), true)]);
        let start = index as usize * self.1;
        page.copy_from_slice(lock(&self.0).get(start..start + self.1).ok_or(IoError)?);
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        access::touch_at(&[(page.as_ptr().addr(), false)]);
        let start = index as usize * self.1;
        lock(&self.0).get_mut(start..start + self.1).ok_or(IoError)?.copy_from_slice(page);
        Ok(())
    }
}

/// The most pages of swap.
pub(crate) const SWAP_PAGES: usize = 16;

/// A swap device in the host's memory. Transfers fail where the scenario wants failures.
#[derive(Clone)]
pub(crate) struct TestSwap(Arc<Slots>);

struct Slots {
    pages: u64,
    page_bytes: usize,
    /// Every write fails.
    refuses: AtomicBool,
    contents: Mutex<Vec<u8>>,
    /// By page: stands for its contents. Nothing is stored there.
    marks: [u64; SWAP_PAGES],
}

impl TestSwap {
    /// A device of at most [`SWAP_PAGES`] pages.
    pub(crate) fn new(pages: u64, page_bytes: usize) -> TestSwap {
        let contents = Mutex::new(vec![0; SWAP_PAGES * page_bytes]);
        let refuses = AtomicBool::new(false);
        TestSwap(Arc::new(Slots { pages, page_bytes, refuses, contents, marks: [0; SWAP_PAGES] }))
    }

    /// Lets every write fail from now on, or none any more.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, Relaxed);
    }

    /// Where the words are that stand for its pages.
    pub(crate) fn marks(&self) -> Range<usize> {
        let marks = self.0.marks.as_ptr_range();
        marks.start.addr()..marks.end.addr()
    }

    /// The step of a transfer between a page of the device and a buffer; where that page is.
    fn transfer(&self, page: u64, buffer: &[u8], is_write: bool) -> Result<Range<usize>, IoError> {
        let mark = self.0.marks.get(page as usize).ok_or(IoError)?;
        access::drain_own();
        // Users store to the page's first word, if they store.
        access::touch_at(&[(buffer.as_ptr().addr(), !is_write), ((&raw const *mark).addr(), is_write)]);
        if is_write && self.0.refuses.load(Relaxed) || !access::may_succeed("the device fails") {
            return Err(IoError);
        }
        let start = page as usize * self.0.page_bytes;
        Ok(start..start + self.0.page_bytes)
    }
}

impl SwapDevice for TestSwap {
    fn pages(&self) -> u64 {
        self.0.pages
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("SwapDevice::read");
        let place = self.transfer(page, into, false)?;
        into.copy_from_slice(lock(&self.0.contents).get(place).ok_or(IoError)?);
        sim::happened(|| format!("swap page {page} is read: {}", first_word(into)));
        Ok(())
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("SwapDevice::write");
        let place = self.transfer(page, from, true)?;
        lock(&self.0.contents).get_mut(place).ok_or(IoError)?.copy_from_slice(from);
        sim::happened(|| format!("swap page {page} is written: {}", first_word(from)));
        Ok(())
    }
}

fn first_word(page: &[u8]) -> u64 {
    page.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word))
}
