//! SPARC64 of the sun4v kind: the TLB is filled by software, so only the format of its entries is the processor's.
//!
//! Formats: UltraSPARC Architecture 2007, chapter "Memory Management", section "Translation Table Entry (TTE)", and the
//! supplements of its processors; Oracle SPARC Architecture 2015 for the bit that enables ADI.
//!
//! Decisions:
//! * The tables are this module's: 4 levels of 1024 entries in 8 KiB, which span 53 bits. An entry of a page is the
//!   TTE itself, 8 KiB in size; one that names a table has the V bit clear, lest a handler load it by mistake.
//! * The embedder's miss handler walks the tables and loads the TTE if V is set and ACCESSED is; it clears W in what it
//!   loads while DIRTY is clear. Otherwise it calls the core. So the processor never changes an entry, and whatever
//!   the TLB holds is known to have been accessed, and dirty if it allows stores.
//! * Bit 61 is software's in the sun4v format. (It is the lock bit of the first such processors' own TLBs; their
//!   hypervisor clears it.)
//! * A slot of level 1 spans 8 MiB, which is no size of a TTE: the word of a huge page has the size 4 MiB, and the
//!   embedder's handler loads the half that is wanted, with bit 22 of the address.
//! * Loads are allowed by V itself, so a page that can be executed can be read.
//! * Bit 9 enables version checks (ADI, "mcd") on processors which have them, and is CV on older ones: set for pages
//!   with memory tags alone.
//! * Addresses are sign-extended from bit 52; the last 4 GiB before the hole stay free, lest the processor prefetch
//!   into it.

use super::{Arch, PageBits, Semantics, Shootdown, TagFormat};
use crate::pfn::Pfn;

const VALID: u64 = 1 << 63;
/// The first of the software bits 61 to 56.
const DIRTY: u64 = 1 << 61;
const ACCESSED: u64 = 1 << 60;
const EXCLUSIVE: u64 = 1 << 59;
const SPECIAL: u64 = 1 << 57;
/// Version checks (ADI).
const TAGGED: u64 = 1 << 9;
/// Cacheable in physically indexed caches.
const CACHEABLE: u64 = 1 << 10;
const EXECUTE: u64 = 1 << 7;
const WRITE: u64 = 1 << 6;
/// Software: the entry names a lower table.
const TABLE: u64 = 1 << 5;
/// Software: the entry is a page; without VALID one that no access may use.
const PAGE: u64 = 1 << 4;
/// Real address, bits 55 to 13.
const FRAME: u64 = 0x00ff_ffff_ffff_e000;
/// The size of a TTE.
const SIZE: u64 = 0b1111;
const SIZE_4M: u64 = 3;
const SHIFT: u32 = 13;

/// SPARC64 with 8 KiB pages and 52 bits of user addresses.
#[derive(Clone, Copy, Debug)]
pub struct Sparc64;

/// The flags which have a bit of their own, present or not.
const SINGLE: [(PageBits, u64); 5] = [
    (PageBits::ACCESSED, ACCESSED),
    (PageBits::DIRTY, DIRTY),
    (PageBits::EXCLUSIVE, EXCLUSIVE),
    (PageBits::SPECIAL, SPECIAL),
    (PageBits::TAGGED, TAGGED),
];
/// The flags of rights.
const GRANTS: [(PageBits, u64); 3] =
    [(PageBits::READ, VALID), (PageBits::WRITE, VALID | WRITE), (PageBits::EXECUTE, VALID | EXECUTE)];

impl Arch for Sparc64 {
    const NAME: &'static str = "sparc64";
    const PAGE_SHIFT: u32 = SHIFT;
    const LEVELS: usize = 4;
    const USER_START: u64 = 0x1_0000;
    const USER_END: u64 = (1 << 52) - (1 << 32);
    const ASIDS: usize = 6;
    const SEMANTICS: Semantics = Semantics {
        shootdown: Shootdown::Interrupt,
        clean_store_rewalks: true,
        hardware_accessed: false,
        hardware_dirty: false,
        break_before_make: false,
        mixed_sizes_fault: true,
        upper_write_protect: false,
        execute_implies_read: true,
        fault_drops_entry: false,
        tags: Some(TagFormat { granule_shift: 6, bits: 4 }),
        software_tlb: true,
    };

    const RIGHTS: u64 = VALID | EXECUTE | WRITE;

    #[inline(always)]
    fn index_bits(_level: usize) -> u32 {
        10
    }
    #[inline(always)]
    fn shift(level: usize) -> u32 {
        SHIFT + 10 * level as u32
    }
    #[inline(always)]
    fn page(pfn: Pfn, bits: PageBits) -> u64 {
        let or = |word: u64, (flag, value): (PageBits, u64)| if bits.has(flag) { word | value } else { word };
        let word = pfn.0 << SHIFT | CACHEABLE | PAGE;
        SINGLE.into_iter().fold(GRANTS.into_iter().fold(word, or), or)
    }
    #[inline(always)]
    fn table(pfn: Pfn) -> u64 {
        pfn.0 << SHIFT | TABLE
    }
    const HUGE_LEVEL: usize = 1;

    #[inline(always)]
    fn huge(small: u64, _level: usize) -> u64 {
        small | SIZE_4M
    }
    #[inline(always)]
    fn small(huge: u64) -> u64 {
        huge & !SIZE
    }
    #[inline(always)]
    fn is_huge(word: u64) -> bool {
        word & PAGE != 0
    }
    const ABSENT_SHIFT: u32 = 6;

    #[inline(always)]
    fn is_page(word: u64) -> bool {
        word & (TABLE | PAGE) != 0
    }
    #[inline(always)]
    fn table_of(word: u64) -> Option<Pfn> {
        if word & TABLE != 0 { Some(Self::pfn(word)) } else { None }
    }
    #[inline(always)]
    fn pfn(word: u64) -> Pfn {
        Pfn((word & FRAME) >> SHIFT)
    }
    #[inline(always)]
    fn page_bits(word: u64) -> PageBits {
        let mut bits = PageBits::NONE;
        if word & VALID != 0 {
            bits = PageBits::READ;
            bits = if word & WRITE != 0 { bits | PageBits::WRITE } else { bits };
            bits = if word & EXECUTE != 0 { bits | PageBits::EXECUTE } else { bits };
        }
        SINGLE.into_iter().fold(bits, |bits, (flag, value)| if word & value != 0 { bits | flag } else { bits })
    }
    #[inline(always)]
    fn shared_copy(word: u64) -> u64 {
        word & !(WRITE | EXCLUSIVE)
    }
    #[inline(always)]
    fn is_canonical(address: u64) -> bool {
        let top = (address as i64) >> 52;
        top == 0 || top == -1
    }
}
