//! Walks, accessed and dirty bits, permissions, and staleness.

use super::board::{ASID, Board, FIRST, SECOND, full, read_only};
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Aarch64, Arch, PageBits, Ppc64, Riscv64, Sparc64, Tiny, X86_64};
use vellum::ops::Access::{Execute, Read, Write};
use vellum::phys::{Kind, Pfn};
use vellum::{Asid, RootLoad};
use vellum_lab::hardware::{Checks, FaultReason, walk_tables};

super::on_each_arch! {
    walk_then_hit
    permissions
    prot_none_is_not_present
    tlb_is_stale_until_the_page_is_invalidated
    tlb_is_stale_until_the_asid_is_invalidated
    upper_entries_are_stale_until_invalidated
    a_fault_forgets_its_address
    clean_store_walks_again
    root_loads
    identifiers_are_apart
    nothing_without_a_root
    speculation_fills
    a_huge_page_is_one_entry
    a_huge_page_is_stale_until_invalidated
    two_sizes_at_once_may_be_an_error
}

fn walk_then_hit<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, full());
    assert_eq!(board.reach(FIRST + 123, Read), Ok(pfn));
    assert_eq!(board.reach(FIRST, Write), Ok(pfn));
    assert_eq!(board.reach(SECOND, Read), Err(FaultReason::NotPresent));
    assert_eq!(walk_tables(&board.memory, board.root, FIRST), Some((pfn, full())));
    let counters = board.mmu.counters();
    assert_eq!((counters.hits, counters.misses, counters.walks, counters.faults), (1, 2, 2, 1));
    assert!(board.violations().is_empty());
}

/// The bits of the huge page that has `address`.
fn huge_bits<A: Arch>(board: &Board<A>, address: u64) -> PageBits {
    A::page_bits(A::small(board.slot(address, 1).load(Relaxed)))
}

/// Where a slot of level 1 begins, and a page in its middle with its number there.
fn huge_places<A: Arch>() -> (u64, u64, u64) {
    let (span, start) = (1u64 << A::shift(1), A::USER_START.next_multiple_of(1 << A::shift(1)));
    (start, start + span / 2, (span / 2) >> A::PAGE_SHIFT)
}

fn a_huge_page_is_one_entry<A: Arch>() {
    let mut board = Board::<A>::new(Checks { frames: false, tables: true });
    let ((start, inside, number), clean) = (huge_places::<A>(), full().without(PageBits::DIRTY));
    let first = board.map_huge(start, clean);
    let page = Pfn(first.0 + number);
    assert_eq!(board.reach(inside + 5, Read), Ok(page));
    assert_eq!(board.reach(start, Read), Ok(first), "by the entry that is cached already");
    assert_eq!(board.mmu.counters().walks, 1);
    assert_eq!(walk_tables(&board.memory, board.root, inside), Some((page, clean)));
    if A::SEMANTICS.hardware_dirty {
        assert_eq!(board.reach(inside, Write), Ok(page));
        assert_eq!(huge_bits(&board, start), full());
    } else {
        assert_eq!(board.reach(inside, Write), Err(FaultReason::NotDirty));
    }
    board.audit();
    assert!(board.violations().is_empty());
}

fn a_huge_page_is_stale_until_invalidated<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let (start, inside, number) = huge_places::<A>();
    let first = board.map_huge(start, full());
    assert_eq!(board.reach(start, Read), Ok(first));
    board.slot(start, 1).store(0, Relaxed);
    assert_eq!(board.reach(inside, Write), Ok(Pfn(first.0 + number)));
    // Any of its addresses will do.
    board.mmu.invalidate_page(ASID, inside);
    assert_eq!(board.reach(start, Read), Err(FaultReason::NotPresent));
}

fn two_sizes_at_once_may_be_an_error<A: Arch>() {
    for huge_first in [true, false] {
        let mut board = Board::<A>::new(Checks::NONE);
        let (start, inside, _) = huge_places::<A>();
        let map = |board: &Board<A>, huge: bool| {
            board.slot(start, 1).store(0, Relaxed);
            if huge {
                board.map_huge(start, full())
            } else {
                board.map_fresh(start, full())
            };
        };
        map(&board, huge_first);
        let cached = if huge_first { inside } else { start };
        assert!(board.access(cached, Read).is_ok());
        map(&board, !huge_first);
        let fills = if huge_first {
            // A huge entry hides the small ones, but to a walk that the processor makes on its own.
            assert_eq!(board.speculate(start), !A::SEMANTICS.software_tlb);
            !A::SEMANTICS.software_tlb
        } else {
            // The way to the table that was there is forgotten, not the page that was found in it.
            board.mmu.invalidate_page(ASID, inside);
            board.access(inside, Read).is_ok()
        };
        let found = board.violations();
        assert_eq!(!found.is_empty(), A::SEMANTICS.mixed_sizes_fault && fills, "{found:?}");
        assert!(found.iter().all(|&which| which == "I-BBM"), "{found:?}");
        board.mmu.invalidate_page(ASID, start);
        assert!(board.access(start, Read).is_ok());
        assert!(board.violations().is_empty());
    }
}

