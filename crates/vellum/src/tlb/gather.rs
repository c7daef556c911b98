//! Collecting what an operation removes, so that one flush serves many pages.
//!
//! Order, never varied: entries are cleared, translations flushed, then frames are freed and tables retired (B1). A
//! gathered frame keeps its mapping count and reference until after the flush (B3).

use super::{Flush, SpaceTlb};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{FreeBatch, Pfn};
use crate::stat::Event;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Frames a gather holds before it must flush: a page of them, and on most architectures as many as a leaf has.
const CAPACITY: usize = 512;
/// In the number of a frame that is held: it may be a folio of more pages. No frame has such a number.
const FOLIO: u64 = 1 << 63;

/// A CPU's room for one gather. Owned by the gather in progress; no gather outlives its [`Cx`].
#[repr(C, align(64))]
pub(crate) struct GatherBuffer<M>([AtomicU64<M>; CAPACITY]);

impl<M: Machine> GatherBuffer<M> {
    pub(crate) const fn new() -> Self {
        GatherBuffer([const { AtomicU64::new(0) }; CAPACITY])
    }
}

/// What one operation removed from one space and has not yet flushed.
///
/// At most one per CPU at a time. [`Gather::finish`] must be called before the operation ends; dropping does it.
pub(crate) struct Gather<'a, M: Machine> {
    cx: &'a Cx<'a, M>,
    space: u64,
    tlb: &'a SpaceTlb<M>,
    frames: usize,
    /// Head of the chain of unlinked tables, as frame number + 1.
    tables: u64,
    /// Whether other tables were unlinked, which the operation has itself.
    has_detached: bool,
    start: u64,
    end: u64,
}

impl<'a, M: Machine> Gather<'a, M> {
    pub(crate) fn new(cx: &'a Cx<'a, M>, space: u64, tlb: &'a SpaceTlb<M>) -> Self {
        Gather { cx, space, tlb, frames: 0, tables: 0, has_detached: false, start: u64::MAX, end: 0 }
    }

    /// Notes that the translation of `address` must be flushed.
    #[inline(always)]
    pub(crate) fn touch(&mut self, address: u64) {
        self.start = self.start.min(address);
        self.end = self.end.max(address + (1 << M::Arch::PAGE_SHIFT));
    }

    /// Notes that the translations of a range must be flushed.
    pub(crate) fn touch_range(&mut self, range: Flush) {
        self.start = self.start.min(range.start);
        self.end = self.end.max(range.start + (range.pages << M::Arch::PAGE_SHIFT));
    }

    /// Whether another frame needs a flush first; see [`Gather::finish`].
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.frames == CAPACITY
    }

    /// Adds a frame which was mapped at `address`, a folio by itself: its mapping is dropped after the flush. The
    /// gather is not full.
    #[inline(always)]
    pub(crate) fn add(&mut self, pfn: Pfn, address: u64) {
        self.note(pfn.0);
        self.touch(address);
    }

    /// As [`Gather::add`], for a page of any folio, or `pages` pages of it that one entry showed.
    pub(crate) fn add_folio(&mut self, pfn: Pfn, address: u64, pages: u64) {
        self.note(self.cx.vm().physical().head(pfn).0 | FOLIO);
        self.touch_range(Flush { start: address, pages, tables_freed: false });
    }

    #[inline(always)]
    fn note(&mut self, entry: u64) {
        self.cx.cpu().gather.0[self.frames].store(entry, Relaxed);
        self.frames += 1;
    }

    /// Adds a table, unlinked and empty, that covered `address`.
    pub(crate) fn add_table(&mut self, pfn: Pfn, address: u64) {
        self.cx.vm().physical().frame(pfn).link.store(self.tables, Relaxed);
        self.tables = pfn.0 + 1;
        if M::guard(Guard::TablesFlushed) {
            self.touch(address);
        }
    }

    /// Notes the flush of a table that was unlinked with all its entries, which is the operation's own and covers
    /// `pages` pages from `start` on.
    pub(crate) fn touch_table(&mut self, start: u64, pages: u64) {
        self.has_detached = true;
        self.touch_range(Flush { start, pages, tables_freed: true });
    }

    /// Flushes, then frees. Leaves the gather empty and usable.
    #[inline]
    pub(crate) fn finish(&mut self) {
        self.flush_and_free();
        (self.frames, self.has_detached, self.start, self.end) = (0, false, u64::MAX, 0);
    }

    #[inline(never)]
    fn flush_and_free(&mut self) {
        if self.end == 0 {
            if !M::guard(Guard::TablesFlushed) {
                self.retire_tables();
            }
            return;
        }
        if !M::guard(Guard::FlushBeforeFree) {
            self.free_frames();
        }
        if !M::guard(Guard::MappedUntilFlush) {
            self.drop_mappings();
        }
        let pages = (self.end - self.start) >> M::Arch::PAGE_SHIFT;
        let what = Flush { start: self.start, pages, tables_freed: self.tables != 0 || self.has_detached };
        if M::guard(Guard::FreedWhenAcknowledged) {
            self.cx.flush(self.space, self.tlb, what);
        } else {
            self.cx.flush_around(self.space, self.tlb, what, || self.free_frames());
            self.frames = 0;
        }
        self.cx.count(Event::FlushBatch, 1);
        if M::guard(Guard::FlushBeforeFree) {
            self.free_frames();
        }
        self.retire_tables();
    }

    /// Drops the mappings of the gathered frames, and frees those that were the last.
    #[inline(always)]
    fn free_frames(&self) {
        let mut freed = FreeBatch::new(self.cx);
        for entry in &self.cx.cpu().gather.0[..self.frames] {
            let entry = entry.load(Relaxed);
            let pfn = Pfn(entry & !FOLIO);
            if M::guard(Guard::MappedUntilFlush) && !self.cx.drop_page_mapping(pfn) {
                continue;
            }
            match entry & FOLIO {
                0 => freed.add(pfn),
                _ => self.cx.free_frame(pfn),
            }
        }
    }

    /// Instead of [`Guard::MappedUntilFlush`]: drops the mappings, and keeps the frames to be freed.
    fn drop_mappings(&mut self) {
        let room = &self.cx.cpu().gather.0;
        let mut kept = 0;
        for entry in &room[..self.frames] {
            let entry = entry.load(Relaxed);
            if self.cx.vm().physical().frame(Pfn(entry & !FOLIO)).drop_mapping() {
                room[kept].store(entry, Relaxed);
                kept += 1;
            }
        }
        self.frames = kept;
    }

    /// Retires the gathered tables.
    #[inline(always)]
    fn retire_tables(&mut self) {
        while self.tables != 0 {
            let pfn = Pfn(self.tables - 1);
            self.tables = self.cx.vm().physical().frame(pfn).link.load(Relaxed);
            self.cx.retire_table(pfn);
        }
    }
}

impl<M: Machine> Drop for Gather<'_, M> {
    fn drop(&mut self) {
        self.flush_and_free();
    }
}
