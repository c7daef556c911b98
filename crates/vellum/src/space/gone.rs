//! What goes with the entries of a table that nobody can use any more: mappings, slots of swap, what is counted.

use super::apply::rss_kind;
use super::{Inner, RssKind};
use crate::arch::{PageBits, Word};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::{FreeBatch, Kind, Pfn};
use crate::stat::Event;

/// Entries that went, of one space. The frames that they were the last to show are freed by the time this is dropped.
pub(super) struct Gone<'a, M: Machine> {
    freed: FreeBatch<'a, M>,
    /// Resident pages that went, by kind.
    pages: [u64; RssKind::COUNT],
    /// Entries that were of something else than a page of anonymous memory by itself.
    others: usize,
}

impl<'a, M: Machine> Gone<'a, M> {
    pub(super) fn new(cx: &'a Cx<'_, M>) -> Self {
        Gone { freed: FreeBatch::new(cx), pages: [0; RssKind::COUNT], others: 0 }
    }

    /// How many entries were not of pages of anonymous memory by themselves.
    pub(super) fn others(&self) -> usize {
        self.others
    }

    /// Drops what `word`, not empty, stood for. No translation of it is left, and nobody reads the slot where it was.
    #[inline(always)]
    pub(super) fn entry(&mut self, cx: &Cx<'_, M>, word: Word<M::Arch>) {
        match word.usual_page() {
            Some(pfn) => self.usual(cx, word, pfn),
            None => self.other(cx, word, 1),
        }
    }

    /// As [`Gone::entry`], for one that shows `pfn`, as most do.
    #[inline(always)]
    pub(super) fn usual(&mut self, cx: &Cx<'_, M>, word: Word<M::Arch>, pfn: Pfn) {
        if cx.vm().physical().frame(pfn).is_single(Kind::Anonymous) {
            self.anonymous(cx, pfn);
        } else {
            self.other(cx, word, 1);
        }
    }

    #[inline(always)]
    fn file(&mut self, cx: &Cx<'_, M>, pfn: Pfn, bits: PageBits) {
        let frame = cx.vm().physical().frame(pfn);
        self.pages[object::rss_kind(frame) as usize] += 1;
        if bits.has(PageBits::DIRTY) {
            object::mark_dirty(frame);
        }
        if cx.drop_page_mapping(pfn) {
            self.freed.add(pfn);
        }
    }

    #[inline(always)]
    fn anonymous(&mut self, cx: &Cx<'_, M>, pfn: Pfn) {
        self.pages[RssKind::Anonymous as usize] += 1;
        if cx.drop_page_mapping(pfn) {
            self.freed.add(pfn);
        }
    }

    /// As [`Gone::entry`], for what may be no anonymous page by itself, or for one entry that showed so many pages.
    #[inline(never)]
    pub(super) fn other(&mut self, cx: &Cx<'_, M>, word: Word<M::Arch>, pages: u64) {
        self.others += 1;
        let Some(pfn) = word.page() else {
            if let Some(kind) = cx.end_absent(word, pages, &mut self.freed) {
                self.pages[kind as usize] += pages;
            }
            return;
        };
        let frame = cx.vm().physical().frame(pfn);
        // In this order: most are.
        if frame.is_single(Kind::File) {
            return self.file(cx, pfn, word.bits());
        }
        if frame.is_single(Kind::Anonymous) {
            return self.anonymous(cx, pfn);
        }
        let bits = word.bits();
        if bits.has(PageBits::SPECIAL) {
            return;
        }
        self.pages[rss_kind(cx, pfn) as usize] += pages;
        if bits.has(PageBits::DIRTY) {
            object::mark_dirty(cx.vm().physical().folio(pfn));
        }
        if pages == 1 {
            cx.note_partly_mapped(pfn);
        }
        cx.end_page_mapping(pfn);
    }

    /// Frees the frames, and counts what went.
    pub(super) fn account(mut self, cx: &Cx<'_, M>, space: &Inner<M>) {
        self.freed.finish();
        for (kind, pages) in RssKind::ALL.into_iter().zip(self.pages) {
            if pages != 0 {
                space.add_rss(cx, kind, -(pages as i64));
            }
        }
        cx.count(Event::Unmapped, self.pages[..RssKind::Swap as usize].iter().sum());
    }
}
