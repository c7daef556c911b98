//! Huge pages that are moved: as wholes where the new place is one for a huge page, too.

use super::{Count, Vmm, check, finish, frames, huge, load, mark, sizes, store, vm};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, X86_64};
use crate::ops::{Access, Advice, FaultKind, HugePages, MapRequest, Place, RemapPlace, RemapRequest};
use crate::stat::Event;
use crate::testing::TestMachine;
use crate::{Error, Overcommit, Space, Vm};

type Spaces<'vm, A> = Space<'vm, TestMachine<A>>;

/// Moves from one place, and length, to another.
fn shift<A: Arch>(
    space: &Spaces<'_, A>,
    (old, old_length): (u64, u64),
    (new, new_length): (u64, u64),
    keep_old: bool,
) -> Result<(), Error> {
    let place = RemapPlace::Fixed(new);
    space.remap(&RemapRequest { old, old_length, new_length, place, keep_old }).map(|at| assert_eq!(at, new))
}

/// What was stored to between `old` and `old + length` is at `new` now.
fn check_moved<A: Arch>(space: &Spaces<'_, A>, old: u64, new: u64, length: u64) {
    for offset in (0..length).step_by(1 << A::PAGE_SHIFT) {
        assert_eq!(load(space, new + offset), Ok(mark::<A>(old + offset)), "{offset:#x} from {old:#x} to {new:#x}");
    }
}

/// Huge pages of a space, and how many were cut so far.
fn wholes<A: Arch>(vm: &Vmm<A>, space: &Spaces<'_, A>) -> (u64, u64) {
    let mut pages = 0;
    space.smaps(&mut |entry| pages += entry.anonymous_huge);
    (pages / (sizes::<A>().1 / sizes::<A>().0), vm.count(Event::SplitMapping))
}

fn there_and_back<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 2);
    let (length, to) = (2 * huge_page, start + 5 * huge_page);
    let tables = space.table_pages();
    shift(&space, (start, length), (to, length), false).expect("a move");
    assert_eq!((wholes(&vm, &space), space.table_pages()), ((2, 0), tables));
    assert_eq!(vm.count(Event::MovedPage), length / page);
    check_moved(&space, start, to, length);
    assert_eq!(space.translate(start), None);
    vm.audited().expect("all is well");
    // Onto what overlaps with nothing, far away: the places have a claim each.
    let far = to + (1 << A::shift(2));
    shift(&space, (to, length), (far, length), false).expect("a move");
    check_moved(&space, start, far, length);
    assert_eq!(wholes(&vm, &space), (2, 0));
    vm.audited().expect("all is well");
    // One of them, with all that a store and a fork change.
    shift(&space, (far + huge_page, huge_page), (start, huge_page), false).expect("a move");
    let child = space.fork().expect("a child");
    shift(&child, (start, huge_page), (start + huge_page, huge_page), false).expect("a move");
    assert_eq!(wholes(&vm, &child), (2, 0));
    store(&child, start + huge_page + page, 99).expect("a store");
    assert_eq!(load(&space, start + page), Ok(mark::<A>(start + huge_page + page)));
    check_moved(&space, start, far, huge_page);
    vm.audited().expect("all is well");
    drop((space, child));
    finish(&vm);
}

/// A part that is cut off, or comes behind, and an old place that stays.
fn other_lengths<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 3);
    let to = start + 4 * huge_page;
    // Of the second one a page stays: it is cut for that.
    shift(&space, (start, 3 * huge_page), (to, huge_page + page), false).expect("a move");
    assert_eq!(wholes(&vm, &space), (1, 1));
    check_moved(&space, start, to, huge_page + page);
    assert_eq!(space.translate(to + huge_page + page), None);
    vm.audited().expect("all is well");
    shift(&space, (to, huge_page), (start, 2 * huge_page + page), false).expect("a move");
    assert_eq!(wholes(&vm, &space), (1, 1));
    check_moved(&space, start, start, huge_page);
    assert_eq!(space.fault(start + huge_page, Access::Write), Ok(FaultKind::Anonymous));
    vm.audited().expect("all is well");
    let (away, length) = (start + 8 * huge_page, 2 * huge_page);
    store(&space, start + huge_page, 1).expect("a store");
    shift(&space, (start, length), (away, length), true).expect("a move");
    assert_eq!((load(&space, start), load(&space, start + huge_page)), (Ok(0), Ok(0)));
    check_moved(&space, start, away, huge_page);
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

/// Where the places do not lie alike, or small pages were, they become small ones.
fn to_where_they_cannot_be<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 2);
    let (length, to) = (2 * huge_page, start + 4 * huge_page);
    vm.set_huge_pages(HugePages::Never);
    space.map(&MapRequest::anonymous(huge_page, Prot::READ_WRITE).at(Place::Fixed(to))).expect("a mapping");
    store(&space, to + page, 77).expect("a store");
    shift(&space, (start, length), (to, length), false).expect("a move");
    assert_eq!(wholes(&vm, &space), (1, 1));
    check_moved(&space, start, to, length);
    vm.audited().expect("all is well");
    shift(&space, (to, length), (start + page, length), false).expect("a move");
    assert_eq!(wholes(&vm, &space), (0, 2));
    check_moved(&space, start, start + page, length);
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

