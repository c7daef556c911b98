//! Exact numbers of executions.
//!
//! An execution is a shuffle of the CPUs' events: its start and its accesses. Where a CPU is about to access a word or
//! has ended, the search chooses who goes on; so a CPU of `n` accesses contributes `n + 1` events, and every shuffle is
//! one execution. A shuffle is a sequence of blocks, each a stretch of one CPU; the end of every block but the last
//! of its CPU is a pre-emption. A CPU of `n + 1` events has `binomial(n, b - 1)` ways to be cut into `b` blocks.

use super::text::Text;
use vellum_lab::explore::{Bound, MemoryOrder};

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
