//! Moves of many pieces: what they take, and what they leave if they cannot have it; and tables of many runs.

use super::{PAGE, load, ranges, store, vm};
use crate::arch::{Prot, X86_64};
use crate::ops::{Advice, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::testing::TestMachine;
use crate::{Error, Overcommit, Space};
use std::vec::Vec;

const AT: u64 = 1 << 40;

type TestSpace<'vm> = Space<'vm, TestMachine<X86_64>>;

/// Maps `pages` pages at page `at`, with a guard on every other one, the first or the second.
fn map_guarded(space: &TestSpace<'_>, at: u64, pages: u64, first: u64) {
    let request = MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT + at * PAGE));
    space.map(&request).expect("room");
    let guarded = (at + first..at + pages).step_by(2);
    guarded.for_each(|at| space.advise(AT + at * PAGE, PAGE, Advice::GuardInstall).expect("mapped"));
}

fn remap(space: &TestSpace<'_>, old: u64, old_pages: u64, new: u64, new_pages: u64) -> Result<u64, Error> {
    let place = RemapPlace::Fixed(AT + new * PAGE);
    let (old_length, new_length) = (old_pages * PAGE, new_pages * PAGE);
    space.remap(&RemapRequest { old: AT + old * PAGE, old_length, new_length, place, keep_old: false })
}

fn guards(space: &TestSpace<'_>) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    space.guards(&mut |start, end| all.push(((start - AT) / PAGE, (end - AT) / PAGE)));
    all
}

/// Three leaves of guards move to four others. There is memory for the pieces, of which 64 are in a frame, and for each
/// table that is made and an array for it, and for hardly more.
#[test]
fn many_pieces_take_one_side_array_a_table() {
    const PAGES: u64 = 3 * 512;
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    map_guarded(&space, 0, PAGES, 1);
    store(&space, AT, 7).expect("memory");
    let other = vm.create_space().expect("a space");
    let ballast = other.map(&MapRequest::anonymous(4096 * PAGE, Prot::READ_WRITE)).expect("room");
    let full = (0..4096).position(|at| store(&other, ballast + at * PAGE, 1).is_err());
    assert!(full.is_some(), "all of it fits");
    other.unmap(ballast, (PAGES / 64 + 16) * PAGE).expect("mapped");
    remap(&space, 0, PAGES, 5_007, PAGES).expect("memory");
    let every_other = (1..PAGES).step_by(2).map(|at| (5_007 + at, 5_008 + at));
    assert!(guards(&space).into_iter().eq(every_other));
    assert_eq!(load(&space, AT + 5_007 * PAGE), Ok(7));
    vm.audited().expect("a sound machine");
}

/// The leaves to which guards move are full of guards too: what was there goes first, and with it the need for side
/// arrays, which comes back. Each allocation fails in turn.
#[test]
fn pieces_that_lack_memory_stay() {
    // More than a table has, so that there are pieces in two of them at both places.
    const PAGES: u64 = 512 + 8;
    const TO: u64 = 5_007;
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map_guarded(&space, 0, PAGES, 1);
    map_guarded(&space, TO, PAGES, 0);
    let stored: Vec<u64> = (0..PAGES).step_by(34).collect();
    stored.iter().for_each(|&at| store(&space, AT + at * PAGE, at as u8).expect("memory"));
    let state = || (ranges(&space), guards(&space), space.table_pages());
    let before = state();
    vm.quiesce();
    let mut allowed = 0;
    loop {
        vm.machine().allow_allocations(allowed);
        let moved = remap(&space, 0, PAGES, TO, PAGES);
        vm.machine().allow_allocations(u64::MAX);
        if moved.is_ok() {
            break;
        }
        assert_eq!((moved, state()), (Err(Error::OutOfMemory), before.clone()), "after {allowed} allocations");
        if allowed % 8 == 0 || allowed > PAGES {
            vm.audited().expect("a sound machine");
        }
        allowed += 1;
    }
    // The pieces, and what the tables of both places take.
    assert!((PAGES..PAGES + 16).contains(&allowed), "{allowed} allocations");
    let every_other = (1..PAGES).step_by(2).map(|at| (TO + at, TO + at + 1));
    assert!(guards(&space).into_iter().eq(every_other));
    stored.iter().for_each(|&at| assert_eq!(load(&space, AT + (TO + at) * PAGE), Ok(at as u8)));
    vm.audited().expect("a sound machine");
    space.unmap(AT, 8_000 * PAGE).expect("a range");
    vm.quiesce();
    assert_eq!((vm.audited().expect("a sound machine").classes, space.table_pages()), (0, 1));
}

