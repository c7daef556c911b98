//! Numbers of page frames.

use core::fmt;

/// A page frame number: a physical address divided by the page size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pfn({:#x})", self.0)
    }
}

impl Pfn {
    /// The frame `count` further.
    #[inline(always)]
    pub(crate) fn offset(self, count: u64) -> Pfn {
        Pfn(self.0 + count)
    }
}