fn permissions<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let data = board.map_fresh(FIRST, read_only());
    let text = board.map_fresh(SECOND, read_only() | PageBits::EXECUTE);
    for _ in 0..2 {
        // Once by a walk, once with the entry cached.
        assert_eq!(board.reach(FIRST, Write), Err(FaultReason::Protection));
        assert_eq!(board.reach(FIRST, Execute), Err(FaultReason::Protection));
        assert_eq!(board.reach(FIRST, Read), Ok(data));
        assert_eq!(board.reach(SECOND, Execute), Ok(text));
    }
    assert!(board.violations().is_empty());
}

fn prot_none_is_not_present<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, PageBits::ACCESSED);
    assert_eq!(board.reach(FIRST, Read), Err(FaultReason::NotPresent));
    board.map(FIRST, pfn, read_only());
    assert_eq!(board.reach(FIRST, Read), Ok(pfn));
}

fn tlb_is_stale_until_the_page_is_invalidated<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let (old, neighbour) = (board.map_fresh(FIRST, full()), board.map_fresh(SECOND, full()));
    assert_eq!((board.reach(FIRST, Read), board.reach(SECOND, Read)), (Ok(old), Ok(neighbour)));
    let (new, new_neighbour) = (board.map_fresh(FIRST, full()), board.map_fresh(SECOND, full()));
    board.mmu.invalidate_page(Asid(ASID.0 + 1), FIRST);
    assert_eq!(board.reach(FIRST, Write), Ok(old));
    board.mmu.invalidate_page(ASID, FIRST);
    assert_eq!((board.reach(FIRST, Read), board.reach(SECOND, Read)), (Ok(new), Ok(neighbour)));
    board.mmu.invalidate_page(ASID, SECOND);
    assert_eq!(board.reach(SECOND, Read), Ok(new_neighbour));
}

fn tlb_is_stale_until_the_asid_is_invalidated<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let old = board.map_fresh(FIRST, full());
    assert_eq!(board.reach(FIRST, Read), Ok(old));
    let new = board.map_fresh(FIRST, full());
    board.mmu.invalidate_asid(Asid(ASID.0 + 1));
    assert_eq!(board.reach(FIRST, Read), Ok(old));
    board.mmu.invalidate_asid(ASID);
    assert_eq!(board.reach(FIRST, Read), Ok(new));
}

fn upper_entries_are_stale_until_invalidated<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    board.map_fresh(FIRST, full());
    let old = board.map_fresh(SECOND, full());
    assert!(board.access(FIRST, Read).is_ok());
    // The leaf table is replaced; the CPU still knows the old one, and walks it for a page it has not cached.
    let old_slot = board.slot(FIRST, 1).swap(0, Relaxed);
    let new = board.map_fresh(SECOND, full());
    assert_ne!(board.slot(FIRST, 1).load(Relaxed), old_slot);
    assert_eq!(board.reach(SECOND, Read), Ok(if A::SEMANTICS.software_tlb { new } else { old }));
    board.mmu.invalidate_page(ASID, SECOND);
    assert_eq!(board.reach(SECOND, Read), Ok(new));
}

fn a_fault_forgets_its_address<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, read_only());
    assert_eq!(board.reach(FIRST, Read), Ok(pfn));
    // The tables allow more than is cached: one spurious fault, then the walk sees it, where a fault drops the entry.
    board.map(FIRST, pfn, full());
    assert_eq!(board.reach(FIRST, Write), Err(FaultReason::Protection));
    if !A::SEMANTICS.fault_drops_entry {
        // Elsewhere for ever, until somebody drops the translation.
        assert_eq!(board.reach(FIRST, Write), Err(FaultReason::Protection));
        board.mmu.invalidate_page(ASID, FIRST);
    }
    assert_eq!(board.reach(FIRST, Write), Ok(pfn));
    assert!(board.violations().is_empty());
}

