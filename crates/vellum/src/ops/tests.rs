//! The operations on the test machine, one behaviour a test.

mod collapse;
mod edges;
mod guards;
mod huge;
mod parts;
mod pieces;
mod places;
mod policy;
mod reach;

use crate::arch::{Arch, Prot, Tiny, X86_64};
use crate::ops::{
    Access, Advice, FaultError, FaultKind, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing,
};
use crate::testing::user::{load, store};
use crate::testing::{OnePage, TestMachine};
use crate::{Error, Event, Overcommit, Space, Vm};
use std::vec::Vec;

const PAGE: u64 = 4096;

fn vm<A: Arch>() -> Vm<TestMachine<A>> {
    Vm::new(TestMachine::new(4096)).expect("a machine")
}

fn ranges<A: Arch>(space: &Space<'_, TestMachine<A>>) -> Vec<(u64, u64, Prot)> {
    let mut all = Vec::new();
    space.maps(&mut |map| all.push((map.start, map.end, map.prot)));
    all
}

fn on_every_architecture(test: impl Fn(&dyn Scenario)) {
    test(&Runner::<X86_64>(core::marker::PhantomData));
    test(&Runner::<Tiny>(core::marker::PhantomData));
}

struct Runner<A>(core::marker::PhantomData<A>);

trait Scenario {
    fn run(&self);
}

impl<A: Arch> Scenario for Runner<A> {
    fn run(&self) {
        let vm = vm::<A>();
        // A first space leaves slab pages behind, which are kept.
        drop(vm.create_space().expect("a space"));
        vm.quiesce();
        let free = vm.free_frames();
        {
            let space = vm.create_space().expect("a space");
            let at = space.map(&MapRequest::anonymous(5 * PAGE, Prot::READ_WRITE)).expect("a mapping");
            assert_eq!(load(&space, at), Ok(0));
            store(&space, at + PAGE, 7).expect("a store");
            assert_eq!(space.rss().anonymous, 1);
            let child = space.fork().expect("a child");
            store(&child, at + PAGE, 8).expect("a store");
            assert_eq!((load(&space, at + PAGE), load(&child, at + PAGE)), (Ok(7), Ok(8)));
            assert_eq!(space.fault(at + PAGE, Access::Write), Ok(FaultKind::Reused));
            space.protect(at + PAGE, PAGE, Prot::READ).expect("a change");
            assert_eq!(store(&space, at + PAGE, 9), Err(FaultError::Segv { address: at + PAGE, denied: true }));
            assert_eq!(ranges(&space).len(), 3);
            space.protect(at, 5 * PAGE, Prot::READ_WRITE).expect("a change");
            assert_eq!(ranges(&space).len(), 1);
            space.unmap(at + 2 * PAGE, PAGE).expect("a hole");
            assert_eq!(space.protect(at, 5 * PAGE, Prot::READ), Err(Error::NotMapped { address: at + 2 * PAGE }));
            space.unmap(at, 2 * PAGE).expect("no error");
            assert_eq!(space.rss().anonymous, 0);
            vm.audited().expect("a clean audit");
        }
        vm.quiesce();
        assert_eq!(vm.free_frames(), free, "{}", A::NAME);
        vm.audited().expect("a clean audit");
    }
}

#[test]
fn a_space_lives_and_dies() {
    on_every_architecture(|scenario| scenario.run());
}

#[test]
fn a_moved_page_keeps_its_contents() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(600 * PAGE, Prot::READ_WRITE)).expect("a mapping");
    for page in (0..600).step_by(7) {
        store(&space, at + page * PAGE, page as u8).expect("a store");
    }
    let grown = RemapRequest {
        old: at,
        old_length: 600 * PAGE,
        new_length: 900 * PAGE,
        place: RemapPlace::Fixed(at + (1 << 32) + 100 * PAGE),
        keep_old: false,
    };
    let new = space.remap(&grown).expect("a move");
    for page in (0..600).step_by(7) {
        assert_eq!(load(&space, new + page * PAGE), Ok(page as u8));
    }
    assert_eq!(ranges(&space), [(new, new + 900 * PAGE, Prot::READ_WRITE)]);
    assert!(load(&space, at).is_err());
    vm.audited().expect("a clean audit");
    space.unmap(new, 900 * PAGE).expect("no error");
    vm.audited().expect("a clean audit");
    assert_eq!(space.table_pages(), 1);
}

