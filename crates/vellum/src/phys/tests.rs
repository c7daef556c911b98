//! Tests of physical memory on a host-backed machine: against a model where there is one, with an audit at each end.

mod isolate;
mod magazine;
mod policy;
mod scan;

use super::*;
use crate::cpu::Cx;
use crate::error::{BootError, Error};
use crate::stat::Event;
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

type TestVm = Vm<TestMachine>;

const NONE: AllocFlags = AllocFlags::NONE;
const RESERVE: AllocFlags = AllocFlags::RESERVE;

fn boot(ranges: &[(u64, u64, u8)], nodes: &[u8]) -> TestVm {
    become_cpu(0);
    Vm::new(TestMachine::with(ranges, nodes)).expect("a machine that boots")
}

fn boot_error(ranges: &[(u64, u64, u8)]) -> BootError {
    Vm::<TestMachine>::new(TestMachine::with(ranges, &[0])).err().expect("a machine that does not boot")
}

fn audit(vm: &TestVm) -> PhysAudit {
    let audit = vm.physical().audit(vm).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(audit.free, vm.physical().free_pages(vm));
    audit
}

fn drain(vm: &TestVm) {
    Cx::enter(vm).drain_cpu();
}

/// The free blocks of each order of each node: equal before and after, if everything was given back and merged.
fn blocks(vm: &TestVm) -> Vec<[u64; ORDERS]> {
    let physical = vm.physical();
    physical.zones.iter().map(|zone| core::array::from_fn(|order| zone.list(order as u8).len())).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn is_zero(vm: &TestVm, pfn: Pfn) -> bool {
    // SAFETY: the tests ask for frames they have allocated.
    unsafe { core::slice::from_raw_parts(vm.machine().frame(pfn), 4096).iter().all(|&byte| byte == 0) }
}

fn fill(vm: &TestVm, pfn: Pfn, byte: u8) {
    // SAFETY: as above.
    unsafe { vm.machine().frame(pfn).write_bytes(byte, 4096) };
}

// Boot

#[test]
fn a_machine_of_one_mebibyte_has_most_of_it_to_give() {
    for cpus in [1, 4] {
        let vm = boot(&[(0x10, 256, 0)], &[0; 8][..cpus]);
        let at_first = audit(&vm);
        assert_eq!(at_first.total, 256);
        let cx = Cx::enter(&vm);
        let mut count = 0;
        while cx.alloc_frame(0, NONE).is_ok() {
            count += 1;
        }
        assert!(count > 200, "{count} frames with {cpus} CPUs");
        drop(cx);
        assert_eq!(audit(&vm).frames(Kind::Allocated), count);
    }
}

#[test]
fn a_machine_that_is_too_small_is_refused() {
    assert_eq!(boot_error(&[]), BootError::TooLittleMemory { frames: 0 });
    assert_eq!(boot_error(&[(5, 0, 0)]), BootError::TooLittleMemory { frames: 0 });
    for frames in 1..32 {
        match Vm::<TestMachine>::new(TestMachine::new(frames)) {
            Ok(vm) => assert_eq!(audit(&vm).total, frames),
            Err(error) => assert_eq!(error, BootError::TooLittleMemory { frames }),
        }
    }
}

#[test]
fn inconsistent_ranges_are_refused() {
    assert_eq!(boot_error(&[(0, 64, 0), (63, 64, 0)]), BootError::BadRange { index: 1 });
    assert_eq!(boot_error(&[(100, 64, 0), (0, 64, 0)]), BootError::BadRange { index: 1 });
    assert_eq!(boot_error(&[(0, 64, 0), (64, 64, 16)]), BootError::BadNode { index: 1 });
    assert_eq!(boot_error(&[(u64::MAX - 8, 64, 0)]), BootError::BadRange { index: 0 });
    assert_eq!(boot_error(&[((1 << 40) - 8, 64, 0)]), BootError::BadRange { index: 0 });
}

#[test]
fn holes_have_no_frames_and_every_frame_is_found() {
    // Unaligned, several ranges of a node, a hole within a section, one of whole sections, the end of a section.
    let ranges = [(1, 158, 0), (256, 0, 0), (301, 2000, 0), (2301, 99, 0), (5 << 15, 700, 1), ((7 << 15) - 30, 61, 1)];
    let vm = boot(&ranges, &[0, 1]);
    let exists = |pfn: u64| ranges.iter().any(|&(start, frames, _)| pfn >= start && pfn < start + frames);
    for pfn in (0..9 << 15).chain([u64::MAX, 1 << 40, 1 << 52]) {
        let kind = vm.physical().get(Pfn(pfn)).map_or(Kind::Absent, |frame| frame.kind());
        assert_eq!(kind != Kind::Absent, exists(pfn), "frame {pfn} is {kind:?}");
    }
    for &(start, frames, node) in &ranges {
        assert!((start..start + frames).all(|pfn| vm.physical().frame(Pfn(pfn)).node() == node));
    }
    let total: u64 = ranges.iter().map(|range| range.1).sum();
    assert_eq!(audit(&vm).total, total);
}

#[test]
fn boot_memory_is_zero_aligned_and_reserved() {
    let machine: TestMachine = TestMachine::with(&[(7, 500, 0), (1000, 300, 1)], &[0]);
    let mut memory = BootMemory::new(&machine).expect("enough memory");
    for (bytes, align) in [(1, 1), (100, 64), (40_000, 4096), (8192, 8192), (0, 8)] {
        let begin = memory.alloc(bytes, align).expect("enough memory");
        assert_eq!(begin.addr().get() % align, 0);
        // SAFETY: the memory was just allocated.
        assert!(unsafe { core::slice::from_raw_parts(begin.as_ptr(), bytes) }.iter().all(|&byte| byte == 0));
        // SAFETY: as above.
        unsafe { begin.write_bytes(0xff, bytes) };
        let pfn = pfn_of(&machine, begin.as_ptr()).expect("a frame");
        assert_eq!(memory.frame_kind(pfn), Some(Kind::Reserved));
    }
    assert!(memory.alloc(usize::MAX, 1).is_none());
    assert!(memory.alloc(500 << 12, 1).is_none());
    assert!(memory.alloc(8, 3).is_none());
    let (zero_page, physical) = memory.finish_with_zero_page().expect("room for a page");
    assert_eq!(physical.frame(zero_page).kind(), Kind::Reserved);
    let stats: Vec<u64> = physical.zones.iter().map(Zone::managed).collect();
    assert!(stats[0] > 450 && stats[1] > 250, "{stats:?}");
}

#[test]
fn blocks_do_not_extend_across_ranges() {
    let vm = boot(&[(1024, 512, 0), (1536, 512, 0)], &[0]);
    let cx = Cx::enter(&vm);
    assert_eq!(cx.alloc_frame(10, NONE), Err(Error::OutOfMemory));
    assert!(cx.alloc_frame(8, NONE).is_ok());
    drop(cx);
    audit(&vm);
}

#[test]
fn freed_blocks_are_not_merged_across_ranges() {
    let vm = boot(&[(8, 900, 0), (2048, 512, 0), (2560, 512, 0)], &[0]);
    let cx = Cx::enter(&vm);
    let halves: Vec<Pfn> = core::iter::from_fn(|| cx.alloc_frame(9, NONE).ok()).collect();
    assert!(halves.contains(&Pfn(2048)) && halves.contains(&Pfn(2560)), "{halves:?}");
    halves.into_iter().for_each(|half| cx.free_frame(half));
    assert_eq!(cx.alloc_frame(10, NONE), Err(Error::OutOfMemory));
    drop(cx);
    audit(&vm);
}

// Frames

#[test]
fn random_allocations_agree_with_a_set() {
    let vm = boot(&[(3, 3000, 0), (4096, 1024, 0), (1 << 15, 2500, 1)], &[0, 1]);
    let at_first = blocks(&vm);
    let free_at_first = vm.physical().free_pages(&vm);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut owned: BTreeMap<u64, u8> = BTreeMap::new();
    for step in 0..60_000 {
        become_cpu((step / 100) % 2);
        let cx = Cx::enter(&vm);
        if random.below(100) < 48 + 8 * ((step / 4000) % 2) as u64 {
            let order = if random.below(4) == 0 { random.below(11) as u8 } else { 0 };
            if let Ok(pfn) = cx.alloc_frame(order, if random.below(9) == 0 { RESERVE } else { NONE }) {
                let before = owned.range(..pfn.0 + (1 << order)).next_back();
                assert!(before.is_none_or(|(&start, &order)| start + (1 << order) <= pfn.0), "{pfn:?} is in use");
                let frame = vm.physical().frame(pfn);
                assert_eq!((frame.kind(), frame.order(), frame.references()), (Kind::Allocated, order, 0));
                assert_eq!(pfn.0 % (1 << order), 0);
                frame.set_counts(7, 3);
                owned.insert(pfn.0, order);
            }
        } else if let Some((&start, _)) = owned.range(random.below(40_000)..).next() {
            owned.remove(&start);
            cx.free_frame(Pfn(start));
        }
        drop(cx);
        if step % 5000 == 0 {
            let used: u64 = owned.values().map(|&order| 1 << order).sum();
            assert_eq!(audit(&vm).frames(Kind::Allocated), used);
        }
    }
    for &start in owned.keys() {
        Cx::enter(&vm).free_frame(Pfn(start));
    }
    assert_eq!(audit(&vm).free, free_at_first);
    for cpu in [0, 1] {
        become_cpu(cpu);
        drain(&vm);
    }
    assert_eq!(blocks(&vm), at_first);
    assert_eq!(vm.totals().get(Event::Alloc), vm.totals().get(Event::Free));
    audit(&vm);
}

#[test]
fn everything_allocated_and_freed_merges_back() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let at_first = blocks(&vm);
    let mut pfns = Vec::new();
    {
        let cx = Cx::enter(&vm);
        while let Ok(pfn) = cx.alloc_frame(0, RESERVE) {
            pfns.push(pfn);
        }
        assert_eq!(vm.physical().free_pages(&vm), 0);
    }
    assert_eq!(pfns.iter().collect::<BTreeSet<_>>().len() as u64, vm.physical().managed_pages());
    let mut random = Random(42);
    while !pfns.is_empty() {
        let index = random.below(pfns.len() as u64) as usize;
        Cx::enter(&vm).free_frame(pfns.swap_remove(index));
    }
    drain(&vm);
    assert_eq!(blocks(&vm), at_first);
    audit(&vm);
}

