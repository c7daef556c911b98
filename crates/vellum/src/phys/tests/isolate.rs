//! Putting blocks together.

use super::*;
use crate::phys::isolate::Isolation;

/// All frames of node 0, allocated one by one and made anonymous pages; ascending.
fn fill_up(vm: &TestVm) -> Vec<Pfn> {
    let cx = Cx::enter(vm);
    let mut pfns: Vec<Pfn> = core::iter::from_fn(|| cx.alloc_block_on(0, 0, RESERVE).ok()).collect();
    pfns.sort();
    pfns.iter().for_each(|&pfn| vm.physical().frame(pfn).set_kind(Kind::Anonymous, 0));
    pfns
}

/// Frees those of `pfns` that `is_wanted`, and gives them back to the zones.
fn free_some(vm: &TestVm, pfns: &mut Vec<Pfn>, is_wanted: impl Fn(Pfn) -> bool) {
    free_batch(vm, pfns.extract_if(.., |pfn| is_wanted(*pfn)));
    drain(vm);
}

fn missing(isolation: &Isolation) -> Vec<u64> {
    isolation.missing().map(|pfn| pfn.0).collect()
}

#[test]
fn a_block_is_put_together_from_free_and_emptied_frames() {
    for order in [0, 1, 6, 9, 10] {
        let vm = boot(&[(0, 8192, 0)], &[0]);
        let at_first = blocks(&vm);
        let mut pfns = fill_up(&vm);
        let (start, size) = (2048, 1 << order);
        let inside = |pfn: Pfn| pfn.0 >= start && pfn.0 < start + size;
        // Half the machine becomes free, and all but every third frame of the block.
        free_some(&vm, &mut pfns, |pfn| pfn.0 >= 4096 || inside(pfn) && pfn.0 % 3 != 0);
        let cx = Cx::enter(&vm);
        let mut isolation = cx.isolate_block(Pfn(start), order).expect("a block");
        let expected: Vec<u64> = (start..start + size).filter(|pfn| pfn % 3 == 0).collect();
        assert_eq!(missing(&isolation), expected);
        let held = size - expected.len() as u64;
        drop(cx);
        assert_eq!(audit(&vm).frames(Kind::Isolated), held);
        let cx = Cx::enter(&vm);
        assert!(held == 0 || cx.isolate_block(Pfn(start), order).is_none(), "a block is put together once at a time");
        expected.iter().for_each(|&pfn| isolation.add(&cx, Pfn(pfn)));
        pfns.retain(|&pfn| !inside(pfn));
        assert_eq!(isolation.finish(&cx), Some(Pfn(start)));
        let frame = vm.physical().frame(Pfn(start));
        assert_eq!((frame.kind(), frame.order(), frame.references()), (Kind::Allocated, order, 0));
        drop(cx);
        assert_eq!(audit(&vm).frames(Kind::Allocated), size);
        Cx::enter(&vm).free_frame(Pfn(start));
        free_batch(&vm, pfns);
        drain(&vm);
        assert_eq!(blocks(&vm), at_first);
        assert_eq!(vm.totals().get(Event::Alloc), vm.totals().get(Event::Free));
        audit(&vm);
    }
}

#[test]
fn an_incomplete_block_is_given_back() {
    let vm = boot(&[(0, 8192, 0)], &[0]);
    let at_first = blocks(&vm);
    let mut pfns = fill_up(&vm);
    free_some(&vm, &mut pfns, |pfn| pfn.0 >= 4096 || (512..1024).contains(&pfn.0) && pfn.0 % 5 != 0);
    let before = blocks(&vm);
    let cx = Cx::enter(&vm);
    let isolation = cx.isolate_block(Pfn(512), 9).expect("a block");
    assert_eq!(isolation.finish(&cx), None);
    drop(cx);
    assert_eq!(blocks(&vm), before);
    audit(&vm);
    // Some frames are emptied, not all: they become free too.
    let cx = Cx::enter(&vm);
    let mut isolation = cx.isolate_block(Pfn(512), 9).expect("a block");
    let emptied: Vec<Pfn> = isolation.missing().skip(1).collect();
    emptied.iter().for_each(|&pfn| isolation.add(&cx, pfn));
    assert_eq!(missing(&isolation), [515]);
    assert_eq!(isolation.finish(&cx), None);
    drop(cx);
    pfns.retain(|pfn| !emptied.contains(pfn));
    audit(&vm);
    free_batch(&vm, pfns);
    drain(&vm);
    assert_eq!(blocks(&vm), at_first);
    assert_eq!(vm.totals().get(Event::Alloc), vm.totals().get(Event::Free));
}

