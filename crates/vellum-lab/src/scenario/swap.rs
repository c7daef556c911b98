//! Swap that is switched off or fails, memory that is given up, and devices that use pages.

use super::cpu::Cpu;
use super::world::World;
use super::{At, ops::Ops};
use crate::explore::sim;
use crate::poison::lock;
use std::sync::atomic::Ordering::SeqCst;
use vellum::Error;
use vellum::arch::Arch;
use vellum::ops::Advice;

/// What a world can do with swap; as [`super::ops::Ops`].
pub(crate) trait SwapOps {
    fn swap_off(&self) -> Result<(), Error>;
    /// How many pages of swap were read.
    fn swap_reads(&self) -> u64;
    /// Lets every write to swap fail, or none any more.
    fn refuse_writes(&self, refuses: bool);
    /// Lets one write to swap fail, after `writes` that do not.
    fn refuse_after(&self, writes: u32);
    fn give_up(&self, process: usize, at: At, pages: u64) -> Result<(), Error>;
    fn populate(&self, process: usize, at: At, pages: u64) -> Result<(), Error>;
    /// Holds the page while `body` runs, unless there is none; then reads its word, or stores `value` to it. The word.
    fn hold(&self, process: usize, at: At, value: Option<u64>, body: &mut dyn FnMut()) -> Option<u64>;
}

impl<A: Arch> SwapOps for World<A> {
    fn swap_off(&self) -> Result<(), Error> {
        let area = lock(&self.swap).as_ref().map(|(_, area)| *area);
        area.map_or(Ok(()), |area| self.vm().swap_off(area))
    }

    fn swap_reads(&self) -> u64 {
        lock(&self.swap).as_ref().map_or(0, |(device, _)| device.reads())
    }

    fn refuse_writes(&self, refuses: bool) {
        lock(&self.swap).iter().for_each(|(device, _)| device.refuse(refuses));
    }

    fn refuse_after(&self, writes: u32) {
        lock(&self.swap).iter().for_each(|(device, _)| device.refuse_after(writes));
    }

    fn give_up(&self, process: usize, at: At, pages: u64) -> Result<(), Error> {
        self.space(process).advise(self.address(at), self.bytes(pages), Advice::Free)
    }

    fn populate(&self, process: usize, at: At, pages: u64) -> Result<(), Error> {
        self.space(process).advise(self.address(at), self.bytes(pages), Advice::PopulateWrite)
    }

    fn hold(&self, process: usize, at: At, value: Option<u64>, body: &mut dyn FnMut()) -> Option<u64> {
        let held = self.space(process).hold(self.address(at))?;
        let frame = held.translation().pfn;
        sim::happened(|| format!("  holds F{:x}", frame.0));
        body();
        let word = self.vm().machine().memory().word(frame, 0)?;
        self.touch_by_device(word, value.is_some());
        if let Some(value) = value {
            word.store(value, SeqCst);
            let page = self.address(at) >> A::PAGE_SHIFT;
            self.shared.with_oracle(|oracle| oracle.store_by_device(process, page, value));
            sim::happened(|| format!("  the device stores {value} to F{:x}", frame.0));
            held.mark_dirty();
            self.shared.with_oracle(|oracle| oracle.said(process, page, value));
        }
        let result = word.load(SeqCst);
        sim::happened(|| format!("  F{:x} has {result}; is let go", frame.0));
        Some(result)
    }
}

impl Cpu<'_> {
    /// Switches the swap area off; not done where memory does not take what is in it.
    pub fn swap_off(&self) -> bool {
        self.operation("swapoff".into(), || self.ops.swap().swap_off())
    }

    /// How many pages of swap were read until now.
    pub fn swap_reads(&self) -> u64 {
        self.ops.swap().swap_reads()
    }

    /// Lets every write to swap fail, or none any more.
    pub fn refuse_writes(&self, refuses: bool) {
        sim::happened(|| if refuses { "writes to swap fail" } else { "writes to swap succeed" }.into());
        self.ops.swap().refuse_writes(refuses);
    }

    /// Lets one write to swap fail, after `writes` that do not.
    pub fn refuse_write_after(&self, writes: u32) {
        sim::happened(|| format!("after {writes} writes to swap one fails"));
        self.ops.swap().refuse_after(writes);
    }

    /// Gives pages up until they are stored to again (`MADV_FREE`): until then they may read as at first.
    pub fn give_up(&self, at: At, pages: u64) -> bool {
        let process = self.process();
        self.shared.with_oracle(|oracle| oracle.begin_giving_up(process, self.pages(at, pages)));
        let text = format!("madvise FREE {}", self.range(at, pages));
        // Something is mapped there that cannot be given up: as good as nothing.
        let nothing = Error::NotMapped { address: self.ops.address(at) };
        let done = self.operation(text, || match self.ops.swap().give_up(process, at, pages) {
            Err(Error::Invalid { .. }) => Err(nothing),
            result => result,
        });
        self.shared.with_oracle(|oracle| oracle.end_giving_up(process, self.pages(at, pages)));
        done
    }

    /// Faults pages in as for stores, without any (`MADV_POPULATE_WRITE`).
    pub fn populate(&self, at: At, pages: u64) -> bool {
        let text = format!("madvise POPULATE {}", self.range(at, pages));
        self.operation(text, || self.ops.swap().populate(self.process(), at, pages))
    }

    /// A device holds the page while `body` runs, and then reads its word: that, unless there was no page.
    pub fn while_held(&self, at: At, mut body: impl FnMut()) -> Option<u64> {
        sim::happened(|| format!("a device looks {:#x} up", self.ops.address(at)));
        self.ops.swap().hold(self.process(), at, None, &mut body)
    }

    /// A device looks the page up and gets a reference; then it stores to the page, says so, and drops the reference.
    /// Whether there was a page.
    pub fn transfer_to(&self, at: At, value: u64) -> bool {
        sim::happened(|| format!("a device looks {:#x} up", self.ops.address(at)));
        self.ops.swap().hold(self.process(), at, Some(value), &mut || ()).is_some()
    }
}
