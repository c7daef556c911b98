//! Processors that exist only here: three levels of four entries.
//!
//! Their spaces have 64 pages, so that explorations can be exhaustive, and their format shares nothing with x86-64's,
//! so that a core which assumes that format does not get far. They differ in their semantics alone.

use super::{Arch, PageBits, Semantics, Shootdown, TagFormat};
use crate::pfn::Pfn;

const VALID: u64 = 1 << 63;
const LEAF: u64 = 1 << 62;
const BITS: u64 = 0xfff;
const BITS_SHIFT: u32 = 48;
const FRAME: u64 = (1 << 40) - 1;

/// No help from the hardware: accessed and dirty bits are software's.
const PLAIN: Semantics = Semantics {
    shootdown: Shootdown::Interrupt,
    clean_store_rewalks: true,
    hardware_accessed: false,
    hardware_dirty: false,
    break_before_make: false,
    mixed_sizes_fault: true,
    upper_write_protect: false,
    execute_implies_read: false,
    fault_drops_entry: false,
    tags: Some(TagFormat { granule_shift: 4, bits: 4 }),
    software_tlb: false,
};

/// Hardware sets accessed and dirty bits, and forgets a translation that does not allow an access.
/// May have translations of two sizes for one address.
const ASSIST: Semantics = Semantics {
    mixed_sizes_fault: false,
    hardware_accessed: true,
    hardware_dirty: true,
    fault_drops_entry: true,
    ..PLAIN
};

macro_rules! toys {
    ($($(#[$doc:meta])* $toy:ident, $name:literal, $asids:literal, $semantics:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $toy;

            impl Arch for $toy {
                const NAME: &'static str = $name;
                const PAGE_SHIFT: u32 = 12;
                const LEVELS: usize = 3;
                const USER_START: u64 = 0x1000;
                const USER_END: u64 = 64 << 12;
                const ASIDS: usize = $asids;
                const SEMANTICS: Semantics = $semantics;

                const RIGHTS: u64 = 7 << BITS_SHIFT;

                #[inline(always)]
                fn index_bits(_level: usize) -> u32 {
                    2
                }
                #[inline(always)]
                fn shift(level: usize) -> u32 {
                    12 + 2 * level as u32
                }
                #[inline(always)]
                fn page(pfn: Pfn, bits: PageBits) -> u64 {
                    VALID | LEAF | (bits.0 as u64) << BITS_SHIFT | pfn.0
                }
                #[inline(always)]
                fn table(pfn: Pfn) -> u64 {
                    VALID | pfn.0
                }
                const HUGE_LEVEL: usize = 1;

                #[inline(always)]
                fn huge(small: u64, _level: usize) -> u64 {
                    small
                }
                #[inline(always)]
                fn small(huge: u64) -> u64 {
                    huge
                }
                #[inline(always)]
                fn is_huge(word: u64) -> bool {
                    word & (VALID | LEAF) == VALID | LEAF
                }
                const ABSENT_SHIFT: u32 = 3;

                #[inline(always)]
                fn is_page(word: u64) -> bool {
                    word & VALID != 0
                }
                #[inline(always)]
                fn table_of(word: u64) -> Option<Pfn> {
                    if word & (VALID | LEAF) == VALID { Some(Pfn(word & FRAME)) } else { None }
                }
                #[inline(always)]
                fn pfn(word: u64) -> Pfn {
                    Pfn(word & FRAME)
                }
                #[inline(always)]
                fn page_bits(word: u64) -> PageBits {
                    PageBits((word >> BITS_SHIFT & BITS) as u16)
                }
                #[inline(always)]
                fn shared_copy(word: u64) -> u64 {
                    word & !(((PageBits::WRITE.0 | PageBits::EXCLUSIVE.0) as u64) << BITS_SHIFT)
                }
                #[inline(always)]
                fn is_canonical(address: u64) -> bool {
                    address < 64 << 12
                }
            }
        )*
    };
}

toys! {
    /// The toy processor: flushes by interrupt, and sets neither accessed nor dirty bits.
    Tiny, "tiny", 2, PLAIN;
    /// The toy whose hardware sets accessed and dirty bits.
    TinyAssist, "tiny-assist", 2, ASSIST;
    /// The toy which marks a cached clean entry dirty without looking whether it is still there.
    TinyBlind, "tiny-blind", 2, Semantics { clean_store_rewalks: false, ..ASSIST };
    /// The toy whose flush is a broadcast, with four identifiers for all CPUs, and which wants entries broken before
    /// they are made anew.
    TinyBroadcast, "tiny-broadcast", 4,
        Semantics {
            shootdown: Shootdown::Broadcast,
            break_before_make: true,
            mixed_sizes_fault: true,
            fault_drops_entry: false,
            ..ASSIST
        };
}
