//! One rule a test; each ends with an audit, which recounts what is committed.

mod together;

use super::{CommitLimit, Overcommit};
use crate::arch::{Prot, X86_64};
use crate::ops::{Access, Advice, FaultError, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::testing::user::store;
use crate::testing::{OnePage, TestMachine, become_cpu};
use crate::{AuditError, Error, Space, Vm};

const PAGE: u64 = 4096;
const AT: u64 = 1 << 40;
/// What a table above the leaves covers.
const TABLE: u64 = 1 << 30;
const RW: Prot = Prot::READ_WRITE;

type TestVm = Vm<TestMachine<X86_64>>;
type TestSpace<'vm> = Space<'vm, TestMachine<X86_64>>;

fn vm() -> TestVm {
    become_cpu(0);
    Vm::new(TestMachine::new(4096)).expect("a machine")
}

/// A machine on which at most `pages` pages may be committed.
fn limited(pages: u64) -> TestVm {
    let vm = vm();
    vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(pages * PAGE)));
    vm
}

fn memory<'a, 'vm>(at: u64, pages: u64, prot: Prot) -> MapRequest<'a, 'vm, TestMachine<X86_64>> {
    MapRequest::anonymous(pages * PAGE, prot).at(Place::Fixed(AT + at * PAGE))
}

/// Maps `pages` private pages at page `at`.
fn map(space: &TestSpace<'_>, at: u64, pages: u64, prot: Prot) -> Result<(), Error> {
    space.map(&memory(at, pages, prot)).map(|_| ())
}

fn protect(space: &TestSpace<'_>, at: u64, pages: u64, prot: Prot) -> Result<(), Error> {
    space.protect(AT + at * PAGE, pages * PAGE, prot)
}

fn unmap(space: &TestSpace<'_>, at: u64, pages: u64) {
    space.unmap(AT + at * PAGE, pages * PAGE).expect("no error");
}

fn remap(old: u64, old_length: u64, new_length: u64, place: RemapPlace, keep_old: bool) -> RemapRequest {
    RemapRequest { old: AT + old * PAGE, old_length: old_length * PAGE, new_length: new_length * PAGE, place, keep_old }
}

fn over(pages: u64) -> Result<(), Error> {
    Err(Error::CommitLimit { bytes: pages * PAGE })
}

/// Asserts what is committed, in pages, and that all is well.
#[track_caller]
fn committed(vm: &TestVm, pages: u64) {
    assert_eq!(vm.committed_bytes(), pages * PAGE);
    assert_eq!(vm.audited().expect("a sound machine").committed, pages);
}

fn is_committed(space: &TestSpace<'_>) -> std::vec::Vec<(u64, u64, bool)> {
    let mut all = std::vec::Vec::new();
    space.maps(&mut |map| all.push(((map.start - AT) / PAGE, (map.end - AT) / PAGE, map.is_committed)));
    all
}

#[test]
fn what_can_be_stored_to_and_is_private_is_committed() {
    let vm = vm();
    let space = vm.create_space().expect("a space");
    let file = vm.file(OnePage::new()).expect("an object");
    let of_file =
        |at: u64, prot, sharing| MapRequest::object(&file, 0, sharing, PAGE, prot).at(Place::Fixed(AT + at * PAGE));
    for (at, prot, sharing) in
        [(20, RW, Sharing::Private), (22, Prot::READ, Sharing::Private), (24, RW, Sharing::Shared)]
    {
        space.map(&of_file(at, prot, sharing)).expect("room");
    }
    committed(&vm, 1);
    for (at, prot) in [(0, RW), (2, Prot::WRITE), (4, Prot::READ), (6, Prot::NONE), (8, Prot::READ | Prot::EXECUTE)] {
        map(&space, at, 1, prot).expect("room");
    }
    space.map(&memory(10, 1, RW).with(MapFlags::NO_RESERVE)).expect("room");
    space.map(&MapRequest::anonymous(3 * PAGE, RW)).expect("the short way");
    committed(&vm, 6);
    drop(space);
    committed(&vm, 0);
}

