//! Where things come to lie, and what is found free.

use super::{PAGE, ranges, vm};
use crate::arch::{Arch, Prot, Tiny, X86_64};
use crate::ops::{Access, MapRequest, Place, RemapPlace, RemapRequest};
use crate::testing::{TestMachine, become_cpu};
use crate::{Error, Overcommit, Space};
use std::vec::Vec;

/// Maps anywhere, with rights by which neighbours of another parity are told apart.
fn map<A: Arch>(space: &Space<'_, TestMachine<A>>, pages: u64, parity: usize) -> Result<u64, Error> {
    let prot = [Prot::READ, Prot::READ_WRITE][parity % 2];
    space.map(&MapRequest::anonymous(pages * PAGE, prot))
}

/// Mappings of a page side by side, of which every other one goes: more gaps than a search goes by unnoticed. Where
/// they begin.
fn combed(space: &Space<'_, TestMachine<X86_64>>, count: u64) -> u64 {
    let low = map(space, 1, 0).expect("room");
    (1..count).for_each(|number| assert_eq!(map(space, 1, number as usize), Ok(low + number * PAGE)));
    (0..count).step_by(2).for_each(|number| space.unmap(low + number * PAGE, PAGE).expect("it is mapped"));
    space.unmap(low, PAGE).expect("holes are fine");
    low
}

/// What is remembered to have no room does not hide what has become free there.
#[test]
fn gaps_that_grow_together_are_found() {
    const COUNT: u64 = 200;
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let low = combed(&space, COUNT);
    // None of the gaps is large enough; what is above is.
    let above = low + COUNT * PAGE;
    assert_eq!(map(&space, 2, 0), Ok(above));
    for hole in [100, 20, 150] {
        // Its neighbours are gaps: three pages now.
        space.unmap(low + (hole + 1) * PAGE, PAGE).expect("it is mapped");
        let found = map(&space, 2, 0).expect("room") - low;
        assert!((hole * PAGE..(hole + 2) * PAGE).contains(&found), "{hole}: {:#x}", found);
        space.unmap(low + found, 2 * PAGE).expect("it is mapped");
        space.map(&MapRequest::anonymous(PAGE, Prot::READ).at(Place::Fixed(low + (hole + 1) * PAGE))).expect("room");
    }
    // As much at once, too.
    space.unmap(low + 61 * PAGE, 5 * PAGE).expect("holes are fine");
    let found = map(&space, 6, 0).expect("room");
    assert!((low + 60 * PAGE..low + 62 * PAGE).contains(&found));
}

/// A gap that is too small is passed by, and used by what fits.
#[test]
fn small_gaps_are_used_by_what_fits() {
    const COUNT: u64 = 200;
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let low = combed(&space, COUNT);
    let above = low + COUNT * PAGE;
    for round in 0..20 {
        assert_eq!(map(&space, 2, 0), Ok(above + 2 * round * PAGE));
        // Alone between mapped ones, as large as those that are passed by.
        let hole = low + (7 + 2 * round) * PAGE;
        space.map(&MapRequest::anonymous(PAGE, Prot::READ).at(Place::Fixed(hole - PAGE))).expect("room");
        space.map(&MapRequest::anonymous(PAGE, Prot::READ).at(Place::Fixed(hole + PAGE))).expect("room");
        space.unmap(hole, PAGE).expect("it is mapped");
        assert_eq!(map(&space, 1, 0), Ok(hole));
        space.unmap(hole, PAGE).expect("it is mapped");
    }
}

/// A search that passes by what another has gone by says of all of it what gaps there are.
#[test]
fn gaps_that_were_passed_by_are_found() {
    const COUNT: u64 = 200;
    const LEAF: u64 = 512;
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let low = combed(&space, COUNT);
    let above = low + COUNT * PAGE;
    assert_eq!(map(&space, 2, 0), Ok(above));
    // Leaves without gaps, a step each, and a page, so that they begin where the others end.
    let leaves = map(&space, 40 * LEAF + 1, 0).expect("room");
    assert_eq!(leaves, above + 2 * PAGE);
    (0..40).for_each(|leaf| _ = space.fault(leaves + leaf * LEAF * PAGE, Access::Read).expect("memory"));
    space.unmap(low, PAGE).expect("holes are fine");
    assert_eq!(map(&space, 2, 0), Ok(leaves + (40 * LEAF + 1) * PAGE));
    space.unmap(low, PAGE).expect("holes are fine");
    assert_eq!([map(&space, 1, 0), map(&space, 1, 0)], [Ok(low), Ok(low + 2 * PAGE)]);
}

