//! Searches scenarios with every protection on, in the toy modes: `search SECONDS ID…`.
//!
//! Prints a line for each search as soon as it is done, with tabs between: id, mode, what came of it (`clean`,
//! `cut-off`, `broken`, `failed`), schedules, seconds, what broke. Scenarios that do not exist are `absent`. Ends when
//! something broke, and leaves out what is known to break. `--all` among the ids is all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, process, thread};
use vellum_lab::scenario::{Check, check};
use vellum_scenarios::all;

fn main() {
    let mut words = env::args().skip(1);
    let Some(seconds) = words.next().and_then(|word| word.parse().ok()) else {
        eprintln!("search: usage: search SECONDS ID…");
        process::exit(2);
    };
    let mut ids: Vec<String> = words.collect();
    if ids.iter().any(|id| id == "--all") {
        ids = all().iter().map(|scenario| scenario.id.to_string()).collect();
    }
    let searches: Vec<Check> = ids.iter().flat_map(|id| searches(id, Duration::from_secs_f64(seconds))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(search) = searches.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !run(search) {
                process::exit(0);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |count| count.get()) {
            scope.spawn(work);
        }
    });
}

/// The searches of scenario `id`.
fn searches(id: &str, time: Duration) -> Vec<Check> {
    let Some(scenario) = all().iter().find(|scenario| scenario.id == id) else {
        println!("{id}\t-\tabsent\t0\t0\t");
        return Vec::new();
    };
    let modes = scenario.modes().into_iter().filter(|&mode| !scenario.is_known_to_break(mode));
    modes.map(|mode| Check { time: Some(time), ..Check::new(scenario, mode) }).collect()
}

/// Makes one search; whether nothing broke.
fn run(search: &Check) -> bool {
    let (id, mode) = (search.scenario.id, search.mode.name);
    let finding = match check(search) {
        Ok(finding) => finding,
        Err(why) => {
            println!("{id}\t{mode}\tfailed\t0\t0\t{}", one_line(&why));
            return false;
        }
    };
    let (word, what) = match (&finding.violation, finding.exhaustive) {
        (Some((broken, _)), _) => ("broken", format!("{}: {}", broken.invariant, one_line(&broken.detail))),
        (None, true) => ("clean", String::new()),
        (None, false) => ("cut-off", String::new()),
    };
    println!("{id}\t{mode}\t{word}\t{}\t{:.1}\t{what}", finding.schedules, finding.seconds);
    finding.violation.is_none()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