/// A huge page, or what shows that there is none, is replaced by another.
fn onto_others<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 4);
    shift(&space, (start, huge_page), (start + 2 * huge_page, huge_page), false).expect("a move");
    assert_eq!((wholes(&vm, &space), space.rss().anonymous), ((3, 0), 3 * (huge_page / page)));
    check_moved(&space, start, start + 2 * huge_page, huge_page);
    vm.audited().expect("all is well");
    space.map(&MapRequest::anonymous(2 * huge_page, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    assert_eq!(space.fault(start, Access::Read), Ok(FaultKind::Zero));
    // What was never stored to moves as fresh memory, and is there as before.
    shift(&space, (start, huge_page), (start + 3 * huge_page, huge_page), false).expect("a move");
    assert_eq!((load(&space, start + 3 * huge_page), wholes(&vm, &space).1), (Ok(0), 0));
    // A page of zeroes goes along with others.
    assert_eq!(space.fault(start + 3 * huge_page, Access::Read), Ok(FaultKind::Spurious));
    shift(&space, (start + 2 * huge_page, 2 * huge_page), (start + 8 * huge_page, 2 * huge_page), false)
        .expect("a move");
    check_moved(&space, start, start + 8 * huge_page, huge_page);
    assert_eq!((load(&space, start + 9 * huge_page), wholes(&vm, &space).1), (Ok(0), 0));
    store(&space, start + 9 * huge_page, 5).expect("a store");
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

/// From the end of one upper table to the beginning of the next, and to where they part elsewhere; with small pages and
/// nothing in between.
fn across_upper_tables<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(2 * frames::<A>());
    let space = vm.create_space().expect("a space");
    let border = (A::USER_END / 2) >> A::shift(2) << A::shift(2);
    let (start, length) = (border - 3 * huge_page, 6 * huge_page);
    space.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    let touch = |from: u64, to: u64| {
        for address in (from..to).step_by(page as usize) {
            store(&space, address, mark::<A>(address)).expect("a store");
        }
    };
    for slot in [0, 2, 3, 5] {
        touch(start + slot * huge_page, start + (slot + 1) * huge_page);
    }
    vm.set_huge_pages(HugePages::Never);
    touch(start + huge_page + page, start + huge_page + 2 * page);
    let is_there = |at: u64| {
        for slot in [0, 2, 3, 5] {
            check_moved(&space, start + slot * huge_page, at + slot * huge_page, huge_page);
        }
        check_moved(&space, start + huge_page + page, at + huge_page + page, page);
        assert_eq!(wholes(&vm, &space), (4, 0));
        vm.audited().expect("all is well");
    };
    is_there(start);
    let other = border + (1 << A::shift(2));
    let places = [other - huge_page, border - 20 * huge_page, other - 5 * huge_page, start];
    places.into_iter().fold(start, |from, to| {
        shift(&space, (from, length), (to, length), false).expect("a move");
        is_there(to);
        to
    });
    drop(space);
    finish(&vm);
}

/// Each piece of a mapping with guards goes as it would alone, and what is of several classes keeps them.
fn in_pieces<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 6);
    let (length, to) = (6 * huge_page, start + 9 * huge_page);
    space.advise(start + huge_page, huge_page, Advice::GuardInstall).expect("a guard");
    space.advise(start + 4 * huge_page + page, page, Advice::GuardInstall).expect("a guard");
    assert_eq!(wholes(&vm, &space), (4, 1));
    shift(&space, (start, length), (to, length), false).expect("a move");
    assert_eq!(wholes(&vm, &space), (4, 1));
    let is_guard = |offset: u64| offset / huge_page == 1 || offset == 4 * huge_page + page;
    for offset in (0..length).step_by(page as usize) {
        match is_guard(offset) {
            true => assert!(load(&space, to + offset).is_err(), "{offset:#x}"),
            false => assert_eq!(load(&space, to + offset), Ok(mark::<A>(start + offset))),
        }
    }
    vm.audited().expect("all is well");
    // Mappings of other rights.
    space.protect(to + 2 * huge_page, huge_page, Prot::READ).expect("a right");
    shift(&space, (to, length), (start, length), false).expect("a move");
    assert_eq!(wholes(&vm, &space), (4, 1));
    assert!(store(&space, start + 2 * huge_page, 0).is_err());
    check_moved(&space, start + 2 * huge_page, start + 2 * huge_page, 2 * huge_page);
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