#[test]
fn every_way_to_unmap_takes_it_back() {
    let vm = vm();
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::anonymous(4 * PAGE, RW)).expect("room");
    store(&space, at, 1).expect("memory");
    committed(&vm, 4);
    space.unmap(at, 2 * PAGE).expect("the short way");
    committed(&vm, 2);
    space.unmap(at + 2 * PAGE, 2 * PAGE).expect("the short way");
    vm.set_overcommit(Overcommit::Always);
    let large = 3 * TABLE / PAGE;
    map(&space, 1, large, RW).expect("room");
    committed(&vm, large);
    // Upper slots, leaves, and both.
    unmap(&space, TABLE / PAGE, TABLE / PAGE);
    unmap(&space, 2, 700);
    committed(&vm, large - TABLE / PAGE - 700);
    map(&space, 1, large, Prot::READ).expect("room");
    committed(&vm, 0);
    map(&space, 1, large, RW).expect("room");
    drop(space);
    committed(&vm, 0);
}

#[test]
fn rights_to_store_commit_and_rights_that_go_do_not_give_back() {
    let vm = vm();
    let space = vm.create_space().expect("a space");
    vm.set_overcommit(Overcommit::Always);
    map(&space, 0, TABLE / PAGE, Prot::NONE).expect("room");
    committed(&vm, 0);
    protect(&space, 3, 4, RW).expect("the long way");
    protect(&space, 7, 2, RW).expect("the short way");
    protect(&space, 100, 2000, RW).expect("several tables");
    committed(&vm, 2006);
    protect(&space, 0, TABLE / PAGE, Prot::READ).expect("it is mapped");
    committed(&vm, 2006);
    assert_eq!(is_committed(&space)[..3], [(0, 3, false), (3, 9, true), (9, 100, false)]);
    protect(&space, 0, TABLE / PAGE, RW).expect("it is mapped");
    committed(&vm, TABLE / PAGE);
    assert_eq!(is_committed(&space), [(0, TABLE / PAGE, true)]);
    let file = vm.file(OnePage::new()).expect("an object");
    let shown = |at, sharing| MapRequest::object(&file, 0, sharing, PAGE, Prot::READ).at(Place::Fixed(AT - at * PAGE));
    for (at, sharing) in [(1, Sharing::Private), (3, Sharing::Shared)] {
        space.map(&shown(at, sharing)).expect("room");
    }
    let mut unreserved = memory(0, 1, Prot::READ).with(MapFlags::NO_RESERVE);
    unreserved.place = Place::Fixed(AT - 5 * PAGE);
    space.map(&unreserved).expect("room");
    for at in [1, 3, 5] {
        space.protect(AT - at * PAGE, PAGE, RW).expect("rights");
    }
    committed(&vm, TABLE / PAGE + 1);
}

#[test]
fn the_heuristic_refuses_what_is_more_than_all_there_is() {
    let vm = vm();
    let space = vm.create_space().expect("a space");
    let all = vm.commitment().at_once();
    assert!((3000..4096).contains(&all), "{all}");
    map(&space, 0, all, RW).expect("room");
    map(&space, all, all, RW).expect("as much again");
    assert_eq!(map(&space, 3 * all, all + 1, RW), over(all + 1));
    assert_eq!(space.map(&MapRequest::anonymous((all + 1) * PAGE, RW)).map(|_| ()), over(all + 1));
    assert_eq!(map(&space, 0, 2 * all + 1, RW), Ok(()), "what it replaces does not count");
    map(&space, 0, all + 1, Prot::READ).expect("what cannot be stored to");
    assert_eq!(protect(&space, 0, all + 1, RW), over(all + 1));
    protect(&space, 0, all, RW).expect("rights");
    let grown = remap(0, all, 2 * all + 1, RemapPlace::MayMove, false);
    assert_eq!(space.remap(&grown).map(|_| ()), over(all + 1));
    assert_eq!(vm.shared_memory(all + 1).map(|_| ()).err(), over(all + 1).err());
    space.map(&memory(4 * all, all + 1, RW).with(MapFlags::NO_RESERVE)).expect("room");
    vm.swap_on_memory(10, 0).expect("an area");
    map(&space, 6 * all, all + 10, RW).expect("with swap");
    assert_eq!(map(&space, 8 * all, all + 11, RW), over(all + 11));
    vm.set_overcommit(Overcommit::Always);
    map(&space, 8 * all, all + 11, RW).expect("nothing is refused");
    vm.audited().expect("a sound machine");
}

