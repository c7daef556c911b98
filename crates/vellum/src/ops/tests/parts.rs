//! Where Linux looks at a part of a range, or does one.

use super::{PAGE, load, ranges, store, vm};
use crate::arch::{Arch, Prot, X86_64};
use crate::ops::{Access, Advice, MapFlags, MapRequest, Place, RemapPlace, RemapRequest};
use crate::testing::TestMachine;
use crate::{Error, Space};

const AT: u64 = 1 << 40;

type TestSpace<'vm> = Space<'vm, TestMachine<X86_64>>;

/// Maps `pages` pages at page `at`.
fn map(space: &TestSpace<'_>, at: u64, pages: u64, prot: Prot) {
    let request = MapRequest::anonymous(pages * PAGE, prot).at(Place::Fixed(AT + at * PAGE));
    space.map(&request).expect("room");
}

/// What is mapped, in pages.
fn pages(space: &TestSpace<'_>) -> std::vec::Vec<(u64, u64, Prot)> {
    let all = ranges(space);
    all.into_iter().map(|(start, end, prot)| ((start - AT) / PAGE, (end - AT) / PAGE, prot)).collect()
}

#[test]
fn a_hole_stops_everything_or_what_lies_behind_it() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 2, Prot::READ_WRITE);
    map(&space, 3, 2, Prot::READ_WRITE);
    let hole = Err(Error::NotMapped { address: AT + 2 * PAGE });
    assert_eq!(space.protect(AT, 5 * PAGE, Prot::READ), hole);
    assert_eq!(pages(&space), [(0, 2, Prot::READ_WRITE), (3, 5, Prot::READ_WRITE)]);
    assert_eq!(space.protect_partly(AT, 5 * PAGE, Prot::READ), hole);
    assert_eq!(pages(&space), [(0, 2, Prot::READ), (3, 5, Prot::READ_WRITE)]);
    store(&space, AT + 4 * PAGE, 1).expect("memory");
    assert_eq!(space.advise(AT, 5 * PAGE, Advice::DontNeed), hole);
    assert_eq!(load(&space, AT + 4 * PAGE), Ok(1));
    assert_eq!(space.advise_partly(AT, 5 * PAGE, Advice::DontNeed), hole);
    assert_eq!(load(&space, AT + 4 * PAGE), Ok(0));
    assert_eq!(space.populate(AT, 5 * PAGE, Access::Read), hole);
    assert_eq!(space.translate(AT), None);
    assert_eq!(space.populate_partly(AT, 5 * PAGE, Access::Read), hole);
    assert!(space.translate(AT).is_some());
    assert_eq!((space.first_hole(AT, 5 * PAGE), space.first_mapped(AT + 2 * PAGE, PAGE)), (Some(AT + 2 * PAGE), None));
    vm.audited().expect("a sound machine");
}

#[test]
fn several_mappings_move_to_a_fixed_place_and_holes_stay_holes() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    // Over three leaves, of many classes.
    for at in (0..1200).step_by(3) {
        map(&space, at, 1, Prot::READ_WRITE);
        store(&space, AT + at * PAGE, at as u8).expect("memory");
        map(&space, at + 1, 1, if at % 2 == 0 { Prot::READ } else { Prot::NONE });
    }
    let before = pages(&space);
    map(&space, 5_000 + 2, 1, Prot::EXECUTE);
    let request = |old: u64, length: u64, to: u64| {
        let place = RemapPlace::Fixed(AT + to * PAGE);
        RemapRequest {
            old: AT + old * PAGE,
            old_length: length * PAGE,
            new_length: length * PAGE,
            place,
            keep_old: false,
        }
    };
    assert_eq!(space.remap(&request(2, 3, 5_000)), Err(Error::NotMapped { address: AT + 2 * PAGE }));
    space.remap(&request(0, 1200, 5_000)).expect("a mapping at the beginning");
    let mut after = pages(&space);
    assert_eq!(after.remove(2), (5_002, 5_003, Prot::EXECUTE), "a hole takes nothing away");
    let expected = before.iter().map(|&(start, end, prot)| (start + 5_000, end + 5_000, prot));
    assert!(after.into_iter().eq(expected));
    for at in (0..1200).step_by(3) {
        assert_eq!(load(&space, AT + (5_000 + at) * PAGE), Ok(at as u8), "page {at}");
    }
    vm.audited().expect("a sound machine");
    space.remap(&request(5_000, 1200, 0)).expect("and back");
    space.unmap(AT, 6_000 * PAGE).expect("mapped");
    vm.quiesce();
    assert_eq!(vm.audited().expect("a sound machine").classes, 0);
}

