//! Which node frames come from.

use super::*;

const OFFSETS: u64 = 600;

fn numa(vm: &TestVm) -> [u64; 4] {
    [Event::NumaHit, Event::NumaMiss, Event::NumaForeign, Event::NumaInterleave].map(|event| vm.totals().get(event))
}

/// Allocates until there is nothing left: the frames of each node, in the sequence in which nodes were used.
fn exhaust(cx: &Cx<'_, TestMachine>, flags: AllocFlags, policy: Policy, pfns: &mut Vec<Pfn>) -> Vec<(u8, u64)> {
    let mut seen: Vec<(u8, u64)> = Vec::new();
    while let Ok(pfn) = cx.alloc_frame_by(flags, policy, 0) {
        let frame = cx.vm().physical().frame(pfn);
        assert_eq!((frame.kind(), frame.order(), frame.references()), (Kind::Allocated, 0, 0));
        pfns.push(pfn);
        match seen.last_mut() {
            Some((node, count)) if *node == frame.node() => *count += 1,
            _ => seen.push((frame.node(), 1)),
        }
    }
    seen
}

fn nodes(cx: &Cx<'_, TestMachine>, flags: AllocFlags, policy: Policy) -> Vec<u8> {
    let mut pfns = Vec::new();
    let seen = exhaust(cx, flags, policy, &mut pfns);
    pfns.into_iter().for_each(|pfn| cx.free_frame(pfn));
    cx.drain_cpu();
    seen.into_iter().map(|(node, _)| node).collect()
}

const RANGES: [(u64, u64, u8); 4] = [(0, 600, 0), (1000, 600, 2), (2000, 600, 3), (3000, 600, 7)];

#[test]
fn policies_survive_being_packed() {
    let sets = [0, 1, 0x8000, 0xffff, 0x1234].map(NodeSet);
    let with_sets = sets.into_iter().flat_map(|set| [Policy::Bind(set), Policy::Interleave(set)]);
    for policy in with_sets.chain([Policy::Local, Policy::Preferred(0), Policy::Preferred(15), Policy::Preferred(255)])
    {
        assert!(policy.to_bits() < 1 << 24);
        assert_eq!(Policy::from_bits(policy.to_bits()), policy);
        assert_eq!(Policy::from_bits(policy.to_bits() | 0xff << 24), policy);
    }
    assert_eq!(Policy::Local.to_bits(), 0);
}

#[test]
fn node_sets_hold_what_was_put_in() {
    let set = NodeSet::EMPTY.with(3).with(0).with(15).with(3).with(16).with(255);
    assert_eq!((set, set.len()), (NodeSet(0x8009), 3));
    assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 15]);
    assert!(set.contains(15) && !set.contains(1) && !set.contains(16) && !set.contains(255));
    assert!(set.is_subset(NodeSet::ALL) && !set.is_subset(NodeSet(9)) && NodeSet::EMPTY.is_subset(set));
}

#[test]
fn policies_use_nodes_in_their_order() {
    let vm = boot(&RANGES, &[2, 0]);
    let set = |nodes: &[u8]| nodes.iter().fold(NodeSet::EMPTY, |set, &node| set.with(node));
    let cases: [(Policy, [&[u8]; 2]); 7] = [
        (Policy::Local, [&[2, 3, 0, 7], &[0, 2, 3, 7]]),
        (Policy::Bind(set(&[7, 0])), [&[0, 7], &[0, 7]]),
        (Policy::Bind(set(&[2, 3])), [&[2, 3], &[2, 3]]),
        (Policy::Bind(set(&[3, 4])), [&[3], &[3]]),
        (Policy::Preferred(7), [&[7, 3, 2, 0], &[7, 3, 2, 0]]),
        (Policy::Preferred(2), [&[2, 3, 0, 7], &[2, 3, 0, 7]]),
        (Policy::Interleave(set(&[3, 7])), [&[3, 2, 0, 7], &[3, 2, 0, 7]]),
    ];
    let at_first = blocks(&vm);
    for (policy, orders) in cases {
        for (cpu, order) in orders.into_iter().enumerate() {
            become_cpu(cpu);
            let cx = Cx::enter(&vm);
            assert_eq!(nodes(&cx, NONE, policy), order, "{policy:?} on CPU {cpu}");
            // The reserve of all of them comes after everything else.
            let twice: Vec<u8> = order.iter().chain(order).copied().collect();
            let mut twice = twice;
            twice.dedup();
            assert_eq!(nodes(&cx, RESERVE, policy), twice, "{policy:?} on CPU {cpu}, with the reserve");
            drop(cx);
            assert_eq!(blocks(&vm), at_first);
            audit(&vm);
        }
    }
    become_cpu(0);
    let cx = Cx::enter(&vm);
    for policy in [Policy::Bind(NodeSet::EMPTY), Policy::Bind(set(&[1, 15]))] {
        assert_eq!(cx.alloc_frame_by(RESERVE, policy, 0), Err(Error::OutOfMemory));
    }
    assert!(cx.alloc_frame_by(NONE, Policy::Interleave(NodeSet::EMPTY), 5).is_ok());
    assert!(cx.alloc_frame_by(NONE, Policy::Preferred(255), 5).is_ok());
    assert_eq!(cx.alloc_block_on(1, 0, RESERVE), Err(Error::OutOfMemory));
    assert_eq!(cx.alloc_block_on(200, 0, RESERVE), Err(Error::OutOfMemory));
}