#[test]
fn never_more_than_the_limit() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    assert_eq!(map(&space, 0, 11, RW), over(11));
    map(&space, 0, 6, RW).expect("room");
    assert_eq!(map(&space, 8, 5, RW), over(5));
    assert_eq!(space.map(&MapRequest::anonymous(5 * PAGE, RW)).map(|_| ()), over(5));
    map(&space, 8, 5, Prot::READ).expect("what cannot be stored to");
    assert_eq!(protect(&space, 8, 5, RW), over(5));
    assert_eq!(is_committed(&space), [(0, 6, true), (8, 13, false)]);
    protect(&space, 8, 4, RW).expect("as much as there is");
    committed(&vm, 10);
    assert_eq!(space.map(&MapRequest::anonymous(PAGE, RW)).map(|_| ()), over(1));
    unmap(&space, 0, 1);
    space.map(&MapRequest::anonymous(PAGE, RW)).expect("what was given back");
    vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(0)));
    assert_eq!(map(&space, 20, 1, RW), over(1));
    unmap(&space, 0, 6);
    committed(&vm, 5);
}

#[test]
fn limits_are_of_memory_with_swap() {
    let vm = vm();
    let memory = vm.commitment().memory;
    assert_eq!((vm.overcommit(), vm.commit_limit()), (Overcommit::Heuristic, memory / 2 * PAGE));
    vm.set_overcommit(Overcommit::Never(CommitLimit::Percent(25)));
    assert_eq!(vm.commit_limit(), memory / 4 * PAGE);
    let area = vm.swap_on_memory(100, 0).expect("an area");
    assert_eq!(vm.commit_limit(), (memory / 4 + 100) * PAGE);
    vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(10 * PAGE + 1)));
    assert_eq!(vm.overcommit(), Overcommit::Never(CommitLimit::Bytes(10 * PAGE)));
    assert_eq!(vm.commit_limit(), 110 * PAGE);
    let space = vm.create_space().expect("a space");
    map(&space, 0, 11, RW).expect("room");
    assert_eq!(vm.swap_off(area), over(100), "without it too much is committed");
    map(&space, 20, 99, RW).expect("room");
    vm.audited().expect("the area is on");
    unmap(&space, 20, 99);
    unmap(&space, 0, 1);
    vm.swap_off(area).expect("as much as there is without it");
    assert_eq!(vm.commit_limit(), 10 * PAGE);
    committed(&vm, 10);
}

#[test]
fn without_a_reservation_means_nothing_under_never() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    assert_eq!(space.map(&memory(0, 11, RW).with(MapFlags::NO_RESERVE)).map(|_| ()), over(11));
    space.map(&memory(0, 10, RW).with(MapFlags::NO_RESERVE)).expect("room");
    space.maps(&mut |map| assert!(map.is_committed && !map.no_reserve));
    let shared = MapRequest::shared(PAGE, RW).with(MapFlags::NO_RESERVE);
    assert_eq!(space.map(&shared).map(|_| ()), over(1));
    assert_eq!(vm.shared_memory_unreserved(1).map(|_| ()).err(), over(1).err());
    vm.set_overcommit(Overcommit::Always);
    space.map(&shared).expect("room");
    let object = vm.shared_memory_unreserved(5).expect("memory");
    object.extend(9 * PAGE).expect("memory");
    map(&space, 20, 1, RW).expect("room");
    committed(&vm, 11);
}

