//! Guards: where every access faults, and what is done to the mapping around them.

use super::{PAGE, load, ranges, store, vm};
use crate::arch::{Prot, X86_64};
use crate::ops::{Access, Advice, FaultError, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::testing::TestMachine;
use crate::{Error, Overcommit, Space};
use std::vec::Vec;

const AT: u64 = 1 << 40;

type TestSpace<'vm> = Space<'vm, TestMachine<X86_64>>;

fn map(space: &TestSpace<'_>, at: u64, pages: u64) {
    let request = MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT + at * PAGE));
    space.map(&request).expect("room");
}

fn advise(space: &TestSpace<'_>, at: u64, pages: u64, advice: Advice) {
    space.advise(AT + at * PAGE, pages * PAGE, advice).expect("mapped");
}

/// What is guarded, in pages.
fn guards(space: &TestSpace<'_>) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    space.guards(&mut |start, end| all.push(((start - AT) / PAGE, (end - AT) / PAGE)));
    all
}

/// What is mapped, in pages.
fn maps(space: &TestSpace<'_>) -> Vec<(u64, u64)> {
    ranges(space).into_iter().map(|(start, end, _)| ((start - AT) / PAGE, (end - AT) / PAGE)).collect()
}

/// What an access to page `at` gets that is guarded, or must not be accessed.
fn segv<T>(at: u64, denied: bool) -> Result<T, FaultError> {
    Err(FaultError::Segv { address: AT + at * PAGE, denied })
}

fn remap(old: u64, old_pages: u64, new_pages: u64, place: RemapPlace, keep_old: bool) -> RemapRequest {
    let (old_length, new_length) = (old_pages * PAGE, new_pages * PAGE);
    RemapRequest { old: AT + old * PAGE, old_length, new_length, place, keep_old }
}

fn fixed(at: u64) -> RemapPlace {
    RemapPlace::Fixed(AT + at * PAGE)
}

#[test]
fn a_guard_faults_and_stays_in_its_mapping() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 8);
    (0..8).for_each(|at| store(&space, AT + at * PAGE, 7).expect("memory"));
    for _ in 0..2 {
        advise(&space, 2, 2, Advice::GuardInstall);
    }
    for advice in [Advice::DontNeed, Advice::Free, Advice::Cold, Advice::PageOut, Advice::WillNeed, Advice::Normal] {
        advise(&space, 2, 3, advice);
    }
    assert_eq!((maps(&space), guards(&space), space.rss().anonymous), ([(0, 8)].into(), [(2, 4)].into(), 5));
    let address = AT + 2 * PAGE;
    assert_eq!((load(&space, address), store(&space, address, 1)), (segv(2, false), segv(2, false)));
    assert_eq!((space.translate(address), space.hold(address).is_none()), (None, true));
    assert_eq!(space.copy_in(AT + 2 * PAGE - 1, &mut [0; 2]), segv(2, false));
    let populated = space.populate(AT, 8 * PAGE, Access::Write);
    assert_eq!(populated, Err(Error::Guarded { address }));
    space.protect(AT, 8 * PAGE, Prot::READ).expect("mapped");
    assert_eq!((load(&space, address), store(&space, address, 1)), (segv(2, false), segv(2, true)));
    space.protect(AT, 8 * PAGE, Prot::READ_WRITE).expect("mapped");
    let mut guarded = 0;
    space.smaps(&mut |entry| guarded += entry.guarded);
    assert_eq!((guarded, guards(&space)), (2, [(2, 4)].into()));
    vm.audited().expect("a sound machine");
    advise(&space, 0, 8, Advice::GuardRemove);
    assert_eq!((load(&space, AT), load(&space, address), guards(&space)), (Ok(7), Ok(0), [].into()));
    vm.audited().expect("a sound machine");
}

#[test]
fn what_replaces_a_mapping_or_unmaps_it_takes_guards_along() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 8);
    advise(&space, 0, 8, Advice::GuardInstall);
    map(&space, 2, 2);
    assert_eq!((maps(&space), guards(&space)), ([(0, 8)].into(), [(0, 2), (4, 8)].into()));
    space.unmap(AT + 6 * PAGE, PAGE).expect("mapped");
    let hole = Err(Error::NotMapped { address: AT + 6 * PAGE });
    assert_eq!(space.advise(AT, 8 * PAGE, Advice::GuardRemove), hole);
    assert_eq!(guards(&space), [(0, 2), (4, 6), (7, 8)]);
    assert_eq!(space.advise_partly(AT, 8 * PAGE, Advice::GuardRemove), hole);
    assert_eq!(guards(&space), []);
}

