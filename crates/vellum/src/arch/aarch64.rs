//! AArch64, stage 1 of the EL1&0 regime: 4 KiB granule, 4 levels, 48 bits, hardware access flag and dirty state.
//!
//! Formats: Arm Architecture Reference Manual for A-profile (DDI 0487), chapter D8 "The AArch64 Virtual Memory System
//! Architecture", sections "VMSAv8-64 descriptor formats" (table, page), "Memory access control" (AP, PXN, UXN) and
//! "Hardware updates to the translation tables" (AF, DBM).
//!
//! Decisions:
//! * Hardware dirty state (FEAT_HAFDBS, `TCR_EL1.HA` and `HD` set): a page that may be written has DBM set; while it is
//!   clean it is read-only by AP\[2\], and the first store makes the processor clear that bit. A page that may *not* be
//!   written has AP\[2\] set too, so whether it is dirty stands in a software bit. Words made here carry that bit for
//!   every dirty page; taking the right to write away moves there what the processor has noted
//!   ([`Arch::with_rights`], [`Arch::shared_copy`]).
//! * Bits 1:0 are `11` in pages and tables, `01` in blocks, which are huge pages. `10` is an invalid entry to the processor,
//!   which ignores the rest of it: a page, or a huge one, that no access may use.
//! * AttrIndx is 0, or 1 for a page with memory tags: the embedder's `MAIR_EL1` has normal write-back memory in
//!   attribute 0, and Tagged normal memory in attribute 1.
//! * An execute-only page has AP\[1\] clear: no data access from EL0, and UXN clear. (It needs FEAT_PAN3's `EPAN` if
//!   the kernel is to be kept out as well.)
//! * Kernel addresses go through `TTBR1_EL1`, which is another tree: to this one they are not canonical. Tagged
//!   addresses (TBI) are stripped by the embedder.

use super::{Arch, PageBits, Semantics, Shootdown, TagFormat};
use crate::pfn::Pfn;

const VALID: u64 = 1 << 0;
/// AttrIndx 1: normal memory with tags.
const TAGGED: u64 = 1 << 2;
/// Page or table, not block.
const TYPE: u64 = 1 << 1;
/// AP\[1\]: data accesses from EL0.
const USER: u64 = 1 << 6;
/// AP\[2\].
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
/// Dirty bit modifier: may be written.
const DBM: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// Software: dirty, whatever AP\[2\] says.
const SOFT_DIRTY: u64 = 1 << 55;
const EXCLUSIVE: u64 = 1 << 56;
const SPECIAL: u64 = 1 << 57;
/// Bits reserved for software.
const SOFTWARE: u64 = 0b1111 << 55;
const FRAME: u64 = 0x0000_ffff_ffff_f000;

/// The flags which have a bit of their own, valid or not.
const SINGLE: [(PageBits, u64); 5] = [
    (PageBits::ACCESSED, ACCESSED),
    (PageBits::DIRTY, SOFT_DIRTY),
    (PageBits::EXCLUSIVE, EXCLUSIVE),
    (PageBits::SPECIAL, SPECIAL),
    (PageBits::TAGGED, TAGGED),
];

/// What every page has.
const COMMON: u64 = TYPE | INNER_SHAREABLE | NOT_GLOBAL | PXN;

/// AArch64 with a 4 KiB granule and 48 bits of user addresses.
#[derive(Clone, Copy, Debug)]
pub struct Aarch64;

impl Aarch64 {
    /// The Contiguous bit of a level 0 word: its 16 naturally aligned neighbours map consecutive frames alike, so one
    /// TLB entry may stand for all of them. A hint; [`Arch::decode`] pays no attention to it.
    pub const CONTIGUOUS: u64 = CONTIGUOUS;

    /// log2 of the entries that carry the Contiguous bit together.
    pub const CONTIGUOUS_ORDER: u32 = 4;

    /// Whether `words`, the entries from slot `first` on, may carry the Contiguous bit: valid pages in aligned slots on
    /// aligned consecutive frames, alike but for what the processor notes (accessed, dirty) and for software's bits.
    ///
    /// The processor may note in any of the 16 what was done through another of them: whoever takes the bit away, or
    /// asks whether one of the pages is dirty, looks at all.
    pub fn may_be_contiguous(first: usize, words: &[u64; 16]) -> bool {
        let base = Self::pfn(words[0]).0;
        let alike = |word: u64| {
            let noted = if word & DBM != 0 { READ_ONLY } else { 0 };
            word & !(FRAME | ACCESSED | SOFTWARE | CONTIGUOUS | noted)
        };
        let is_page = |word: u64| word & (VALID | TYPE) == VALID | TYPE;
        let matches =
            |place: usize, word: u64| Self::pfn(word).0 == base + place as u64 && alike(word) == alike(words[0]);
        first.is_multiple_of(16)
            && base.is_multiple_of(16)
            && words.iter().enumerate().all(|(at, &word)| is_page(word) && matches(at, word))
    }
}