#[test]
fn ordinary_allocations_leave_the_reserve() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let stats = vm.physical().node_stats(&vm, 0);
    assert!(stats.min >= 32 && stats.min < stats.low && stats.low < stats.high && stats.high < stats.managed / 16);
    let cx = Cx::enter(&vm);
    while cx.alloc_frame(0, NONE).is_ok() {}
    assert_eq!(vm.physical().node_stats(&vm, 0).free, stats.min);
    assert_eq!(vm.physical().free_pages(&vm), stats.min);
    let mut from_reserve = 0;
    while cx.alloc_frame(0, RESERVE).is_ok() {
        from_reserve += 1;
        assert_eq!(cx.alloc_frame(0, NONE), Err(Error::OutOfMemory));
    }
    assert_eq!(from_reserve, stats.min);
    drop(cx);
    audit(&vm);
}

#[test]
fn a_failed_allocation_drains_the_lists_and_tries_again() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let cx = Cx::enter(&vm);
    let mut pfns: Vec<Pfn> = core::iter::from_fn(|| cx.alloc_frame(0, NONE).ok()).collect();
    pfns.sort();
    // Two neighbours, both now on this CPU's list, not in the zone.
    let even = pfns.iter().skip(1).position(|pfn| pfn.0 % 2 == 0).expect("an even one") + 1;
    let (lower, upper) = (pfns[even], pfns[even + 1]);
    assert_eq!(cx.alloc_frame(1, NONE), Err(Error::OutOfMemory));
    cx.free_frame(lower);
    cx.free_frame(upper);
    assert_eq!(cx.alloc_frame(1, NONE), Ok(lower));
    assert_eq!(cx.alloc_frame(11, NONE), Err(Error::OutOfMemory));
    assert_eq!(cx.alloc_frame(255, RESERVE), Err(Error::OutOfMemory));
    // And a zeroed frame for tables serves as any other when nothing else is left.
    fill(&vm, pfns[0], 0);
    cx.free_table_frame(pfns[0]);
    assert!(cx.alloc_frame(0, NONE).is_ok());
    assert_eq!(cx.alloc_frame(0, NONE), Err(Error::OutOfMemory));
    drop(cx);
    audit(&vm);
}