/// Huge pages in every other slot of an upper table all of which moves: there is no room to say of each what it was.
fn with_nothing_between<A: Arch>() {
    let huge_page = sizes::<A>().1;
    let vm = vm::<A>(frames::<A>());
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let upper = 1 << A::shift(2);
    let (start, length) = (A::USER_END / 2 / upper * upper, 3 * upper);
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&request).expect("a mapping");
    let places = [1, 3, 5, 7, 9, 11].map(|slot| upper + slot * huge_page);
    places.iter().for_each(|place| store(&space, start + place, mark::<A>(*place)).expect("a store"));
    let is_there = |at: u64| {
        places.iter().for_each(|place| assert_eq!(load(&space, at + place), Ok(mark::<A>(*place))));
        assert_eq!(wholes(&vm, &space), (6, 0));
        vm.audited().expect("all is well");
    };
    for (from, to) in [(0, 3 * upper), (3 * upper, 6 * upper + huge_page), (6 * upper + huge_page, 0)] {
        shift(&space, (start + from, length), (start + to, length), false).expect("a move");
        is_there(start + to);
    }
    drop(space);
    finish(&vm);
}

/// More than are moved in one section.
#[test]
fn many_huge_pages_move() {
    let (vm, count, huge_page) = (vm::<X86_64>(40_000), 70, 2 << 20);
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let (start, length) = (1 << 40, 100 * huge_page);
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&request).expect("a mapping");
    let places = || (0..count).map(|slot| (slot + slot / 3) * huge_page);
    places().for_each(|place| store(&space, start + place, mark::<X86_64>(place >> 9)).expect("a store"));
    let mut from = start;
    for to in [start + 150 * huge_page, start + 411 * huge_page, start] {
        shift(&space, (from, length), (to, length), false).expect("a move");
        places().for_each(|place| assert_eq!(load(&space, to + place), Ok(mark::<X86_64>(place >> 9))));
        assert_eq!(wholes(&vm, &space), (count, 0));
        vm.audited().expect("all is well");
        from = to;
    }
    drop(space);
    finish(&vm);
}

/// Whatever cannot be allocated, all is where it was, or where it was to come.
fn without_memory<A: Arch>() {
    let huge_page = sizes::<A>().1;
    for (to, cut) in [(2u64 << A::shift(2), 0), ((2 << A::shift(2)) + (1 << A::PAGE_SHIFT), 2)] {
        let vm = vm::<A>(frames::<A>());
        let (space, start) = huge(&vm, 2);
        let (length, to) = (2 * huge_page, start + to);
        let failures = (0..).take_while(|&count| {
            vm.machine().allow_allocations(count);
            let moved = shift(&space, (start, length), (to, length), false);
            vm.machine().allow_allocations(u64::MAX);
            vm.audited().expect("all is well");
            assert!(matches!(moved, Ok(()) | Err(Error::OutOfMemory)), "{moved:?}");
            if moved.is_err() {
                check(&space, start, start + length);
            }
            moved.is_err()
        });
        assert!(failures.count() > 0);
        check_moved(&space, start, to, length);
        assert!(wholes(&vm, &space).1 >= cut);
        drop(space);
        finish(&vm);
    }
}

/// Who looks for a folio finds it where it was moved to, whole, in all spaces that show it.
fn found_by_reverse_mapping<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = Vm::new(TestMachine::<A>::new(frames::<A>()).with_compressor()).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    vm.set_compressed_limit(4 * pages);
    vm.swap_on_memory(4 * pages, 0).expect("an area");
    let (space, start) = huge(&vm, 2);
    let to = start + 4 * huge_page;
    let child = space.fork().expect("a child");
    shift(&space, (start, huge_page), (to, huge_page), false).expect("a move");
    shift(&child, (start, huge_page), (to + huge_page, huge_page), false).expect("a move");
    let head = |space: &Spaces<'_, A>, at: u64| space.translate(at).expect("a page").pfn;
    assert_eq!(head(&space, to), head(&child, to + huge_page));
    space.advise(to, huge_page, Advice::PageOut).expect("advice");
    assert_eq!((space.rss().swapped, vm.count(Event::HugeSwapOut)), (0, 0), "it is not this space's alone");
    vm.audited().expect("all is well");
    while vm.reclaim(0, pages) > 0 {}
    vm.audited().expect("all is well");
    assert_eq!((space.rss().anonymous, child.rss().anonymous), (0, 0));
    assert_eq!((space.rss().swapped, child.rss().swapped), (2 * pages, 2 * pages));
    check_moved(&space, start, to, huge_page);
    check_moved(&child, start, to + huge_page, huge_page);
    drop((space, child));
    finish(&vm);
}

#[test]
fn huge_pages_move_there_and_back_as_wholes() {
    everywhere!(there_and_back);
}

#[test]
fn huge_pages_move_with_other_lengths() {
    everywhere!(other_lengths);
}

#[test]
fn huge_pages_become_small_where_they_cannot_be() {
    everywhere!(to_where_they_cannot_be);
}

#[test]
fn huge_pages_replace_others() {
    everywhere!(onto_others);
}

#[test]
fn huge_pages_move_across_upper_tables() {
    everywhere!(across_upper_tables);
}

#[test]
fn huge_pages_move_in_pieces() {
    everywhere!(in_pieces);
}

#[test]
fn huge_pages_move_with_nothing_between() {
    everywhere!(with_nothing_between);
}

#[test]
fn huge_pages_move_without_memory() {
    everywhere!(without_memory);
}

#[test]
fn moved_huge_pages_are_found() {
    everywhere!(found_by_reverse_mapping);
}
