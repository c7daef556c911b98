//! The clock hand of a node, and its watermarks.

use super::*;
use crate::phys::stats::NodeStats;
use core::ops::ControlFlow;

/// The frames the next scan of `frames` visits, and whether it ended a turn.
fn scan(vm: &TestVm, node: u8, frames: usize) -> (Vec<u64>, u8) {
    let mut seen = Vec::new();
    let turns = vm.physical().scan(vm.machine(), node, frames, &mut |pfn, _| {
        seen.push(pfn.0);
        ControlFlow::Continue(())
    });
    (seen, turns)
}

/// The first frames, of all blocks and of single ones, of what a turn of `node` has to visit.
fn in_use(vm: &TestVm, node: u8) -> Vec<u64> {
    let mut all = Vec::new();
    vm.physical().for_each_frame(|pfn, frame| {
        let is_used = !matches!(frame.kind(), Kind::Absent | Kind::Free | Kind::Tail);
        all.extend((is_used && frame.node() == node).then_some(pfn.0));
    });
    all
}

fn turn(vm: &TestVm, node: u8, frames: usize) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let (seen, turns) = scan(vm, node, frames);
        all.extend(seen);
        if turns > 0 {
            return all;
        }
    }
}

#[test]
fn a_turn_visits_what_is_in_use_once_and_nothing_else() {
    // Holes within a section and of whole sections, and ranges of the other node between.
    let ranges = [(3, 700, 0), (900, 300, 1), (1200, 77, 0), (2000, 0, 0), (5 << 15, 500, 1), (9 << 15, 1500, 0)];
    let vm = boot(&ranges, &[0, 1]);
    let cx = Cx::enter(&vm);
    for order in [0, 0, 3, 9, 0, 5, 1] {
        assert!(cx.alloc_frame(order, NONE).is_ok());
    }
    drop(cx);
    for frames in [1, 7, 64, 100, 100_000] {
        for node in [0, 1] {
            assert_eq!(turn(&vm, node, frames), in_use(&vm, node), "node {node}, {frames} at a time");
        }
    }
    assert_eq!(scan(&vm, 7, 100), (Vec::new(), 0));
    assert_eq!(scan(&vm, 200, 100), (Vec::new(), 0));
    assert_eq!(scan(&vm, 0, 0), (Vec::new(), 0));
    audit(&vm);
}

#[test]
fn a_scan_that_breaks_off_goes_on_behind() {
    let vm = boot(&[(3, 700, 0), (1200, 77, 0)], &[0]);
    let cx = Cx::enter(&vm);
    for order in [0, 3, 8, 0, 5, 1] {
        assert!(cx.alloc_frame(order, NONE).is_ok());
    }
    drop(cx);
    for frames in [1, 7, 64, 100_000] {
        let (mut seen, mut turns) = (Vec::new(), 0);
        while turns == 0 {
            turns = vm.physical().scan(vm.machine(), 0, frames, &mut |pfn, _| {
                seen.push(pfn.0);
                ControlFlow::Break(())
            });
        }
        assert_eq!(seen, in_use(&vm, 0), "{frames} at a time");
    }
    audit(&vm);
}

#[test]
fn a_free_block_costs_one_look() {
    let vm = boot(&[(0, 1 << 15, 0)], &[0]);
    let used = in_use(&vm, 0).len();
    let (seen, turns) = scan(&vm, 0, used + 64);
    assert_eq!((seen.len(), turns), (used, 1));
}

#[test]
fn the_hand_leaves_a_block_it_stands_in() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let mut pfns: Vec<Pfn> = {
        let cx = Cx::enter(&vm);
        core::iter::from_fn(|| cx.alloc_frame(0, RESERVE).ok()).collect()
    };
    pfns.sort();
    let (seen, _) = scan(&vm, 0, 1000);
    assert_eq!(seen.len(), 1000);
    // Now everything becomes free, and the hand stands inside a free block.
    free_batch(&vm, pfns.iter().copied());
    drain(&vm);
    let (seen, turns) = scan(&vm, 0, 100);
    assert!(turns == 1 || seen.len() > 80, "{} frames visited", seen.len());
}