#[test]
fn nodes_are_used_nearest_first() {
    let ranges = [(0, 600, 0), (1000, 600, 2), (2000, 600, 3), (3000, 600, 7)];
    let vm = boot(&ranges, &[2, 5, 0, 15, 200]);
    let orders: [&[u8]; 5] = [&[2, 3, 0, 7], &[7, 3, 2, 0], &[0, 2, 3, 7], &[7, 3, 2, 0], &[7, 3, 2, 0]];
    for (cpu, order) in orders.iter().enumerate() {
        become_cpu(cpu);
        let cx = Cx::enter(&vm);
        let mut seen = Vec::new();
        let mut pfns = Vec::new();
        while let Ok(pfn) = cx.alloc_frame(0, NONE) {
            pfns.push(pfn);
            seen.push(vm.physical().frame(pfn).node());
        }
        seen.dedup();
        assert_eq!(&seen, order, "CPU {cpu}");
        for pfn in pfns {
            cx.free_frame(pfn);
        }
        cx.drain_cpu();
        drop(cx);
        audit(&vm);
    }
    become_cpu(0);
}

#[test]
fn a_cpu_keeps_frames_of_its_own_node_only() {
    let vm = boot(&[(0, 600, 0), (1000, 600, 1)], &[1, 0]);
    become_cpu(1);
    let foreign = Cx::enter(&vm).alloc_frame(0, NONE).expect("memory");
    drain(&vm);
    become_cpu(0);
    let cx = Cx::enter(&vm);
    cx.free_frame(foreign);
    let own = cx.alloc_frame(0, NONE).expect("memory");
    let kept = cx.cpu().lists.len();
    cx.free_frame(own);
    assert_eq!(cx.cpu().lists.len(), kept + 1);
    assert_eq!(vm.physical().frame(foreign).node(), 0);
    drop(cx);
    let stats = vm.physical().node_stats(&vm, 1);
    assert_eq!(stats.cached + stats.free, stats.managed);
    assert_eq!(vm.physical().node_stats(&vm, 0).cached, 0);
    audit(&vm);
}

/// What is taken ahead is of the node that is asked for, and none of it is left behind.
#[test]
fn a_stock_is_of_one_node_and_ends_with_its_section() {
    let vm = boot(&[(0, 600, 0), (1000, 600, 1), (2000, 600, 2)], &[0]);
    let free = vm.free_frames();
    let refills = || vm.totals().get(Event::Refill);
    let mut taken = Vec::new();
    {
        let cx = Cx::enter(&vm);
        let stock = Stock::new(&cx);
        for (node, wanted) in [(1, 8), (1, 7), (2, 3), (0, 2), (1, 4)] {
            let before = refills();
            let pfn = stock.take(node, wanted).expect("memory");
            assert_eq!(vm.physical().frame(pfn).node(), node);
            assert_eq!(refills() - before, u64::from(wanted != 7), "{wanted} of node {node}");
            taken.push(pfn);
        }
    }
    assert_eq!(vm.free_frames(), free - taken.len() as u64);
    let cx = Cx::enter(&vm);
    taken.into_iter().for_each(|pfn| cx.free_frame(pfn));
    drop(cx);
    drain(&vm);
    audit(&vm);
}

