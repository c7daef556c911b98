//! Tests of reclaim on a host-backed machine.

use super::folio::take_old;
use super::shrink::Choice;
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::ops::{Advice, HugePages, MapRequest, Place};
use crate::overcommit::Overcommit;
use crate::phys::{AllocFlags, Policy};
use crate::space::Space;
use crate::stat::Event;
use crate::testing::user::{load, store};
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use std::vec;

const PAGE: u64 = 4096;
const AT: u64 = 16 * PAGE;

fn boot() -> Vm<TestMachine> {
    become_cpu(0);
    let machine = TestMachine::<X86_64>::with(&[(0x100, 2000, 0)], &[0]).with_compressor();
    let vm = Vm::new(machine).expect("a machine that boots");
    vm.set_compressed_limit(500);
    vm.swap_on_memory(1000, 0).expect("an area");
    vm
}

fn program(vm: &Vm<TestMachine>, pages: u64) -> Space<'_, TestMachine> {
    let space = vm.create_space().expect("memory");
    space.map(&MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
    (0..pages).for_each(|page| store(&space, AT + page * PAGE, page as u8 + 1).expect("memory"));
    space
}

fn check(space: &Space<'_, TestMachine>, pages: u64) {
    (0..pages).for_each(|page| assert_eq!(load(space, AT + page * PAGE), Ok(page as u8 + 1)));
    space.vm().audited().expect("a sound machine");
}

#[test]
fn what_comes_back_soon_counts_as_in_use() {
    let vm = boot();
    let space = program(&vm, 8);
    space.advise(AT, 8 * PAGE, Advice::PageOut).expect("a mapping");
    assert_eq!((space.rss().anonymous, space.rss().swapped), (0, 8));
    let refaults = |event| vm.totals().get(event);
    load(&space, AT).expect("memory");
    assert_eq!((refaults(Event::RefaultAnonymous), refaults(Event::ActivateAnonymous)), (8, 8), "with the neighbours");
    let frame = vm.physical().frame(space.translate(AT).expect("a page").pfn);
    assert_eq!(frame.generation(), vm.physical().generation(0));
    check(&space, 8);
    // More evictions than the node has frames: it would not have stayed.
    space.advise(AT, 8 * PAGE, Advice::PageOut).expect("a mapping");
    (0..vm.physical().managed(0)).for_each(|_| {
        vm.physical().count_eviction(0);
    });
    load(&space, AT).expect("memory");
    assert_eq!((refaults(Event::RefaultAnonymous), refaults(Event::ActivateAnonymous)), (16, 8));
    check(&space, 8);
}

#[test]
fn pages_in_use_stay_longest() {
    let vm = boot();
    let space = program(&vm, 64);
    // The first turn looks at all pages for the first time, the next ones take their marks.
    let mut freed = 0;
    while freed == 0 {
        freed = vm.reclaim(0, 1);
        (0..8).for_each(|page| {
            space.fault(AT + page * PAGE, crate::ops::Access::Read).expect("memory");
        });
    }
    while space.rss().anonymous > 30 {
        assert!(vm.reclaim(0, 1) > 0);
        (0..8).for_each(|page| {
            space.fault(AT + page * PAGE, crate::ops::Access::Read).expect("memory");
        });
    }
    let major = vm.totals().get(Event::MajorFault);
    (0..8).for_each(|page| assert_eq!(load(&space, AT + page * PAGE), Ok(page as u8 + 1)));
    assert!(vm.totals().get(Event::MajorFault) - major <= 1, "pages in use went before others");
    check(&space, 64);
}

#[test]
fn what_was_given_up_goes_unless_it_is_stored_to() {
    let vm = boot();
    let space = program(&vm, 4);
    space.advise(AT, 4 * PAGE, Advice::Free).expect("a mapping");
    store(&space, AT + PAGE, 77).expect("memory");
    vm.reclaim(0, 1000);
    assert_eq!(vm.totals().get(Event::LazyFreed), 3);
    let now = [0, 1, 2, 3].map(|page| load(&space, AT + page * PAGE).expect("memory"));
    assert_eq!(now, [0, 77, 0, 0]);
    vm.audited().expect("a sound machine");
}

#[test]
fn reclaim_in_the_background_stops_when_there_is_enough() {
    let vm = boot();
    let space = program(&vm, 200);
    assert_eq!((vm.needs_reclaim(), vm.reclaim_background()), (None, 0));
    let mut more = std::vec::Vec::new();
    while vm.needs_reclaim().is_none() {
        more.push(program(&vm, 50));
    }
    assert!(vm.reclaim_background() > 0);
    assert_eq!(vm.needs_reclaim(), None);
    more.iter().for_each(|space| check(space, 50));
    check(&space, 200);
    let _ = vm.machine().now();
}

/// Whatever needs memory frees some, `set_policy` as its sisters.
#[test]
fn a_policy_is_set_where_memory_has_to_be_freed_for_it() {
    const FAR: u64 = 1 << 40;
    let vm = boot();
    let space = program(&vm, 200);
    vm.set_overcommit(Overcommit::Always);
    let request = MapRequest::anonymous(1 << 30, Prot::READ_WRITE).at(Place::Fixed(FAR));
    space.map(&request).expect("room");
    let mut taken = std::vec::Vec::new();
    while let Ok(pfn) = Cx::enter(&vm).alloc_frame(0, AllocFlags::NONE) {
        taken.push(pfn);
    }
    assert_eq!(space.set_policy(FAR + PAGE, PAGE, Policy::Preferred(0)), Ok(()));
    taken.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    check(&space, 200);
}

