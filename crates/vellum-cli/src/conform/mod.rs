//! `vellum conform`: random sequences of memory operations, on Vellum and on the Linux that runs this.
//!
//! * `args`: the command line. `text`, `json`: what was found.

pub mod args;
mod json;
mod text;

use crate::output::print;
use crate::progress::Progress;
use crate::{FAILED, fail};
use args::{ConformArgs, Pressure};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vellum_conform::compare::Settings;
use vellum_conform::{Campaign, Limits, Linux, Stats, Stop};

/// Seconds that it takes, unless something else is asked for.
const SECONDS: f64 = 60.0;

/// There is no Linux to compare with.
const NO_LINUX: u8 = 3;

/// What was done, and found.
struct Report {
    stats: Stats,
    stop: Option<Stop>,
    seed: u64,
    has_heap: bool,
    has_guards: bool,
    time: Duration,
}

/// Does what the command line says.
pub fn run(args: &ConformArgs) -> ExitCode {
    if args.differences {
        return print(&if args.json { json::differences() } else { text::differences() });
    }
    let mut linux = match Linux::start() {
        Ok(linux) => linux,
        Err(why) => return fail(NO_LINUX, why),
    };
    let report = compare(args, &mut linux);
    let printed = print(&if args.json { json::report(&report) } else { text::report(&report) });
    match report.stop {
        None => printed,
        Some(Stop::Linux(error)) => fail(FAILED, error),
        Some(Stop::Found(found)) => {
            let (seed, off) = (found.seed, if args.pressure == Pressure::Off { " --pressure off" } else { "" });
            let again = format!("vellum conform --seed {seed} --operations 1{off}");
            fail(FAILED, format_args!("Vellum is not as Linux in the sequence of seed {seed}; again: {again}"))
        }
    }
}

fn compare(args: &ConformArgs, linux: &mut Linux) -> Report {
    let seconds = args.seconds.or(if args.operations.is_none() { Some(SECONDS) } else { None });
    let campaign = Campaign {
        seed: args.seed,
        limits: Limits { time: seconds.map(Duration::from_secs_f64), operations: args.operations },
        has_pressure: args.pressure == Pressure::On,
        settings: Settings::default(),
    };
    let (begun, has_heap, has_guards) = (Instant::now(), linux.has_heap(), linux.has_guards());
    let progress = Progress::of_operations(args.operations);
    let mut stats = Stats::default();
    let stop = campaign.run(linux, &mut stats, &mut |stats| progress.at(stats.operations())).err();
    drop(progress);
    Report { stats, stop, seed: args.seed, has_heap, has_guards, time: begun.elapsed() }
}
