//! The scenarios as data. That they find what they say, `vellum check --all` checks.

use std::collections::HashSet;
use vellum::Guard;
use vellum_lab::scenario::{Expected, Mode, searches, without_implied};
use vellum_scenarios::{all, find};

/// What ids are sorted by: letter, number, and what follows.
fn key(id: &str) -> (&str, u32, &str) {
    let (letter, rest) = id.split_at(1);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (letter, rest[..digits].parse().expect("an id is a letter and a number"), &rest[digits..])
}

#[test]
fn ids_are_unique_and_sorted() {
    assert!(!all().is_empty());
    for pair in all().windows(2) {
        assert!(key(pair[0].id) < key(pair[1].id), "{} before {}", pair[0].id, pair[1].id);
    }
    for scenario in all() {
        assert_eq!(find(&scenario.id.to_lowercase()).map(|found| found.id), Some(scenario.id));
    }
}

#[test]
fn every_scenario_is_complete() {
    for scenario in all() {
        let id = scenario.id;
        assert!(!scenario.title.is_empty() && !scenario.actors.is_empty(), "{id}");
        assert!(scenario.actors.iter().all(|actor| !actor.name.is_empty()), "{id}");
        assert!(["S1", "S2", "S3", "S4", "S5", "-"].contains(&scenario.thread), "{id}: {}", scenario.thread);
        assert!(scenario.invariants.iter().all(|name| name.starts_with("I-")), "{id}");
        let guards: Vec<Guard> = scenario.guards.iter().chain(scenario.guards_redundant).copied().collect();
        assert!(!guards.is_empty() || scenario.known.is_some(), "{id} is about nothing");
        assert!(guards.iter().all(|guard| Guard::ALL.contains(guard)), "{id}");
        assert_eq!(guards.iter().collect::<HashSet<_>>().len(), guards.len(), "{id}: a guard twice");
        assert_ne!(scenario.guards_redundant.len(), 1, "{id}: one guard is not redundant");
    }
}

/// A scenario breaks in some mode, unless it names no invariant that could: then it shows that a guard is not needed.
#[test]
fn every_scenario_breaks_somewhere() {
    for scenario in all() {
        let modes = scenario.modes();
        assert!(!modes.is_empty(), "{}", scenario.id);
        assert!(modes.iter().all(|mode| Mode::TOYS.contains(mode)), "{}", scenario.id);
        let breaks = modes.into_iter().any(|mode| (scenario.breaks)(mode) || scenario.is_known_to_break(mode));
        assert_eq!(breaks, !scenario.invariants.is_empty(), "{}", scenario.id);
    }
}

/// Left out are searches with stores in order that are to be clean, where the same with late stores stays, and those of
/// processors that differ in the marks of entries, where these play no part.
#[test]
fn what_is_left_out_follows() {
    let mut left_out = 0;
    for scenario in all() {
        let whole = searches(scenario, &scenario.modes());
        let kept = without_implied(whole.clone());
        let has = |mode: Mode, guards_off: &[Guard]| {
            kept.iter().any(|search| search.check.mode == mode && search.check.guards_off == guards_off)
        };
        for search in whole.iter().filter(|search| !has(search.check.mode, &search.check.guards_off)) {
            assert_eq!(search.expected, Some(Expected::Clean), "{}", scenario.id);
            let instead = if search.check.mode == Mode::ASSIST_SC {
                if scenario.alike { Mode::SOFT } else { Mode::ASSIST }
            } else {
                assert!(scenario.alike && [Mode::ASSIST, Mode::BLIND].contains(&search.check.mode), "{}", scenario.id);
                Mode::SOFT
            };
            assert!(has(instead, &search.check.guards_off), "{}", scenario.id);
            left_out += 1;
        }
    }
    assert!(left_out > all().len() / 2, "{left_out}");
}
