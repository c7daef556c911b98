//! Both directions, in every mode: nothing breaks with the protection, and what the scenario names without it.

use own_scenario::SNAPSHOT;
use vellum::Guard;
use vellum_lab::explore::Detail;
use vellum_lab::scenario::{Check, Mode, Scenario, check, replay, verify};

#[test]
fn the_snapshot_is_of_one_moment() {
    let report = verify(&SNAPSHOT).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(report.results.len(), 2 * SNAPSHOT.modes().len());
    println!("{report}");
}

/// What a failing test of a scenario prints.
#[test]
fn what_breaks_is_drawn() {
    let without = Check::new(&SNAPSHOT, Mode::SOFT).without(&[Guard::OfScenario]);
    let (broken, schedule) = check(&without).unwrap().violation.expect("it breaks");
    assert_eq!(broken.invariant, "I-SNAPSHOT");
    let again = replay(&without, &schedule).unwrap();
    assert_eq!(again.broken, Some(broken));
    let diagram = again.draw(Detail::Full);
    assert!(diagram.starts_with("CPU0 snapshot ") && diagram.contains("store 0x5000 := 2"), "{diagram}");
}

/// A scenario that says too much, or too little, fails.
#[test]
fn a_scenario_that_is_wrong_fails() {
    static HARMLESS: Scenario = Scenario { breaks: |_| false, ..SNAPSHOT };
    static OTHER: Scenario = Scenario { invariants: &["I-LOST"], ..SNAPSHOT };
    static NOTHING: Scenario = Scenario { guards: &[], ..SNAPSHOT };
    let fails = |scenario, why: &str| {
        let text = verify(scenario).err().expect("it is wrong");
        assert!(text.contains(why), "{text}");
        text
    };
    assert!(fails(&HARMLESS, "UNEXPECTED: nothing was expected to break").contains("CPU1 program"));
    fails(&OTHER, "UNEXPECTED: I-LOST was expected");
    fails(&NOTHING, "about no guard");
}
