//! Power with radix trees: 4 KiB pages, 52 bits of effective addresses, a root of 8192 entries.
//!
//! Formats: Power ISA version 3.0B, Book III, section 5.7.10 "Radix Tree Translation" (page directory and page table
//! entries, radix tree configurations) and section 5.7.12 "Storage Protection"; the ISA counts bits from the most
//! significant one, which is 0.
//!
//! Decisions:
//! * The tree of 13, 9, 9 and 9 index bits, one of those POWER9 supports, for 4 KiB pages. (64 KiB pages have 5 at the
//!   bottom.) So every table below the root has 512 entries, and the size an entry gives for its table (NLS) is 9; the
//!   root's size is in the process table, which is the embedder's.
//! * The processor reads entries in big-endian order. The core's words are what a doubleword load yields in
//!   big-endian mode; an embedder that runs little-endian stores them byte-reversed, which the core does not do yet.
//! * Reference and change bits: an implementation may leave them to software, by an interrupt when one would have to
//!   be set; so is it here.
//! * An entry without Valid is the software's: with Leaf it is a page that no access may use.
//! * Encoded access authority: bit 61 allows loads, bit 62 loads and stores, bit 63 instruction fetches; bit 60
//!   (privileged) and Att stay clear: ordinary memory of the user.
//! * Only quadrant 0 (bits 0 and 1 of the address clear) is translated by the user's tree.

use super::{Arch, PageBits, Semantics, Shootdown};
use crate::pfn::Pfn;

/// The bit that the ISA calls `number`.
const fn bit(number: u32) -> u64 {
    1 << (63 - number)
}

const VALID: u64 = bit(0);
const LEAF: u64 = bit(1);
/// Software bits are 2, 52, 53 and 54.
const EXCLUSIVE: u64 = bit(52);
const SPECIAL: u64 = bit(53);
const REFERENCE: u64 = bit(55);
const CHANGE: u64 = bit(56);
const READ: u64 = bit(61);
const WRITE: u64 = bit(62);
const EXECUTE: u64 = bit(63);
/// Real page number, and the base of a lower table: bits 7 to 51.
const FRAME: u64 = 0x01ff_ffff_ffff_f000;
/// Next level size: log2 of the entries of a lower table, in bits 59 to 63.
const NLS: u64 = 9;

/// Power with radix trees and 4 KiB pages.
#[derive(Clone, Copy, Debug)]
pub struct Ppc64;

/// The flags which have a bit of their own, present or not.
const SINGLE: [(PageBits, u64); 4] = [
    (PageBits::ACCESSED, REFERENCE),
    (PageBits::DIRTY, CHANGE),
    (PageBits::EXCLUSIVE, EXCLUSIVE),
    (PageBits::SPECIAL, SPECIAL),
];
/// The flags of rights.
const GRANTS: [(PageBits, u64); 3] =
    [(PageBits::READ, READ), (PageBits::WRITE, READ | WRITE), (PageBits::EXECUTE, EXECUTE)];

impl Arch for Ppc64 {
    const NAME: &'static str = "ppc64";
    const PAGE_SHIFT: u32 = 12;
    const LEVELS: usize = 4;
    const USER_START: u64 = 0x1_0000;
    const USER_END: u64 = 1 << 52;
    /// Process identifiers have 20 bits, of which the core uses 16.
    const ASIDS: usize = 1 << 16;
    const SEMANTICS: Semantics = Semantics {
        shootdown: Shootdown::Broadcast,
        clean_store_rewalks: true,
        hardware_accessed: false,
        hardware_dirty: false,
        break_before_make: false,
        mixed_sizes_fault: true,
        upper_write_protect: false,
        execute_implies_read: false,
        fault_drops_entry: true,
        tags: None,
        software_tlb: false,
    };

    const RIGHTS: u64 = VALID | READ | WRITE | EXECUTE;

    #[inline(always)]
    fn index_bits(level: usize) -> u32 {
        if level == 3 { 13 } else { 9 }
    }
    #[inline(always)]
    fn shift(level: usize) -> u32 {
        12 + 9 * level as u32
    }
    #[inline(always)]
    fn page(pfn: Pfn, bits: PageBits) -> u64 {
        let or = |word: u64, (flag, value): (PageBits, u64)| if bits.has(flag) { word | value } else { word };
        let rights = GRANTS.into_iter().fold(0, or);
        let valid = if rights != 0 { VALID } else { 0 };
        SINGLE.into_iter().fold(pfn.0 << 12 | LEAF | valid | rights, or)
    }
    #[inline(always)]
    fn table(pfn: Pfn) -> u64 {
        pfn.0 << 12 | VALID | NLS
    }
    const HUGE_LEVEL: usize = 2;

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
        word & LEAF != 0
    }
    const ABSENT_SHIFT: u32 = 0;

    #[inline(always)]
    fn is_page(word: u64) -> bool {
        word & (VALID | LEAF) != 0
    }
    #[inline(always)]
    fn table_of(word: u64) -> Option<Pfn> {
        if word & (VALID | LEAF) == VALID { Some(Self::pfn(word)) } else { None }
    }
    #[inline(always)]
    fn pfn(word: u64) -> Pfn {
        Pfn((word & FRAME) >> 12)
    }
    #[inline(always)]
    fn page_bits(word: u64) -> PageBits {
        let mut bits = PageBits::NONE;
        if word & VALID != 0 {
            bits = if word & (READ | WRITE) != 0 { bits | PageBits::READ } else { bits };
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
        address >> 52 == 0
    }
}
