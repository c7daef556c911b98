//! The file of a world, and its swap.
//!
//! Both are host variables that CPUs share. What the core keeps CPUs from doing at once is not looked at here; what it
//! hands out of memory, and the pages of swap, are touched as what they stand for.

use crate::contract;
use crate::explore::{WordId, access, sim};
use crate::poison::lock;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use vellum::{Backing, IoError, SwapDevice};

/// Pages that the file of a world has at first.
pub(crate) const FILE_PAGES: u64 = 4;
/// What a read leaves behind the end of the file.
const STALE: u8 = 0xaa;

/// A file in the host's memory.
///
/// Its length and each of its pages are touched as words that stand for them. A read is two steps: the length is asked,
/// and then bytes are read.
pub(crate) struct TestFile {
    page: usize,
    /// As long as the file.
    contents: Mutex<Vec<u8>>,
}

impl TestFile {
    /// A file of [`FILE_PAGES`] pages of `page` bytes.
    pub(crate) fn new(page: usize) -> TestFile {
        TestFile { page, contents: Mutex::new(vec![0; FILE_PAGES as usize * page]) }
    }

    /// The first word of a page.
    pub(crate) fn word(&self, index: u64) -> u64 {
        let contents = lock(&self.contents);
        contents.get(self.start(index)..).and_then(<[u8]>::first_chunk).map_or(0, |word| u64::from_ne_bytes(*word))
    }

    /// The last word of a page.
    pub(crate) fn last_word(&self, index: u64) -> u64 {
        let contents = lock(&self.contents);
        let page = contents.get(self.start(index)..self.start(index + 1));
        page.and_then(<[u8]>::last_chunk).map_or(0, |word| u64::from_ne_bytes(*word))
    }

    /// Makes it `pages` pages long, whether that is more or less, and half a page longer if `and_half`. What it grows
    /// by is zero.
    pub(crate) fn set_length(&self, pages: u64, and_half: bool) {
        access::touch(&[(WordId::FILE_LENGTH, true)]);
        lock(&self.contents).resize(self.start(pages) + usize::from(and_half) * self.page / 2, 0);
    }

    fn start(&self, index: u64) -> usize {
        index as usize * self.page
    }
}

impl Backing for TestFile {
    fn length(&self) -> u64 {
        contract::may_sleep("Backing::length");
        access::touch(&[(WordId::FILE_LENGTH, false)]);
        lock(&self.contents).len() as u64
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        access::drain_own();
        if self.start(index) as u64 >= self.length() {
            return Err(IoError);
        }
        let words = access::word_at(page.as_ptr().addr()).map(|word| (word, true));
        access::touch(&words.into_iter().chain([(WordId::of_backing(index), false)]).collect::<Vec<_>>());
        page.fill(STALE);
        let contents = lock(&self.contents);
        let found = contents.get(self.start(index)..).unwrap_or_default();
        let valid = found.len().min(self.page);
        page[..valid].copy_from_slice(&found[..valid]);
        Ok(())
    }

    fn can_punch(&self) -> bool {
        true
    }

    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        contract::may_sleep("Backing::punch");
        access::drain_own();
        let (first, last) = (start / self.page as u64, (start + length).div_ceil(self.page as u64));
        access::touch(&(first..last).map(|index| (WordId::of_backing(index), true)).collect::<Vec<_>>());
        let mut contents = lock(&self.contents);
        let end = (start + length).min(contents.len() as u64) as usize;
        contents.get_mut(start as usize..end).unwrap_or_default().fill(0);
        sim::happened(|| format!("pages {first} to {} of the file are a hole", last - 1));
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        access::drain_own();
        let words = access::word_at(page.as_ptr().addr()).map(|word| (word, false));
        access::touch(&words.into_iter().chain([(WordId::of_backing(index), true)]).collect::<Vec<_>>());
        let mut contents = lock(&self.contents);
        // Truncated meanwhile, there may be nowhere to write it.
        let place = contents.get_mut(self.start(index)..).unwrap_or_default();
        let valid = place.len().min(self.page);
        place[..valid].copy_from_slice(&page[..valid]);
        sim::happened(|| format!("page {index} of the file is written: {}", first_word(page)));
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
    /// Writes until one fails, counted down.
    writes_left: AtomicU32,
    /// Pages that were read.
    reads: AtomicU64,
    contents: Mutex<Vec<u8>>,
    /// By page: stands for its contents. Nothing is stored there.
    marks: [u64; SWAP_PAGES],
}

impl TestSwap {
    /// A device of at most [`SWAP_PAGES`] pages.
    pub(crate) fn new(pages: u64, page_bytes: usize) -> TestSwap {
        let contents = Mutex::new(vec![0; SWAP_PAGES * page_bytes]);
        let (refuses, writes_left) = (AtomicBool::new(false), AtomicU32::new(u32::MAX));
        let (reads, marks) = (AtomicU64::new(0), [0; SWAP_PAGES]);
        TestSwap(Arc::new(Slots { pages, page_bytes, refuses, writes_left, reads, contents, marks }))
    }

    /// Lets every write fail from now on, or none any more.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, Relaxed);
    }

    /// Lets one write fail, after `writes` that do not.
    pub(crate) fn refuse_after(&self, writes: u32) {
        self.0.writes_left.store(writes, Relaxed);
    }

    /// How many pages were read.
    pub(crate) fn reads(&self) -> u64 {
        self.0.reads.load(Relaxed)
    }

    /// Whether the write that begins now is refused.
    fn refuses_write(&self) -> bool {
        let is_one = |left: u32| left.checked_sub(1).or(Some(u32::MAX));
        let is_last = self.0.writes_left.fetch_update(Relaxed, Relaxed, is_one) == Ok(0);
        is_last || self.0.refuses.load(Relaxed)
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
        if is_write && self.refuses_write() || !access::may_succeed("the device fails") {
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
        self.0.reads.fetch_add(1, Relaxed);
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
