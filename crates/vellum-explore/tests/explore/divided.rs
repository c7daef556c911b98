//! A search divided among threads finds what one thread finds.

use super::bugs;
use super::closures::{Closures, Words};
use super::interrupts::{EARLY_FREE, HANDLER_LOCK};
use super::soundness::{interrupting, program};
use fastrand::Rng;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, ThreadId};
use std::time::Duration;
use vellum_explore::MemoryOrder::{Sc, Tso};
use vellum_explore::{Bound, MemoryOrder, Outcome, Plan, Way};

fn search(program: Closures, order: MemoryOrder, bound: Bound, threads: usize) -> Result<Outcome, String> {
    let mut plan = Plan::new(Way::Exhaustive { bound, reduce: true }, order);
    plan.threads = threads;
    program.run(&plan)
}

/// The same violation by the same schedule, after the same number of executions.
#[test]
fn the_first_violation_is_found() {
    let bugs = [bugs::PETERSON, bugs::COUNT, bugs::CHECK, bugs::SEQUENCE, bugs::STACK, bugs::SLEEP, bugs::LOCKS];
    for bug in bugs.into_iter().chain([HANDLER_LOCK, EARLY_FREE]) {
        for order in [Sc, Tso] {
            for (preemptions, surprises) in [(0, 0), (1, 0), (1, 1), (2, 1), (3, 1)] {
                let bound = Bound { preemptions, surprises };
                let one = search(bug, order, bound, 1).unwrap();
                for threads in [2, 5] {
                    let many = search(bug, order, bound, threads).unwrap();
                    assert_eq!(many.broken, one.broken);
                    assert_eq!((many.schedules, many.visible), (one.schedules, one.visible));
                    assert_eq!((many.exhaustive, many.digest), (one.exhaustive, one.digest));
                }
            }
        }
    }
}

/// The same outcomes of random programs, by the same number of executions.
#[test]
fn every_outcome_is_found() {
    for seed in 0..120 {
        let rng = &mut Rng::with_seed(8_000 + seed);
        let cpus = 2 + usize::from(seed % 4 == 0);
        let text = if seed % 2 == 0 { interrupting(rng, cpus, 5 - cpus) } else { program(rng, cpus, 6 - cpus) };
        let bound = Bound { preemptions: rng.u8(0..3), surprises: rng.u8(0..2) };
        for (order, reduce) in [(Sc, true), (Tso, true), (Tso, false)] {
            let one = text.explore(order, bound, reduce);
            let many = text.explore_on(3, order, bound, reduce);
            assert_eq!(many, one, "seed {seed} {order:?} {bound:?} {reduce}: {:?} {:?}", text.cpus, text.handler);
        }
    }
}

/// Two CPUs with accesses that all conflict: thousands of executions.
const LONG: Closures = Closures { run: |words, _| (0..8).for_each(|_| _ = words.add(0, 1)), ..Closures::EMPTY };

#[test]
fn threads_share_the_work() {
    static THREADS: Mutex<Option<HashSet<ThreadId>>> = Mutex::new(None);
    fn end(_: &Words) {
        THREADS.lock().unwrap().get_or_insert_default().insert(thread::current().id());
    }
    let outcome = search(Closures { end, ..LONG }, Sc, Bound::NONE, 4).unwrap();
    assert_eq!(outcome.schedules, search(LONG, Sc, Bound::NONE, 1).unwrap().schedules);
    assert!(THREADS.lock().unwrap().as_ref().unwrap().len() > 1);
}

#[test]
fn a_search_is_cut_off() {
    let mut plan = Plan::new(Way::Exhaustive { bound: Bound::NONE, reduce: false }, Sc);
    (plan.threads, plan.time) = (3, Some(Duration::from_millis(200)));
    let endless = Closures { run: |words, _| (0..30).for_each(|_| _ = words.add(0, 1)), ..Closures::EMPTY };
    let outcome = endless.run(&plan).unwrap();
    assert!(!outcome.exhaustive && outcome.broken.is_none() && outcome.schedules > 0);
}

/// What an execution does depends on how many there were before, on whatever thread.
#[test]
fn hidden_nondeterminism_is_reported() {
    static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);
    let program = Closures {
        run: |words, cpu| {
            if cpu == 0 && EXECUTIONS.fetch_add(1, Relaxed) % 5 == 4 {
                words.add(1, 1);
            }
            (0..4).for_each(|_| _ = words.add(0, 1));
        },
        ..LONG
    };
    let error = search(program, Sc, Bound::NONE, 3).unwrap_err();
    assert!(error.contains("before"), "{error}");
}
