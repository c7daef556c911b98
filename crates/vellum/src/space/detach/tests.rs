//! Whole leaves that go: few flushes, no table left behind, wherever in a mapping they lie.

use crate::arch::{Prot, X86_64, entries};
use crate::ops::{Advice, MapRequest, Place};
use crate::testing::user::{load, store};
use crate::testing::{TestMachine, become_cpu};
use crate::{Event, Space, Vm};

const PAGE: u64 = 4096;
const LEAVES: u64 = 32;

type Operation = fn(&Space<'_, TestMachine>, u64, u64);

/// The flushes of `operation` on [`LEAVES`] leaves, of which two pages each are touched, in the middle of a mapping of
/// two more; and how many tables it has freed.
fn flushes_of(operation: Operation) -> (u64, u64) {
    become_cpu(0);
    let vm = Vm::new(TestMachine::<X86_64>::new(40_000)).expect("a machine that boots");
    let space = vm.create_space().expect("memory");
    let leaf = entries::<X86_64>(0) as u64 * PAGE;
    let start = 5 * leaf;
    let all = MapRequest::anonymous((LEAVES + 2) * leaf, Prot::READ_WRITE).at(Place::Fixed(start - leaf));
    space.map(&all).expect("room");
    for number in 0..LEAVES + 2 {
        for page in [0, 511] {
            store(&space, start - leaf + number * leaf + page * PAGE, 7).expect("memory");
        }
    }
    let count = || [Event::FlushBatch, Event::TableFree].map(|event| vm.totals().get(event));
    let [flushes, tables] = count();
    operation(&space, start, LEAVES * leaf);
    let [flushes, tables] = [count()[0] - flushes, count()[1] - tables];
    assert_eq!(space.rss().anonymous, 4);
    assert_eq!([start - PAGE, start + LEAVES * leaf].map(|at| load(&space, at)), [Ok(7); 2]);
    assert!(!matches!(load(&space, start), Ok(7)));
    vm.audited().expect("a sound machine");
    drop(space);
    vm.quiesce();
    vm.audited().expect("a sound machine");
    (flushes, tables)
}

#[test]
fn many_leaves_go_with_one_flush() {
    let unmap: Operation = |space, start, length| space.unmap(start, length).expect("no error");
    let discard: Operation = |space, start, length| space.advise(start, length, Advice::DontNeed).expect("mapped");
    let guard: Operation = |space, start, length| space.advise(start, length, Advice::GuardInstall).expect("mapped");
    let replace: Operation = |space, start, length| {
        let request = MapRequest::anonymous(length, Prot::READ).at(Place::Fixed(start));
        space.map(&request).map(|_| ()).expect("room");
    };
    for (name, operation) in [("unmap", unmap), ("discard", discard), ("replace", replace)] {
        let (flushes, tables) = flushes_of(operation);
        assert!(flushes <= 2 && tables == LEAVES, "{name}: {flushes} flushes, {tables} tables");
    }
    // Where each class becomes another there may be no room to say so above, and then leaves stay.
    let (_, tables) = flushes_of(guard);
    assert!(tables <= LEAVES);
}
