//! The edges of the user range, beside a kernel's half whose tables the core must not follow: the test machine has no
//! such frames.

use super::{PAGE, load, ranges, store, vm};
use crate::arch::{Aarch64, Arch, Prot, Riscv64, Sparc64, Tiny, X86_64};
use crate::ops::{Access, Advice, FaultError, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::testing::TestMachine;
use crate::{Error, Overcommit, Space, Vm};

fn page<A: Arch>() -> u64 {
    1 << A::PAGE_SHIFT
}

fn remap(start: u64, old_length: u64, new_length: u64, place: RemapPlace) -> RemapRequest {
    RemapRequest { old: start, old_length, new_length, place, keep_old: false }
}

fn edges<A: Arch>() {
    let vm = Vm::new(TestMachine::<A>::new(4096).with_kernel()).expect("a machine");
    let space = vm.create_space().expect("a space");
    let end = A::USER_END;
    let last = end - page::<A>();
    let two = end - 2 * page::<A>();
    for start in [0, A::USER_START, 1 << 20, end / 2, two, last].into_iter().filter(|&start| start < end) {
        let start = start & !(page::<A>() - 1);
        space.unmap(start, end - start).expect("holes are fine");
        let _ = space.advise(start, end - start, Advice::DontNeed);
        let _ = space.protect(start, end - start, Prot::READ);
        assert_eq!(ranges(&space), []);
    }
    space
        .map(&MapRequest::anonymous(2 * page::<A>(), Prot::READ_WRITE).at(Place::Fixed(two)))
        .expect("the last two pages");
    space.fault(last, Access::Write).expect("the last page");
    assert!(space.fault(end, Access::Read).is_err(), "there is nothing behind the end");
    assert_eq!(space.translate(end), None);
    space.protect(last, page::<A>(), Prot::READ).expect("the last page");
    space.advise(last, page::<A>(), Advice::DontNeed).expect("the last page");
    let child = space.fork().expect("a child");
    assert_eq!(ranges(&child), [(two, last, Prot::READ_WRITE), (last, end, Prot::READ)]);
    let middle = (end / 2) & !(page::<A>() - 1);
    let move_to = |from, to| remap(from, page::<A>(), page::<A>(), RemapPlace::Fixed(to));
    space.remap(&move_to(last, middle)).expect("a move from the end");
    space.remap(&move_to(middle, last)).expect("and back");
    for start in [last, two, A::USER_START] {
        space.unmap(start, end - start).expect("the end");
    }
    assert_eq!(ranges(&space), []);
    drop((space, child));
    vm.quiesce();
    vm.audited().expect("all is well");
}

/// On an architecture of each kind: the range ends a page before the kernel's half, at it, with the root's last slot,
/// or anywhere.
#[test]
fn every_operation_stops_at_the_end_of_the_user_range() {
    edges::<X86_64>();
    edges::<Aarch64>();
    edges::<Riscv64>();
    edges::<Sparc64>();
    edges::<Tiny>();
}

/// An operation on a range, and its name.
type Operation<A> = (&'static str, fn(&Space<'_, TestMachine<A>>, u64, u64) -> Result<(), Error>);

/// What `odd_ranges` does with a range: the first maps it, the last unmaps it.
fn operations<A: Arch>() -> [Operation<A>; 6] {
    [
        ("map", |space, start, length| {
            space.map(&MapRequest::anonymous(length, Prot::NONE).at(Place::Fixed(start))).map(drop)
        }),
        ("protect", |space, start, length| space.protect(start, length, Prot::READ)),
        ("advise", |space, start, length| space.advise(start, length, Advice::DontNeed)),
        ("remap from", |space, start, length| {
            space.remap(&remap(start, page::<A>(), length, RemapPlace::MayMove)).map(drop)
        }),
        ("remap to", |space, start, length| {
            space.remap(&remap(A::USER_START, length, length, RemapPlace::Fixed(start))).map(drop)
        }),
        ("unmap", |space, start, length| space.unmap(start, length)),
    ]
}

/// Addresses and lengths at which sums wrap or leave the range are refused, and what is refused changes nothing.
fn odd_ranges<A: Arch>() {
    let vm = Vm::new(TestMachine::<A>::new(4096).with_kernel()).expect("a machine");
    let space = vm.create_space().expect("a space");
    let odd = [
        0,
        1,
        PAGE,
        A::USER_START,
        A::USER_END - page::<A>(),
        A::USER_END,
        A::USER_END + page::<A>(),
        1 << 63,
        u64::MAX - page::<A>() + 1,
        u64::MAX,
    ];
    for (start, length) in odd.into_iter().flat_map(|start| odd.map(|length| (start, length))) {
        let _: Result<_, FaultError> = space.fault(start, Access::Write);
        let is_outside = start.checked_add(length).is_none_or(|end| end > A::USER_END);
        let is_sound = !is_outside && length > 0 && start >= A::USER_START && start.is_multiple_of(page::<A>());
        for (name, operation) in operations::<A>() {
            let before = ranges(&space);
            let result = operation(&space, start, length);
            let what = std::format!("{name} {start:#x} {length:#x}: {result:?}");
            // Of nothing there is nothing outside.
            let is_nothing = length == 0 && ["protect", "advise"].contains(&name);
            assert!(!is_outside || is_nothing || result.is_err(), "{what}");
            assert!(!is_sound || name.starts_with("remap") || result.is_ok(), "{what}");
            if result.is_err() || is_nothing {
                assert_eq!(ranges(&space), before, "{what}");
            }
        }
    }
    space.unmap(0, A::USER_END).expect("everything");
    assert_eq!(ranges(&space), []);
    drop(space);
    vm.quiesce();
    vm.audited().expect("all is well");
}