#[test]
fn what_shrinks_in_place_only_begins_with_a_mapping() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 1, Prot::READ_WRITE);
    map(&space, 1, 1, Prot::READ);
    map(&space, 4, 1, Prot::READ);
    let request = |old: u64, old_length: u64, new_length: u64| RemapRequest {
        old: AT + old * PAGE,
        old_length: old_length * PAGE,
        new_length: new_length * PAGE,
        place: RemapPlace::InPlace,
        keep_old: false,
    };
    assert_eq!(space.remap(&request(2, 3, 1)), Err(Error::NotMapped { address: AT + 2 * PAGE }));
    assert_eq!(space.remap(&request(0, 9, 9)), Ok(AT));
    assert_eq!(space.remap(&request(0, 9, 1)), Ok(AT));
    assert_eq!(pages(&space), [(0, 1, Prot::READ_WRITE)]);
    vm.audited().expect("a sound machine");
}

#[test]
fn only_the_nearest_mapping_is_in_the_way_of_a_stack() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let stack = MapRequest::anonymous(PAGE, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    space.map(&stack.at(Place::Fixed(AT + 1000 * PAGE))).expect("a stack");
    map(&space, 900, 1, Prot::READ);
    assert!(store(&space, AT + 950 * PAGE, 1).is_err());
    map(&space, 910, 1, Prot::NONE);
    store(&space, AT + 950 * PAGE, 1).expect("what is nearest may lie there");
    vm.audited().expect("a sound machine");
}

#[test]
fn the_rights_of_a_stack_change_from_its_beginning() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let stack = MapRequest::anonymous(8 * PAGE, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    space.map(&stack.at(Place::Fixed(AT + 1000 * PAGE))).expect("a stack");
    space.protect_stack(AT + 1002 * PAGE, PAGE, Prot(7)).expect("a stack");
    store(&space, AT + 999 * PAGE, 1).expect("growth");
    assert_eq!(pages(&space), [(999, 1003, Prot(7)), (1003, 1008, Prot::READ_WRITE)]);
    map(&space, 0, 1, Prot::READ);
    assert!(matches!(space.protect_stack(AT, PAGE, Prot::READ), Err(Error::Invalid { .. })));
    assert_eq!(space.protect_stack(AT + 1, PAGE, Prot::READ), Err(Error::Unaligned { what: "address", value: AT + 1 }));
}

#[test]
fn a_limit_is_on_all_that_is_mapped() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 4, Prot::READ_WRITE);
    assert_eq!(space.mapped_bytes(), 4 * PAGE);
    space.set_mapped_limit(6 * PAGE);
    let fixed = |at: u64, pages: u64| {
        space.map(&MapRequest::anonymous(pages * PAGE, Prot::READ).at(Place::Fixed(AT + at * PAGE))).map(|_| ())
    };
    let over = |pages| Err(Error::Limit { length: pages * PAGE });
    assert_eq!(fixed(10, 3), over(3));
    assert_eq!(fixed(0, 6), Ok(()), "what it replaces does not count");
    assert_eq!(space.map(&MapRequest::anonymous(PAGE, Prot::READ)).map(|_| ()), over(1));
    let grow = |old: u64, old_length: u64, new_length: u64| {
        let (old_length, new_length) = (old_length * PAGE, new_length * PAGE);
        let place = RemapPlace::MayMove;
        space.remap(&RemapRequest { old: AT + old * PAGE, old_length, new_length, place, keep_old: false })
    };
    assert_eq!(grow(0, 6, 7), over(1).map(|()| 0));
    assert_eq!(grow(8, 1, 2), Err(Error::NotMapped { address: AT + 8 * PAGE }), "what is not there is noticed first");
    space.unmap(AT, PAGE).expect("mapped");
    assert_eq!(grow(1, 5, 6), Ok(AT + PAGE));
    let child = space.fork().expect("a child");
    assert_eq!(child.map(&MapRequest::anonymous(PAGE, Prot::READ)).map(|_| ()), over(1));
    child.set_mapped_limit(u64::MAX);
    child.map(&MapRequest::anonymous(1 << 46, Prot::READ)).expect("room");
    assert_eq!(child.mapped_bytes(), (1 << 46) + 6 * PAGE);
    space.set_mapped_limit(7 * PAGE);
    space.set_brk_base(AT + 100 * PAGE).expect("an address");
    assert_eq!(space.brk(AT + 102 * PAGE), over(2).map(|()| 0));
    assert_eq!(space.brk(AT + 101 * PAGE), Ok(AT + 101 * PAGE));
    space.set_mapped_limit(PAGE);
    let place = RemapPlace::Fixed(AT + 50 * PAGE);
    let moved = |old: u64, new_length: u64| {
        let (old_length, new_length) = (6 * PAGE, new_length * PAGE);
        space.remap(&RemapRequest { old: AT + old * PAGE, old_length, new_length, place, keep_old: false })
    };
    assert_eq!(moved(1, 5), Ok(AT + 50 * PAGE), "what maps no more is not refused");
    assert_eq!(grow(50, 5, 5), Ok(AT + 50 * PAGE));
    assert_eq!(grow(50, 5, 6), over(1).map(|()| 0));
}

