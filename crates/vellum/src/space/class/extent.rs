//! Where the slots of a class are.

use crate::arch::Arch;

/// A part of the address space, in pages: the hull of the slots that say a class, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first page.
    pub(super) low: u64,
    /// Behind the last.
    pub(super) high: u64,
}

impl Extent {
    /// No page.
    pub(crate) const NONE: Extent = Extent { low: u64::MAX, high: 0 };

    /// The pages from `start` to before `end`, both addresses of pages.
    #[inline(always)]
    pub(crate) fn of<A: Arch>(start: u64, end: u64) -> Extent {
        Extent { low: start >> A::PAGE_SHIFT, high: end >> A::PAGE_SHIFT }
    }

    /// The hull of both.
    pub(super) fn join(self, other: Extent) -> Extent {
        Extent { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Whether all of `other` lies in this one.
    pub(super) fn covers(self, other: Extent) -> bool {
        self.join(other) == self
    }

    /// Whether any of so many pages from page number `first` on lies in it.
    pub(crate) fn meets(self, first: u64, pages: u64) -> bool {
        self.low < first.saturating_add(pages) && first < self.high
    }

    /// Whether page number `page` lies in it.
    #[inline(always)]
    pub(crate) fn has(self, page: u64) -> bool {
        (self.low..self.high).contains(&page)
    }
}
