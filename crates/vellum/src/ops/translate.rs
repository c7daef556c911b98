//! Looking an address up without locks.

use crate::arch::{Arch, Entry, PageBits};
use crate::cpu::Reader;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::space::Space;

/// What an address translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The frame.
    pub pfn: Pfn,
    /// What the entry grants and says.
    pub bits: PageBits,
}

impl<M: Machine> Space<'_, M> {
    /// What `address` translates to at this moment; `None` if no page is there. Takes no lock and never faults: the
    /// answer may be out of date when it arrives, unless the caller excludes changes.
    #[inline(always)]
    pub fn translate(&self, address: u64) -> Option<Translation> {
        if address >= M::Arch::USER_END {
            return None;
        }
        let word = self.inner().page_entry(&Reader::enter(self.vm()), address);
        match M::Arch::decode(word, 0) {
            Entry::Page(pfn, bits) => Some(Translation { pfn, bits }),
            _ => None,
        }
    }
}
