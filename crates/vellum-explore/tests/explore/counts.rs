//! Exact numbers of executions.
//!
//! An execution is a shuffle of the CPUs' events: its start and its accesses. Where a CPU is about to access a word or
//! has ended, the search chooses who goes on; so a CPU of `n` accesses contributes `n + 1` events, and every shuffle is
//! one execution. A shuffle is a sequence of blocks, each a stretch of one CPU; the end of every block but the last
//! of its CPU is a pre-emption. A CPU of `n + 1` events has `binomial(n, b - 1)` ways to be cut into `b` blocks.

use super::text::Text;
use vellum_explore::{Bound, MemoryOrder};

fn binomial(n: u64, k: u64) -> u64 {
    (0..k).fold(1, |product, i| product * n.saturating_sub(i) / (i + 1))
}

/// A program whose CPUs access one word so many times.
fn program(counts: &[u64]) -> Text {
    let cpu = |&count: &u64| vec!["x=1"; count as usize].join("; ");
    Text::new(&counts.iter().map(cpu).collect::<Vec<_>>().join(" | "))
}

fn at_most(preemptions: u8) -> Bound {
    Bound { preemptions, surprises: 0 }
}

#[test]
fn two_cpus_without_a_bound() {
    for (n, m) in [(0, 0), (0, 3), (1, 1), (1, 2), (2, 2), (3, 2), (1, 5), (3, 3), (4, 4), (5, 4)] {
        assert_eq!(program(&[n, m]).count(Bound::NONE), binomial(n + m + 2, n + 1), "{n} {m}");
    }
}

/// With `k` pre-emptions there are `k + 2` blocks, of one CPU and the other in turn.
#[test]
fn two_cpus_with_a_bound() {
    for (n, m) in [(0, 0), (1, 1), (2, 1), (3, 2), (4, 4), (2, 6)] {
        let exactly = |k: u64| {
            let (first, second) = (k.div_ceil(2), k / 2);
            binomial(n, first) * binomial(m, second) + binomial(m, first) * binomial(n, second)
        };
        for k in 0..=3 {
            let expected: u64 = (0..=k).map(exactly).sum();
            assert_eq!(program(&[n, m]).count(at_most(k as u8)), expected, "{n} {m} within {k}");
        }
        assert_eq!(program(&[n, m]).count(at_most(2)), 2 + n + m + 2 * n * m);
    }
}

#[test]
fn three_cpus_without_a_bound() {
    for [n, m, k] in [[0, 0, 0], [1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 2], [3, 1, 0]] {
        let expected = binomial(n + m + k + 3, n + 1) * binomial(m + k + 2, m + 1);
        assert_eq!(program(&[n, m, k]).count(Bound::NONE), expected, "{n} {m} {k}");
    }
}

/// One pre-emption: a CPU in two blocks which are not neighbours, 12 - 6 orders. Two: a CPU in three blocks, 2 orders;
/// or two CPUs in two blocks each, 30 - 12 - 12 + 6 orders.
#[test]
fn three_cpus_with_a_bound() {
    for [n, m, k] in [[1, 1, 1], [2, 1, 3], [3, 3, 3], [4, 0, 2]] {
        let text = program(&[n, m, k]);
        let one = 6 * (n + m + k);
        let two = 2 * (binomial(n, 2) + binomial(m, 2) + binomial(k, 2)) + 12 * (n * m + m * k + n * k);
        assert_eq!(text.count(at_most(0)), 6);
        assert_eq!(text.count(at_most(1)), 6 + one, "{n} {m} {k}");
        assert_eq!(text.count(at_most(2)), 6 + one + two, "{n} {m} {k}");
    }
}

/// Where nobody's accesses conflict, only the order of the CPUs is chosen.
#[test]
fn reduced_searches_of_independent_cpus() {
    for order in [MemoryOrder::Sc, MemoryOrder::Tso] {
        let count = |text: &str| Text::new(text).explore(order, Bound::NONE, true).1;
        assert_eq!(count("x=1; x=2; x | y; y=1; y+1"), 2);
        assert_eq!(count("x; y; z | x; z; y | y; x"), 6);
        assert_eq!(count("x=1; fence; x | y=1; y; fence | z=1 | w+1; w"), 24);
    }
}

/// Accesses that conflict with nothing add no executions, wherever they are.
#[test]
fn invisible_accesses_cost_nothing() {
    for order in [MemoryOrder::Sc, MemoryOrder::Tso] {
        for bound in [Bound::NONE, Bound { preemptions: 1, surprises: 1 }] {
            let count = |text: &str| Text::new(text).explore(order, bound, true).1;
            let plain = count("x=1; x=2 | x; x=3");
            assert_eq!(count("y; x=1; y=1; y; x=2; y | z=1; z=2; x; z; x=3; z=3"), plain);
        }
    }
}

/// Pruning leaves no more than there are executions that differ: here, places of one load among three stores.
#[test]
fn pruned_searches_are_small() {
    let text = Text::new("x=1; x=2; x=3 | x");
    let (whole, executions) = text.explore(MemoryOrder::Sc, Bound::NONE, false);
    let (reduced, fewer) = text.explore(MemoryOrder::Sc, Bound::NONE, true);
    assert_eq!((whole.outcomes.len(), executions), (4, binomial(6, 2)));
    assert_eq!(reduced, whole);
    assert!(fewer <= executions, "{fewer}");
}