/// What was mapped without a reservation stays so, whatever the policy is later.
#[test]
fn a_policy_is_that_of_the_call() {
    let vm = vm();
    let space = vm.create_space().expect("a space");
    space.map(&memory(0, 100, Prot::READ).with(MapFlags::NO_RESERVE)).expect("room");
    vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(0)));
    protect(&space, 0, 100, RW).expect("rights");
    store(&space, AT, 1).expect("memory");
    committed(&vm, 0);
}

#[test]
fn what_is_replaced_is_given_back() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    map(&space, 0, 8, RW).expect("room");
    map(&space, 4, 6, RW).expect("two more");
    committed(&vm, 10);
    assert_eq!(map(&space, 9, 2, RW), over(1));
    assert_eq!(is_committed(&space), [(0, 10, true)]);
    map(&space, 2, 8, Prot::READ).expect("what cannot be stored to");
    committed(&vm, 2);
    map(&space, 0, 10, RW).expect("eight more");
    committed(&vm, 10);
}

#[test]
fn what_grows_is_committed() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    map(&space, 0, 4, RW).expect("room");
    let to = |page: u64| RemapPlace::Fixed(AT + page * PAGE);
    space.remap(&remap(0, 4, 6, RemapPlace::InPlace, false)).expect("room");
    committed(&vm, 6);
    for place in [RemapPlace::InPlace, RemapPlace::MayMove, to(100)] {
        assert_eq!(space.remap(&remap(0, 6, 11, place, false)).map(|_| ()), over(5));
        assert_eq!(is_committed(&space), [(0, 6, true)]);
    }
    space.remap(&remap(0, 6, 6, to(1000), false)).expect("a move");
    space.remap(&remap(1000, 6, 10, to(0), false)).expect("a move that grows");
    committed(&vm, 10);
    space.remap(&remap(0, 10, 5, to(700), false)).expect("a move that shrinks");
    committed(&vm, 5);
    assert_eq!(space.remap(&remap(700, 5, 5, to(0), true)).map(|_| ()), Ok(()), "the old place stays");
    committed(&vm, 10);
    assert_eq!(space.remap(&remap(700, 1, 1, RemapPlace::MayMove, true)).map(|_| ()), over(1));
    space.remap(&remap(700, 5, 5, to(0), true)).expect("nothing more than what it replaces");
    committed(&vm, 10);
    space.remap(&remap(700, 3, 5, to(2), false)).expect("so much less at the old place");
    // Three moved, two grew in place of three; two are left.
    committed(&vm, 9);
}

/// Moves with and without pages, across tables, under every policy.
#[test]
fn moves_commit_nothing() {
    for policy in [Overcommit::Always, Overcommit::Never(CommitLimit::Bytes(4000 * PAGE))] {
        let vm = vm();
        vm.set_overcommit(policy);
        let space = vm.create_space().expect("a space");
        map(&space, 3, 2000, RW).expect("room");
        for at in [3, 5, 600, 2002] {
            store(&space, AT + at * PAGE, at as u8).expect("memory");
        }
        for (old, new) in [(3, 10_000), (10_000, 77), (77, 500_000)] {
            let place = RemapPlace::Fixed(AT + new * PAGE);
            space.remap(&remap(old, 2000, 2000, place, false)).expect("a move");
            committed(&vm, 2000);
        }
        protect(&space, 500_100, 100, Prot::READ).expect("rights");
        unmap(&space, 500_300, 5);
        space.remap(&remap(500_000, 2000, 2000, RemapPlace::Fixed(AT), false)).expect("several");
        committed(&vm, 1995);
    }
}