#[test]
fn generations_wrap_past_zero() {
    let vm = boot(&[(0, 200, 0), (1000, 150, 1)], &[0]);
    let physical = vm.physical();
    assert_eq!((physical.generation(0), physical.generation(1)), (1, 1));
    for turns in 1..=600u32 {
        turn(&vm, 0, 1000);
        let now = physical.generation(0);
        assert_eq!(now as u32, turns % 255 + 1);
        assert_eq!(physical.age_of(0, now), 0);
        assert_eq!(physical.age_of(0, if now == 1 { 255 } else { now - 1 }), 1);
        assert_eq!(physical.age_of(0, if now == 255 { 1 } else { now + 1 }), 254);
        assert_eq!(physical.age_of(0, 0), 0);
    }
    assert_eq!(physical.generation(1), 1);
    assert_eq!((physical.count_eviction(1), physical.count_eviction(1)), (0, 1));
    assert_eq!((physical.evictions(0), physical.evictions(1)), (0, 2));
}

#[test]
fn cpus_scan_at_once_and_every_turn_counts_once() {
    const CPUS: usize = 3;
    let vm = boot(&[(0, 3000, 0), (4000, 500, 0)], &[0; CPUS]);
    let turns: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|cpu| {
                let vm = &vm;
                scope.spawn(move || {
                    become_cpu(cpu);
                    let (mut random, mut frames, mut turns) = (Random(cpu as u64 + 3), Vec::new(), 0);
                    for _ in 0..4000 {
                        let cx = Cx::enter(vm);
                        match random.below(3) {
                            0 => frames.extend(cx.alloc_frame(random.below(6) as u8, NONE)),
                            1 => frames.pop().into_iter().for_each(|pfn| cx.free_frame(pfn)),
                            _ => {}
                        }
                        drop(cx);
                        turns += scan(vm, 0, random.below(300) as usize).1 as u64;
                    }
                    frames.into_iter().for_each(|pfn| Cx::enter(vm).free_frame(pfn));
                    turns
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a CPU that scans")).sum()
    });
    assert!(turns > 3);
    assert_eq!(vm.physical().generation(0) as u64, turns % 255 + 1);
    audit(&vm);
}

// Watermarks

#[test]
fn a_node_is_below_its_marks_when_its_memory_says_so() {
    let vm = boot(&[(0, 4096, 0), (8192, 4096, 2)], &[0, 2, 7]);
    assert_eq!(vm.nodes().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(vm.needs_reclaim(), None);
    assert_eq!((vm.node_stats(1), vm.node_stats(200)), (NodeStats::default(), NodeStats::default()));
    let NodeStats { low, high, .. } = vm.node_stats(2);
    let physical = vm.physical();
    // CPU 2 keeps frames that CPU 1 cannot have.
    become_cpu(2);
    let kept = Cx::enter(&vm).alloc_frame(0, NONE).expect("memory");
    become_cpu(1);
    let mut pfns = Vec::new();
    loop {
        let stats = vm.node_stats(2);
        let left = stats.free + vm.cpu(1).lists.len();
        assert_eq!(physical.is_below_low(&vm, 2), left < low, "{left} frames left");
        assert_eq!(physical.is_below_high(&vm, 2), left < high, "{left} frames left");
        assert_eq!(vm.needs_reclaim(), (left < low).then_some(2));
        let cx = Cx::enter(&vm);
        let Ok(pfn) = cx.alloc_block_on(2, 0, RESERVE) else { break };
        pfns.push(pfn);
    }
    assert!(vm.cpu(1).lists.len() < vm.node_stats(2).cached, "CPU 2 keeps some");
    assert!(!physical.is_below_high(&vm, 0) && !physical.is_below_low(&vm, 1));
    free_batch(&vm, pfns.into_iter().chain([kept]));
    assert_eq!(vm.needs_reclaim(), None);
    become_cpu(0);
    audit(&vm);
}
