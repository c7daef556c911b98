//! Tests of migration on a host-backed machine.

use crate::arch::{Prot, X86_64};
use crate::ops::{Advice, MapRequest, Place};
use crate::space::Space;
use crate::stat::Event;
use crate::testing::user::{load, store};
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use std::vec::Vec;

const PAGE: u64 = 4096;
const AT: u64 = 16 * PAGE;

/// What page number `page` holds.
fn value(page: u64) -> u8 {
    (page % 250) as u8 + 1
}

fn program(vm: &Vm<TestMachine>, pages: u64) -> Space<'_, TestMachine> {
    let space = vm.create_space().expect("memory");
    space.map(&MapRequest::anonymous(pages * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
    (0..pages).for_each(|page| store(&space, AT + page * PAGE, value(page)).expect("memory"));
    space
}

fn node_of(space: &Space<'_, TestMachine>, page: u64) -> u8 {
    space.vm().physical().frame(space.translate(AT + page * PAGE).expect("a page").pfn).node()
}

/// Pages of the program whose memory is compacted.
const PAGES: u64 = 3000;

#[test]
fn compaction_makes_large_blocks_of_scattered_pages() {
    become_cpu(0);
    let vm = Vm::new(TestMachine::<X86_64>::with(&[(0x200, 4096, 0)], &[0])).expect("a machine that boots");
    let space = vm.create_space().expect("memory");
    space.map(&MapRequest::anonymous(PAGES * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
    // The page tables first, so that they do not lie between the pages: they cannot be moved.
    for page in (0..PAGES).step_by(512).chain(0..PAGES) {
        store(&space, AT + page * PAGE, value(page)).expect("memory");
    }
    // Every other page goes, so that no two free frames are neighbours.
    (0..PAGES).step_by(2).for_each(|page| space.unmap(AT + page * PAGE, PAGE).expect("a mapping"));
    let block = || {
        let cx = crate::cpu::Cx::enter(&vm);
        let block = cx.alloc_frame(9, crate::phys::AllocFlags::NONE).ok();
        block.inspect(|&block| cx.free_frame(block)).is_some()
    };
    let mut taken = Vec::new();
    while block() {
        let cx = crate::cpu::Cx::enter(&vm);
        taken.push(cx.alloc_frame(9, crate::phys::AllocFlags::NONE).expect("a block"));
    }
    assert!(vm.compact(0, 9), "there is a block's worth of free frames");
    assert!(block());
    let of = |event| vm.totals().get(event);
    assert!(of(Event::MigrateSuccess) > 0 && of(Event::CompactSuccess) == 1, "{:?}", of(Event::MigrateSuccess));
    (1..PAGES).step_by(2).for_each(|page| assert_eq!(load(&space, AT + page * PAGE), Ok(value(page))));
    let cx = crate::cpu::Cx::enter(&vm);
    taken.into_iter().for_each(|block| cx.free_frame(block));
    drop(cx);
    vm.audited().expect("a sound machine");
}

#[test]
fn pages_not_used_are_demoted() {
    become_cpu(0);
    let machine = TestMachine::<X86_64>::with(&[(0x100, 2000, 0), (0x2000, 2000, 1)], &[0]).with_demotion();
    let vm = Vm::new(machine).expect("a machine that boots");
    let space = program(&vm, 40);
    space.advise(AT, 10 * PAGE, Advice::Cold).expect("a mapping");
    let cold = (0..4).map(|_| vm.demote(0, 10)).sum::<u64>();
    assert!(cold >= 10, "{cold}");
    assert_eq!((0..10).map(|page| node_of(&space, page)).collect::<Vec<_>>(), [1; 10]);
    assert_eq!(vm.totals().get(Event::Demoted), cold);
    assert_eq!(vm.demote(1, 10), 0, "there is no slower node");
    (0..40).for_each(|page| assert_eq!(load(&space, AT + page * PAGE), Ok(value(page))));
    vm.audited().expect("a sound machine");
}

#[test]
fn pages_move_with_everything_they_are() {
    become_cpu(0);
    let machine = TestMachine::<X86_64>::with(&[(0x100, 2000, 0), (0x2000, 2000, 1)], &[0]).with_compressor();
    let vm = Vm::new(machine).expect("a machine that boots");
    vm.set_compressed_limit(100);
    vm.swap_on_memory(100, 0).expect("an area");
    let parent = program(&vm, 8);
    let child = parent.fork().expect("memory");
    store(&child, AT, 99).expect("memory");
    // Pages in the swap cache, some of which the child has in swap only.
    vm.reclaim(0, 100);
    (0..4).for_each(|page| assert_eq!(load(&parent, AT + page * PAGE), Ok(value(page))));
    let (moved, failed) = parent.move_pages(AT, 8 * PAGE, 1).expect("a range");
    assert!(moved >= 4 && failed == 0, "{moved}, {failed}");
    assert_eq!(node_of(&parent, 1), 1);
    vm.audited().expect("a sound machine");
    (1..8).for_each(|page| assert_eq!(load(&child, AT + page * PAGE), Ok(value(page))));
    assert_eq!((load(&child, AT), load(&parent, AT)), (Ok(99), Ok(1)));
    // Alone, it is stored to without a copy; shared, with one.
    store(&parent, AT + PAGE, 55).expect("memory");
    assert_eq!(load(&child, AT + PAGE), Ok(2));
    vm.audited().expect("a sound machine");
    drop((parent, child));
    vm.quiesce();
    assert_eq!(vm.audited().expect("a sound machine").swap, Default::default());
}
