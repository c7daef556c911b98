//! Backings and swap devices: when they are called, and with what.

use crate::clause::Clause;
use crate::{Checked, Strict};
use core::ops::Deref;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use vellum::{Backing, IoError, Machine, SwapDevice};

/// A backing or a swap device whose calls are checked; made by [`Strict::watch`].
pub struct Watched<P, T> {
    strict: Strict<P>,
    inner: T,
    /// The pages of a device, and 1; 0 if they were not asked for.
    pages: AtomicU64,
}

impl<P, T> Watched<P, T> {
    pub(crate) fn new(strict: Strict<P>, inner: T) -> Watched<P, T> {
        Watched { strict, inner, pages: AtomicU64::new(0) }
    }

    /// What is watched.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

impl<M: Machine, P: Deref<Target = Checked<M>>, T> Watched<P, T> {
    /// A transfer of `bytes` bytes.
    fn transfer(&self, call: &'static str, bytes: usize) {
        self.strict.sleeps(call);
        self.strict.require(bytes == Strict::<P>::PAGE, Clause::BufferLength, call, bytes as u64);
    }

    /// A transfer of a page of a device.
    fn transfer_page(&self, call: &'static str, page: u64, bytes: usize) {
        self.transfer(call, bytes);
        let pages = self.pages.load(Relaxed);
        self.strict.require(pages == 0 || page < pages - 1, Clause::DevicePage, call, page);
    }
}

impl<M: Machine, P: Deref<Target = Checked<M>> + Send + Sync, T: Backing> Backing for Watched<P, T> {
    fn length(&self) -> u64 {
        self.strict.sleeps("Backing::length");
        self.inner.length()
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        self.transfer("Backing::read", page.len());
        self.inner.read(index, page)
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        self.transfer("Backing::write", page.len());
        self.inner.write(index, page)
    }

    fn can_punch(&self) -> bool {
        self.inner.can_punch()
    }

    fn punch(&self, start: u64, length: u64) -> Result<(), IoError> {
        self.strict.sleeps("Backing::punch");
        self.inner.punch(start, length)
    }
}

impl<M: Machine, P: Deref<Target = Checked<M>> + Send + Sync, T: SwapDevice> SwapDevice for Watched<P, T> {
    fn pages(&self) -> u64 {
        let pages = self.inner.pages();
        let before = self.pages.swap(pages.saturating_add(1), Relaxed);
        let is_same = before == 0 || before == pages.saturating_add(1);
        self.strict.require(is_same, Clause::DeviceSize, "SwapDevice::pages", pages);
        pages
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.transfer_page("SwapDevice::read", page, into.len());
        self.inner.read(page, into)
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.transfer_page("SwapDevice::write", page, from.len());
        self.inner.write(page, from)
    }

    fn write_run(&self, first: u64, pages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), IoError> {
        let mut pages = (first..).zip(pages).map(|(page, from)| {
            self.transfer_page("SwapDevice::write_run", page, from.len());
            from
        });
        self.inner.write_run(first, &mut pages)
    }
}