/// `word` with what the processor noted by clearing AP\[2\] in the software bit as well.
#[inline(always)]
fn with_soft_dirty(word: u64) -> u64 {
    if word & (VALID | USER | READ_ONLY) == VALID | USER { word | SOFT_DIRTY } else { word }
}

impl Arch for Aarch64 {
    const NAME: &'static str = "aarch64";
    const PAGE_SHIFT: u32 = 12;
    const LEVELS: usize = 4;
    const USER_START: u64 = 0x1_0000;
    const USER_END: u64 = 1 << 48;
    const ASIDS: usize = 1 << 16;
    const SEMANTICS: Semantics = Semantics {
        shootdown: Shootdown::Broadcast,
        clean_store_rewalks: true,
        hardware_accessed: true,
        hardware_dirty: true,
        break_before_make: true,
        mixed_sizes_fault: true,
        // APTable, unless hierarchical permissions are off.
        upper_write_protect: true,
        execute_implies_read: false,
        fault_drops_entry: false,
        tags: Some(TagFormat { granule_shift: 4, bits: 4 }),
        software_tlb: false,
    };

    const RIGHTS: u64 = VALID | USER | READ_ONLY | DBM | UXN;

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
        let mut word = pfn.0 << 12 | COMMON;
        if bits.has_any(PageBits::READ | PageBits::WRITE | PageBits::EXECUTE) {
            word |= VALID;
        }
        if bits.has_any(PageBits::READ | PageBits::WRITE) {
            word |= USER;
        }
        if bits.has(PageBits::WRITE) {
            word |= DBM;
        }
        if !bits.has(PageBits::WRITE | PageBits::DIRTY) {
            word |= READ_ONLY;
        }
        if !bits.has(PageBits::EXECUTE) {
            word |= UXN;
        }
        SINGLE.into_iter().fold(word, |word, (flag, bit)| if bits.has(flag) { word | bit } else { word })
    }
    #[inline(always)]
    fn table(pfn: Pfn) -> u64 {
        pfn.0 << 12 | VALID | TYPE
    }
    const HUGE_LEVEL: usize = 2;

    #[inline(always)]
    fn huge(small: u64, _level: usize) -> u64 {
        if small & VALID != 0 { small & !TYPE } else { small }
    }
    #[inline(always)]
    fn small(huge: u64) -> u64 {
        huge | TYPE
    }
    #[inline(always)]
    fn is_huge(word: u64) -> bool {
        word & (VALID | TYPE) == VALID || word & (VALID | TYPE) == TYPE
    }
    const ABSENT_SHIFT: u32 = 2;

    #[inline(always)]
    fn is_page(word: u64) -> bool {
        word & TYPE != 0
    }
    #[inline(always)]
    fn table_of(word: u64) -> Option<Pfn> {
        if word & (VALID | TYPE) == VALID | TYPE { Some(Self::pfn(word)) } else { None }
    }
    #[inline(always)]
    fn pfn(word: u64) -> Pfn {
        Pfn((word & FRAME) >> 12)
    }
    #[inline(always)]
    fn page_bits(word: u64) -> PageBits {
        let word = with_soft_dirty(word);
        let mut bits = PageBits::NONE;
        if word & VALID != 0 {
            if word & USER != 0 {
                bits = bits | PageBits::READ;
                // Without the modifier, a page that is not read-only is written to without notice.
                if word & DBM != 0 || word & READ_ONLY == 0 {
                    bits = bits | PageBits::WRITE;
                }
            }
            if word & UXN == 0 {
                bits = bits | PageBits::EXECUTE;
            }
        }
        SINGLE.into_iter().fold(bits, |bits, (flag, bit)| if word & bit != 0 { bits | flag } else { bits })
    }
    #[inline(always)]
    fn shared_copy(word: u64) -> u64 {
        with_soft_dirty(word) & !(DBM | EXCLUSIVE) | READ_ONLY
    }
    #[inline(always)]
    fn with_rights(word: u64, rights: u64) -> u64 {
        let word = with_soft_dirty(word);
        // A dirty page that may be written need not be noted again.
        let dirty = if word & SOFT_DIRTY != 0 && rights & DBM != 0 { READ_ONLY } else { 0 };
        word & !Self::RIGHTS | rights & !dirty
    }
    #[inline(always)]
    fn noted(word: u64, noted: PageBits) -> u64 {
        let word = if noted.has(PageBits::ACCESSED) { word | ACCESSED } else { word };
        if noted.has(PageBits::DIRTY) { word & !READ_ONLY } else { word }
    }
    #[inline(always)]
    fn cached_order(word: u64) -> u32 {
        if word & CONTIGUOUS != 0 { Self::CONTIGUOUS_ORDER } else { 0 }
    }
    #[inline(always)]
    fn is_canonical(address: u64) -> bool {
        address >> 48 == 0
    }
}