#[test]
fn shared_memory_is_shared() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::shared(4 * PAGE, Prot::READ_WRITE)).expect("a mapping");
    let child = space.fork().expect("a child");
    store(&child, at, 3).expect("a store");
    assert_eq!(load(&space, at), Ok(3));
    space.advise(at, 4 * PAGE, Advice::DontNeed).expect("no error");
    assert_eq!(load(&space, at), Ok(3));
    vm.audited().expect("a clean audit");
    drop(child);
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean audit");
}

#[test]
fn a_terabyte_costs_a_few_slots() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let request = MapRequest::anonymous((1 << 40) + PAGE, Prot::NONE).with(MapFlags::NO_RESERVE);
    let at = space.map(&request).expect("a reservation");
    assert!(space.table_pages() < 10);
    space.protect(at + (1 << 39), PAGE, Prot::READ_WRITE).expect("a change");
    store(&space, at + (1 << 39), 1).expect("a store");
    assert_eq!(ranges(&space).len(), 3);
    vm.audited().expect("a clean audit");
    space.unmap(at, (1 << 40) + PAGE).expect("no error");
    assert_eq!((ranges(&space).len(), space.table_pages()), (0, 1));
    vm.audited().expect("a clean audit");
}

#[test]
fn a_stack_grows_and_keeps_its_distance() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let top = 1u64 << 40;
    let stack = MapRequest::anonymous(PAGE, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    space.map(&stack.at(Place::Fixed(top - PAGE))).expect("a stack");
    store(&space, top - 100 * PAGE, 1).expect("growth");
    assert_eq!(ranges(&space), [(top - 100 * PAGE, top, Prot::READ_WRITE)]);
    space.map(&MapRequest::anonymous(PAGE, Prot::READ).at(Place::Fixed(top - 400 * PAGE))).expect("a mapping");
    assert!(store(&space, top - 200 * PAGE, 1).is_err());
    store(&space, top - 143 * PAGE, 1).expect("growth up to the gap");
    assert!(store(&space, top - 144 * PAGE, 1).is_err());
    vm.audited().expect("a clean audit");
}

#[test]
fn many_classes_in_one_leaf_spill_and_return() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = 1u64 << 40;
    space.map(&MapRequest::anonymous(512 * PAGE, Prot::READ_WRITE).at(Place::Fixed(at))).expect("a mapping");
    for page in (0..512).step_by(2) {
        space.protect(at + page * PAGE, PAGE, Prot::READ).expect("a change");
    }
    assert_eq!(ranges(&space).len(), 512);
    vm.audited().expect("a clean audit");
    space.protect(at, 512 * PAGE, Prot::READ).expect("a change");
    assert_eq!(ranges(&space).len(), 1);
    space.unmap(at, 512 * PAGE).expect("no error");
    assert_eq!(space.table_pages(), 1);
    vm.quiesce();
    vm.audited().expect("a clean audit");
}

#[test]
fn what_a_process_stored_to_a_file_is_written_after_its_end() {
    let (vm, file) = (vm::<X86_64>(), OnePage::new());
    let object = vm.file(file.clone()).expect("an object");
    let space = vm.create_space().expect("a space");
    let shown = MapRequest::object(&object, 0, Sharing::Shared, PAGE, Prot::READ_WRITE);
    let at = space.map(&shown).expect("a mapping");
    store(&space, at, 7).expect("a store");
    // Nobody has looked at the entry until the process ends.
    drop(space);
    assert_eq!((object.write_back(), file.word()), (Ok(1), 7));
}

#[test]
fn a_right_to_store_that_comes_back_does_not_reach_shared_pages() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("a mapping");
    store(&space, at, 7).expect("a store");
    let child = space.fork().expect("a child");
    assert_eq!(load(&child, at), Ok(7));
    for prot in [Prot::READ, Prot::READ_WRITE] {
        child.protect(at, PAGE, prot).expect("a change");
    }
    store(&child, at, 8).expect("a store");
    assert_eq!((load(&space, at), load(&child, at)), (Ok(7), Ok(8)));
}