#[test]
fn odd_ranges_are_refused() {
    odd_ranges::<X86_64>();
    odd_ranges::<Aarch64>();
    odd_ranges::<Riscv64>();
    odd_ranges::<Sparc64>();
    odd_ranges::<Tiny>();
}

/// Holds that are forgotten in a loop come to an end before the count of references does.
#[test]
fn a_page_is_held_so_often_and_no_more() {
    let vm = Vm::new(TestMachine::<X86_64>::new(4096)).expect("a machine");
    let space = vm.create_space().expect("a space");
    let object = vm.shared_memory(1).expect("an object");
    let map =
        || space.map(&MapRequest::object(&object, 0, Sharing::Shared, PAGE, Prot::READ_WRITE)).expect("a mapping");
    let (first, second) = (map(), map());
    space.fault(first, Access::Write).expect("a page");
    let frame = vm.physical().frame(space.translate(first).expect("a page").pfn);
    let references = frame.references();
    frame.set_counts(u32::MAX / 2, 1);
    core::mem::forget(space.hold(first).expect("the last hold that there is"));
    assert!(space.hold(first).is_none());
    assert_eq!(space.fault(second, Access::Read), Err(FaultError::OutOfMemory { address: second }));
    frame.set_counts(references, 1);
    drop(space.hold(first).expect("a hold"));
    space.fault(second, Access::Read).expect("a second mapping");
    drop((space, object));
    vm.quiesce();
    vm.audited().expect("all is well");
}

/// A table that a range covers wholly, in between others, changes as such: there is no side array prepared for it.
#[test]
fn tables_between_the_edges_change_with_what_they_have() {
    const LEAF: u64 = 2 << 20;
    const TABLE: u64 = 1 << 30;
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let (base, middle) = (4 * TABLE, 5 * TABLE);
    vm.set_overcommit(Overcommit::Always);
    let request = MapRequest::anonymous(3 * TABLE, Prot::READ_WRITE).at(Place::Fixed(base));
    space.map(&request).expect("room");
    for (place, prot) in [(1, Prot::READ), (2, Prot::NONE), (3, Prot::READ | Prot::EXECUTE)] {
        space.protect(middle + place * 128 * LEAF, 128 * LEAF, prot).expect("it is mapped");
    }
    // What the slot of this page's leaf says in the table above means nothing from here on.
    store(&space, middle, 1).expect("a page");
    let all = Prot::READ_WRITE | Prot::EXECUTE;
    space.protect(base, 3 * TABLE, all).expect("it is mapped");
    assert_eq!(ranges(&space), [(base, base + 3 * TABLE, all)]);
    vm.audited().expect("a sound machine");
}

/// As before, of a range that is moved.
#[test]
fn tables_between_the_edges_are_moved_from_with_what_they_have() {
    const LEAF: u64 = 2 << 20;
    const TABLE: u64 = 1 << 30;
    const TABLES: u64 = 12;
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let (old, new, length) = (4 * TABLE, 64 * TABLE, TABLES * TABLE);
    vm.set_overcommit(Overcommit::Always);
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(old));
    space.map(&request).expect("room");
    for table in (0..TABLES).map(|table| old + table * TABLE) {
        // Of these two slots the table above says for good what they were mapped with now.
        [1, 511].iter().for_each(|slot| store(&space, table + slot * LEAF, 1).expect("a page"));
        for (slot, slots) in [(0, 1), (2, 509), (1, 1), (511, 1)] {
            space.protect(table + slot * LEAF, slots * LEAF, Prot::READ).expect("it is mapped");
        }
    }
    assert_eq!(ranges(&space), [(old, old + length, Prot::READ)]);
    let place = RemapPlace::Fixed(new);
    let request = RemapRequest { old, old_length: length, new_length: length, place, keep_old: false };
    assert_eq!(space.remap(&request), Ok(new));
    assert_eq!(ranges(&space), [(new, new + length, Prot::READ)]);
    assert_eq!(load(&space, new + 511 * LEAF), Ok(1));
    vm.audited().expect("a sound machine");
}