/// No page tables, and no trace when it has gone.
#[test]
fn a_guard_of_any_length_costs_a_few_slots() {
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(1 << 40, Prot::READ_WRITE)).expect("room");
    let tables = space.table_pages();
    store(&space, at + (1 << 35), 1).expect("memory");
    space.advise(at + PAGE, (1 << 40) - 2 * PAGE, Advice::GuardInstall).expect("mapped");
    // At each end those down to pages.
    assert!(space.table_pages() <= tables + 6);
    assert!(store(&space, at + (1 << 35), 1).is_err());
    assert_eq!(ranges(&space).len(), 1);
    vm.audited().expect("a sound machine");
    space.advise(at, 1 << 40, Advice::GuardRemove).expect("mapped");
    assert_eq!(space.table_pages(), tables);
    let whole =
        space.map(&MapRequest::anonymous(512 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT << 1))).expect("room");
    store(&space, whole, 1).expect("memory");
    let before = space.table_pages();
    space.advise(whole, 512 * PAGE, Advice::GuardInstall).expect("mapped");
    assert_eq!(space.table_pages(), before - 1, "a leaf that becomes a guard as a whole is given back");
    vm.audited().expect("a sound machine");
}

#[test]
fn children_have_guards_unless_they_get_the_mapping_empty() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 4);
    let shared = MapRequest::shared(4 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT + 4 * PAGE));
    space.map(&shared).expect("room");
    map(&space, 8, 4);
    for at in [1, 5, 9] {
        advise(&space, at, 1, Advice::GuardInstall);
    }
    advise(&space, 8, 4, Advice::WipeOnFork);
    let child = space.fork().expect("memory");
    assert_eq!((guards(&space), guards(&child)), ([(1, 2), (5, 6), (9, 10)].into(), [(1, 2), (5, 6)].into()));
    assert_eq!((load(&child, AT + PAGE), load(&child, AT + 9 * PAGE)), (segv(1, false), Ok(0)));
    advise(&child, 1, 1, Advice::GuardRemove);
    assert_eq!(load(&space, AT + PAGE), segv(1, false));
    vm.audited().expect("a sound machine");
}

/// Over three leaves, more guards than a table's descriptor has room for, with pages between and without.
#[test]
fn a_mapping_moves_with_its_guards_and_stays_one() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    for has_pages in [false, true] {
        map(&space, 0, 1200);
        (0..1200).step_by(3).for_each(|at| advise(&space, at, 1, Advice::GuardInstall));
        advise(&space, 600, 550, Advice::GuardInstall);
        let stored: Vec<u64> = (1..600).step_by(3).filter(|_| has_pages).collect();
        stored.iter().for_each(|&at| store(&space, AT + at * PAGE, at as u8).expect("memory"));
        let before = guards(&space);
        let moved = |by: u64| before.iter().map(|&(start, end)| (start + by, end + by)).collect::<Vec<_>>();
        space.remap(&remap(0, 1200, 1200, fixed(5_007), false)).expect("one mapping");
        assert_eq!((maps(&space), guards(&space)), ([(5_007, 6_207)].into(), moved(5_007)));
        stored.iter().for_each(|&at| assert_eq!(load(&space, AT + (5_007 + at) * PAGE), Ok(at as u8)));
        vm.audited().expect("a sound machine");
        // What is left behind has none.
        space.remap(&remap(5_007, 1200, 1200, fixed(0), true)).expect("one mapping");
        assert_eq!((maps(&space), guards(&space)), ([(0, 1200), (5_007, 6_207)].into(), moved(0)));
        stored.iter().for_each(|&at| assert_eq!(load(&space, AT + at * PAGE), Ok(at as u8)));
        assert_eq!(load(&space, AT + 5_007 * PAGE), Ok(0));
        vm.audited().expect("a sound machine");
        space.unmap(AT, 7_000 * PAGE).expect("a range");
    }
    vm.quiesce();
    assert_eq!(vm.audited().expect("a sound machine").classes, 0);
}

/// Tables that divide the two places say one class on both sides for a while.
#[test]
fn what_moves_to_the_place_beside_it_arrives() {
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    // One and a half of what a table's slot spans, on three levels: the border lies within one that is of both places.
    for pages in [3u64 << 8, 3 << 17, 3 << 26] {
        for keep_old in [false, true] {
            map(&space, 0, pages);
            advise(&space, 0, pages, Advice::GuardInstall);
            space.remap(&remap(0, pages, pages, fixed(pages), keep_old)).expect("one mapping");
            let start = if keep_old { 0 } else { pages };
            assert_eq!((maps(&space), guards(&space)), ([(start, 2 * pages)].into(), [(pages, 2 * pages)].into()));
            space.unmap(AT, 2 * pages * PAGE).expect("a range");
            map(&space, 0, pages);
            space.remap(&remap(0, pages, pages, fixed(pages), keep_old)).expect("one mapping");
            assert_eq!(maps(&space), [(start, 2 * pages)]);
            vm.audited().expect("a sound machine");
            space.unmap(AT, 2 * pages * PAGE).expect("a range");
        }
    }
}

