//! What an entry says of a page that is not there: a common form, which each architecture shifts to where its hardware
//! looks for nothing.
//!
//! From the lowest bit: two of the kind, one for *exclusive*, one for *dirty*, one for *accessed*, one unused, then 45
//! of the slot or the frame.

use crate::pfn::Pfn;

const KIND: u64 = 3;
const SWAP: u64 = 1;
const MIGRATION: u64 = 2;
const POISON: u64 = 3;
/// [`POISON`], and what that has nothing to say of.
const SPLITTING: u64 = POISON | DIRTY;
const DIRTY: u64 = 1 << 3;
const ACCESSED: u64 = 1 << 4;
const VALUE_SHIFT: u32 = 6;
const VALUE: u64 = (1 << 45) - 1;

/// A page's place in swap: the area's number and the slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwapSlot(pub(crate) u64);

impl SwapSlot {
    /// log2 of the most slots an area has.
    pub const OFFSET_BITS: u32 = 40;

    /// Slot `offset` of area `area`, which is below 32.
    pub const fn new(area: u8, offset: u64) -> SwapSlot {
        SwapSlot((area as u64) << Self::OFFSET_BITS | offset)
    }

    /// The slot `slots` further on, of the same area.
    pub(crate) const fn further(self, slots: u64) -> SwapSlot {
        SwapSlot(self.0 + slots)
    }

    /// Which of the slots from `first` on it is, the first one being 0; of no meaning if it lies before.
    pub(crate) const fn behind(self, first: SwapSlot) -> u64 {
        self.0.wrapping_sub(first.0)
    }

    /// The area's number.
    pub const fn area(self) -> u8 {
        (self.0 >> Self::OFFSET_BITS) as u8
    }

    /// The slot in the area.
    pub const fn offset(self) -> u64 {
        self.0 & ((1 << Self::OFFSET_BITS) - 1)
    }
}

/// What an entry says of a page that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is in swap.
    Swap {
        /// Where.
        slot: SwapSlot,
        /// It belongs to this entry alone.
        is_exclusive: bool,
    },
    /// It is being moved to another frame.
    Migration {
        /// The old frame, whose folio lock is held meanwhile.
        pfn: Pfn,
        /// It belongs to this entry alone.
        is_exclusive: bool,
        /// It was stored to through this entry.
        is_dirty: bool,
        /// It was accessed through this entry.
        is_accessed: bool,
    },
    /// It is lost: every access gets a bus error.
    Poison,
    /// It was a huge page, and a table of its pages comes in its place as soon as that is allowed, or the other way
    /// round: who holds the lock of the table where this stands is waiting for a flush.
    Splitting,
}

impl Absent {
    /// The bits of [`Absent::raw`] that are the number of a slot or a frame.
    pub(crate) const VALUES: u64 = VALUE << VALUE_SHIFT;

    /// The bit of [`Absent::raw`] that says "exclusive".
    pub(crate) const EXCLUSIVE: u64 = 1 << 2;

    /// The common form; not 0, and below 2^51.
    #[inline(always)]
    pub const fn raw(self) -> u64 {
        const fn flag(on: bool, flag: u64) -> u64 {
            if on { flag } else { 0 }
        }
        match self {
            Absent::Swap { slot, is_exclusive } => {
                SWAP | flag(is_exclusive, Self::EXCLUSIVE) | (slot.0 & VALUE) << VALUE_SHIFT
            }
            Absent::Migration { pfn, is_exclusive, is_dirty, is_accessed } => {
                let flags = flag(is_exclusive, Self::EXCLUSIVE) | flag(is_dirty, DIRTY) | flag(is_accessed, ACCESSED);
                MIGRATION | flags | (pfn.0 & VALUE) << VALUE_SHIFT
            }
            Absent::Poison => POISON,
            Absent::Splitting => SPLITTING,
        }
    }

    /// What the common form says; `None` for 0.
    #[inline(always)]
    pub const fn from_raw(raw: u64) -> Option<Absent> {
        let (value, is_exclusive) = (raw >> VALUE_SHIFT & VALUE, raw & Self::EXCLUSIVE != 0);
        match raw & KIND {
            SWAP => Some(Absent::Swap { slot: SwapSlot(value), is_exclusive }),
            MIGRATION => Some(Absent::Migration {
                pfn: Pfn(value),
                is_exclusive,
                is_dirty: raw & DIRTY != 0,
                is_accessed: raw & ACCESSED != 0,
            }),
            POISON if raw & DIRTY != 0 => Some(Absent::Splitting),
            POISON => Some(Absent::Poison),
            _ => None,
        }
    }
}
