//! A program that does not do the same again is reported.

use super::closures::{Closures, Words};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use vellum_explore::{Bound, MemoryOrder, Plan, Way};

fn search(program: Closures, twice: bool) -> Result<(), String> {
    let way = Way::Exhaustive { bound: Bound { preemptions: 2, surprises: 1 }, reduce: true };
    let mut plan = Plan::new(way, MemoryOrder::Sc);
    plan.twice = twice;
    program.run(&plan).map(|outcome| assert!(outcome.exhaustive))
}

fn share(words: &Words) {
    words.add(0, 1);
    words.add(0, 1);
}

/// What an execution does depends on how many there were before.
const COUNTS: Closures = Closures {
    run: |words, cpu| {
        static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);
        if cpu == 0 && EXECUTIONS.fetch_add(1, Relaxed) % 3 == 2 {
            words.add(1, 1);
        }
        share(words);
    },
    ..Closures::EMPTY
};

/// What an execution does depends on where the host put something.
const ADDRESS: Closures = Closures {
    run: |words, cpu| {
        if cpu == 0 {
            let somewhere: &'static u64 = Box::leak(Box::new(0));
            if (&raw const *somewhere).addr() >> 5 & 1 == 0 {
                words.add(1, 1);
            }
        }
        share(words);
    },
    ..Closures::EMPTY
};

#[test]
fn running_twice_tells() {
    for program in [COUNTS, ADDRESS] {
        let error = search(program, true).unwrap_err();
        assert!(error.contains("hidden nondeterminism") || error.contains("came to"), "{error}");
    }
}

#[test]
fn the_search_itself_notices() {
    for program in [COUNTS, ADDRESS] {
        let error = search(program, false).unwrap_err();
        assert!(error.contains("before"), "{error}");
    }
}

#[test]
fn what_is_deterministic_passes() {
    let program = Closures { run: |words, _| share(words), ..Closures::EMPTY };
    assert_eq!(search(program, true), Ok(()));
    assert_eq!(search(program, false), Ok(()));
}
