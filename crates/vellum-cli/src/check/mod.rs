//! `vellum check`: scenarios under every interleaving within a bound.
//!
//! * `args`: the command line. `request`: what it asks for, if that makes sense.
//! * `search`: one search, and whether it found what the scenario says. `pool`: many, on several host threads.
//! * `text`, `json`: what was found. `list`: what there is.

pub mod args;
mod json;
mod list;
mod pool;
mod request;
mod search;
mod text;

use crate::output::print;
use crate::{BAD_INPUT, FAILED, fail};
use args::CheckArgs;
use request::Request;
use search::{Found, Search};
use std::process::ExitCode;
use vellum_lab::explore::Schedule;
use vellum_lab::scenario::replay;

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
        Some(schedule) => draw(&request.searches[0], schedule),
        None => search(&request, args.json),
    }
}

/// Runs one execution again.
fn draw(search: &Search, schedule: &Schedule) -> ExitCode {
    let (broken, diagram) = match replay(&search.check, schedule) {
        Ok(drawn) => drawn,
        Err(why) => return fail(BAD_INPUT, format_args!("--replay {schedule}: {why}")),
    };
    let printed = print(&text::drawn(search, schedule, broken.as_ref(), &diagram));
    if broken.is_some() { ExitCode::from(FAILED) } else { printed }
}

/// Searches, and says at once what was found, or at the end in one document.
fn search(request: &Request, as_json: bool) -> ExitCode {
    let mut printed = ExitCode::SUCCESS;
    if !as_json {
        printed = print(&text::notes(request));
    }
    let found = pool::run(&request.searches, |search, found| {
        if !as_json {
            print(&text::line(search, found));
        }
    });
    let results: Vec<(&Search, &Found)> = request.searches.iter().zip(&found).collect();
    let last = if as_json { json::render(&results) } else { text::end(request, &results) };
    if !last.is_empty() {
        printed = print(&last);
    }
    match complaint(request, &results) {
        Some((code, why)) => {
            eprintln!("vellum: {why}");
            code
        }
        None => printed,
    }
}

/// What the exit code is about, if there is something to say.
fn complaint(request: &Request, results: &[(&Search, &Found)]) -> Option<(ExitCode, String)> {
    let failures = results.iter().filter(|(_, found)| found.finding.is_err()).count();
    let cut_off = results.iter().filter(|(_, found)| found.is_cut_off()).count();
    let all = results.len();
    if request.is_experiment {
        let broken = results.iter().filter(|(_, found)| found.violation().is_some()).count();
        let why = match (failures, broken, cut_off) {
            (1.., ..) => format!("{failures} of {all} searches failed themselves"),
            (_, 1.., _) => format!("an invariant breaks in {broken} of {all} searches"),
            (.., 1..) => format!("{cut_off} of {all} searches were cut off: NOT exhaustive"),
            _ => return None,
        };
        let code = if failures + broken > 0 { FAILED } else { 0 };
        return Some((ExitCode::from(code), why));
    }
    let unexpected = results.iter().filter(|(search, found)| found.objection(search).is_some()).count();
    (unexpected > 0).then(|| (ExitCode::from(FAILED), format!("{unexpected} of {all} searches are not as expected")))
}
