//! Each check finds what it is for, and stays silent otherwise.

use super::board::{ASID, Board, FIRST, SECOND, full, read_only};
use vellum::arch::{Arch, PageBits};
use vellum::ops::Access::{Read, Write};
use vellum::phys::{Kind, Pfn};
use vellum_lab::hardware::Checks;

super::on_each_arch! {
    freed_frame
    tail_of_a_block
    other_frame
    fewer_rights
    removed_entry
    freed_leaf_table
    freed_root
    stale_upper_entry
    lost_dirty_bit
    audit_sees_unused_entries
    checks_can_be_off
}

fn freed_frame<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Write).is_ok_and(|to| to.usable));
    for kind in [Kind::Free, Kind::Cached, Kind::Allocated, Kind::Table, Kind::Slab, Kind::Absent] {
        board.set_kind(pfn, kind);
        assert!(board.access(FIRST, Write).is_ok_and(|to| !to.usable));
        assert_eq!(board.violations(), ["I-TLBFREE"], "{kind:?}");
    }
    for kind in [Kind::Anonymous, Kind::File, Kind::Reserved] {
        board.set_kind(pfn, kind);
        assert!(board.access(FIRST, Write).is_ok_and(|to| to.usable));
        assert!(board.violations().is_empty(), "{kind:?}");
    }
    board.map(SECOND, Pfn(1), full());
    assert!(board.access(SECOND, Read).is_ok_and(|to| !to.usable));
    assert_eq!(board.violations(), ["I-TLBFREE"], "no such frame");
}

fn tail_of_a_block<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let head = board.frame(Kind::Anonymous);
    board.frame(Kind::Tail);
    let last = board.frame(Kind::Tail);
    board.map(FIRST, last, full());
    assert_eq!(board.reach(FIRST, Read), Ok(last));
    assert!(board.violations().is_empty());
    board.set_kind(head, Kind::Free);
    assert_eq!(board.reach(FIRST, Read), Ok(last));
    assert_eq!(board.violations(), ["I-TLBFREE"]);
}

fn other_frame<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Read).is_ok());
    board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Read).is_ok());
    assert_eq!(board.violations(), ["I-TLBPERM"]);
    board.mmu.invalidate_page(ASID, FIRST);
    assert!(board.access(FIRST, Read).is_ok());
    assert!(board.violations().is_empty());
}

fn fewer_rights<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Read).is_ok());
    board.map(FIRST, pfn, read_only());
    assert!(board.access(FIRST, Read).is_ok());
    let violations = board.log.take();
    assert_eq!(violations.len(), 1);
    let text = violations[0].to_string();
    assert!(text.starts_with("I-TLBPERM: CPU 0, ASID 1, address 0x10000: cached: frame "), "{text}");
    // More rights in the tables than in the TLB are fine.
    board.mmu.invalidate_page(ASID, FIRST);
    assert!(board.access(FIRST, Read).is_ok());
    board.map(FIRST, pfn, full());
    assert!(board.access(FIRST, Read).is_ok());
    assert!(board.violations().is_empty());
}

fn removed_entry<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Read).is_ok());
    board.slot(FIRST, 0).store(0, std::sync::atomic::Ordering::Relaxed);
    board.set_kind(pfn, Kind::Free);
    assert!(board.access(FIRST, Write).is_ok());
    assert_eq!(board.violations(), ["I-TLBPERM", "I-TLBFREE"]);
}

fn freed_leaf_table<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    board.map_fresh(FIRST, full());
    board.map_fresh(SECOND, full());
    assert!(board.access(FIRST, Read).is_ok());
    board.set_kind(board.leaf_table(FIRST), Kind::Cached);
    assert!(board.access(SECOND, Read).is_err());
    let violations = board.log.take();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].invariant.id(), "I-PTFREE");
    let is_shortened = violations[0].detail.contains("cached upper entry");
    assert_eq!(is_shortened, !A::SEMANTICS.software_tlb, "{}", violations[0]);
}

fn freed_root<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    board.map_fresh(FIRST, full());
    board.set_kind(board.root, Kind::Free);
    assert!(board.access(FIRST, Read).is_err());
    assert_eq!(board.violations(), ["I-PTFREE"]);
}

fn stale_upper_entry<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    board.map_fresh(FIRST, full());
    board.map_fresh(SECOND, full());
    assert!(board.access(FIRST, Read).is_ok());
    // The old leaf table is still a table, but no entry names it any more.
    board.slot(FIRST, 1).store(0, std::sync::atomic::Ordering::Relaxed);
    if A::SEMANTICS.software_tlb {
        assert!(board.access(SECOND, Read).is_err());
        return assert!(board.violations().is_empty());
    }
    assert!(board.access(SECOND, Read).is_ok());
    assert_eq!(board.violations(), ["I-TLBPERM"]);
}

fn lost_dirty_bit<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Write).is_ok());
    board.map(FIRST, pfn, full().without(PageBits::DIRTY));
    assert!(board.access(FIRST, Read).is_ok());
    assert!(board.violations().is_empty());
    assert!(board.access(FIRST, Write).is_ok());
    assert_eq!(board.violations(), ["I-DIRTY"]);
}

fn audit_sees_unused_entries<A: Arch>() {
    let mut board = Board::<A>::new(Checks::ALL);
    let pfn = board.map_fresh(FIRST, full());
    board.map_fresh(SECOND, full());
    assert!(board.access(FIRST, Read).is_ok() && board.access(SECOND, Read).is_ok());
    board.audit();
    assert!(board.violations().is_empty());
    board.map(FIRST, pfn, read_only());
    board.audit();
    assert_eq!(board.violations(), ["I-TLBPERM"]);
}

fn checks_can_be_off<A: Arch>() {
    let mut board = Board::<A>::new(Checks::NONE);
    let pfn = board.map_fresh(FIRST, full());
    assert!(board.access(FIRST, Read).is_ok());
    board.map(FIRST, pfn, read_only());
    board.set_kind(pfn, Kind::Free);
    board.set_kind(board.root, Kind::Free);
    assert!(board.access(FIRST, Write).is_ok_and(|to| to.usable));
    assert!(board.violations().is_empty());
}
