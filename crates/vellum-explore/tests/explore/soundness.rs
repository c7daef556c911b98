//! Searches of random programs against each other: reduced and unreduced under the same bound, and without a bound
//! against the reference machine.

use super::reference;
use super::text::{Op, Text};
use fastrand::Rng;
use vellum_explore::{Bound, MemoryOrder};

const ORDERS: [MemoryOrder; 2] = [MemoryOrder::Sc, MemoryOrder::Tso];

/// How many of sixteen operations empty the store buffer.
const BARRIERS: [u32; 2] = [0, 5];

/// A program of `cpus` CPUs with 2 to `longest` operations each, over three words and a flag.
pub fn program(rng: &mut Rng, cpus: usize, longest: usize) -> Text {
    let barriers = *rng.choice(&BARRIERS).unwrap();
    let mut value = 0;
    let waits = rng.u32(0..3) == 0;
    let mut of_cpu = |cpu: usize| {
        let count = rng.usize(2..=longest);
        let mut ops: Vec<Op> = (0..count).map(|_| operation(rng, &mut value, barriers)).collect();
        if waits && cpu < 2 {
            let op = if cpu == 0 { Op::Wait(4) } else { Op::Store(4, 1) };
            ops.insert(rng.usize(0..=count), op);
        }
        ops
    };
    Text::of((0..cpus).map(&mut of_cpu).collect())
}

fn operation(rng: &mut Rng, value: &mut u64, barriers: u32) -> Op {
    let word = rng.usize(0..3);
    *value += 1;
    match rng.u32(0..11 + barriers) {
        0..5 => Op::Load(word),
        5..10 => Op::Store(word, *value),
        10 => Op::Store(4, rng.u64(0..2)),
        11 => Op::Swap(word, *value),
        12 => Op::Add(word, 100),
        13 => Op::Exchange(word, 0, *value),
        _ => Op::Fence,
    }
}

/// Every outcome of unbounded searches is one of the reference machine, and the other way round.
#[test]
fn unbounded_searches_find_what_the_reference_machine_finds() {
    for seed in 0..400 {
        let rng = &mut Rng::with_seed(seed);
        let (cpus, longest) = if seed % 4 == 0 { (3, 2) } else { (2, 4) };
        let text = program(rng, cpus, longest);
        for order in ORDERS {
            let expected = reference::outcomes(&text, order);
            let (found, _) = text.explore(order, Bound::NONE, true);
            assert_eq!(found, expected, "seed {seed} {order:?}: {:?}", text.cpus);
        }
    }
}

/// The reduction loses no outcome under any bound.
#[test]
fn reduced_searches_find_what_unreduced_ones_find() {
    for seed in 0..600 {
        let rng = &mut Rng::with_seed(1_000 + seed);
        let (cpus, longest) = if seed % 3 == 0 { (3, 3) } else { (2, 5) };
        let text = program(rng, cpus, longest);
        let bound = Bound { preemptions: rng.u8(0..4), surprises: rng.u8(0..3) };
        for order in ORDERS {
            let (whole, _) = text.explore(order, bound, false);
            let (reduced, _) = text.explore(order, bound, true);
            assert_eq!(reduced, whole, "seed {seed} {order:?} {bound:?}: {:?}", text.cpus);
        }
    }
}

/// Without surprises, total store order is sequential consistency.
#[test]
fn without_surprises_memory_is_sequentially_consistent() {
    for seed in 0..300 {
        let rng = &mut Rng::with_seed(2_000 + seed);
        let text = program(rng, 2, 4);
        let bound = Bound { surprises: 0, ..Bound::NONE };
        let (found, _) = text.explore(MemoryOrder::Tso, bound, true);
        assert_eq!(found, reference::outcomes(&text, MemoryOrder::Sc), "seed {seed}: {:?}", text.cpus);
    }
}

/// A program whose CPUs interrupt each other, several at once, and switch interrupts off; the handler touches what the
/// CPUs do.
pub fn interrupting(rng: &mut Rng, cpus: usize, longest: usize) -> Text {
    let mut text = program(rng, cpus, longest);
    for cpu in 0..cpus {
        let at = rng.usize(0..=2);
        let others = ((1 << cpus) - 1) & !(1 << cpu);
        let op = match rng.u8(1..1 << cpus) & others {
            0 => Op::Masked(rng.usize(0..3), 1_000),
            targets if cpu < 2 => Op::Interrupt(targets),
            _ => continue,
        };
        text.cpus[cpu].insert(at, op);
    }
    if rng.bool() {
        text.cpus[1].insert(rng.usize(0..=2), Op::Masked(rng.usize(0..3), 1_001));
    }
    text.handler = (0..rng.u64(1..3)).map(|n| operation(rng, &mut (2_000 + n), 5)).collect();
    text
}

/// The reduction loses no outcome where CPUs interrupt each other.
#[test]
fn reduced_searches_find_what_unreduced_ones_find_with_interrupts() {
    for seed in 0..300 {
        let rng = &mut Rng::with_seed(3_000 + seed);
        let cpus = if seed % 6 == 0 { 3 } else { 2 };
        let text = interrupting(rng, cpus, 5 - cpus);
        let bound = Bound { preemptions: rng.u8(0..3), surprises: rng.u8(0..5 - cpus as u8) };
        for order in ORDERS {
            let (whole, _) = text.explore(order, bound, false);
            let (reduced, _) = text.explore(order, bound, true);
            assert_eq!(reduced, whole, "seed {seed} {order:?} {bound:?}: {:?}, {:?}", text.cpus, text.handler);
        }
    }
}

/// While an interrupt is put off, another is sent: they are one. That both come before the access, as one, is another
/// execution than that the first comes before the second is sent.
#[test]
fn reduced_searches_find_interrupts_that_become_one() {
    let text = Text::new("interrupt 1; y=1; z; interrupt 1 | y; z=1; x").with_handler("x+1");
    let bound = Bound { preemptions: 2, surprises: 1 };
    for reduce in [false, true] {
        let (found, _) = text.explore(MemoryOrder::Sc, bound, reduce);
        // CPU 0 loads z after CPU 1 has stored it; the handler, which loads 0, comes between that and the load of x.
        assert!(found.outcomes.contains(&vec![1, 1, 1, 0, 1, 1, 1, 0, 0, 0]), "{reduce}: {:?}", found.outcomes);
    }
}

/// The same at the end of a section with interrupts off, in which the first came.
#[test]
fn reduced_searches_find_masked_interrupts_that_become_one() {
    let text = Text::new("interrupt 1; z=5; z; interrupt 1 | masked z=7; x").with_handler("x+1");
    let bound = Bound { preemptions: 3, surprises: 0 };
    for reduce in [false, true] {
        let (found, _) = text.explore(MemoryOrder::Sc, bound, reduce);
        assert!(found.outcomes.contains(&vec![7, 5, 1, 0, 1, 0, 7, 0, 0, 0]), "{reduce}: {:?}", found.outcomes);
    }
}

/// Interrupts come whenever they may: what the reference machine finds, and nothing else.
#[test]
fn unbounded_searches_find_what_the_reference_machine_finds_with_interrupts() {
    for seed in 0..100 {
        let rng = &mut Rng::with_seed(6_000 + seed);
        let text = interrupting(rng, 2, 2);
        for order in ORDERS {
            let expected = reference::outcomes(&text, order);
            let (found, _) = text.explore(order, Bound::NONE, true);
            assert_eq!(found, expected, "seed {seed} {order:?}: {:?}, {:?}", text.cpus, text.handler);
        }
    }
}