#[test]
fn part_of_a_larger_free_block_is_split_off() {
    let vm = boot(&[(0, 8192, 0)], &[0]);
    let at_first = blocks(&vm);
    for (start, order) in [(1024, 9), (1536, 9), (1024 + 512 + 64, 3), (2047, 0), (1024, 10)] {
        let cx = Cx::enter(&vm);
        let isolation = cx.isolate_block(Pfn(start), order).expect("a block");
        assert_eq!(missing(&isolation), []);
        assert_eq!(isolation.finish(&cx), Some(Pfn(start)));
        drop(cx);
        audit(&vm);
        Cx::enter(&vm).free_frame(Pfn(start));
        drain(&vm);
        assert_eq!(blocks(&vm), at_first);
    }
}

#[test]
fn frames_on_cpus_lists_are_missing_unless_they_are_this_cpus() {
    let vm = boot(&[(0, 8192, 0)], &[0, 0]);
    let mut pfns = fill_up(&vm);
    free_some(&vm, &mut pfns, |pfn| pfn.0 >= 4096);
    pfns.retain(|pfn| pfn.0 >= 64);
    become_cpu(1);
    Cx::enter(&vm).alloc_frame(0, NONE).expect("memory");
    (0..10).for_each(|pfn| Cx::enter(&vm).free_frame(Pfn(pfn)));
    become_cpu(0);
    (10..20).for_each(|pfn| Cx::enter(&vm).free_frame(Pfn(pfn)));
    let cx = Cx::enter(&vm);
    let mut isolation = cx.isolate_block(Pfn(0), 6).expect("a block");
    assert_eq!(missing(&isolation), (0..10).chain(20..64).collect::<Vec<_>>());
    drop(cx);
    become_cpu(1);
    drain(&vm);
    (20..40).for_each(|pfn| Cx::enter(&vm).free_frame(Pfn(pfn)));
    become_cpu(0);
    let cx = Cx::enter(&vm);
    isolation.collect(&cx);
    assert_eq!(missing(&isolation), (20..64).collect::<Vec<_>>());
    assert_eq!(isolation.finish(&cx), None);
    drop(cx);
    audit(&vm);
}

#[test]
fn what_is_no_movable_block_is_refused() {
    let vm = boot(&[(64, 4000, 0), (4064, 1000, 0), (1 << 15, 1024, 1)], &[0]);
    let cx = Cx::enter(&vm);
    let refused = |start, order| assert!(cx.isolate_block(Pfn(start), order).is_none(), "{order} at {start}");
    // Unaligned, too large, outside, in a hole, across ranges, with the core's own frames at a range's end.
    for (start, order) in [(65, 1), (2048, 11), (2048, 255), (0, 6), (1 << 20, 3), (u64::MAX - 1023, 10)] {
        refused(start, order);
    }
    refused(3840, 8);
    refused(4056, 3);
    let table = cx.alloc_table_frame(AllocFlags::NONE).expect("memory");
    vm.physical().frame(table).set_kind(Kind::Table, 0);
    refused(table.0 & !63, 6);
    let block = cx.alloc_frame(4, NONE).expect("memory");
    refused(block.0 & !255, 8);
    refused(block.0 + 8, 3);
    assert!(cx.isolate_block(Pfn(2048), 9).and_then(|isolation| isolation.finish(&cx)).is_some());
    // Not enough is free to move a block's frames elsewhere.
    let block = cx.isolate_block(Pfn(1 << 15), 8).and_then(|isolation| isolation.finish(&cx)).expect("a block");
    while cx.alloc_block_on(1, 0, NONE).is_ok() {}
    (block.0..block.0 + 256).for_each(|pfn| vm.physical().frame(Pfn(pfn)).set_kind(Kind::Anonymous, 0));
    refused(block.0, 0);
    drop(cx);
    audit(&vm);
}

// Candidates

