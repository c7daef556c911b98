//! One fault after the other, in a copy of the tree.

use crate::args::Args;
use crate::fault::Fault;
use crate::folder;
use crate::result::{Found, Verdict};
use crate::search;
use crate::test_run::{TestRun, Tested};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Tests of one fault are ended after this time.
const TESTS: Duration = Duration::from_secs(150);

/// The changed file of a copy, which becomes what it was when this goes.
struct Changed {
    path: PathBuf,
    before: String,
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            eprintln!("seeded-faults: {}: {error}", self.path.display());
        }
    }
}

/// Puts `fault` into the copy at `tree`, and finds out who notices.
pub fn run(args: &Args, tree: &Path, fault: &Fault) -> Found {
    let begun = Instant::now();
    let (verdict, by, schedules) = match put_in(tree, fault) {
        Ok(_changed) => notice(args, tree, fault),
        Err(why) => (Verdict::NotBuilt, why, 0),
    };
    let (name, digest, seconds) = (fault.name.clone(), fault.digest, begun.elapsed().as_secs_f64());
    Found { name, digest, verdict, by, schedules, seconds }
}

fn put_in(tree: &Path, fault: &Fault) -> Result<Changed, String> {
    let (path, before, after) = folder::changed(tree, fault)?;
    let changed = Changed { path, before };
    fs::write(&changed.path, after).map_err(|error| error.to_string())?;
    Ok(changed)
}

/// Who notices the fault in the copy, what, and after how many schedules.
fn notice(args: &Args, tree: &Path, fault: &Fault) -> (Verdict, String, u64) {
    let ids = match args {
        Args { no_scenarios: true, .. } => Vec::new(),
        Args { all_scenarios: true, .. } => vec!["--all".to_string()],
        _ => fault.scenarios.clone(),
    };
    let (mut by, mut schedules) = (None, 0);
    if !ids.is_empty() {
        if let Err(why) = search::build(tree) {
            return (Verdict::NotBuilt, why, 0);
        }
        let searches = search::search(tree, &ids, args.seconds);
        let broken = searches.broken().map(|search| format!("{} {}: {}", search.id, search.mode, search.what));
        (by, schedules) = (broken.or_else(|| searches.crash.clone()), searches.schedules());
    }
    if by.is_some() && !args.tests_too {
        return (Verdict::Scenario, by.unwrap_or_default(), schedules);
    }
    let test = if args.no_tests { Ok(None) } else { tests(tree, fault) };
    match (by, test) {
        (None, Ok(None)) => (Verdict::Survived, String::new(), schedules),
        (None, Ok(Some(test))) => (Verdict::Test, test, schedules),
        (None, Err(why)) => (Verdict::NotBuilt, why, schedules),
        (Some(by), Ok(Some(test))) => (Verdict::Scenario, format!("{by}; and {test}"), schedules),
        (Some(by), _) => (Verdict::Scenario, by, schedules),
    }
}

/// The first test that notices the fault in the copy.
fn tests(tree: &Path, fault: &Fault) -> Result<Option<String>, String> {
    for test in [&TestRun::core()].into_iter().chain(&fault.tests) {
        match test.run(tree, TESTS) {
            Tested::Passed => {}
            Tested::Failed(which) => return Ok(Some(which)),
            Tested::NotBuilt(why) => return Err(why),
        }
    }
    Ok(None)
}
