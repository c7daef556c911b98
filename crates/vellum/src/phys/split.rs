//! Making single pages of a folio: what its head counts and says is dealt out to its pages.
//!
//! The head has counted for all pages until then, and each page counts for itself afterwards. In between no count may
//! change: either the entries that show pages cannot, their leaf being locked, and the head's counts are frozen against
//! those who take references without a lock ([`Cx::deal_out_shown`]); or no entry shows a page
//! ([`Cx::deal_out_hidden`], and [`Cx::deal_out_cached`] of what is an object's, where the counts are frozen, too).
//! Whoever had found the head before, and takes a reference to it afterwards, has one to another page than he wanted,
//! and finds that out by asking again of which folio that is (C16).

use super::{Folio, FreeBatch, Kind, Pfn, folio};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use core::sync::atomic::Ordering::Relaxed;

impl<M: Machine> Cx<'_, M> {
    /// Makes single pages of the folio of which `mappings` entries show a page each, those for which `is_shown` says
    /// so, nothing else refers to it but the caller, and all of these entries' leaf is locked by him; whether that is
    /// so. Those that no entry shows are freed, and the caller's reference is to the head's page; how many were freed.
    /// He has the folio lock.
    pub(crate) fn deal_out_shown(&self, of: Folio, mappings: u32, is_shown: impl Fn(u64) -> bool) -> Option<u64> {
        let head = self.vm().physical().frame(of.head);
        if !head.freeze_mapped(mappings) {
            return None;
        }
        let kept = self.what_is_kept(of);
        let mut freed = FreeBatch::new(self);
        for page in 1..of.pages() {
            let pfn = of.head.offset(page);
            if is_shown(page) {
                self.make_single(of, page, kept);
                self.vm().physical().frame(pfn).set_counts(1, 1);
            } else if M::guard(Guard::SplitRestFreed) {
                self.vm().physical().frame(pfn).set_kind(Kind::Allocated, 0);
                freed.add(pfn);
            } else {
                self.make_single(of, page, kept);
                self.vm().physical().frame(pfn).set_counts(1, 0);
            }
        }
        self.make_single(of, 0, kept);
        let shown = u32::from(is_shown(0));
        head.set_counts(1 + shown, shown);
        Some(of.pages() - 1 - u64::from(mappings - shown))
    }

    /// Makes single pages of a folio that no entry shows, and to which nobody else has a reference: its mappings are
    /// entries that name the head. They stay the head's. The caller gets a reference to each of the other pages, and
    /// its folio lock.
    pub(crate) fn deal_out_hidden(&self, of: Folio) {
        let kept = self.what_is_kept(of);
        for page in 1..of.pages() {
            self.make_single(of, page, kept);
            self.vm().physical().frame(of.head.offset(page)).begin_locked();
        }
        self.make_single(of, 0, kept);
    }

    /// Makes single pages of a folio in the cache of an object, which has a reference for each of `cached` pages of it,
    /// those for which `is_cached` says so; no entry shows it, and nobody else has a reference but the caller. Whether
    /// that is so. Those that are not cached are freed, and the caller's reference is to the head's page; how many were
    /// freed. He has the folio lock.
    pub(crate) fn deal_out_cached(&self, of: Folio, cached: u32, is_cached: impl Fn(u64) -> bool) -> Option<u64> {
        let head = self.vm().physical().frame(of.head);
        if !head.freeze(1 + cached) {
            return None;
        }
        let kept = self.what_is_kept(of);
        let mut freed = FreeBatch::new(self);
        for page in 1..of.pages() {
            let (pfn, frame) = (of.head.offset(page), self.vm().physical().frame(of.head.offset(page)));
            if is_cached(page) {
                // It is found as soon as it is no page of the folio any more.
                frame.halves[0].store(head.halves[0].load(Relaxed), Relaxed);
                self.make_single(of, page, kept);
                frame.set_counts(1, 0);
            } else {
                frame.set_kind(Kind::Allocated, 0);
                freed.add(pfn);
            }
        }
        self.make_single(of, 0, kept);
        let first = u32::from(is_cached(0));
        if first == 0 {
            head.words[0].store(0, Relaxed);
        }
        head.set_counts(1 + first, 0);
        Some(of.pages() - u64::from(cached) - u64::from(1 - first))
    }

    /// What the head's flags say of each of its pages.
    fn what_is_kept(&self, of: Folio) -> u64 {
        let flags = self.vm().physical().frame(of.head).flags() & !folio::PARTLY_MAPPED;
        if M::guard(Guard::SplitDirtyDealt) { flags } else { flags & !folio::DIRTY }
    }

    /// Gives a page of the folio its own descriptor, but for the counts.
    fn make_single(&self, of: Folio, page: u64, flags: u64) {
        let physical = self.vm().physical();
        let (head, frame) = (physical.frame(of.head), physical.frame(Pfn(of.head.0 + page)));
        let [owner, offset] = [0, 1].map(|word| head.words[word].load(Relaxed));
        frame.words[0].store(owner, Relaxed);
        frame.words[1].store(offset + page, Relaxed);
        frame.words[2].store(flags, Relaxed);
        frame.set_kind(head.kind(), 0);
    }
}
