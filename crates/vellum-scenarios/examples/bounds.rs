//! How many schedules each scenario has at the bounds that are worth considering, with every guard on: what to choose a
//! scenario's bound by. `cargo run --release -p vellum-scenarios --example bounds [ID…]`
//!
//! A scenario allows at least one pre-emption and one surprise, and two pre-emptions where that stays under some 20,000
//! schedules a mode.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Check, Scenario, check};

/// No search takes longer.
const TIME: Duration = Duration::from_secs(60);
const BOUNDS: [(u8, u8); 2] = [(1, 1), (2, 1)];
/// More schedules than this are too many for two pre-emptions.
const SCHEDULES_MAX: u64 = 20_000;

fn main() {
    let ids: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |scenario: &&Scenario| ids.is_empty() || ids.iter().any(|id| scenario.id.eq_ignore_ascii_case(id));
    let chosen: Vec<&Scenario> = vellum_scenarios::all().iter().copied().filter(is_chosen).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |count| count.get()) {
            scope.spawn(|| {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Relaxed)) {
                    println!("{}", line(scenario));
                }
            });
        }
    });
}

/// The bound that is declared, and the most schedules of any mode at each of the [`BOUNDS`].
fn line(scenario: &'static Scenario) -> String {
    let mut line = format!("{:6} {},{}", scenario.id, scenario.bound.preemptions, scenario.bound.surprises);
    for (preemptions, surprises) in BOUNDS {
        let mut most = Some((0, 0.0));
        for mode in scenario.modes().into_iter().filter(|&mode| !scenario.is_known_to_break(mode)) {
            let mut wanted = Check::new(scenario, mode);
            (wanted.bound, wanted.further) = (Bound { preemptions, surprises }, None);
            wanted.time = Some(TIME);
            let found = check(&wanted).unwrap_or_else(|error| panic!("{}: {error}", scenario.id));
            if let Some((broken, schedule)) = found.violation {
                line += &format!("  {mode}: {} at {schedule}", broken.invariant);
            }
            most = most
                .filter(|_| found.exhaustive)
                .map(|(schedules, seconds): (u64, f64)| (schedules.max(found.schedules), seconds.max(found.seconds)));
            if most.is_none_or(|(schedules, _)| schedules > SCHEDULES_MAX) {
                break;
            }
        }
        match most {
            Some((schedules, seconds)) => {
                line += &format!("  {preemptions},{surprises}: {schedules} in {seconds:.1} s")
            }
            None => line += &format!("  {preemptions},{surprises}: too many"),
        }
    }
    line
}