/// And leaves the node its reserve.
#[test]
fn a_stock_of_a_full_node_fails() {
    let vm = boot(&[(0, 600, 0), (1000, 600, 1)], &[0]);
    let (zone, floor) = (vm.physical().zone(1), vm.physical().zone(1).watermarks().min);
    let cx = Cx::enter(&vm);
    let stock = Stock::new(&cx);
    let taken: Vec<Pfn> = core::iter::from_fn(|| stock.take(1, 7).ok()).collect();
    assert!(floor > 0 && zone.free() == floor, "{} of {floor} are left", zone.free());
    assert_eq!(cx.alloc_block_on(1, 0, NONE), Err(Error::OutOfMemory), "the stock takes as much as there is");
    drop(stock);
    assert!(!taken.is_empty());
    taken.into_iter().for_each(|pfn| cx.free_frame(pfn));
    drop(cx);
    drain(&vm);
    audit(&vm);
}

#[test]
fn lists_are_refilled_and_drained_in_batches() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let cx = Cx::enter(&vm);
    let pfns: Vec<Pfn> = (0..320).filter_map(|_| cx.alloc_frame(0, NONE).ok()).collect();
    // A scrap of fewer than 32 frames may be a batch of its own.
    assert!((10..=11).contains(&vm.totals().get(Event::Refill)));
    for &pfn in &pfns {
        cx.free_frame(pfn);
        assert!(cx.cpu().lists.len() <= 96);
    }
    assert!(cx.cpu().lists.len() >= 48);
    drop(cx);
    audit(&vm);
}

#[test]
fn cleared_frames_are_zero() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let cx = Cx::enter(&vm);
    let block = cx.alloc_zeroed(3, NONE).expect("memory");
    assert!((0..8).all(|index| is_zero(&vm, block.offset(index))));
    let tables: Vec<Pfn> = (0..40).filter_map(|_| cx.alloc_table_frame(AllocFlags::NONE).ok()).collect();
    assert!(tables.iter().all(|&pfn| is_zero(&vm, pfn)));
    for &pfn in &tables {
        vm.physical().frame(pfn).set_kind(Kind::Table, 0);
        cx.free_table_frame(pfn);
    }
    // Sixteen are kept as they are, and come back first.
    let again: Vec<Pfn> = (0..16).filter_map(|_| cx.alloc_table_frame(AllocFlags::NONE).ok()).collect();
    assert!(again.iter().rev().eq(&tables[..16]));
    assert!(again.iter().all(|&pfn| is_zero(&vm, pfn)));
    cx.free_table_frame(again[0]);
    cx.free_table_frame(block);
    drop(cx);
    audit(&vm);
}

#[test]
fn injected_failures_concern_all_but_the_reserve() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let cx = Cx::enter(&vm);
    let pfn = cx.alloc_table_frame(AllocFlags::NONE).expect("memory");
    cx.free_table_frame(pfn);
    let free = vm.physical().free_pages(&vm);
    vm.machine().allow_allocations(0);
    assert_eq!(cx.alloc_frame(0, NONE), Err(Error::OutOfMemory));
    assert_eq!(cx.alloc_zeroed(2, NONE), Err(Error::OutOfMemory));
    assert_eq!(cx.alloc_table_frame(AllocFlags::NONE), Err(Error::OutOfMemory));
    assert_eq!(cx.slab_alloc(64), Err(Error::OutOfMemory));
    assert_eq!(vm.physical().free_pages(&vm), free);
    assert!(cx.alloc_frame(0, RESERVE).is_ok());
    assert!(cx.alloc_table_frame(RESERVE).is_ok());
    vm.machine().allow_allocations(2);
    assert!(cx.slab_alloc(64).is_ok() && cx.slab_alloc(64).is_ok() && cx.slab_alloc(64).is_err());
    drop(cx);
    audit(&vm);
}

#[test]
fn a_refill_hands_frames_out_upwards() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let cx = Cx::enter(&vm);
    // What lies about in small blocks comes first.
    let scraps = (vm.physical().zone(0).free() % 1024) as usize;
    let pfns: Vec<Pfn> = (0..scraps + 1024).filter_map(|_| cx.alloc_frame(0, NONE).ok()).collect();
    let breaks = pfns.windows(2).filter(|pair| pair[0].0 + 1 != pair[1].0).count();
    assert!(breaks <= 16, "{breaks} breaks");
    drop(cx);
    audit(&vm);
}

/// Frees single frames through a batch, in the given sequence.
fn free_batch(vm: &TestVm, pfns: impl IntoIterator<Item = Pfn>) {
    let cx = Cx::enter(vm);
    let mut batch = FreeBatch::new(&cx);
    pfns.into_iter().for_each(|pfn| batch.add(pfn));
}