#[test]
fn the_heap_ends_where_no_more_may_be_committed() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    space.set_brk_base(AT).expect("an address");
    assert_eq!(space.brk(AT + 11 * PAGE), over(11).map(|()| 0));
    assert_eq!(space.brk(0), Ok(AT));
    assert_eq!(space.brk(AT + 9 * PAGE + 1), Ok(AT + 9 * PAGE + 1));
    assert_eq!(space.brk(AT + 10 * PAGE + 1), over(1).map(|()| 0));
    assert_eq!(space.brk(AT + 10 * PAGE), Ok(AT + 10 * PAGE));
    assert_eq!(space.brk(AT + PAGE), Ok(AT + PAGE));
    committed(&vm, 1);
}

#[test]
fn a_stack_ends_where_no_more_may_be_committed() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    space.map(&memory(1000, 1, RW).with(MapFlags::GROWS_DOWN)).expect("a stack");
    store(&space, AT + 995 * PAGE, 1).expect("growth");
    committed(&vm, 6);
    let address = AT + 990 * PAGE;
    assert_eq!(space.fault(address, Access::Write), Err(FaultError::Segv { address, denied: false }));
    committed(&vm, 6);
    store(&space, AT + 991 * PAGE, 1).expect("as much as there is");
    committed(&vm, 10);
}

#[test]
fn a_child_is_committed() {
    let vm = limited(20);
    let space = vm.create_space().expect("a space");
    map(&space, 0, 8, RW).expect("room");
    map(&space, 10, 3, Prot::READ).expect("room");
    store(&space, AT, 1).expect("memory");
    let child = space.fork().expect("a child");
    committed(&vm, 16);
    let free = vm.free_frames();
    assert_eq!(space.fork().map(|_| ()).err(), over(8).err());
    vm.quiesce();
    assert_eq!(vm.free_frames(), free);
    committed(&vm, 16);
    space.advise(AT, 4 * PAGE, Advice::DontFork).expect("advice");
    space.advise(AT + 4 * PAGE, PAGE, Advice::WipeOnFork).expect("advice");
    let other = space.fork().expect("a child that has less");
    committed(&vm, 20);
    assert_eq!(is_committed(&other), [(4, 5, true), (5, 8, true), (10, 13, false)]);
    drop(child);
    committed(&vm, 12);
    drop((space, other));
    committed(&vm, 0);
}

#[test]
fn shared_memory_is_committed_as_long_as_it_is_there() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    let at = space.map(&MapRequest::shared(4 * PAGE, Prot::READ)).expect("room");
    committed(&vm, 4);
    assert_eq!(space.map(&MapRequest::shared(7 * PAGE, RW)).map(|_| ()), over(7));
    let object = vm.shared_memory(5).expect("memory");
    assert_eq!(object.extend(7 * PAGE), over(2));
    object.extend(5 * PAGE + 1).expect("one more");
    committed(&vm, 10);
    object.truncate(2 * PAGE - 1).expect("shorter");
    committed(&vm, 6);
    let show = |pages: u64| MapRequest::object(&object, 0, Sharing::Shared, pages * PAGE, RW);
    space.map(&show(3)).expect("what shows it is not committed once more");
    let child = space.fork().expect("a child");
    drop((space, object));
    committed(&vm, 6);
    child.unmap(at, 3 * PAGE).expect("a part");
    committed(&vm, 6);
    child.unmap(at + 3 * PAGE, PAGE).expect("the rest");
    committed(&vm, 2);
    drop(child);
    committed(&vm, 0);
}

