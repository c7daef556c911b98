//! How often CPUs are asked what they have not told, and that nothing untold is passed by.

use super::{Collection, Members};
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::machine::{Machine, Touch};
use crate::ops::{Access, MapRequest, Place};
use crate::reclaim::Group;
use crate::testing::{TestMachine, become_cpu, of_test_machine, without_translations};
use crate::{Space, Vm};
use core::cell::{Cell, RefCell};
use core::sync::atomic::AtomicU32;
use std::vec::Vec;

const CPUS: usize = 4;
const PAGE: u64 = 4096;
const AT: u64 = 1 << 40;
const LIMIT: u64 = 1000;

std::thread_local! {
    /// Where what CPUs have not told is, and how often it was looked at.
    static UNTOLD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static LOOKS: Cell<u64> = const { Cell::new(0) };
}

/// The test machine, which counts looks.
struct Counting(TestMachine);

// SAFETY: everything of substance is the test machine's.
unsafe impl Machine for Counting {
    type Arch = X86_64;

    of_test_machine!(0);
    without_translations!();
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {}
    fn sleep(&self, _word: &AtomicU32, _seen: u32) {}
    fn observe(address: usize, _touch: Touch) {
        let is_look = UNTOLD.with_borrow(|untold| untold.contains(&address));
        LOOKS.set(LOOKS.get() + u64::from(is_look));
    }
}

fn boot() -> Vm<Counting> {
    become_cpu(0);
    let vm = Vm::new(Counting(TestMachine::with(&[(0x100, 4096, 0)], &[0; CPUS]))).expect("a machine");
    // Not the own one: there a CPU looks whenever it counts.
    UNTOLD.set(vm.cpus().skip(1).map(|cpu| (&raw const cpu.untold).addr()).collect());
    vm
}

fn looks(act: impl FnOnce()) -> u64 {
    let before = LOOKS.get();
    act();
    LOOKS.get() - before
}

fn space_in<'vm>(group: &Group<'vm, Counting>) -> Space<'vm, Counting> {
    let space = group.create_space().expect("memory");
    let request = MapRequest::anonymous(2 * LIMIT * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT));
    assert_eq!(space.map(&request), Ok(AT));
    space
}

fn touch(space: &Space<'_, Counting>, pages: core::ops::Range<u64>) {
    pages.for_each(|page| _ = space.fault(AT + page * PAGE, Access::Write).expect("memory"));
}

fn members<'a>(space: &'a Space<'_, Counting>) -> &'a Members<Counting> {
    // SAFETY: the space's reference.
    unsafe { space.inner().group().expect("a group").as_ref() }
}

#[test]
fn a_group_near_its_limit_asks_all_cpus_once() {
    let vm = boot();
    let group = vm.create_group(LIMIT).expect("memory");
    let space = space_in(&group);
    assert_eq!(looks(|| touch(&space, 0..800)), 0, "far from the limit");
    // With 31 pages untold by each of four CPUs it is near from 876 on.
    let asked = looks(|| touch(&space, 800..LIMIT));
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
    let collection = Collection::<Counting>::new();
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