#[test]
fn runs_merge_back_whatever_their_sequence() {
    // Neighbouring ranges of one node and of two, the end of a section, frame 0, a hole.
    let ranges = [(0, 3000, 0), (3000, 1096, 0), (4096, 1000, 1), ((1 << 15) - 700, 1400, 1)];
    for sequence in 0..6 {
        let vm = boot(&ranges, &[0]);
        let at_first = blocks(&vm);
        let mut pfns: Vec<Pfn> = {
            let cx = Cx::enter(&vm);
            core::iter::from_fn(|| cx.alloc_frame(0, RESERVE).ok()).collect()
        };
        assert_eq!(pfns.len() as u64, vm.physical().managed_pages());
        pfns.sort();
        let mut random = Random(sequence + 1);
        match sequence {
            0 => {}
            1 => pfns.reverse(),
            2 => (1..pfns.len()).for_each(|index| pfns.swap(index, random.below(index as u64 + 1) as usize)),
            3 => pfns.sort_by_key(|pfn| (pfn.0 % 2, pfn.0)),
            4 => pfns.sort_by_key(|pfn| (pfn.0 / 100 % 3, pfn.0)),
            _ => pfns.sort_by_key(|pfn| (pfn.0 / 9, u64::MAX - pfn.0)),
        }
        for part in pfns.chunks(1777) {
            free_batch(&vm, part.iter().copied());
            audit(&vm);
        }
        drain(&vm);
        assert_eq!(blocks(&vm), at_first, "sequence {sequence}");
        assert_eq!(vm.totals().get(Event::Alloc), vm.totals().get(Event::Free));
        audit(&vm);
    }
}

#[test]
fn random_runs_agree_with_a_set() {
    let vm = boot(&[(3, 3000, 0), (3003, 1024, 0), (4027, 1500, 1), ((1 << 15) - 900, 2500, 1)], &[0, 1]);
    let at_first = blocks(&vm);
    let free_at_first = vm.physical().free_pages(&vm);
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    let mut singles: BTreeSet<u64> = BTreeSet::new();
    let mut larger: BTreeMap<u64, u8> = BTreeMap::new();
    for step in 0..6_000 {
        become_cpu((step / 50) % 2);
        let cx = Cx::enter(&vm);
        match random.below(6) {
            0..=1 => {
                for _ in 0..random.below(500) {
                    let Ok(pfn) = cx.alloc_frame(0, if random.below(9) == 0 { RESERVE } else { NONE }) else { break };
                    let frame = vm.physical().frame(pfn);
                    assert_eq!((frame.kind(), frame.order()), (Kind::Allocated, 0));
                    assert!(singles.insert(pfn.0), "{pfn:?} is in use");
                    frame.set_kind([Kind::Anonymous, Kind::File, Kind::Allocated][step % 3], 0);
                }
            }
            2 => {
                let order = 1 + random.below(10) as u8;
                if let Ok(pfn) = cx.alloc_frame(order, NONE) {
                    assert!(singles.range(pfn.0..pfn.0 + (1 << order)).next().is_none(), "{pfn:?} is in use");
                    larger.insert(pfn.0, order);
                }
            }
            3 => {
                if let Some((&start, _)) = larger.range(random.below(1 << 15)..).next() {
                    larger.remove(&start);
                    cx.free_frame(Pfn(start));
                }
            }
            4 => {
                // A run as it comes, straight to the buddy allocators.
                let Some(&start) = singles.range(random.below(1 << 15)..).next() else { continue };
                let limit = 1 + random.below(800);
                let run: Vec<u64> = (start..start + limit).take_while(|pfn| singles.contains(pfn)).collect();
                run.iter().for_each(|pfn| assert!(singles.remove(pfn)));
                cx.free_run(Pfn(start), run.len() as u64);
            }
            _ => {
                let begin = random.below(1 << 15);
                let mut some: Vec<u64> = singles.range(begin..).take(random.below(600) as usize).copied().collect();
                some.retain(|_| random.below(20) > 0);
                if random.below(2) == 0 {
                    some.reverse();
                }
                some.iter().for_each(|pfn| assert!(singles.remove(pfn)));
                free_batch(&vm, some.into_iter().map(Pfn));
            }
        }
        drop(cx);
        if step % 100 == 0 {
            let audit = audit(&vm);
            let in_use = singles.len() as u64 + larger.values().map(|&order| 1 << order).sum::<u64>();
            let kinds = [Kind::Anonymous, Kind::File, Kind::Allocated];
            assert_eq!(kinds.iter().map(|&kind| audit.frames(kind)).sum::<u64>(), in_use);
        }
    }
    free_batch(&vm, singles.into_iter().map(Pfn));
    larger.keys().for_each(|&pfn| Cx::enter(&vm).free_frame(Pfn(pfn)));
    assert_eq!(audit(&vm).free, free_at_first);
    for cpu in [0, 1] {
        become_cpu(cpu);
        drain(&vm);
    }
    assert_eq!(blocks(&vm), at_first);
    assert_eq!(vm.totals().get(Event::Alloc), vm.totals().get(Event::Free));
    audit(&vm);
}