/// Whatever else is wrong with a place is said first, and nothing is counted outside the user range.
#[test]
fn a_limit_is_on_what_could_be_mapped() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 1, Prot::READ);
    space.set_mapped_limit(PAGE);
    let over = Error::Limit { length: 2 * PAGE };
    let error = |place| space.map(&MapRequest::anonymous(2 * PAGE, Prot::READ).at(place)).expect_err("a limit");
    for place in [Place::Fixed, Place::FixedNoReplace] {
        for start in [X86_64::USER_END - PAGE, X86_64::USER_END, 1 << 63, u64::MAX - PAGE + 1] {
            assert_eq!(error(place(start)), Error::OutOfRange { start, length: 2 * PAGE });
        }
        assert_eq!(error(place(0)), Error::TooLow { address: 0 });
        assert_eq!(error(place(AT + 1)), Error::Unaligned { what: "address", value: AT + 1 });
    }
    assert_eq!(error(Place::FixedNoReplace(AT - PAGE)), Error::Exists { address: AT });
    assert_eq!((error(Place::FixedNoReplace(AT + PAGE)), error(Place::Fixed(AT))), (over, over));
    for replaced in [(0, PAGE), (u64::MAX - PAGE + 1, u64::MAX), (1 << 63, u64::MAX)] {
        assert_eq!(space.may_map(2 * PAGE, replaced).map(drop), Err(over));
    }
    assert_eq!(pages(&space), [(0, 1, Prot::READ)]);
}

#[test]
fn a_stack_grows_within_the_limit() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let stack = MapRequest::anonymous(PAGE, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    space.map(&stack.at(Place::Fixed(AT + 1000 * PAGE))).expect("a stack");
    space.set_mapped_limit(3 * PAGE);
    assert!(store(&space, AT + 997 * PAGE, 1).is_err());
    store(&space, AT + 998 * PAGE, 1).expect("growth");
    vm.audited().expect("a sound machine");
}

#[test]
fn shared_memory_grows_by_zeroes() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    let object = vm.shared_memory(1).expect("memory");
    object.truncate(100).expect("shorter");
    let shown = MapRequest::object(&object, 0, crate::ops::Sharing::Shared, 3 * PAGE, Prot::READ_WRITE);
    let at = space.map(&shown).expect("room");
    store(&space, at + 200, 9).expect("behind the end, in its page");
    assert!(store(&space, at + PAGE, 1).is_err());
    assert!(matches!(object.extend(99), Err(Error::Invalid { .. })));
    assert!(matches!(object.extend(1 << 63), Err(Error::OutOfRange { .. })));
    object.extend(2 * PAGE + 1).expect("longer");
    assert_eq!((object.length(), load(&space, at + 200)), (2 * PAGE + 1, Ok(0)));
    store(&space, at + 2 * PAGE, 1).expect("the last page");
    let file = vm.file(crate::testing::OnePage::new()).expect("a file");
    assert!(matches!(file.extend(2 * PAGE), Err(Error::Invalid { .. })));
    drop((space, object, file));
    vm.quiesce();
    vm.audited().expect("a sound machine");
}

/// A table that advice has emptied is given back, whether all of the range was mapped or a part.
#[test]
fn what_advice_empties_is_given_back() {
    let vm = vm::<X86_64>();
    let space = vm.create_space().expect("a space");
    map(&space, 0, 512, Prot::READ_WRITE);
    let untouched = space.table_pages();
    store(&space, AT + 7 * PAGE, 1).expect("memory");
    assert_eq!(space.table_pages(), untouched + 1);
    space.advise(AT + 7 * PAGE, PAGE, Advice::DontNeed).expect("mapped");
    assert_eq!(space.table_pages(), untouched);
    store(&space, AT + 7 * PAGE, 1).expect("memory");
    let hole = Err(Error::NotMapped { address: AT + 512 * PAGE });
    assert_eq!(space.advise_partly(AT + 7 * PAGE, 600 * PAGE, Advice::DontNeed), hole);
    assert_eq!(space.table_pages(), untouched);
}