#[test]
fn the_candidate_has_the_fewest_frames_in_use() {
    let vm = boot(&[(0, 4096, 0), (4096, 4096, 1)], &[0]);
    let find = |node, order| vm.physical().find_candidate(vm.machine(), node, order);
    let mut pfns = fill_up(&vm);
    for (block, used) in [(0, 60), (1, 20), (3, 8), (4, 1), (5, 25), (6, 30)] {
        free_some(&vm, &mut pfns, |pfn| pfn.0 / 512 == block && pfn.0 % 512 >= used);
    }
    // The fewest in use, but one of them stays where it is.
    vm.physical().frame(Pfn(4 * 512)).set_kind(Kind::Table, 0);
    for _ in 0..3 {
        assert_eq!(find(0, 9), Some(Pfn(3 * 512)));
    }
    assert!(find(1, 9).is_some_and(|block| block.0 >= 4096));
    assert_eq!(find(2, 9), None);
    assert_eq!(find(200, 9), None);
    assert_eq!(find(0, 11), None);
    let free = find(0, 6).expect("a free block");
    assert_eq!(vm.physical().frame(free).references(), 0);
}

#[test]
fn searches_go_round_in_bounded_steps() {
    let vm = boot(&[(5, 40_000, 0)], &[0]);
    let mut pfns = fill_up(&vm);
    let size = 1024;
    free_some(&vm, &mut pfns, |pfn| pfn.0 % size != 7);
    let found: BTreeSet<u64> = (0..12)
        .filter_map(|_| vm.physical().find_candidate(vm.machine(), 0, 10))
        .map(|block| {
            assert!(block.0 % size == 0 && block.0 >= size && block.0 + size <= 40_005);
            block.0 / (16 * size)
        })
        .collect();
    assert_eq!(found.len(), 3, "every part of memory gets its turn");
    // Nothing can be moved.
    pfns.iter().for_each(|&pfn| vm.physical().frame(pfn).set_kind(Kind::Slab, 0));
    let none = (0..12).all(|_| vm.physical().find_candidate(vm.machine(), 0, 10).is_none());
    assert!(none);
}

#[test]
fn cpus_put_blocks_together_while_others_allocate() {
    const CPUS: usize = 4;
    let vm = boot(&[(0, 6000, 0), (6000, 3000, 1)], &[0, 1, 0, 1]);
    let at_first = blocks(&vm);
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let vm = &vm;
            scope.spawn(move || {
                become_cpu(cpu);
                let mut random = Random(cpu as u64 + 5);
                let mut owned: BTreeSet<Pfn> = BTreeSet::new();
                for _ in 0..1500 {
                    let cx = Cx::enter(vm);
                    if random.below(3) > 0 {
                        let pfns = (0..random.below(60)).map_while(|_| cx.alloc_frame(0, NONE).ok());
                        let pfns: Vec<Pfn> = pfns.collect();
                        pfns.iter().for_each(|&pfn| vm.physical().frame(pfn).set_kind(Kind::Anonymous, 0));
                        owned.extend(pfns);
                    } else {
                        let kept = random.below(owned.len() as u64 + 1) as usize;
                        while owned.len() > kept {
                            owned.pop_first().into_iter().for_each(|pfn| cx.free_frame(pfn));
                        }
                    }
                    let order = random.below(8) as u8;
                    let Some(start) = vm.physical().find_candidate(vm.machine(), cpu as u8 % 2, order) else {
                        continue;
                    };
                    let Some(mut isolation) = cx.isolate_block(start, order) else { continue };
                    let own: Vec<Pfn> = isolation.missing().filter(|pfn| owned.contains(pfn)).collect();
                    own.iter().for_each(|pfn| {
                        assert!(owned.remove(pfn));
                        isolation.add(&cx, *pfn);
                    });
                    if let Some(block) = isolation.finish(&cx) {
                        assert_eq!((vm.physical().frame(block).kind(), block), (Kind::Allocated, start));
                        cx.free_frame(block);
                    }
                }
                owned.into_iter().for_each(|pfn| Cx::enter(vm).free_frame(pfn));
                drain(vm);
            });
        }
    });
    assert_eq!(blocks(&vm), at_first);
    assert_eq!(audit(&vm).frames(Kind::Isolated), 0);
    assert_eq!(vm.totals().get(Event::Alloc), vm.totals().get(Event::Free));
}