#[test]
fn cpus_free_runs_at_once() {
    const CPUS: usize = 4;
    let vm = boot(&[(0, 4000, 0), (4000, 3000, 1)], &[0, 1, 0, 1]);
    let at_first = blocks(&vm);
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let vm = &vm;
            scope.spawn(move || {
                become_cpu(cpu);
                let mut random = Random(cpu as u64 + 11);
                let mut frames: Vec<Pfn> = Vec::new();
                for _ in 0..600 {
                    let cx = Cx::enter(vm);
                    let wanted = random.below(400);
                    frames.extend((0..wanted).map_while(|_| cx.alloc_frame(0, NONE).ok()));
                    let larger = cx.alloc_frame(random.below(7) as u8, NONE);
                    drop(cx);
                    if random.below(2) == 0 {
                        frames.sort();
                    }
                    let kept = random.below(frames.len() as u64 + 1) as usize;
                    free_batch(vm, frames.drain(kept..));
                    larger.into_iter().for_each(|pfn| Cx::enter(vm).free_frame(pfn));
                }
                free_batch(vm, frames);
                drain(vm);
            });
        }
    });
    assert_eq!(blocks(&vm), at_first);
    assert_eq!(audit(&vm).frames(Kind::Allocated), 0);
}

#[test]
fn cpus_allocate_and_free_at_once() {
    const CPUS: usize = 4;
    let vm = boot(&[(0, 2000, 0), (3000, 1000, 1)], &[0, 1, 0, 1]);
    std::thread::scope(|scope| {
        for cpu in 0..CPUS {
            let vm = &vm;
            scope.spawn(move || {
                become_cpu(cpu);
                let mut random = Random(cpu as u64 + 1);
                let mut frames: Vec<Pfn> = Vec::new();
                let mut objects: Vec<NonNull<u8>> = Vec::new();
                for _ in 0..20_000 {
                    let cx = Cx::enter(vm);
                    match random.below(4) {
                        0 => frames.extend(cx.alloc_frame((random.below(20) / 17) as u8, NONE)),
                        1 => objects.extend(cx.slab_alloc(200)),
                        2 if frames.len() > random.below(900) as usize => {
                            let index = random.below(frames.len() as u64) as usize;
                            cx.free_frame(frames.swap_remove(index));
                        }
                        3 if objects.len() > random.below(500) as usize => {
                            let index = random.below(objects.len() as u64) as usize;
                            cx.slab_free(objects.swap_remove(index), 200);
                        }
                        _ => {}
                    }
                }
                frames.into_iter().for_each(|pfn| Cx::enter(vm).free_frame(pfn));
                objects.into_iter().for_each(|object| Cx::enter(vm).slab_free(object, 200));
                drain(vm);
            });
        }
    });
    let audit = audit(&vm);
    assert_eq!((audit.frames(Kind::Allocated), audit.frames(Kind::Slab)), (0, 1));
}

// Slabs

#[test]
fn slab_objects_are_zero_aligned_and_disjoint() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let mut random = Random(7);
    let mut owned: BTreeMap<usize, (NonNull<u8>, usize)> = BTreeMap::new();
    for step in 0..30_000 {
        let cx = Cx::enter(&vm);
        if random.below(100) < 45 + 10 * ((step / 3000) % 2) {
            let size = random.below(2049) as usize;
            let object = cx.slab_alloc(size).expect("memory");
            let rounded = size.max(64).next_power_of_two();
            assert_eq!(object.addr().get() % rounded, 0);
            // SAFETY: the object was just allocated, with at least `size` bytes.
            assert!(unsafe { core::slice::from_raw_parts(object.as_ptr(), size) }.iter().all(|&byte| byte == 0));
            // SAFETY: as above.
            unsafe { object.write_bytes(0xff, size) };
            let before = owned.range(..object.addr().get() + rounded).next_back();
            assert!(before.is_none_or(|(start, (_, size))| start + size.max(&64) <= object.addr().get()));
            owned.insert(object.addr().get(), (object, size));
        } else if let Some((&start, &(object, size))) = owned.iter().nth(random.below(200) as usize) {
            owned.remove(&start);
            cx.slab_free(object, size);
        }
        drop(cx);
        if step % 3000 == 0 {
            audit(&vm);
        }
    }
    for (object, size) in owned.into_values() {
        Cx::enter(&vm).slab_free(object, size);
    }
    drain(&vm);
    // Each class keeps one empty slab.
    assert_eq!(audit(&vm).frames(Kind::Slab), 6);
}

#[test]
fn slab_pages_hold_as_many_objects_as_fit() {
    let vm = boot(&[(0, 4096, 0)], &[0]);
    let cx = Cx::enter(&vm);
    for (size, count) in [(1, 64), (128, 32), (2048, 2)] {
        let objects: Vec<_> = (0..count).map(|_| cx.slab_alloc(size).expect("memory")).collect();
        assert_eq!(objects.iter().map(|object| object.addr().get() >> 12).collect::<BTreeSet<_>>().len(), 1);
    }
    assert_eq!(cx.slab_alloc(2049), Err(Error::Invalid { what: "size of a slab object" }));
    assert_eq!(cx.slab_alloc(usize::MAX), Err(Error::Invalid { what: "size of a slab object" }));
    drop(cx);
    assert_eq!(audit(&vm).frames(Kind::Slab), 3);
}

#[test]
fn slabs_run_out_of_memory_without_a_trace() {
    let vm = boot(&[(0, 256, 0)], &[0]);
    let mut objects = Vec::new();
    let cx = Cx::enter(&vm);
    while let Ok(object) = cx.slab_alloc(1024) {
        objects.push(object);
    }
    assert!(objects.len() > 800, "{} objects", objects.len());
    objects.into_iter().for_each(|object| cx.slab_free(object, 1024));
    cx.drain_cpu();
    drop(cx);
    assert_eq!(audit(&vm).frames(Kind::Slab), 1);
}