#[test]
fn what_comes_behind_a_guard_has_none() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let request = MapRequest::shared(4 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT));
    space.map(&request).expect("room");
    advise(&space, 2, 2, Advice::GuardInstall);
    space.remap(&remap(0, 4, 6, RemapPlace::InPlace, false)).expect("room");
    assert_eq!((maps(&space), guards(&space)), ([(0, 6)].into(), [(2, 4)].into()));
    space.remap(&remap(0, 4, 8, fixed(100), false)).expect("one mapping");
    assert_eq!((maps(&space), guards(&space)), ([(4, 6), (100, 108)].into(), [(102, 104)].into()));
    space.remap(&remap(102, 0, 3, fixed(200), false)).expect("a shared mapping");
    assert_eq!((maps(&space).pop(), guards(&space)), (Some((200, 203)), [(102, 104)].into()));
    space.remap(&remap(101, 7, 2, fixed(300), false)).expect("one mapping");
    assert_eq!((maps(&space).pop(), guards(&space)), (Some((300, 302)), [(301, 302)].into()));
    assert_eq!(space.remap(&remap(300, 3, 3, RemapPlace::MayMove, true)).map_err(|error| error.errno()), Err(12));
    vm.audited().expect("a sound machine");
}

#[test]
fn several_mappings_with_guards_move() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 4);
    space.map(&MapRequest::shared(4 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT + 4 * PAGE))).expect("room");
    map(&space, 10, 2);
    for (at, pages) in [(0, 1), (3, 2), (7, 1), (10, 2)] {
        advise(&space, at, pages, Advice::GuardInstall);
    }
    store(&space, AT + PAGE, 1).expect("memory");
    space.remap(&remap(0, 12, 12, fixed(1_000), false)).expect("a mapping at the beginning");
    assert_eq!(maps(&space), [(1_000, 1_004), (1_004, 1_008), (1_010, 1_012)]);
    assert_eq!(guards(&space), [(1_000, 1_001), (1_003, 1_005), (1_007, 1_008), (1_010, 1_012)]);
    assert_eq!(load(&space, AT + 1_001 * PAGE), Ok(1));
    vm.audited().expect("a sound machine");
}

#[test]
fn a_stack_grows_below_a_guard_and_is_one() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let stack = MapRequest::anonymous(8 * PAGE, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    space.map(&stack.at(Place::Fixed(AT + 1000 * PAGE))).expect("a stack");
    advise(&space, 1000, 1, Advice::GuardInstall);
    advise(&space, 1004, 2, Advice::GuardInstall);
    space.set_stack_limit(10 * PAGE);
    store(&space, AT + 998 * PAGE, 1).expect("growth");
    assert!(store(&space, AT + 997 * PAGE, 1).is_err(), "all of it counts");
    assert_eq!((maps(&space), guards(&space)), ([(998, 1008)].into(), [(1000, 1001), (1004, 1006)].into()));
    space.protect_stack(AT + 1006 * PAGE, 2 * PAGE, Prot::READ).expect("a stack");
    assert_eq!(ranges(&space), [(AT + 998 * PAGE, AT + 1008 * PAGE, Prot::READ)]);
    assert_eq!(load(&space, AT + 1000 * PAGE), segv(1000, false));
    vm.audited().expect("a sound machine");
}

/// A guard is seen before the end of the object, and stays where that is changed.
#[test]
fn a_guard_stays_when_its_object_changes() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let object = vm.shared_memory(8).expect("memory");
    let shown = MapRequest::object(&object, 0, Sharing::Shared, 8 * PAGE, Prot::READ_WRITE);
    space.map(&shown.at(Place::Fixed(AT))).expect("room");
    store(&space, AT + 2 * PAGE, 1).expect("memory");
    advise(&space, 2, 1, Advice::GuardInstall);
    advise(&space, 6, 1, Advice::GuardInstall);
    advise(&space, 0, 3, Advice::Remove);
    object.truncate(4 * PAGE).expect("shorter");
    assert_eq!(load(&space, AT + 6 * PAGE), segv(6, false));
    assert!(matches!(load(&space, AT + 5 * PAGE), Err(FaultError::Bus { .. })));
    object.extend(8 * PAGE).expect("longer");
    assert_eq!((load(&space, AT + 2 * PAGE), load(&space, AT + 6 * PAGE)), (segv(2, false), segv(6, false)));
    advise(&space, 0, 8, Advice::GuardRemove);
    assert_eq!((load(&space, AT + 2 * PAGE), load(&space, AT + 6 * PAGE)), (Ok(0), Ok(0)));
    vm.audited().expect("a sound machine");
}
