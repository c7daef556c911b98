//! Allocations fail at every site while others run: each scenario, everything on, with one pre-emption and one failing
//! allocation (or another surprise) wherever they may be. Nothing breaks, and the recount at the end finds nothing
//! lost. Not those that are known to break as it is. Searches that take too long are cut off, and say so;
//! `VELLUM_SECONDS` says how long that is.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Check, Mode, check};
use vellum_scenarios as scenarios;

/// No search takes longer: half a second, if nothing else is said.
fn time() -> Duration {
    let seconds = std::env::var("VELLUM_SECONDS");
    Duration::from_secs_f64(seconds.map_or(0.5, |text| text.parse().expect("VELLUM_SECONDS is a number")))
}

#[test]
fn allocations_fail_at_every_site() {
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(scenario) = scenarios::all().get(next.fetch_add(1, Relaxed)) {
            let modes = scenario.modes();
            let mode = if modes.contains(&Mode::ASSIST) { Mode::ASSIST } else { modes[0] };
            if scenario.is_known_to_break(mode) {
                continue;
            }
            let mut wanted = Check::new(scenario, mode);
            (wanted.bound, wanted.further) = (Bound { preemptions: 1, surprises: 1 }, None);
            wanted.allocations_fail = true;
            wanted.time = Some(time());
            let found = check(&wanted).unwrap_or_else(|error| panic!("{}: {error}", scenario.id));
            if let Some((broken, schedule)) = found.violation {
                panic!("{} on {mode}, schedule {schedule}: {}: {}", scenario.id, broken.invariant, broken.detail);
            }
            let all = if found.exhaustive { "all" } else { "NOT all" };
            println!("{} on {mode}: {all} of {} schedules, {:.1} s", scenario.id, found.schedules, found.seconds);
        }
    };
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().map_or(1, |n| n.get())).for_each(|_| {
            scope.spawn(worker);
        });
    });
}

#[test]
fn the_search_does_make_allocations_fail() {
    let scenario = scenarios::find("D10").expect("D10, a fork, is there");
    let count = |fail| {
        let mut wanted = Check::new(scenario, Mode::ASSIST);
        (wanted.bound, wanted.further) = (Bound { preemptions: 0, surprises: 1 }, None);
        wanted.allocations_fail = fail;
        check(&wanted).expect("the search repeats itself").schedules
    };
    assert!(count(true) > count(false));
}
