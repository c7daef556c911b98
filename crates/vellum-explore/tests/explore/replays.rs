//! What was found is found again: schedules as text, searches by chance.

use super::bugs;
use super::closures::Closures;
use super::interrupts::{EARLY_FREE, HANDLER_LOCK};
use super::reference;
use super::soundness::{interrupting, program};
use fastrand::Rng;
use std::sync::Arc;
use vellum_explore::choice::ChoiceKind;
use vellum_explore::{Bound, MemoryOrder, Outcome, Plan, Schedule, Way, search};

/// Each seeded bug, with what its search needs.
const BUGS: [(&str, Closures, MemoryOrder, u8, u8); 9] = [
    ("Peterson", bugs::PETERSON, MemoryOrder::Tso, 1, 1),
    ("counter", bugs::COUNT, MemoryOrder::Sc, 1, 0),
    ("check", bugs::CHECK, MemoryOrder::Sc, 2, 0),
    ("sequence", bugs::SEQUENCE, MemoryOrder::Tso, 1, 1),
    ("stack", bugs::STACK, MemoryOrder::Sc, 1, 0),
    ("sleep", bugs::SLEEP, MemoryOrder::Tso, 1, 1),
    ("locks", bugs::LOCKS, MemoryOrder::Tso, 1, 1),
    ("handler", HANDLER_LOCK, MemoryOrder::Tso, 1, 1),
    ("free", EARLY_FREE, MemoryOrder::Tso, 1, 1),
];

fn reread(schedule: &Schedule) -> Schedule {
    let again: Schedule = schedule.to_string().parse().unwrap();
    assert_eq!(&again, schedule);
    again
}

/// Replays what `found` found, from its text.
fn replay(name: &str, found: &Outcome, run: impl Fn(Way) -> Result<Outcome, String>) {
    let (broken, schedule) = found.broken.as_ref().unwrap_or_else(|| panic!("{name}: nothing found"));
    let again = run(Way::Replay(reread(schedule))).unwrap_or_else(|error| panic!("{name} {schedule}: {error}"));
    let (same, _) = again.broken.unwrap_or_else(|| panic!("{name} {schedule}: clean"));
    assert_eq!(&same, broken, "{name} {schedule}");
    assert_eq!(again.digest, found.digest, "{name} {schedule}");
}

#[test]
fn a_schedule_leads_to_the_same_violation() {
    for (name, bug, order, preemptions, surprises) in BUGS {
        let found = bug.search(order, preemptions, surprises);
        replay(name, &found, |way| bug.run(&Plan::new(way, order)));
    }
}

/// Searches by chance find every bug within a number of executions, the same each time, and replay.
#[test]
fn chance_finds_the_bugs_again_and_again() {
    for (name, bug, order, _, _) in BUGS {
        for seed in [1, 7] {
            let ways = [Way::Random { seed, executions: 2_000 }, Way::Pct { seed, executions: 2_000, depth: 3 }];
            for way in ways {
                let found = bug.run(&Plan::new(way.clone(), order)).unwrap();
                let again = bug.run(&Plan::new(way, order)).unwrap();
                assert_eq!((&found.broken, found.digest), (&again.broken, again.digest), "{name}");
                assert_eq!(found.schedules, again.schedules);
                replay(name, &found, |way| bug.run(&Plan::new(way, order)));
            }
        }
    }
}

#[test]
fn a_schedule_that_does_not_fit_is_an_error() {
    for text in ["9999c>1", "1c>7", "1f>1", "1c2>1", "2s>1"] {
        let way = Way::Replay(text.parse().unwrap());
        let error = bugs::COUNT.run(&Plan::new(way, MemoryOrder::Sc)).unwrap_err();
        assert!(error.contains("schedule"), "{text}: {error}");
    }
}

/// Outcomes that only total store order allows, of random programs, are found and replayed: the words whose stores are
/// delayed in the replay suffice.
#[test]
fn delayed_stores_replay() {
    let mut replayed = 0;
    for seed in 0..300 {
        let mut text = program(
            &mut Rng::with_seed(5_000 + seed),
            2 + usize::from(seed % 5 == 0),
            if seed % 5 == 0 { 3 } else { 5 },
        );
        let [sc, tso] = [MemoryOrder::Sc, MemoryOrder::Tso].map(|order| reference::outcomes(&text, order).outcomes);
        if let Some(outcome) = tso.difference(&sc).last() {
            text.forbidden = Some(outcome.clone());
            let run = |way| search(Arc::new(text.clone()), &Plan::new(way, MemoryOrder::Tso));
            let found = run(Way::Exhaustive { bound: Bound::NONE, reduce: true }).unwrap();
            replay(&format!("seed {seed} {:?}", text.cpus), &found, run);
            replayed += 1;
        }
    }
    assert!(replayed > 20, "{replayed}");
}

/// Executions of random programs that interrupt each other replay, with interrupts put off among their decisions.
#[test]
fn interrupts_replay() {
    let mut put_off = 0;
    for seed in 0..150 {
        let mut text = interrupting(&mut Rng::with_seed(7_000 + seed), 2 + usize::from(seed % 4 == 0), 2);
        let bound = Bound { preemptions: 1, surprises: 1 };
        let (all, _) = text.explore(MemoryOrder::Tso, bound, true);
        let (without, _) = text.explore(MemoryOrder::Tso, Bound { surprises: 0, ..bound }, true);
        let Some(outcome) = all.outcomes.difference(&without.outcomes).last() else { continue };
        text.forbidden = Some(outcome.clone());
        let run = |way| search(Arc::new(text.clone()), &Plan::new(way, MemoryOrder::Tso));
        let found = run(Way::Exhaustive { bound, reduce: true }).unwrap();
        replay(&format!("seed {seed} {:?} {:?}", text.cpus, text.handler), &found, run);
        let (_, schedule) = found.broken.unwrap();
        put_off += schedule.decisions.iter().any(|decision| decision.place.kind == ChoiceKind::Interrupt) as u32;
    }
    assert!(put_off > 20, "{put_off}");
}

/// The happenings of a replay are those of the execution, in order.
#[test]
fn a_replay_tells_what_happens() {
    let found = bugs::COUNT.search(MemoryOrder::Sc, 1, 0);
    let (_, schedule) = found.broken.unwrap();
    let told = bugs::COUNT.run(&Plan::new(Way::Replay(schedule), MemoryOrder::Sc)).unwrap().happenings;
    assert!(told.iter().any(|happening| happening.text.contains("pre-empted")));
    assert!(told.is_sorted_by_key(|happening| happening.step));
}