/// A move keeps the guard gap of a stack that has grown since its place was chosen, as a new mapping does.
#[test]
fn nothing_moves_into_the_gap_of_a_stack() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let old = space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE)).expect("room");
    let request = MapRequest::anonymous(PAGE, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    let stack = space.map(&request.at(Place::Fixed(1 << 40))).expect("room");
    let request = RemapRequest { old, old_length: PAGE, new_length: PAGE, place: RemapPlace::MayMove, keep_old: false };
    let gap = crate::space::stack_guard_pages::<X86_64>() * PAGE;
    let to = |new| space.move_to(&request, PAGE, new, PAGE, true);
    assert_eq!(to(stack - gap), Ok(None));
    assert_eq!(to(stack - gap - PAGE), Ok(Some(stack - gap - PAGE)));
    vm.audited().expect("a sound machine");
}

/// Who maps and unmaps a page far from all others, again and again, makes its tables twice; and they go when he works
/// elsewhere.
#[test]
fn tables_of_a_place_that_is_used_again_stay_for_a_while() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let round = |address: u64| {
        space.map(&MapRequest::anonymous(PAGE, Prot::READ_WRITE).at(Place::Fixed(address))).expect("room");
        store(&space, address, 1).expect("memory");
        space.unmap(address, PAGE).expect("it is mapped");
    };
    let made = || vm.totals().get(Event::TableAlloc);
    let before = made();
    (0..10).for_each(|_| round(1 << 40));
    assert_eq!((made() - before, space.table_pages()), (6, 4));
    assert_eq!(ranges(&space), []);
    // Another page of the same leaf makes no difference, another leaf does.
    round((1 << 40) + 7 * PAGE);
    assert_eq!((made() - before, space.table_pages()), (6, 4));
    round(1 << 41);
    assert_eq!(space.table_pages(), 1);
    // What has come to be used meanwhile does not go.
    (0..2).for_each(|_| round(1 << 40));
    space.map(&MapRequest::anonymous(PAGE, Prot::READ).at(Place::Fixed(1 << 40))).expect("room");
    round(1 << 41);
    assert_eq!((ranges(&space).len(), space.table_pages()), (1, 4));
    drop(space);
    vm.quiesce();
    vm.audited().expect("a clean machine");
}

/// So does who maps and unmaps a GiB.
#[test]
fn tables_of_large_mappings_stay_for_a_while_too() {
    const GIB: u64 = 1 << 30;
    // Few whole slots of an upper table go the short way, many go the long one.
    for length in [GIB, 64 * GIB] {
        let vm = vm::<X86_64>();
        vm.set_overcommit(Overcommit::Always);
        let space = vm.create_space().expect("a space");
        let map = |length| space.map(&MapRequest::anonymous(length, Prot::READ_WRITE)).expect("room");
        let made = || vm.totals().get(Event::TableAlloc);
        let mut seen = Vec::new();
        let before = made();
        for _ in 0..5 {
            space.unmap(map(length), length).expect("it is mapped");
            seen.push((made() - before, space.table_pages()));
        }
        assert_eq!(seen, [(1, 1), (2, 2), (2, 2), (2, 2), (2, 2)]);
        space.unmap(map(PAGE), PAGE).expect("it is mapped");
        assert_eq!((ranges(&space), space.table_pages()), (Vec::new(), 1));
        drop(space);
        vm.quiesce();
        vm.audited().expect("a clean machine");
    }
}

/// Whichever allocation fails: the tables are those that there were.
#[test]
fn a_move_that_fails_for_memory_leaves_no_tables() {
    const LEAF: u64 = 512 * PAGE;
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let (old, new, length) = (1u64 << 40, 1u64 << 41, 5 * LEAF);
    space.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(old))).expect("room");
    (0..5).for_each(|leaf| store(&space, old + leaf * LEAF, leaf as u8).expect("memory"));
    let place = RemapPlace::Fixed(new);
    let request = RemapRequest { old, old_length: length, new_length: length, place, keep_old: false };
    let before = (space.table_pages(), ranges(&space), space.rss());
    let mut failed = 0;
    for allowed in 0.. {
        vm.machine().allow_allocations(allowed);
        let moved = space.remap(&request);
        vm.machine().allow_allocations(u64::MAX);
        if moved.is_ok() {
            break;
        }
        failed += 1;
        assert_eq!(moved, Err(Error::OutOfMemory), "after {allowed} allocations");
        assert_eq!((space.table_pages(), ranges(&space), space.rss()), before, "after {allowed} allocations");
        vm.audited().expect("a sound machine");
    }
    // Five leaves of the new place, and what is above them.
    assert!(failed > 5, "{failed} allocations failed");
    (0..5).for_each(|leaf| assert_eq!(load(&space, new + leaf * LEAF), Ok(leaf as u8)));
}
