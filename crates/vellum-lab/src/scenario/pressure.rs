//! What the shortage of memory does: swap, reclaim, migration; and what takes a file's pages away.

use super::backing::{SWAP_PAGES, TestSwap};
use super::cpu::Cpu;
use super::world::World;
use super::{At, ops::Ops};
use crate::explore::sim;
use crate::poison::lock;
use std::sync::atomic::Ordering::SeqCst;
use vellum::Error;
use vellum::arch::Arch;
use vellum::ops::Advice;

/// What a world can do under pressure; as [`Ops`].
pub(crate) trait PressureOps {
    fn swap_on(&self, pages: u64) -> Result<(), Error>;
    fn advise(&self, process: usize, at: At, pages: u64, advice: Advice) -> Result<(), Error>;
    /// How many pages were moved.
    fn migrate(&self, process: usize, at: At, pages: u64, node: u8) -> Result<u64, Error>;
    /// How many pages of node 0 were freed.
    fn reclaim(&self, pages: u64) -> u64;
    fn truncate(&self, pages: u64) -> Result<(), Error>;
    /// Stores to the word of a page that is held meanwhile; whether there was one.
    fn write_held(&self, process: usize, at: At, value: u64) -> bool;
}

impl<A: Arch> PressureOps for World<A> {
    fn swap_on(&self, pages: u64) -> Result<(), Error> {
        let device = TestSwap::new(pages.min(SWAP_PAGES as u64), 1 << A::PAGE_SHIFT);
        let area = self.vm().swap_on(device.clone(), 0)?;
        *lock(&self.swap) = Some((device, area));
        Ok(())
    }

    fn advise(&self, process: usize, at: At, pages: u64, advice: Advice) -> Result<(), Error> {
        self.space(process).advise(self.address(at), self.bytes(pages), advice)
    }

    fn migrate(&self, process: usize, at: At, pages: u64, node: u8) -> Result<u64, Error> {
        let (moved, failed) = self.space(process).move_pages(self.address(at), self.bytes(pages), node)?;
        sim::happened(|| format!("  = {moved} moved, {failed} not"));
        Ok(moved)
    }

    fn reclaim(&self, pages: u64) -> u64 {
        self.vm().reclaim(0, pages)
    }

    fn truncate(&self, pages: u64) -> Result<(), Error> {
        self.backing().set_length(pages, false);
        let file = self.file_handle();
        file.map_or(Ok(()), |file| file.truncate(self.bytes(pages)))
    }

    fn write_held(&self, process: usize, at: At, value: u64) -> bool {
        let Some(held) = self.space(process).hold(self.address(at)) else { return false };
        let frame = held.translation().pfn;
        let Some(word) = self.vm().machine().memory().word(frame, 0) else { return false };
        self.touch_by_device(word, true);
        sim::happened(|| format!("  F{:x} := {value}", frame.0));
        word.store(value, SeqCst);
        let page = self.address(at) >> A::PAGE_SHIFT;
        self.shared.with_oracle(|oracle| oracle.store_by_device(process, page, value));
        true
    }
}

impl Cpu<'_> {
    /// Adds a swap area of `pages` pages, at most 16; in a scenario's start.
    pub fn swap_on(&self, pages: u64) {
        let is_done = self.ops.pressure().swap_on(pages).is_ok();
        self.expect_if_done(is_done, "I-ACCESS", &format!("there is no memory for {pages} pages of swap"));
    }

    /// Writes pages out that nobody else maps, and frees them, as far as that can be done (`MADV_PAGEOUT`).
    pub fn page_out(&self, at: At, pages: u64) -> bool {
        self.advise("PAGEOUT", at, pages, Advice::PageOut)
    }

    /// Says that pages are not used at present (`MADV_COLD`).
    pub fn cold(&self, at: At, pages: u64) -> bool {
        self.advise("COLD", at, pages, Advice::Cold)
    }

    fn advise(&self, name: &str, at: At, pages: u64, advice: Advice) -> bool {
        let text = format!("madvise {name} {}", self.range(at, pages));
        self.operation(text, || self.ops.pressure().advise(self.process(), at, pages, advice))
    }

    /// Makes a huge page of all pages of the leaf of `at`, its first (`MADV_COLLAPSE`): not done if somebody has one of
    /// them in hand, or none is there.
    pub fn collapse(&self, at: At) -> bool {
        let pages = self.ops.leaf_pages();
        let not_done = Error::NotMapped { address: self.ops.address(at) };
        let text = format!("madvise COLLAPSE {}", self.range(at, pages));
        self.operation(text, || match self.ops.pressure().advise(self.process(), at, pages, Advice::Collapse) {
            Err(Error::Busy { .. } | Error::Invalid { .. }) => Err(not_done),
            result => result,
        })
    }

    /// Moves pages to memory node `node` of a world that has it ([`super::Scenario::nodes`]); how many were moved.
    pub fn migrate(&self, at: At, pages: u64, node: u8) -> u64 {
        let mut moved = 0;
        let text = format!("move_pages {} to node {node}", self.range(at, pages));
        self.operation(text, || {
            moved = self.ops.pressure().migrate(self.process(), at, pages, node)?;
            Ok(())
        });
        moved
    }

    /// Takes up to `pages` pages of node 0 back, whosever they are; how many.
    pub fn reclaim(&self, pages: u64) -> u64 {
        let mut freed = 0;
        self.operation(format!("reclaim {pages}"), || {
            freed = self.ops.pressure().reclaim(pages);
            Ok(())
        });
        freed
    }

    /// Makes the file `pages` pages long, which is less than it was.
    pub fn truncate(&self, pages: u64) -> bool {
        self.shared.with_oracle(|oracle| oracle.begin_truncate(pages));
        let done = self.operation(format!("ftruncate {pages}"), || self.ops.pressure().truncate(pages));
        self.shared.with_oracle(|oracle| oracle.end_truncate(pages, done));
        done
    }

    /// A device stores to the page's word: it looks the page up without a lock, gets a reference, stores, and drops it.
    /// Whether there was a page.
    pub fn write_by_device(&self, at: At, value: u64) -> bool {
        sim::happened(|| format!("a device looks {:#x} up", self.ops.address(at)));
        let is_there = self.ops.pressure().write_held(self.process(), at, value);
        if !is_there {
            sim::happened(|| "  = nothing".into());
        }
        is_there
    }
}