#[test]
fn one_node_gives_all_it_has_and_no_more() {
    let vm = boot(&RANGES, &[0]);
    let cx = Cx::enter(&vm);
    for node in [0, 3] {
        let stats = vm.node_stats(node);
        let ordinary = core::iter::from_fn(|| cx.alloc_block_on(node, 0, NONE).ok()).count() as u64;
        let reserve = core::iter::from_fn(|| cx.alloc_block_on(node, 0, RESERVE).ok()).count() as u64;
        assert_eq!((ordinary, reserve), (stats.managed - stats.min, stats.min));
        assert_eq!(vm.node_stats(node).free + vm.node_stats(node).cached, 0);
    }
    assert_eq!(numa(&vm), [0; 4]);
    assert!(cx.alloc_frame(0, NONE).is_ok());
    drop(cx);
    audit(&vm);
}

#[test]
fn foreign_frames_on_the_stack_are_not_taken_for_own_ones() {
    let vm = boot(&RANGES, &[0]);
    let cx = Cx::enter(&vm);
    // The CPU's own node runs out, so that its stack is refilled from another.
    let own: Vec<Pfn> = core::iter::from_fn(|| cx.alloc_block_on(0, 0, NONE).ok()).collect();
    let foreign = cx.alloc_frame(0, NONE).expect("memory");
    assert_eq!(vm.physical().frame(foreign).node(), 2);
    assert!(cx.cpu().lists.len() > 0);
    assert_eq!(cx.alloc_frame_by(NONE, Policy::Bind(NodeSet(1)), 0), Err(Error::OutOfMemory));
    own.iter().take(20).for_each(|&pfn| cx.free_frame(pfn));
    let again = core::iter::from_fn(|| cx.alloc_frame_by(NONE, Policy::Bind(NodeSet(1)), 0).ok()).count();
    assert_eq!(again, 20);
    drop(cx);
    audit(&vm);
}

#[test]
fn interleaving_spreads_by_offset() {
    let vm = boot(&[(0, 1000, 0), (1000, 1000, 1), (2000, 1000, 5)], &[0, 1]);
    let policy = Policy::Interleave(NodeSet::EMPTY.with(0).with(1).with(5));
    for cpu in [0, 1] {
        become_cpu(cpu);
        let cx = Cx::enter(&vm);
        for offset in (0..OFFSETS / 2).chain([u64::MAX]) {
            let pfn = cx.alloc_frame_by(NONE, policy, offset).expect("memory");
            assert_eq!(vm.physical().frame(pfn).node(), [0, 1, 5][(offset % 3) as usize]);
        }
    }
    become_cpu(0);
    assert_eq!(numa(&vm), [OFFSETS + 2, 0, 0, OFFSETS + 2]);
    audit(&vm);
}

#[test]
fn hits_and_misses_are_counted_as_linux_does() {
    let vm = boot(&[(0, 500, 0), (1000, 500, 1)], &[0]);
    let cx = Cx::enter(&vm);
    assert!(cx.alloc_frame_by(NONE, Policy::Local, 0).is_ok());
    assert_eq!(numa(&vm), [0; 4]);
    let mut pfns = Vec::new();
    let seen = exhaust(&cx, NONE, Policy::Preferred(1), &mut pfns);
    let [(1, hits), (0, misses)] = seen[..] else { panic!("{seen:?}") };
    assert_eq!(numa(&vm), [hits, misses, misses, 0]);
    pfns.drain(..10).for_each(|pfn| cx.free_frame(pfn));
    assert!(cx.alloc_frame_by(NONE, Policy::Interleave(NodeSet(3)), 1).is_ok());
    assert!(cx.alloc_frame_by(NONE, Policy::Interleave(NodeSet(3)), 0).is_ok());
    assert_eq!(numa(&vm), [hits + 1, misses + 1, misses + 1, 1]);
    // Of several nodes it may use, the nearest is the one a binding wants.
    assert!(cx.alloc_frame_by(NONE, Policy::Bind(NodeSet(2)), 0).is_ok());
    assert!(cx.alloc_frame_by(NONE, Policy::Bind(NodeSet(3)), 0).is_ok());
    assert_eq!(numa(&vm), [hits + 2, misses + 2, misses + 2, 1]);
    drop(cx);
    audit(&vm);
}

#[test]
fn injected_failures_concern_policies_too() {
    let vm = boot(&RANGES, &[0]);
    let cx = Cx::enter(&vm);
    let free = vm.physical().free_pages(&vm);
    vm.machine().allow_allocations(0);
    for policy in [Policy::Local, Policy::Preferred(2), Policy::Bind(NodeSet(4)), Policy::Interleave(NodeSet(5))] {
        assert_eq!(cx.alloc_frame_by(NONE, policy, 0), Err(Error::OutOfMemory));
    }
    assert_eq!(cx.alloc_block_on(2, 0, NONE), Err(Error::OutOfMemory));
    assert_eq!(vm.physical().free_pages(&vm), free);
    assert!(cx.alloc_frame_by(RESERVE, Policy::Preferred(2), 0).is_ok() && cx.alloc_block_on(2, 0, RESERVE).is_ok());
    drop(cx);
    audit(&vm);
}

#[test]
fn policies_must_name_nodes_with_memory() {
    let vm = boot(&RANGES, &[0]);
    let good = [Policy::Local, Policy::Preferred(7), Policy::Bind(NodeSet(0x8d)), Policy::Interleave(NodeSet(1))];
    let bad = [
        Policy::Preferred(1),
        Policy::Preferred(16),
        Policy::Bind(NodeSet::EMPTY),
        Policy::Bind(NodeSet(3)),
        Policy::Interleave(NodeSet::ALL),
    ];
    assert!(good.into_iter().all(|policy| vm.physical().check_policy(policy).is_ok()));
    assert!(bad.into_iter().all(|policy| matches!(vm.physical().check_policy(policy), Err(Error::Invalid { .. }))));
}