fn clean_store_walks_again<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let clean = full().without(PageBits::DIRTY);
    let pfn = board.map_fresh(FIRST, clean);
    assert_eq!(board.reach(FIRST, Read), Ok(pfn));
    if A::SEMANTICS.hardware_dirty {
        // The cached entry allows the store, but is clean; the tables have changed.
        board.map(FIRST, pfn, read_only());
        assert_eq!(board.reach(FIRST, Write), Err(FaultReason::Protection));
        board.map(FIRST, pfn, clean);
        assert_eq!(board.reach(FIRST, Read), Ok(pfn));
        assert_eq!(board.reach(FIRST, Write), Ok(pfn));
        assert!(board.bits(FIRST).has(PageBits::DIRTY));
        // A dirty entry is not looked up again.
        board.map(FIRST, pfn, PageBits::NONE);
        assert_eq!(board.reach(FIRST, Write), Ok(pfn));
    } else {
        assert_eq!(board.reach(FIRST, Write), Err(FaultReason::NotDirty));
        board.map(FIRST, pfn, full());
        if !A::SEMANTICS.fault_drops_entry {
            board.mmu.invalidate_page(ASID, FIRST);
        }
        assert_eq!(board.reach(FIRST, Write), Ok(pfn));
    }
}

fn hardware_sets_accessed_and_dirty<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let bits = PageBits::READ | PageBits::WRITE | PageBits::EXCLUSIVE;
    let pfn = board.map_fresh(FIRST, bits);
    // A bit the common terms know nothing of.
    board.slot(FIRST, 0).fetch_or(1 << 58, Relaxed);
    assert_eq!(board.reach(FIRST, Read), Ok(pfn));
    assert_eq!(board.bits(FIRST), bits | PageBits::ACCESSED);
    assert_eq!(board.reach(FIRST, Write), Ok(pfn));
    assert_eq!(board.bits(FIRST), bits | PageBits::ACCESSED | PageBits::DIRTY);
    assert_ne!(board.slot(FIRST, 0).load(Relaxed) & 1 << 58, 0);
    assert!(board.violations().is_empty());
}

#[test]
fn hardware_sets_accessed_and_dirty_and_keeps_the_rest() {
    hardware_sets_accessed_and_dirty::<X86_64>();
    hardware_sets_accessed_and_dirty::<Aarch64>();
}

/// The processor sets AF at the first access, and clears AP[2] of a modifiable entry at the first store; nothing else.
#[test]
fn the_dirty_bit_modifier_is_obeyed() {
    let mut board = Board::<Aarch64>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, PageBits::READ | PageBits::WRITE);
    let fresh = board.slot(FIRST, 0).load(Relaxed);
    assert_eq!(fresh & (1 << 51 | 1 << 7), 1 << 51 | 1 << 7);
    let after = |board: &mut Board<Aarch64>, access| {
        assert_eq!(board.reach(FIRST, access), Ok(pfn));
        board.slot(FIRST, 0).load(Relaxed)
    };
    assert_eq!(after(&mut board, Read), fresh | 1 << 10);
    assert_eq!(after(&mut board, Write), (fresh | 1 << 10) & !(1 << 7));
    assert!(board.violations().is_empty());
}

/// A translation from an entry with the Contiguous bit serves the whole block.
#[test]
fn contiguous_entries_are_cached_together() {
    let mut board = Board::<Aarch64>::new(Checks::ALL);
    let page = |number: u64| FIRST + (number << 12);
    // An aligned block: the frames before it are left alone.
    while !(board.frame(Kind::Anonymous).0 + 1).is_multiple_of(16) {}
    let frames: Vec<Pfn> = (0..16).map(|_| board.frame(Kind::Anonymous)).collect();
    for (number, &pfn) in frames.iter().enumerate() {
        board.map(page(number as u64), pfn, full().without(PageBits::DIRTY));
        board.slot(page(number as u64), 0).fetch_or(Aarch64::CONTIGUOUS, Relaxed);
    }
    assert_eq!(board.reach(page(5), Write), Ok(frames[5]));
    let walks = board.mmu.counters().walks;
    for (number, &pfn) in frames.iter().enumerate() {
        assert_eq!(board.reach(page(number as u64), Write), Ok(pfn));
        assert_eq!(board.bits(page(number as u64)).has(PageBits::DIRTY), number == 5);
    }
    assert_eq!(board.mmu.counters().walks, walks, "all were cached");
    assert!(board.violations().is_empty(), "one dirty entry is enough for the block");
    // Unlike the tables say by now: the cache shows the old block until each page is invalidated.
    board.checks = Checks::NONE;
    board.slot(page(9), 0).store(0, Relaxed);
    assert_eq!(board.reach(page(9), Read), Ok(frames[9]));
    board.mmu.invalidate_range(ASID, page(0), 16);
    assert_eq!(board.reach(page(9), Read), Err(FaultReason::NotPresent));
}