/// What consists of whole upper slots begins with one, and needs no tables; what is smaller goes into what is left free
/// for that, and neighbours are adjacent.
#[test]
fn large_mappings_begin_with_a_slot_and_leave_no_holes_for_good() {
    const LEAF: u64 = 512;
    const GIB: u64 = 512 * LEAF;
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let first = map(&space, 1, 0).expect("room");
    let tables = space.table_pages();
    let gib = map(&space, GIB, 0).expect("room");
    assert_eq!((gib % (GIB * PAGE), map(&space, 2 * GIB, 0)), (0, Ok(gib + GIB * PAGE)));
    let leaves = map(&space, 3 * LEAF, 1).expect("room");
    assert!(leaves.is_multiple_of(LEAF * PAGE) && (first..gib).contains(&leaves), "{leaves:#x}");
    assert_eq!(space.table_pages(), tables);
    // One that ends within a slot all the same begins where there is room.
    let end = leaves + 3 * LEAF * PAGE;
    assert_eq!([map(&space, LEAF + 1, 0), map(&space, LEAF + 1, 1)], [Ok(end), Ok(end + (LEAF + 1) * PAGE)]);
    // What is left free before the next one is not lost either.
    assert_eq!(map(&space, LEAF, 0), Ok((end + 2 * (LEAF + 1) * PAGE).next_multiple_of(LEAF * PAGE)));
    assert_eq!(map(&space, 1, 0), Ok(end + 2 * (LEAF + 1) * PAGE));
}

/// Where there is no such place, any is as good.
#[test]
fn large_mappings_take_what_room_there_is() {
    const LEAF: u64 = 512;
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let (start, end) = (X86_64::USER_START, X86_64::SEARCH_END);
    let all = MapRequest::anonymous(end - start, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&all).expect("room");
    for hole in [(1u64 << 45) + 7 * PAGE, start + PAGE, end - (LEAF + 1) * PAGE] {
        space.unmap(hole, LEAF * PAGE).expect("it is mapped");
        assert_eq!(map(&space, LEAF + 1, 0), Err(Error::NoAddressSpace { length: (LEAF + 1) * PAGE }));
        assert_eq!(map(&space, LEAF, 0), Ok(hole));
    }
}

/// There is room if and only if there is room, whoever has made it.
fn finds_all_there_is<A: Arch>(seed: u64, steps: usize) {
    let vm = vm::<A>();
    let space = vm.create_space().expect("a space");
    let first = A::USER_START / PAGE;
    let mut is_mapped: Vec<bool> = std::vec![false; (A::SEARCH_END / PAGE) as usize];
    is_mapped[..first as usize].fill(true);
    let mut random = seed;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    for step in 0..steps {
        become_cpu(next(vm.cpu_count() as u64) as usize);
        let pages = 1 + next(5);
        if next(2) == 0 {
            let at = first + next(is_mapped.len() as u64 - pages - first);
            space.unmap(at * PAGE, pages * PAGE).expect("holes are fine");
            is_mapped[at as usize..(at + pages) as usize].fill(false);
            continue;
        }
        let is_room = is_mapped.windows(pages as usize).any(|pages| !pages.contains(&true));
        match map(&space, pages, step) {
            Ok(address) => {
                let place = (address / PAGE) as usize..(address / PAGE + pages) as usize;
                assert!(!is_mapped[place.clone()].contains(&true), "step {step}: what was there is mapped again");
                is_mapped[place].fill(true);
            }
            Err(error) => {
                assert_eq!(error, Error::NoAddressSpace { length: pages * PAGE });
                assert!(!is_room, "step {step}: {pages} pages of room are not found: {is_mapped:?}");
            }
        }
    }
    become_cpu(0);
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean machine");
}

#[test]
fn all_room_is_found_whoever_made_it() {
    (0..20).for_each(|seed| finds_all_there_is::<Tiny>(seed, 400));
}

/// Near and far, up and down, with and without tables at the new place, what moves comes there and leaves no tables
/// behind.
#[test]
fn moves_leave_no_tables_wherever_they_go() {
    const GIB: u64 = 1 << 30;
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let middle = 1u64 << 40;
    space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE).at(Place::Fixed(middle))).expect("room");
    let before = space.table_pages();
    let move_to = |old, new, pages: u64| {
        let (old_length, new_length, place) = (pages * PAGE, pages * PAGE, RemapPlace::Fixed(new));
        space.remap(&RemapRequest { old, old_length, new_length, place, keep_old: false })
    };
    for (pages, touched) in [(1, false), (1, true), (4, true), (600, true), (600, false), (512 * 512, false)] {
        // Of the middle's own leaf, of its neighbours', of its tables of higher levels, and of none.
        for distance in [16 * PAGE, 3 << 20, 2 * GIB, 700 * GIB, 70_000 * GIB] {
            let (old, new) = (middle + PAGE, middle + PAGE + distance);
            if pages * PAGE > distance {
                continue;
            }
            space.map(&MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(old))).expect("room");
            if touched {
                super::store(&space, old + (pages - 1) * PAGE, 5).expect("memory");
            }
            assert_eq!((move_to(old, new, pages), move_to(new, old, pages)), (Ok(new), Ok(old)));
            assert_eq!(move_to(new, old, pages), Err(Error::NotMapped { address: new }));
            if touched {
                assert_eq!(super::load(&space, old + (pages - 1) * PAGE), Ok(5));
            }
            space.unmap(old, pages * PAGE).expect("it is mapped");
            // From nothing to nothing.
            assert_eq!(move_to(new, new + 5 * GIB, pages), Err(Error::NotMapped { address: new }));
            assert_eq!((space.table_pages(), ranges(&space).len()), (before, 1), "{pages} pages by {distance:#x}");
        }
    }
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean machine");
}
