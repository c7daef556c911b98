//! Tests of what is kept for reverse mapping, and what walks go by and look at: it is counted.

use super::{A0, PAGE, TestSpace, boot, check, map, page_at, shift};
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::ops::{RemapPlace, RemapRequest};
use crate::phys::Folio;
use crate::rmap::Seek;
use crate::rmap::walk::each_mapping;
use crate::space::lineage::count_line;
use crate::stat::Event;
use crate::testing::TestMachine;
use crate::testing::user::store;
use crate::vm::Vm;
use std::vec::Vec;

const PAGES: u64 = 8;

/// Nodes in the line of a space, and how many of them have one.
fn line(space: &TestSpace<'_, X86_64>) -> (usize, usize) {
    count_line(&Cx::enter(space.vm()), space.inner())
}

/// Steps and looks of a walk to the entries of the page at `address`, all of which are found.
fn walked(vm: &Vm<TestMachine>, space: &TestSpace<'_, X86_64>, address: u64) -> (u64, u64) {
    let pfn = page_at(space, address);
    let count = || (vm.totals().get(Event::RmapStep), vm.totals().get(Event::RmapLook));
    let before = count();
    let cx = Cx::enter(vm);
    assert_eq!(
        each_mapping(&cx, vm.physical().frame(pfn), &Seek::page(Folio::single(pfn)), |_| true),
        vm.physical().frame(pfn).mappings()
    );
    drop(cx);
    let after = count();
    (after.0 - before.0, after.1 - before.1)
}

/// Each generation stores to a page, so there are pages of many generations, and ends as soon as it has a child.
#[test]
fn generations_that_have_ended_take_no_memory() {
    let vm = boot::<X86_64>();
    let mut space = vm.create_space().expect("memory");
    map(&space, A0, PAGES);
    let mut slabs = Vec::new();
    for generation in 0..1000 {
        store(&space, A0 + generation % PAGES * PAGE, 9).expect("memory");
        space = space.fork().expect("memory");
        let (nodes, live) = line(&space);
        assert!(nodes <= 3 && live == 1, "{nodes} nodes in generation {generation}");
        if generation % 100 == 99 {
            vm.quiesce();
            slabs.push(vm.usage().slab);
        }
    }
    assert!(slabs.iter().all(|frames| frames == &slabs[0]), "{slabs:?}");
    for page in 0..PAGES {
        let (steps, looks) = walked(&vm, &space, A0 + page * PAGE);
        assert!(steps <= 4 && looks == 1, "{steps} steps, {looks} looks");
    }
    vm.audited().expect("a sound machine");
}

/// As before with two children each time, of which now the elder goes on, now the younger.
#[test]
fn generations_with_brothers_take_no_memory() {
    let vm = boot::<X86_64>();
    let mut space = vm.create_space().expect("memory");
    map(&space, A0, PAGES);
    let mut most = 0;
    for generation in 0..500 {
        store(&space, A0 + generation % PAGES * PAGE, 9).expect("memory");
        let mut children = [space.fork().expect("memory"), space.fork().expect("memory")];
        for (child, page) in children.iter().zip([1, 2]) {
            store(child, A0 + (generation + page) % PAGES * PAGE, 7).expect("memory");
        }
        children.swap(0, (generation % 3 % 2) as usize);
        let [heir, _] = children;
        space = heir;
        most = most.max(line(&space).0);
    }
    assert!(most <= 6, "{most} nodes");
    let _ = (0..PAGES).map(|page| walked(&vm, &space, A0 + page * PAGE)).collect::<Vec<_>>();
    vm.audited().expect("a sound machine");
}

