//! RISC-V with Sv39 or Sv48, where software sets the accessed and dirty bits.
//!
//! Formats: The RISC-V Instruction Set Manual, volume II (privileged architecture), chapter "Supervisor-Level ISA",
//! sections "Addressing and Memory Protection" (the meaning of V, R, W, X, U, G, A, D and RSW), "Sv39" and "Sv48" (the
//! figures of addresses and entries).
//!
//! Decisions:
//! * The Svade way, which every implementation may choose: an access through an entry without A, or a store through
//!   one without D, faults, and the core sets the bit.
//! * Other harts' translations are invalidated by a remote fence of the firmware (SBI `RFENCE`), which interrupts them:
//!   the embedder may as well send its own interrupts, and so does the core.
//! * The two bits for software are EXCLUSIVE and SPECIAL. An entry without V is the software's altogether: with G it is
//!   a page that no access may use. (With V that bit means "global", which user pages never are.)
//! * W without R is reserved, so a page that may be written may be read.
//! * N (Svnapot) and PBMT (Svpbmt) stay clear.

use super::{Arch, PageBits, Semantics, Shootdown};
use crate::pfn::Pfn;

const VALID: u64 = 1 << 0;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXECUTE: u64 = 1 << 3;
const USER: u64 = 1 << 4;
/// Without VALID: a page that no access may use.
const PROT_NONE: u64 = 1 << 5;
const ACCESSED: u64 = 1 << 6;
const DIRTY: u64 = 1 << 7;
const EXCLUSIVE: u64 = 1 << 8;
const SPECIAL: u64 = 1 << 9;
const FRAME_SHIFT: u32 = 10;
const FRAME: u64 = ((1 << 44) - 1) << FRAME_SHIFT;

/// RISC-V with Sv39: 38 bits of user addresses.
#[derive(Clone, Copy, Debug)]
pub struct Riscv64;

/// RISC-V with Sv48: 47 bits of user addresses.
#[derive(Clone, Copy, Debug)]
pub struct Riscv64Sv48;

const SEMANTICS: Semantics = Semantics {
    shootdown: Shootdown::Interrupt,
    clean_store_rewalks: true,
    hardware_accessed: false,
    hardware_dirty: false,
    break_before_make: false,
    mixed_sizes_fault: false,
    upper_write_protect: false,
    execute_implies_read: false,
    fault_drops_entry: false,
    tags: None,
    software_tlb: false,
};

/// The flags which have a bit of their own.
const SINGLE: [(PageBits, u64); 4] = [
    (PageBits::ACCESSED, ACCESSED),
    (PageBits::DIRTY, DIRTY),
    (PageBits::EXCLUSIVE, EXCLUSIVE),
    (PageBits::SPECIAL, SPECIAL),
];
const _: () = assert!(READ == (PageBits::READ.0 as u64) << 1 && EXECUTE == (PageBits::EXECUTE.0 as u64) << 1);

#[inline(always)]
fn page(pfn: Pfn, bits: PageBits) -> u64 {
    let rights = (bits.prot().0 as u64) << 1;
    let rights = if rights & WRITE != 0 { rights | READ } else { rights };
    let access = if rights != 0 { VALID | USER | rights } else { PROT_NONE };
    let word = pfn.0 << FRAME_SHIFT | access;
    SINGLE.into_iter().fold(word, |word, (flag, bit)| if bits.has(flag) { word | bit } else { word })
}

#[inline(always)]
fn page_bits(word: u64) -> PageBits {
    let rights = if word & VALID != 0 { (word & (READ | WRITE | EXECUTE)) >> 1 } else { 0 };
    let bits = PageBits(rights as u16);
    SINGLE.into_iter().fold(bits, |bits, (flag, bit)| if word & bit != 0 { bits | flag } else { bits })
}

macro_rules! riscv {
    ($name:ident, $text:literal, $levels:literal, $bits:literal) => {
        impl Arch for $name {
            const NAME: &'static str = $text;
            const PAGE_SHIFT: u32 = 12;
            const LEVELS: usize = $levels;
            const USER_START: u64 = 0x1_0000;
            const USER_END: u64 = 1 << ($bits - 1);
            const ASIDS: usize = 6;
            const SEMANTICS: Semantics = SEMANTICS;
            const RIGHTS: u64 = VALID | READ | WRITE | EXECUTE | USER | PROT_NONE;

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
                pfn.0 << FRAME_SHIFT | VALID
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
                word & if word & VALID != 0 { READ | WRITE | EXECUTE } else { PROT_NONE } != 0
            }
            const ABSENT_SHIFT: u32 = 6;

            #[inline(always)]
            fn is_page(word: u64) -> bool {
                word & (VALID | PROT_NONE) != 0
            }
            #[inline(always)]
            fn table_of(word: u64) -> Option<Pfn> {
                // What grants a right is a page.
                if word & (VALID | READ | WRITE | EXECUTE) == VALID { Some(Self::pfn(word)) } else { None }
            }
            #[inline(always)]
            fn pfn(word: u64) -> Pfn {
                Pfn((word & FRAME) >> FRAME_SHIFT)
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
                let top = (address as i64) >> ($bits - 1);
                top == 0 || top == -1
            }
        }
    };
}

riscv!(Riscv64, "riscv64", 3, 39);
riscv!(Riscv64Sv48, "riscv64-sv48", 4, 48);