/// A CPU's events, of which that number `taken` is that it takes an interrupt: not before CPU 0 has sent it by its
/// second event.
#[derive(Clone, Copy)]
struct Events {
    count: u64,
    taken: Option<u64>,
}

/// How many shuffles of the CPUs' events there are, of which `done` have happened.
fn shuffles(cpus: &[Events], done: &[u64]) -> u64 {
    let is_next = |cpu: usize| {
        let is_sent = done[0] >= 2 || cpus[cpu].taken != Some(done[cpu] + 1);
        done[cpu] < cpus[cpu].count && is_sent
    };
    if done.iter().zip(cpus).all(|(&done, cpu)| done == cpu.count) {
        return 1;
    }
    let after = |cpu: usize| {
        let mut done = done.to_vec();
        done[cpu] += 1;
        shuffles(cpus, &done)
    };
    (0..cpus.len()).filter(|&cpu| is_next(cpu)).map(after).sum()
}

/// CPU 0 interrupts all others and goes on with `after` accesses; these do `counts` accesses; a handler does `handler`.
fn interrupting(after: u64, counts: &[u64], handler: u64) -> Text {
    let targets: Vec<String> = (1..=counts.len()).map(|cpu| cpu.to_string()).collect();
    let accesses = |count: u64| vec!["x=1"; count as usize].join("; ");
    let cpus: Vec<String> = counts.iter().map(|&count| accesses(count)).collect();
    Text::new(&format!("interrupt {}; {} | {}", targets.join(" "), accesses(after), cpus.join(" | ")))
        .with_handler(&accesses(handler))
}

/// To take an interrupt is an event of its own, somewhere after the CPU's start: before any of its `n` accesses or
/// after the last.
fn places(after: u64, counts: &[u64], handler: u64) -> u64 {
    let sender = Events { count: 2 + after, taken: None };
    let of = |n: u64| (0..=n).map(move |at| Events { count: 2 + n + handler, taken: Some(at + 2) });
    let all = counts.iter().fold(vec![vec![sender]], |all, &n| {
        all.iter().flat_map(|cpus| of(n).map(move |cpu| [&cpus[..], &[cpu]].concat())).collect()
    });
    all.iter().map(|cpus| shuffles(cpus, &vec![0; cpus.len()])).sum()
}

#[test]
fn interrupts_come_at_any_time() {
    for (after, n, handler) in [(0, 1, 0), (0, 2, 1), (1, 2, 0), (2, 1, 2), (1, 3, 1), (0, 5, 0)] {
        let expected = places(after, &[n], handler);
        let text = interrupting(after, &[n], handler);
        for surprises in [1, u8::MAX] {
            let bound = Bound { surprises, ..Bound::NONE };
            assert_eq!(text.count(bound), expected, "{after} {n} {handler} within {surprises}");
        }
    }
}

#[test]
fn each_target_takes_its_interrupt_at_any_time() {
    for (after, counts, handler) in [(0, [1, 1], 0), (1, [1, 1], 0), (0, [2, 1], 1)] {
        let expected = places(after, &counts, handler);
        assert_eq!(interrupting(after, &counts, handler).count(Bound::NONE), expected, "{after} {counts:?} {handler}");
    }
}

/// Without pre-emptions the sender runs first, and then the target, or the other way round. Where the sender is first,
/// the target takes its interrupt before its first access, or for one surprise before another or at its end.
#[test]
fn to_put_an_interrupt_off_costs_one_surprise() {
    for n in 0..6 {
        let count = |surprises| interrupting(0, &[n], 2).count(Bound { preemptions: 0, surprises });
        assert_eq!(count(0), 2);
        assert_eq!((count(1), count(9)), (n + 2, n + 2));
    }
}

/// Where the handler conflicts with nothing, it does not matter when it comes.
#[test]
fn invisible_handlers_cost_little() {
    let count = |handler: &str| {
        let text = Text::new("interrupt 1; x=1 | y=1; y=2; y=3; y=4").with_handler(handler);
        text.explore(MemoryOrder::Sc, Bound { preemptions: 2, surprises: 1 }, true).1
    };
    assert!(count("z=1") < count("y=5"), "{} {}", count("z=1"), count("y=5"));
}

/// An interrupt that is put off comes after steps which conflict with its handler.
#[test]
fn interrupts_put_off_come_where_they_matter() {
    let count = |accesses: &str, surprises| {
        let text = Text::new(&format!("interrupt 1 | {accesses} | x; x")).with_handler("z=9");
        text.explore(MemoryOrder::Sc, Bound { preemptions: 1, surprises }, true).1
    };
    let (few, many) = ("x=1; x=2; x=3; x=4; x=5; z=5", "x=1; z=1; x=2; z=2; x=3; z=3");
    assert_eq!(count(few, 0), count(many, 0));
    assert!(count(few, 1) < count(many, 1));
    assert!(count(few, 1) < 2 * count(few, 0), "{} {}", count(few, 1), count(few, 0));
}