/// A folio waits for a list to be written first, and its turn does not come.
#[test]
fn a_folio_whose_turn_does_not_come_is_given_up() {
    const PAGES: u64 = 512;
    const HUGE: u64 = 16 * PAGES * PAGE;
    let vm = boot();
    vm.set_huge_pages(HugePages::Always);
    let space = vm.create_space().expect("memory");
    space.map(&MapRequest::anonymous(PAGES * PAGE, Prot::READ_WRITE).at(Place::Fixed(HUGE))).expect("room");
    (0..PAGES).for_each(|page| store(&space, HUGE + page * PAGE, page as u8).expect("memory"));
    let head = space.translate(HUGE).expect("a page").pfn;
    let frame = vm.physical().frame(head);
    assert_eq!(frame.order(), 9);
    let going = take_old(&vm, &Cx::enter(&vm), head, frame, (0, Choice::All));
    assert!(going.is_some() && !frame.folio_lock().try_acquire());
    drop(going);
    assert!(frame.folio_lock().try_acquire(), "nobody has it");
    frame.folio_lock().release(&vm);
    assert_eq!((frame.order(), frame.references(), vm.swap_usage().used), (9, 1, 0));
    (0..PAGES).for_each(|page| assert_eq!(load(&space, HUGE + page * PAGE), Ok(page as u8)));
    vm.audited().expect("a sound machine");
}

/// A machine with `cpus` CPUs.
fn boot_with(cpus: usize) -> Vm<TestMachine> {
    become_cpu(0);
    let machine = TestMachine::<X86_64>::with(&[(0x100, 2000, 0)], &vec![0; cpus]).with_compressor();
    let vm = Vm::new(machine).expect("a machine that boots");
    vm.set_compressed_limit(500);
    vm.swap_on_memory(1000, 0).expect("an area");
    vm
}

#[test]
fn a_group_is_exact_near_its_limit() {
    const LIMIT: u64 = 600;
    let vm = boot_with(4);
    let group = vm.create_group(LIMIT).expect("memory");
    let space = group.create_space().expect("memory");
    space.map(&MapRequest::anonymous(1000 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
    for page in 0..LIMIT {
        become_cpu(page as usize * 7 % 4);
        store(&space, AT + page * PAGE, 1).expect("memory");
        assert_eq!(group.pages(), page + 1);
    }
    assert_eq!(vm.totals().get(Event::GroupLimit), 0, "as many as the limit says");
    for page in LIMIT..1000 {
        become_cpu(page as usize % 4);
        store(&space, AT + page * PAGE, 1).expect("memory");
        assert!(group.pages() <= LIMIT, "{} pages", group.pages());
        assert_eq!(group.pages(), space.rss().anonymous);
    }
    become_cpu(0);
    assert!(vm.totals().get(Event::GroupLimit) > 0);
    vm.audited().expect("a sound machine");
}

#[test]
fn cpus_that_did_not_tell_do_not_hide_that_a_group_is_full() {
    // Each CPU counts so few pages that it tells the group nothing.
    let vm = boot_with(8);
    let group = vm.create_group(8 * 25).expect("memory");
    let space = group.create_space().expect("memory");
    space.map(&MapRequest::anonymous(1000 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
    group.set_limit(1 << 20);
    for page in 0..8 * 25 {
        become_cpu(page as usize % 8);
        store(&space, AT + page * PAGE, 1).expect("memory");
    }
    become_cpu(0);
    group.set_limit(8 * 25);
    assert_eq!(vm.totals().get(Event::GroupLimit), 0);
    store(&space, AT + 8 * 25 * PAGE, 1).expect("memory");
    assert_eq!(vm.totals().get(Event::GroupLimit), 1);
}

#[test]
fn a_group_inherits_nothing() {
    let vm = boot_with(2);
    for _ in 0..3 {
        let group = vm.create_group(1 << 20).expect("memory");
        assert_eq!(group.pages(), 0);
        let space = group.create_space().expect("memory");
        space.map(&MapRequest::anonymous(100 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
        (0..50).for_each(|page| store(&space, AT + page * PAGE, 1).expect("memory"));
        become_cpu(1);
        (0..25).for_each(|page| space.unmap(AT + page * PAGE, PAGE).expect("a mapping"));
        assert_eq!(group.pages(), 25);
        become_cpu(0);
        (25..50).for_each(|page| space.unmap(AT + page * PAGE, PAGE).expect("a mapping"));
        assert_eq!(group.pages(), 0);
        // The next one lies where this one did.
        drop((group, space));
        vm.quiesce();
    }
    vm.audited().expect("a sound machine");
}

#[test]
fn groups_are_counted_beside_each_other() {
    let vm = boot_with(4);
    let groups = [0, 1].map(|_| vm.create_group(1 << 20).expect("memory"));
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (vm, groups) = (&vm, &groups);
            scope.spawn(move || {
                become_cpu(cpu);
                for round in 0..40 {
                    let space = groups[(round + cpu) % 2].create_space().expect("memory");
                    space.map(&MapRequest::anonymous(40 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
                    (0..40).for_each(|page| store(&space, AT + page * PAGE, 1).expect("memory"));
                    drop(space);
                    vm.quiesce();
                }
            });
        }
        become_cpu(0);
    });
    assert_eq!(groups.each_ref().map(|group| group.pages()), [0, 0]);
    vm.audited().expect("a sound machine");
}