/// Each allocation fails in turn: what is committed is as before, or as after.
#[test]
fn what_fails_for_memory_commits_nothing() {
    type Operation = fn(&TestVm, &TestSpace<'_>) -> Result<(), Error>;
    let operations: [(Operation, u64); 8] = [
        (|_, space| map(space, 1 << 20, 700, RW), 700),
        (|_, space| protect(space, 3000, 700, RW), 700),
        (|_, space| space.remap(&remap(1, 3, 5, RemapPlace::MayMove, false)).map(|_| ()), 2),
        (|_, space| space.remap(&remap(1, 3, 3, RemapPlace::Fixed(AT + (1 << 21) * PAGE), true)).map(|_| ()), 3),
        (|_, space| space.fork().map(drop), 0),
        (|vm, _| vm.shared_memory(9).map(drop), 0),
        (|_, space| space.map(&MapRequest::shared(9 * PAGE, RW)).map(|_| ()), 9),
        (|_, space| space.brk(AT + (1 << 30) + 5 * PAGE).map(|_| ()), 5),
    ];
    for (number, (operation, more)) in operations.into_iter().enumerate() {
        for allowed in 0.. {
            let vm = limited(10_000);
            let space = vm.create_space().expect("a space");
            map(&space, 0, 1000, RW).expect("room");
            map(&space, 2000, 2000, Prot::READ).expect("room");
            space.set_brk_base(AT + (1 << 30)).expect("an address");
            store(&space, AT + PAGE, 1).expect("memory");
            vm.machine().allow_allocations(allowed);
            let result = operation(&vm, &space);
            vm.machine().allow_allocations(u64::MAX);
            committed(&vm, 1000 + if result.is_ok() { more } else { 0 });
            if result.is_ok() {
                break;
            }
            assert_eq!(result, Err(Error::OutOfMemory), "operation {number}");
            assert!(allowed < 100, "operation {number}");
        }
    }
}

/// The first mapping may be committed, both may not.
#[test]
fn protecting_in_part_ends_where_no_more_may_be_committed() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    map(&space, 0, 6, Prot::READ).expect("room");
    map(&space, 6, 1, Prot::EXECUTE).expect("room");
    map(&space, 7, 600, Prot::READ).expect("room");
    assert_eq!(protect(&space, 0, 607, RW), over(600));
    committed(&vm, 0);
    assert_eq!(space.protect_partly(AT, 607 * PAGE, RW), over(600));
    assert_eq!(is_committed(&space), [(0, 7, true), (7, 607, false)]);
    committed(&vm, 7);
}

#[test]
fn the_audit_recounts() {
    let vm = limited(10);
    let space = vm.create_space().expect("a space");
    map(&space, 0, 6, RW).expect("room");
    crate::cpu::Cx::enter(&vm).commit_pages(-1);
    assert_eq!(vm.audited().err(), Some(AuditError::Committed { counted: 6, recorded: 5 }));
    crate::cpu::Cx::enter(&vm).commit_pages(1);
    let ticket = vm.may_commit(4, || 0).expect("room");
    assert_eq!(vm.audited().err(), Some(AuditError::Tickets { pages: 4 }));
    assert_eq!(vm.may_commit(1, || 0).map(drop), over(1), "what somebody is about to commit counts");
    drop(ticket);
    vm.commitment().add_swap(1);
    assert_eq!(vm.audited().err(), Some(AuditError::CommitSwap { counted: 0, recorded: 1 }));
    vm.commitment().remove_swap(1);
    committed(&vm, 6);
}

#[test]
fn what_one_cpu_commits_another_gives_back() {
    become_cpu(0);
    let machine = TestMachine::<X86_64>::with(&[(0x100, 4096, 0)], &[0, 0]);
    let vm = Vm::new(machine).expect("a machine");
    vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(10 * PAGE)));
    let space = vm.create_space().expect("a space");
    for turn in 0..20 {
        become_cpu(turn % 2);
        map(&space, 0, 10, RW).expect("room");
        assert_eq!(map(&space, 20, 1, RW), over(1));
        become_cpu(1 - turn % 2);
        unmap(&space, 0, 10);
        committed(&vm, 0);
    }
}
