//! What the word of a slot says.
//!
//! | bits | what |
//! |---|---|
//! | 0-19 | page-table entries that name the slot |
//! | 20 | RESERVED: given out, and no page is in it yet; or about to be free |
//! | 21 | CACHED: bits 24 up are the frame of its page |
//! | 22 | BAD: not given out again |
//! | 24-63 | the frame while CACHED; else a stamp of when the page left memory, 0 for none |

use crate::phys::Pfn;
use crate::structure::SlotState;

const COUNT: u64 = (1 << 20) - 1;
const RESERVED: u64 = 1 << 20;
const CACHED: u64 = 1 << 21;
const BAD: u64 = 1 << 22;
const VALUE_SHIFT: u32 = 24;
const VALUE: u64 = (1 << 40) - 1;

/// The word of a slot at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotWord(pub(super) u64);

/// What the word says to others.
pub(crate) fn slot_state(word: u64) -> SlotState {
    let word = SlotWord(word);
    SlotState { entries: word.count(), is_reserved: word.is_reserved(), cached: word.frame() }
}

impl SlotWord {
    /// Nobody's.
    pub(super) const FREE: SlotWord = SlotWord(0);
    /// Given out, and nothing in it.
    pub(super) const RESERVED: SlotWord = SlotWord(RESERVED);
    /// The most entries that can name a slot.
    pub(super) const COUNT_MAX: u32 = COUNT as u32;

    /// Entries that name the slot.
    pub(super) const fn count(self) -> u32 {
        (self.0 & COUNT) as u32
    }

    pub(super) const fn is_reserved(self) -> bool {
        self.0 & RESERVED != 0
    }

    pub(super) const fn is_bad(self) -> bool {
        self.0 & BAD != 0
    }

    /// Whether it is neither free nor kept back for being bad.
    pub(super) const fn is_used(self) -> bool {
        self.0 & !BAD != 0
    }

    /// The frame of the page, while that is cached.
    pub(super) const fn frame(self) -> Option<Pfn> {
        if self.0 & CACHED != 0 { Some(Pfn(self.0 >> VALUE_SHIFT)) } else { None }
    }

    /// The stamp of a page that is not cached.
    pub(super) const fn shadow(self) -> u64 {
        if self.0 & CACHED != 0 { 0 } else { self.0 >> VALUE_SHIFT }
    }

    /// With another count.
    pub(super) const fn with_count(self, count: u32) -> SlotWord {
        SlotWord(self.0 & !COUNT | count as u64)
    }

    /// Cached, by `pfn`.
    pub(super) const fn cached_by(self, pfn: Pfn) -> SlotWord {
        SlotWord(self.0 & (COUNT | BAD) | CACHED | (pfn.0 & VALUE) << VALUE_SHIFT)
    }

    /// Not cached, with a stamp of which 40 bits count.
    pub(super) const fn stored(self, shadow: u64) -> SlotWord {
        SlotWord(self.0 & (COUNT | BAD) | (shadow & VALUE) << VALUE_SHIFT)
    }

    /// About to be free.
    pub(super) const fn ending(self) -> SlotWord {
        SlotWord(self.0 & BAD | RESERVED)
    }

    /// What is left of it at its end.
    pub(super) const fn ended(self) -> SlotWord {
        SlotWord(self.0 & BAD)
    }

    /// Not to be given out again.
    pub(super) const fn bad(self) -> SlotWord {
        SlotWord(self.0 | BAD)
    }
}