/// Of many generations that lived at one time one is left: its pages bear all their names. Walks go by those once.
#[test]
fn walks_pass_by_generations_that_have_ended() {
    const GENERATIONS: u64 = 100;
    let vm = boot::<X86_64>();
    let mut line_of = Vec::from([vm.create_space().expect("memory")]);
    map(&line_of[0], A0, 1);
    for generation in 1..GENERATIONS {
        let child = line_of[generation as usize - 1].fork().expect("memory");
        map(&child, A0 + generation * PAGE, 1);
        line_of.push(child);
    }
    let last = line_of.pop().expect("the last");
    drop(line_of);
    assert_eq!(line(&last), (GENERATIONS as usize, 1));
    let pages = |space: &TestSpace<'_, X86_64>| -> Vec<_> {
        (0..GENERATIONS).map(|page| walked(&vm, space, A0 + page * PAGE)).collect()
    };
    let first = pages(&last);
    assert!(first.iter().map(|(steps, _)| steps).sum::<u64>() <= 5 * GENERATIONS, "{first:?}");
    let again = pages(&last);
    assert!(again.iter().all(|&(steps, looks)| steps <= 3 && looks == 1), "{again:?}");
    // Their names are used again, by whoever comes.
    let mut space = last;
    for generation in 0..200 {
        let brother = space.fork().expect("memory");
        store(&space, A0 + generation % GENERATIONS * PAGE, 5).expect("memory");
        space = space.fork().expect("memory");
        drop(brother);
        assert!(line(&space).0 <= GENERATIONS as usize + 3, "{:?}", line(&space));
    }
    pages(&space);
    vm.audited().expect("a sound machine");
}

/// Whatever forks and ends in whatever order: every page is found, and there are no more nodes than a few for each of
/// the spaces that lived at one time.
#[test]
fn pages_are_found_whoever_has_ended() {
    const MOST: usize = 6;
    let vm = boot::<X86_64>();
    let mut random = 7u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut spaces = Vec::from([vm.create_space().expect("memory")]);
    map(&spaces[0], A0, PAGES);
    for turn in 0..3000 {
        let chosen = draw(spaces.len());
        match draw(4) {
            0 if spaces.len() < MOST => {
                let child = spaces[chosen].fork().expect("memory");
                spaces.push(child);
            }
            1 if spaces.len() > 1 => drop(spaces.swap_remove(chosen)),
            _ => store(&spaces[chosen], A0 + draw(PAGES as usize) as u64 * PAGE, turn as u8).expect("memory"),
        }
        let (nodes, live) = line(&spaces[0]);
        assert!(live == spaces.len() && nodes <= 3 * MOST, "{nodes} nodes for {live} spaces, turn {turn}");
        let of = &spaces[draw(spaces.len())];
        walked(&vm, of, A0 + draw(PAGES as usize) as u64 * PAGE);
    }
    for page in 0..PAGES {
        let pfn = page_at(&spaces[0], A0 + page * PAGE);
        let shown: Vec<_> = spaces.iter().filter(|space| page_at(space, A0 + page * PAGE) == pfn).collect();
        let expected: Vec<_> = shown.into_iter().map(|space| (space, A0 + page * PAGE)).collect();
        check(&vm, pfn, &expected);
    }
}

/// Of many mappings that were moved, each by another distance, a walk looks at the one that the page can be in.
#[test]
fn walks_look_where_the_page_can_be() {
    const MOVED: u64 = 40;
    let vm = boot::<X86_64>();
    let space = vm.create_space().expect("memory");
    map(&space, A0, 2 * MOVED);
    let place = |number| A0 + (200 + 5 * number) * PAGE;
    (0..MOVED).for_each(|number| shift(&space, A0 + 2 * number * PAGE, 1, place(number)));
    let child = space.fork().expect("memory");
    for number in 0..MOVED {
        let moved = place(number);
        check(&vm, page_at(&space, moved), &[(&space, moved), (&child, moved)]);
        let (_, looks) = walked(&vm, &space, moved);
        assert!(looks <= 4, "{looks} places for two mappings");
        let (_, looks) = walked(&vm, &space, A0 + (2 * number + 1) * PAGE);
        assert_eq!(looks, 2);
    }
}

/// A mapping that was moved gets longer, and its rights change: its new pages are found.
#[test]
fn pages_of_mappings_that_grow_are_found() {
    let vm = boot::<X86_64>();
    let space = vm.create_space().expect("memory");
    map(&space, A0, 2);
    let at = A0 + 100 * PAGE;
    shift(&space, A0, 2, at);
    space.protect(at, PAGE, Prot::READ).expect("rights");
    let (old, place) = (at + PAGE, RemapPlace::InPlace);
    let request = RemapRequest { old, old_length: PAGE, new_length: 4 * PAGE, place, keep_old: false };
    space.remap(&request).expect("room");
    for page in 1..5 {
        store(&space, at + page * PAGE, 8).expect("memory");
    }
    let child = space.fork().expect("memory");
    for page in 0..5 {
        let here = at + page * PAGE;
        check(&vm, page_at(&space, here), &[(&space, here), (&child, here)]);
    }
}