fn software_sets_the_bits<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, PageBits::READ | PageBits::WRITE);
    assert_eq!(board.reach(FIRST, Read), Err(FaultReason::NotAccessed));
    board.map(FIRST, pfn, PageBits::READ | PageBits::WRITE | PageBits::ACCESSED);
    assert_eq!(board.reach(FIRST, Write), Err(FaultReason::NotDirty));
    assert_eq!(board.reach(FIRST, Read), Ok(pfn));
}

#[test]
fn without_hardware_bits_software_must_set_them() {
    software_sets_the_bits::<Tiny>();
    software_sets_the_bits::<Riscv64>();
    software_sets_the_bits::<Ppc64>();
    software_sets_the_bits::<Sparc64>();
}

fn root_loads<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let old = board.map_fresh(FIRST, full());
    assert_eq!(board.reach(FIRST, Read), Ok(old));
    let new = board.map_fresh(FIRST, full());
    let load = |keep_entries| RootLoad { root: board.root, asid: ASID, keep_entries };
    let (keep, drop) = (load(true), load(false));
    board.mmu.load_root(keep);
    assert_eq!(board.reach(FIRST, Read), Ok(old));
    board.mmu.load_root(RootLoad { asid: Asid(ASID.0 + 1), ..drop });
    assert_eq!(board.reach(FIRST, Read), Ok(new));
    board.mmu.load_root(keep);
    assert_eq!(board.reach(FIRST, Read), Ok(old));
    board.mmu.load_root(drop);
    assert_eq!(board.reach(FIRST, Read), Ok(new));
}

fn identifiers_are_apart<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let here = board.map_fresh(FIRST, full());
    let (first_root, second_root) = (board.root, board.frame(Kind::Table));
    board.root = second_root;
    let (there, neighbour) = (board.map_fresh(FIRST, full()), board.map_fresh(SECOND, full()));
    let loads = [(first_root, ASID), (second_root, Asid(ASID.0 + 1))];
    for (root, asid) in loads.into_iter().cycle().take(4) {
        board.mmu.load_root(RootLoad { root, asid, keep_entries: true });
        assert_eq!(board.reach(FIRST, Read), Ok(if root == first_root { here } else { there }));
    }
    assert_eq!(board.reach(SECOND, Read), Ok(neighbour));
    board.mmu.load_root(RootLoad { root: first_root, asid: ASID, keep_entries: true });
    assert_eq!(board.reach(SECOND, Read), Err(FaultReason::NotPresent));
    assert!(board.violations().is_empty());
}

fn nothing_without_a_root<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    board.map_fresh(FIRST, full());
    assert_eq!(board.reach(1 << 62, Read), Err(FaultReason::NoTranslation));
    assert!(board.access(FIRST, Read).is_ok());
    board.mmu.unload_root();
    assert_eq!(board.reach(FIRST, Read), Err(FaultReason::NoTranslation));
    assert!(!board.speculate(FIRST));
}

fn speculation_fills<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let old = board.map_fresh(FIRST, full());
    assert_eq!(board.speculate(FIRST), !A::SEMANTICS.software_tlb, "only a processor that walks does");
    assert!(!board.speculate(SECOND));
    let new = board.frame(Kind::Anonymous);
    board.map(FIRST, new, full());
    assert_eq!(board.reach(FIRST, Read), Ok(if A::SEMANTICS.software_tlb { new } else { old }));
}

#[test]
fn capacity_is_bounded() {
    let mut board = Board::<X86_64>::new(Checks::NONE);
    let pfn = board.map_fresh(FIRST, full());
    // All in one set of the TLB, which has four ways.
    let stride = 256 << X86_64::PAGE_SHIFT;
    for place in 0..6 {
        board.map(FIRST + place * stride, pfn, full());
        assert_eq!(board.reach(FIRST + place * stride, Read), Ok(pfn));
    }
    assert_eq!(board.mmu.counters().evictions, 2);
}
