//! Schedules are made shorter, and break the same.

use super::bugs;
use super::closures::{Closures, Words};
use super::interrupts::{EARLY_FREE, HANDLER_LOCK};
use std::sync::Arc;
use vellum_explore::MemoryOrder::{Sc, Tso};
use vellum_explore::{MemoryOrder, Plan, Schedule, Way, minimise};

/// The shortest schedule that `minimise` comes to from `schedule`, which breaks the same when it is run again.
fn shorten(bug: Closures, order: MemoryOrder, schedule: &Schedule, invariant: &str) -> Schedule {
    let plan = Plan::new(Way::Replay(Schedule::default()), order);
    let (broken, short) = minimise(Arc::new(bug), &plan, schedule, invariant).unwrap();
    let again = bug.run(&Plan::new(Way::Replay(short.clone()), order)).unwrap();
    assert_eq!(again.broken, Some((broken.clone(), short.clone())));
    assert_eq!(broken.invariant, invariant);
    assert!(short.decisions.len() <= schedule.decisions.len());
    short
}

/// What chance finds is made about as short as what a search finds within the smallest bound: not always as short, for
/// no decision is moved.
#[test]
fn what_chance_finds_becomes_short() {
    let bugs = [
        ("Peterson", bugs::PETERSON, Tso, 1, 1, 4),
        ("counter", bugs::COUNT, Sc, 1, 0, 2),
        ("check", bugs::CHECK, Sc, 2, 0, 2),
        ("sequence", bugs::SEQUENCE, Sc, 1, 0, 2),
        ("stack", bugs::STACK, Sc, 1, 0, 1),
        ("sleep", bugs::SLEEP, Sc, 1, 0, 3),
        ("locks", bugs::LOCKS, Sc, 1, 0, 3),
        ("handler", HANDLER_LOCK, Sc, 1, 0, 3),
        ("free", EARLY_FREE, Sc, 0, 1, 2),
    ];
    for (name, bug, order, preemptions, surprises, most) in bugs {
        assert!(bug.breaks(order, preemptions, surprises), "{name}");
        for seed in 0..8 {
            let found = bug.run(&Plan::new(Way::Random { seed, executions: 5_000 }, order)).unwrap();
            let (broken, schedule) = found.broken.unwrap();
            let short = shorten(bug, order, &schedule, &broken.invariant);
            assert!(short.decisions.len() <= most, "{name}: {schedule} became {short}");
        }
    }
}

/// What is shortened cannot be shortened more: without any one decision nothing breaks, or the schedule does not fit.
#[test]
fn every_decision_is_needed() {
    for (bug, order) in [(bugs::COUNT, Sc), (bugs::PETERSON, Tso), (bugs::STACK, Tso), (EARLY_FREE, Tso)] {
        let found = bug.run(&Plan::new(Way::Random { seed: 3, executions: 5_000 }, order)).unwrap();
        let (broken, schedule) = found.broken.unwrap();
        let short = shorten(bug, order, &schedule, &broken.invariant);
        for left_out in 0..short.decisions.len() {
            let mut fewer = short.clone();
            fewer.decisions.remove(left_out);
            let again = bug.run(&Plan::new(Way::Replay(fewer), order));
            assert!(again.is_err() || again.unwrap().broken.is_none(), "{short} without {left_out}");
        }
    }
}

/// CPU 1 stores to words which CPU 0 reads too soon, for whatever reason.
const DELAYS: Closures = Closures {
    run: |words, cpu| match cpu {
        0 => (0..4).for_each(|word| words.store(word, 1)),
        _ => {
            let seen: Vec<u64> = (0..4).map(|word| words.load(word)).collect();
            assert!(seen[3] == 1, "too soon");
        }
    },
    ..Closures::EMPTY
};

/// Words whose stores need not be delayed are left out; where none need be, the order of memory does not matter.
#[test]
fn delays_that_do_not_matter_are_left_out() {
    let plan = Plan::new(Way::Replay("1s>1,~0,~1,~2,~3".parse().unwrap()), Tso);
    assert!(DELAYS.run(&plan).is_err(), "nothing is delayed there");
    let found = DELAYS.run(&Plan::new(Way::Random { seed: 1, executions: 1_000 }, Tso)).unwrap();
    let (broken, schedule) = found.broken.unwrap();
    let mut delayed = schedule.clone();
    delayed.delayed = vec![0, 1, 2, 3];
    for schedule in [schedule, delayed] {
        let short = shorten(DELAYS, Tso, &schedule, &broken.invariant);
        assert_eq!(short.delayed, [0; 0], "{short}");
    }
}

/// A schedule that breaks something else, or nothing, is refused.
#[test]
fn what_does_not_break_is_refused() {
    let plan = Plan::new(Way::Replay(Schedule::default()), Sc);
    let refused =
        |schedule: &str, invariant| minimise(Arc::new(bugs::COUNT), &plan, &schedule.parse().unwrap(), invariant);
    assert!(refused("-", "I-ASSERT").is_err());
    assert!(refused("9999c>1", "I-ASSERT").is_err());
    let (_, schedule) = bugs::COUNT.search(Sc, 1, 0).broken.unwrap();
    assert!(refused(&schedule.to_string(), "I-ASSERT").is_ok());
    assert!(refused(&schedule.to_string(), "I-PROG").is_err());
}

/// To try costs a bounded number of executions, however long the schedule is.
#[test]
fn long_schedules_take_bounded_time() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static EXECUTIONS: AtomicU32 = AtomicU32::new(0);
    fn run(words: &Words, cpu: usize) {
        EXECUTIONS.fetch_add(cpu as u32, Relaxed);
        let seen: Vec<u64> = (0..200).map(|_| words.add(0, 1)).collect();
        assert!(seen[0] != 0 || seen[199] == 199, "the first to add is not left alone");
    }
    let bug = Closures { run, ..Closures::EMPTY };
    let found = bug.run(&Plan::new(Way::Random { seed: 1, executions: 9 }, Sc)).unwrap();
    let (broken, schedule) = found.broken.unwrap();
    assert!(schedule.decisions.len() > 10);
    EXECUTIONS.store(0, Relaxed);
    let plan = Plan::new(Way::Replay(Schedule::default()), Sc);
    let (_, short) = minimise(Arc::new(bug), &plan, &schedule, &broken.invariant).unwrap();
    assert_eq!(short.decisions.len(), 1, "{short}");
    assert!(EXECUTIONS.load(Relaxed) <= 400, "{EXECUTIONS:?}");
}
