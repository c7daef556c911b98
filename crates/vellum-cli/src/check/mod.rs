//! `vellum check`: scenarios under every interleaving within a bound.
//!
//! * `args`: the command line. `request`: what it asks for, if that makes sense. `modes`: the processors.
//! * `pool`: searches, on several host threads. What one is, and is worth, the laboratory says.
//! * `text`, `json`: what was found. `list`: what there is.

pub mod args;
mod json;
mod list;
mod modes;
mod pool;
mod request;
mod text;

use crate::output::print;
use crate::{BAD_INPUT, FAILED, fail};
use args::CheckArgs;
use request::Request;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vellum_lab::explore::{Detail, Schedule};
use vellum_lab::scenario::{Found, Search, Verdict, replay, unlike};

/// Does what the command line says.
pub fn run(args: &CheckArgs) -> ExitCode {
    if args.list {
        return print(&if args.json { list::json() } else { list::text() });
    }
    let request = match Request::new(args) {
        Ok(request) => request,
        Err(why) => return fail(BAD_INPUT, why),
    };
    match &args.replay {
        Some(schedule) => draw(&request.searches[0], schedule, args.detail()),
        None => search(&request, args),
    }
}

/// Runs one execution again.
fn draw(search: &Search, schedule: &Schedule, detail: Detail) -> ExitCode {
    let replayed = match replay(&search.check, schedule) {
        Ok(replayed) => replayed,
        Err(why) => return fail(BAD_INPUT, format_args!("--replay {schedule}: {why}")),
    };
    let printed = print(&text::drawn(search, schedule, &replayed, detail));
    if replayed.broken.is_some() { ExitCode::from(FAILED) } else { printed }
}

/// Searches, and says at once what was found, or at the end in one document.
fn search(request: &Request, args: &CheckArgs) -> ExitCode {
    let begun = Instant::now();
    let mut printed = ExitCode::SUCCESS;
    if !args.json {
        printed = print(&text::notes(request));
    }
    let found = pool::run(&request.searches, |search, found| {
        if !args.json {
            print(&text::line(search, found));
        }
    });
    let results: Vec<(&Search, &Found)> = request.searches.iter().zip(&found).collect();
    let last = if args.json { json::render(&results) } else { end(request, args, &results, begun.elapsed()) };
    if !last.is_empty() {
        printed = print(&last);
    }
    match complaint(request, args, &results) {
        Some((code, why)) => {
            eprintln!("vellum: {why}");
            ExitCode::from(code)
        }
        None => printed,
    }
}

/// What comes after the searches: the diagrams of an experiment, or the sum.
fn end(request: &Request, args: &CheckArgs, results: &[(&Search, &Found)], time: Duration) -> String {
    if request.is_experiment {
        return text::diagrams(results, args.detail());
    }
    let spread = if args.all { text::spread(results, time) } else { String::new() };
    spread + &text::sum(results)
}

/// What the exit code is about, if there is something to say.
fn complaint(request: &Request, args: &CheckArgs, results: &[(&Search, &Found)]) -> Option<(u8, String)> {
    let all = results.len();
    let failures = results.iter().filter(|(_, found)| found.finding.is_err()).count();
    let cut_off = results.iter().filter(|(_, found)| found.is_cut_off()).count();
    if request.is_experiment {
        let broken = results.iter().filter(|(_, found)| found.violation().is_some()).count();
        return match (failures, broken, cut_off) {
            (1.., ..) => Some((FAILED, format!("{failures} of {all} searches failed themselves"))),
            (_, 1.., _) => Some((FAILED, format!("an invariant breaks in {broken} of {all} searches"))),
            (.., 1..) => Some((0, format!("{cut_off} of {all} searches were cut off: NOT exhaustive"))),
            _ => None,
        };
    }
    let is_unexpected = |search: &Search, found: &Found| matches!(found.verdict(search), Verdict::Unexpected(_));
    let unexpected = results.iter().filter(|(search, found)| is_unexpected(search, found)).count();
    if unexpected > 0 {
        return Some((FAILED, format!("{unexpected} of {all} searches are not as expected")));
    }
    if let Some(Search { check, .. }) = unlike(results).first() {
        let (id, mode) = (check.scenario.id, check.mode);
        return Some((FAILED, format!("{id} is searched otherwise on {mode}: it is not 'alike', as it says")));
    }
    // Who asks for a limit of time knows that what a guard is for may not be found within it.
    let proves = |search: &Search| search.check.guards_off.is_empty() || args.seconds.is_none();
    let unproved = results.iter().filter(|(search, found)| found.is_cut_off() && proves(search)).count();
    let why = || format!("{unproved} of {all} searches were cut off by time: nothing is proved by them");
    (unproved > 0).then(|| (0, why()))
}