// What debug builds detect

#[cfg(debug_assertions)]
mod detected {
    use super::*;

    fn with_frame(order: u8, act: impl FnOnce(&Cx<'_, TestMachine>, Pfn)) {
        let vm = boot(&[(0, 4096, 0)], &[0]);
        let cx = Cx::enter(&vm);
        let pfn = cx.alloc_frame(order, NONE).expect("memory");
        act(&cx, pfn);
    }

    fn with_object(act: impl FnOnce(&Cx<'_, TestMachine>, NonNull<u8>)) {
        let vm = boot(&[(0, 4096, 0)], &[0]);
        let cx = Cx::enter(&vm);
        cx.slab_alloc(64).expect("memory");
        let object = cx.slab_alloc(64).expect("memory");
        act(&cx, object);
    }

    #[test]
    #[should_panic(expected = "is freed while it is Cached")]
    fn a_single_frame_freed_twice() {
        with_frame(0, |cx, pfn| {
            cx.free_frame(pfn);
            cx.free_frame(pfn);
        });
    }

    #[test]
    #[should_panic(expected = "is freed while it is Free")]
    fn a_block_freed_twice() {
        with_frame(4, |cx, pfn| {
            cx.free_frame(pfn);
            // Merging may have made it the tail of a larger block: the lowest frame of the machine stays a head.
            cx.free_frame(Pfn(0));
        });
    }

    #[test]
    #[should_panic(expected = "is freed while it is Tail")]
    fn a_part_of_a_block_freed() {
        with_frame(4, |cx, pfn| cx.free_frame(pfn.offset(3)));
    }

    /// Takes 16 consecutive frames, one by one.
    fn with_run(act: impl FnOnce(&Cx<'_, TestMachine>, Pfn)) {
        let vm = boot(&[(0, 4096, 0)], &[0]);
        let cx = Cx::enter(&vm);
        let mut pfns: Vec<Pfn> = core::iter::from_fn(|| cx.alloc_frame(0, NONE).ok()).collect();
        pfns.sort();
        let run = pfns.windows(16).find(|run| run[0].0 + 15 == run[15].0).expect("a run");
        act(&cx, run[0]);
    }

    #[test]
    #[should_panic(expected = "is freed while it is")]
    fn a_run_freed_twice() {
        with_run(|cx, pfn| {
            cx.free_run(pfn, 16);
            cx.free_run(pfn, 16);
        });
    }

    #[test]
    #[should_panic(expected = "is freed while it is Cached")]
    fn a_run_with_a_free_frame() {
        with_run(|cx, pfn| {
            cx.free_frame(pfn.offset(9));
            let mut batch = FreeBatch::new(cx);
            (0..16).for_each(|index| batch.add(pfn.offset(index)));
            batch.finish();
        });
    }

    #[test]
    #[should_panic(expected = "is freed as a single frame")]
    fn a_run_with_a_block() {
        with_frame(4, |cx, pfn| cx.free_run(pfn, 16));
    }

    #[test]
    #[should_panic(expected = "is freed while it is referred to")]
    fn a_run_with_references() {
        with_run(|cx, pfn| {
            let frame = cx.vm().physical().frame(pfn.offset(15));
            frame.set_kind(Kind::Anonymous, 0);
            frame.set_counts(1, 0);
            cx.free_run(pfn, 16);
        });
    }

    #[test]
    #[should_panic(expected = "is not a frame of this machine")]
    fn a_run_beyond_memory() {
        with_frame(0, |cx, _| cx.free_run(Pfn(1 << 30), 16));
    }

    #[test]
    #[should_panic(expected = "is freed while it is referred to")]
    fn a_frame_freed_with_references() {
        with_frame(0, |cx, pfn| {
            let frame = cx.vm().physical().frame(pfn);
            frame.set_kind(Kind::Anonymous, 0);
            frame.set_counts(2, 1);
            cx.free_frame(pfn);
        });
    }

    #[test]
    #[should_panic(expected = "kind of a frame on a list")]
    fn a_free_frame_used() {
        with_frame(0, |cx, pfn| {
            cx.free_frame(pfn);
            cx.vm().physical().frame(pfn).set_kind(Kind::Anonymous, 0);
            let _ = cx.alloc_frame(0, NONE);
        });
    }

    #[test]
    #[should_panic(expected = "is not a frame of this machine")]
    fn a_frame_that_does_not_exist() {
        with_frame(0, |cx, _| cx.free_frame(Pfn(1 << 30)));
    }

    #[test]
    #[should_panic(expected = "is freed twice")]
    fn an_object_freed_twice() {
        with_object(|cx, object| {
            cx.slab_free(object, 64);
            cx.slab_free(object, 64);
        });
    }

    #[test]
    #[should_panic(expected = "written after it was freed")]
    fn an_object_written_after_it_was_freed() {
        with_object(|cx, object| {
            cx.slab_free(object, 64);
            // SAFETY: the memory is there, though not ours any more: that is what is tested.
            unsafe { object.add(40).write(1) };
            let _ = cx.slab_alloc(64);
        });
    }

    #[test]
    #[should_panic(expected = "is no slab object of 128 bytes")]
    fn an_object_freed_with_another_size() {
        with_object(|cx, object| cx.slab_free(object, 128));
    }
}

/// What tails say: in folios their order, elsewhere that of a huge page, whatever they belonged to before.
#[test]
fn tails_say_the_order_of_their_folio_or_of_a_huge_page() {
    let vm = boot(&[(0x100, 4096, 0)], &[0]);
    let said = |head: Pfn, order: u8| {
        let tails = 1..1 << order;
        let mut orders = tails.map(|page| vm.physical().frame(head.offset(page)).order());
        let first = orders.next().expect("a tail");
        assert!(orders.all(|order| order == first));
        first
    };
    let mut folios = std::vec::Vec::new();
    for order in [9, 4, 1, 9, 2, 4, 4, 9, 5] {
        let head = Cx::enter(&vm).alloc_folio_by(order, crate::Policy::Local, 0).expect("memory");
        assert_eq!(said(head, order), order);
        vm.physical().frame(head).set_kind(Kind::Anonymous, order);
        assert!((0..1 << order).all(|page| vm.physical().head(head.offset(page)) == head));
        assert!((0..1 << order).all(|page| vm.physical().block_kind(head.offset(page)) == Some(Kind::Anonymous)));
        folios.push((head, order));
        vm.physical().audit(&vm).expect("all is well");
    }
    for (head, order) in folios {
        Cx::enter(&vm).free_frame(head);
        assert_eq!(said(head, order), 9);
        vm.physical().audit(&vm).expect("all is well");
    }
    let block = Cx::enter(&vm).alloc_frame(3, NONE).expect("memory");
    assert_eq!(said(block, 3), 9);
    vm.physical().frame(block).set_kind(Kind::Slab, 3);
    assert!((0..8).all(|page| vm.physical().block_kind(block.offset(page)) == Some(Kind::Slab)));
    // Whoever has an old number in mind may ask, and is led to a descriptor.
    for pfn in 0x100..0x100 + 4096 {
        let head = vm.physical().head(Pfn(pfn));
        assert!(vm.physical().get(head).is_some(), "{head:?} of {pfn:#x}");
    }
    vm.physical().frame(block).set_kind(Kind::Allocated, 3);
    Cx::enter(&vm).free_frame(block);
}

// The audit itself

#[test]
fn the_audit_finds_seeded_errors() {
    type Break = fn(&TestVm, Pfn);
    let breaks: [(&str, Break); 7] = [
        ("Tail", |vm, pfn| {
            let head = Cx::enter(vm).alloc_folio_by(4, crate::Policy::Local, 0).expect("memory");
            assert_ne!(head, pfn);
            vm.physical().frame(head.offset(3)).set_kind(Kind::Tail, 9);
            vm.physical().frame(head).set_kind(Kind::Anonymous, 4);
        }),
        ("Kind", |vm, pfn| vm.physical().frame(pfn).set_kind(Kind::Anonymous, 0)),
        ("Block", |vm, pfn| vm.physical().frame(pfn).set_kind(Kind::Cached, 11)),
        ("Counts", |vm, pfn| vm.physical().frame(pfn).set_counts(1, 0)),
        ("Count", |vm, pfn| vm.physical().frame(pfn).set_kind(Kind::Cached, 0)),
        ("NotZero", |vm, pfn| {
            let cx = Cx::enter(vm);
            let table = cx.alloc_frame(0, NONE).expect("memory");
            assert_ne!(table, pfn);
            fill(vm, table, 1);
            cx.free_table_frame(table);
        }),
        ("Twice", |vm, _| {
            let first = vm.cpu(0).lists.stacks().0.first().expect("a frame");
            vm.physical().frame(first).link.store(first.0 + 1, Relaxed);
        }),
    ];
    for (name, seed) in breaks {
        let vm = boot(&[(0, 4096, 0)], &[0]);
        let cx = Cx::enter(&vm);
        let pfn = cx.alloc_frame(0, NONE).expect("memory");
        // Some errors are seeded in a frame on this CPU's list, the others in an allocated one.
        if matches!(name, "Kind" | "Block" | "Counts") {
            cx.free_frame(pfn);
        }
        drop(cx);
        seed(&vm, pfn);
        let error = vm.physical().audit(&vm).expect_err(name);
        assert!(std::format!("{error:?}").starts_with(name), "{name}: {error:?}");
    }
}

/// Flags, generation and slot are in one word: who changes one of them keeps what others change meanwhile.
#[test]
fn a_change_of_flags_keeps_what_came_between() {
    let vm = boot(&[(0x100, 256, 0)], &[0]);
    let pfn = Cx::enter(&vm).alloc_frame(0, RESERVE).expect("a frame");
    let frame = vm.physical().frame(pfn);
    let is_first = core::cell::Cell::new(true);
    frame.update_flags(|flags| {
        if is_first.replace(false) {
            frame.set_flags(folio::DIRTY);
        }
        flags | folio::LAZY_FREE
    });
    assert_eq!(frame.flags() & (folio::DIRTY | folio::LAZY_FREE), folio::DIRTY | folio::LAZY_FREE);
    Cx::enter(&vm).free_frame(pfn);
}