/// Both places are in one table, which gives its array up between one step and the next, or not.
#[test]
fn pieces_move_within_a_table() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    for to in [100, 200, 412] {
        map_guarded(&space, 0, 100, 0);
        map_guarded(&space, to, 100, 1);
        store(&space, AT + PAGE, 7).expect("memory");
        remap(&space, 0, 100, to, 100).expect("one mapping");
        let every_other = (0..100).step_by(2).map(|at| (to + at, to + at + 1));
        assert!(guards(&space).into_iter().eq(every_other));
        assert_eq!(load(&space, AT + (to + 1) * PAGE), Ok(7));
        vm.audited().expect("a sound machine");
        remap(&space, to, 100, 0, 100).expect("one mapping");
        assert_eq!(guards(&space).first(), Some(&(0, 1)));
        space.unmap(AT, 512 * PAGE).expect("a range");
        vm.audited().expect("a sound machine");
    }
}

/// Where what is cut off begins, a table of four runs has one more for a moment: the part that has gone already. It
/// must have an array for that; all tables at edges have one already, so that none is left over.
#[test]
fn what_is_cut_off_begins_with_an_edge() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let map = |at: u64, pages: u64, prot| {
        space.map(&MapRequest::anonymous(pages * PAGE, prot).at(Place::Fixed(AT + at * PAGE))).expect("room");
    };
    // Many runs in the first and last tables of both places.
    for at in [0, 1200, 4608, 5400] {
        (at..at + 10).for_each(|at| map(at, 1, if at % 2 == 0 { Prot::READ } else { Prot::EXECUTE }));
    }
    map(300, 612, Prot::READ_WRITE);
    // Behind it, in a table that the old range covers.
    map(912, 20, Prot::READ);
    map(932, 20, Prot::NONE);
    map(952, 72, Prot::EXECUTE);
    let before = ranges(&space).len();
    let stored = [300, 511, 512, 700, 911];
    stored.iter().for_each(|&at| store(&space, AT + at * PAGE, at as u8).expect("memory"));
    // A table's border at the new place is where page 700 comes to lie.
    remap(&space, 300, 800, 300 + 4420, 612).expect("one mapping, as far as it goes");
    stored.iter().for_each(|&at| assert_eq!(load(&space, AT + (4420 + at) * PAGE), Ok(at as u8)));
    assert_eq!(ranges(&space).len(), before - 3);
    vm.audited().expect("a sound machine");
}

/// Each slot has a class of its own, in a leaf with pages, and in an upper table: it takes several sections to change
/// them all, to copy them, and to end them.
#[test]
fn tables_of_many_classes_are_done_in_parts() {
    const MANY: u64 = 100;
    let vm = vm::<X86_64>();
    vm.set_overcommit(Overcommit::Always);
    let object = vm.shared_memory(512 * MANY).expect("memory");
    for bytes in [PAGE, 512 * PAGE] {
        let space = vm.create_space().expect("a space");
        for number in 0..MANY {
            let (at, offset) = (AT + number * bytes, (MANY - 1 - number) * bytes);
            let request = MapRequest::object(&object, offset, Sharing::Private, bytes, Prot::READ_WRITE);
            space.map(&request.at(Place::Fixed(at))).expect("room");
        }
        let page = |number: u64| AT + number * bytes;
        (0..MANY).step_by(7).for_each(|number| store(&space, page(number), number as u8).expect("memory"));
        space.protect(AT, MANY * bytes, Prot::READ).expect("mapped");
        let mapped = ranges(&space);
        assert_eq!((mapped.len() as u64, mapped.iter().all(|range| range.2 == Prot::READ)), (MANY, true));
        let child = space.fork().expect("a child");
        assert_eq!(ranges(&child), mapped);
        space.protect(AT, MANY * bytes, Prot::READ_WRITE).expect("mapped");
        for number in 0..MANY {
            store(&space, page(number), 255).expect("memory");
            assert_eq!(load(&child, page(number)), Ok(if number % 7 == 0 { number as u8 } else { 0 }));
        }
        vm.audited().expect("a sound machine");
        child.unmap(AT, MANY * bytes).expect("mapped");
        assert_eq!((ranges(&child).len(), child.table_pages()), (0, 1));
        drop((space, child));
        vm.quiesce();
        assert_eq!(vm.audited().expect("a sound machine").classes, 0);
    }
}
