//! x86-64 long mode with 4 or 5 levels and process-context identifiers.
//!
//! Formats: Intel SDM volume 3A, chapter 4 ("Paging"), tables 4-15 to 4-20; AMD APM volume 2, section 5.3.
//!
//! Some processors load by the frame number of an entry that is not present before they fault, from their cache if the
//! frame's contents are there (L1 terminal fault, CVE-2018-3620). So numbers in such entries, of frames and of swap
//! slots, are stored inverted: they name memory that no machine has.

use super::{Absent, Arch, PageBits, Semantics, Shootdown};
use crate::pfn::Pfn;

const PRESENT: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// Of an upper entry: a page (PS). (At level 0 this bit is one of the memory type's, which stays clear.)
const HUGE: u64 = 1 << 7;
/// What every entry says that names a lower table. The processor has nothing to add: it sets no other bit there.
const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;
/// Without PRESENT: a page that no access may use. (With PRESENT this bit means "global", which user pages never are.)
const PROT_NONE: u64 = 1 << 8;
const EXCLUSIVE: u64 = 1 << 9;
const SPECIAL: u64 = 1 << 10;
const NO_EXECUTE: u64 = 1 << 63;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// log2 of the unit of [`Absent::raw`].
const ABSENT_SHIFT: u32 = 9;
/// The bits of an entry that is no page which are stored inverted.
const ABSENT_INVERTED: u64 = Absent::VALUES << ABSENT_SHIFT;

/// x86-64 with 4 levels: 47 bits of user addresses.
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

/// x86-64 with 5 levels (LA57): 56 bits of user addresses.
#[derive(Clone, Copy, Debug)]
pub struct X86_64La57;

const SEMANTICS: Semantics = Semantics {
    shootdown: Shootdown::Interrupt,
    clean_store_rewalks: true,
    hardware_accessed: true,
    hardware_dirty: true,
    break_before_make: false,
    mixed_sizes_fault: false,
    upper_write_protect: true,
    execute_implies_read: true,
    fault_drops_entry: true,
    tags: None,
    software_tlb: false,
};

/// The bits which stand at the same place in [`PageBits`].
const SAME: u64 = PRESENT | WRITE | ACCESSED | DIRTY | EXCLUSIVE | SPECIAL;
const _: () = assert!(PageBits::READ.0 as u64 == PRESENT && PageBits::WRITE.0 as u64 == WRITE);
const _: () = assert!(PageBits::ACCESSED.0 as u64 == ACCESSED && PageBits::DIRTY.0 as u64 == DIRTY);
const _: () = assert!(PageBits::EXCLUSIVE.0 as u64 == EXCLUSIVE && PageBits::SPECIAL.0 as u64 == SPECIAL);

#[inline(always)]
fn page(pfn: Pfn, bits: PageBits) -> u64 {
    if !bits.has_any(PageBits::READ | PageBits::WRITE | PageBits::EXECUTE) {
        return page_without_rights(pfn, bits);
    }
    let no_execute = if bits.has(PageBits::EXECUTE) { 0 } else { NO_EXECUTE };
    pfn.0 << 12 | bits.0 as u64 & SAME | PRESENT | USER | no_execute
}

#[cold]
fn page_without_rights(pfn: Pfn, bits: PageBits) -> u64 {
    pfn.0 << 12 ^ FRAME | bits.0 as u64 & SAME | PROT_NONE | NO_EXECUTE
}

#[inline(always)]
fn pfn(word: u64) -> Pfn {
    if word & PRESENT == 0 {
        return pfn_without_rights(word);
    }
    Pfn((word & FRAME) >> 12)
}

#[cold]
fn pfn_without_rights(word: u64) -> Pfn {
    Pfn((word & FRAME ^ FRAME) >> 12)
}

#[inline(always)]
fn page_bits(word: u64) -> PageBits {
    // NO_EXECUTE, shifted to EXECUTE's place, is what a present page lacks.
    let execute = (!word >> 61) & (word << 2) & PageBits::EXECUTE.0 as u64;
    PageBits((word & SAME | execute) as u16)
}

macro_rules! x86 {
    ($name:ident, $text:literal, $levels:literal, $bits:literal) => {
        impl Arch for $name {
            const NAME: &'static str = $text;
            const PAGE_SHIFT: u32 = 12;
            const LEVELS: usize = $levels;
            const USER_START: u64 = 0x1_0000;
            // The last page stays free, as in Linux: a SYSCALL there would return to a non-canonical address.
            const USER_END: u64 = (1 << $bits) - 0x1000;
            // With five levels too: programs keep things of their own in the bits above.
            const SEARCH_END: u64 = (1 << 47) - 0x1000;
            const ASIDS: usize = 6;
            const SEMANTICS: Semantics = SEMANTICS;
            const RIGHTS: u64 = PRESENT | WRITE | USER | PROT_NONE | NO_EXECUTE;

            #[inline(always)]
            fn index_bits(_level: usize) -> u32 {
                9
            }
            #[inline(always)]
            fn shift(level: usize) -> u32 {
                12 + 9 * level as u32
            }
            #[inline(always)]
            fn page(pfn: Pfn, bits: PageBits) -> u64 {
                page(pfn, bits)
            }
            #[inline(always)]
            fn table(pfn: Pfn) -> u64 {
                pfn.0 << 12 | TABLE
            }
            const HUGE_LEVEL: usize = 2;

            #[inline(always)]
            fn huge(small: u64, _level: usize) -> u64 {
                small | HUGE
            }
            #[inline(always)]
            fn small(huge: u64) -> u64 {
                huge & !HUGE
            }
            #[inline(always)]
            fn is_huge(word: u64) -> bool {
                word & HUGE != 0 && word & (PRESENT | PROT_NONE) != 0
            }
            const ABSENT_SHIFT: u32 = ABSENT_SHIFT;

            #[inline(always)]
            fn absent(absent: Absent) -> u64 {
                absent.raw() << ABSENT_SHIFT ^ ABSENT_INVERTED
            }
            #[inline(always)]
            fn absent_of(word: u64) -> Option<Absent> {
                Absent::from_raw((word ^ ABSENT_INVERTED) >> ABSENT_SHIFT)
            }
            #[inline(always)]
            fn is_page(word: u64) -> bool {
                word & (PRESENT | PROT_NONE) != 0
            }
            #[inline(always)]
            fn table_of(word: u64) -> Option<Pfn> {
                // Nobody changes these bits, and one byte is compared sooner than two bits.
                if word as u8 == TABLE as u8 { Some(Pfn((word & FRAME) >> 12)) } else { None }
            }
            #[inline(always)]
            fn pfn(word: u64) -> Pfn {
                pfn(word)
            }
            #[inline(always)]
            fn usual_page(word: u64) -> Option<Pfn> {
                if word & PRESENT != 0 { Some(Pfn((word & FRAME) >> 12)) } else { None }
            }
            #[inline(always)]
            fn with_rights(word: u64, rights: u64) -> u64 {
                let new = word & !Self::RIGHTS | rights;
                if (word ^ new) & PRESENT != 0 { new ^ FRAME } else { new }
            }
            #[inline(always)]
            fn page_bits(word: u64) -> PageBits {
                page_bits(word)
            }
            #[inline(always)]
            fn shared_copy(word: u64) -> u64 {
                word & !(WRITE | EXCLUSIVE)
            }
            #[inline(always)]
            fn is_canonical(address: u64) -> bool {
                let top = (address as i64) >> $bits;
                top == 0 || top == -1
            }
        }
    };
}

x86!(X86_64, "x86_64", 4, 47);
x86!(X86_64La57, "x86_64-la57", 5, 56);
