//! How often CPUs are asked what they have not told, and that nothing untold is passed by.

use super::{Collection, Members};
use crate::arch::Prot;
use crate::cpu::Cx;
use crate::ops::{Access, MapRequest, Place};
use crate::reclaim::Group;
use crate::testing::hooks::{Event, watched};
use crate::testing::{TestMachine, become_cpu};
use crate::{Space, Vm};
use core::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

const CPUS: usize = 4;
const PAGE: u64 = 4096;
const AT: u64 = 1 << 40;
const LIMIT: u64 = 1000;

fn boot() -> Vm<TestMachine> {
    become_cpu(0);
    Vm::new(TestMachine::with(&[(0x100, 4096, 0)], &[0; CPUS])).expect("a machine")
}

/// How often `act` looks at what CPUs have not told.
fn looks(vm: &Vm<TestMachine>, act: impl FnOnce()) -> u64 {
    // Not the own one: there a CPU looks whenever it counts.
    let untold: Vec<usize> = vm.cpus().skip(1).map(|cpu| (&raw const cpu.untold).addr()).collect();
    let looks = Rc::new(Cell::new(0));
    let number = looks.clone();
    let count = move |event| {
        let is_look = matches!(event, Event::Access(address, _) if untold.contains(&address));
        number.set(number.get() + u64::from(is_look));
    };
    watched(count, act);
    looks.get()
}

fn space_in<'vm>(group: &Group<'vm, TestMachine>) -> Space<'vm, TestMachine> {
    let space = group.create_space().expect("memory");
    let request = MapRequest::anonymous(2 * LIMIT * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT));
    assert_eq!(space.map(&request), Ok(AT));
    space
}

fn touch(space: &Space<'_, TestMachine>, pages: core::ops::Range<u64>) {
    pages.for_each(|page| _ = space.fault(AT + page * PAGE, Access::Write).expect("memory"));
}

fn members<'a>(space: &'a Space<'_, TestMachine>) -> &'a Members<TestMachine> {
    // SAFETY: the space's reference.
    unsafe { space.inner().group().expect("a group").as_ref() }
}

#[test]
fn a_group_near_its_limit_asks_all_cpus_once() {
    let vm = boot();
    let group = vm.create_group(LIMIT).expect("memory");
    let space = space_in(&group);
    assert_eq!(looks(&vm, || touch(&space, 0..800)), 0, "far from the limit");
    // With 31 pages untold by each of four CPUs it is near from 876 on.
    let asked = looks(&vm, || touch(&space, 800..LIMIT));
    assert!((1..=2 * CPUS as u64).contains(&asked), "{asked} looks in a hundred faults near the limit");
    assert!(space.fault(AT + LIMIT * PAGE, Access::Write).is_err(), "{group:?}");
}

#[test]
fn what_a_cpu_counts_later_is_asked_for_anew() {
    let vm = boot();
    let group = vm.create_group(900).expect("memory");
    let space = space_in(&group);
    touch(&space, 0..850);
    assert!(!members(&space).is_full(&vm));
    // Far from a higher limit another CPU counts for itself, with what it has told as little as that one wants.
    group.set_limit(4 * LIMIT);
    become_cpu(1);
    touch(&space, 850..870);
    become_cpu(0);
    assert_eq!(members(&space).told(), 850);
    group.set_limit(870);
    assert!(members(&space).is_full(&vm), "{group:?}");
    assert_eq!(members(&space).told(), 870);
}

/// A CPU that counts for itself while another collects is seen by that one, or has the next who asks look again.
#[test]
fn a_collection_ends_only_if_nobody_has_counted_meanwhile() {
    let vm = boot();
    let collection = Collection::<TestMachine>::new();
    let begun = collection.begin();
    assert!(!collection.is_done());
    collection.end(begun);
    assert!(collection.is_done());
    // Undone meanwhile; also if it was begun by another since.
    let begun = collection.begin();
    collection.undo();
    collection.end(begun);
    assert!(!collection.is_done());
    let begun = collection.begin();
    collection.undo();
    let other = collection.begin();
    collection.end(begun);
    assert!(!collection.is_done(), "ended by one who had begun before something was counted");
    collection.end(other);
    assert!(collection.is_done());
    drop(Cx::enter(&vm));
}
