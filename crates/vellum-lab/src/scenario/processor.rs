//! The toy processors that flush by interrupt, as one.
//!
//! `Tiny`, `TinyAssist` and `TinyBlind` differ in their semantics alone, and the core asks for these where it runs. One
//! type whose semantics are set for each execution saves compiling the core for each of them.

use std::cell::Cell;
use vellum::arch::{Arch, PageBits, Semantics, Tiny};
use vellum::phys::Pfn;

thread_local! {
    static SEMANTICS: Cell<Semantics> = const { Cell::new(Tiny::SEMANTICS) };
}

/// Sets what [`Processor`] is on this host thread, where it is `Tiny` until then. It flushes by interrupt all the same.
pub fn set_semantics(semantics: Semantics) {
    SEMANTICS.set(Semantics { shootdown: Tiny::SEMANTICS.shootdown, ..semantics });
}

/// A processor with the format of `Tiny`, and the semantics that were set last.
#[derive(Clone, Copy, Debug)]
pub struct Processor;

impl Arch for Processor {
    const NAME: &'static str = Tiny::NAME;
    const PAGE_SHIFT: u32 = Tiny::PAGE_SHIFT;
    const LEVELS: usize = Tiny::LEVELS;
    const USER_START: u64 = Tiny::USER_START;
    const USER_END: u64 = Tiny::USER_END;
    const ASIDS: usize = Tiny::ASIDS;
    const SEMANTICS: Semantics = Tiny::SEMANTICS;
    const HUGE_LEVEL: usize = Tiny::HUGE_LEVEL;
    const ABSENT_SHIFT: u32 = Tiny::ABSENT_SHIFT;
    const RIGHTS: u64 = Tiny::RIGHTS;

    fn semantics() -> Semantics {
        SEMANTICS.get()
    }

    fn index_bits(level: usize) -> u32 {
        Tiny::index_bits(level)
    }

    fn shift(level: usize) -> u32 {
        Tiny::shift(level)
    }

    fn page(pfn: Pfn, bits: PageBits) -> u64 {
        Tiny::page(pfn, bits)
    }

    fn table(pfn: Pfn) -> u64 {
        Tiny::table(pfn)
    }

    fn huge(small: u64, level: usize) -> u64 {
        Tiny::huge(small, level)
    }

    fn small(huge: u64) -> u64 {
        Tiny::small(huge)
    }

    fn is_huge(word: u64) -> bool {
        Tiny::is_huge(word)
    }

    fn is_page(word: u64) -> bool {
        Tiny::is_page(word)
    }

    fn table_of(word: u64) -> Option<Pfn> {
        Tiny::table_of(word)
    }

    fn pfn(word: u64) -> Pfn {
        Tiny::pfn(word)
    }

    fn page_bits(word: u64) -> PageBits {
        Tiny::page_bits(word)
    }

    fn shared_copy(word: u64) -> u64 {
        Tiny::shared_copy(word)
    }

    fn is_canonical(address: u64) -> bool {
        Tiny::is_canonical(address)
    }
}
