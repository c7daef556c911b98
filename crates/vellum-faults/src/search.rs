//! Searching scenarios on a core with a fault, by way of the example `search` built in its copy.

use crate::process::{Ended, cargo, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is built in a copy: as little as can search a scenario, on the toy modes.
const BUILD: [&str; 7] = ["build", "--quiet", "--profile", "faults", "--package", "vellum-faults", "--example=search"];

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Searched {
    /// The scenario's id.
    pub id: String,
    /// The mode.
    pub mode: String,
    /// `clean`, `cut-off`, `broken`, `failed` or `absent`.
    pub word: String,
    /// Executions run.
    pub schedules: u64,
    /// What broke.
    pub what: String,
}

/// What the scenarios say of a core.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Searches {
    /// Those that were made, as far as they were.
    pub made: Vec<Searched>,
    /// The searches crashed or did not end, and how.
    pub crash: Option<String>,
}

impl Searches {
    /// The first that broke.
    pub fn broken(&self) -> Option<&Searched> {
        self.made.iter().find(|search| search.word == "broken" || search.word == "failed")
    }

    /// Executions of all searches.
    pub fn schedules(&self) -> u64 {
        self.made.iter().map(|search| search.schedules).sum()
    }
}

impl Searched {
    fn parse(line: &str) -> Option<Searched> {
        let mut fields = line.split('\t').map(str::to_string);
        let (id, mode, word) = (fields.next()?, fields.next()?, fields.next()?);
        let schedules = fields.next()?.parse().ok()?;
        let what = fields.nth(1)?;
        Some(Searched { id, mode, word, schedules, what })
    }
}

/// Builds what searches, in the copy at `tree`.
pub fn build(tree: &Path) -> Result<(), String> {
    let mut command = cargo(tree);
    command.args(BUILD);
    match run(command, &tree.join("target/faults-build.log"), None) {
        Ended::Well => Ok(()),
        Ended::Badly(why) | Ended::Late(why) => Err(why),
    }
}

/// Searches the scenarios `ids` (`--all` among them is all), each mode for `seconds` at most, until something breaks.
pub fn search(tree: &Path, ids: &[String], seconds: u32) -> Searches {
    /// Searches of all scenarios, and of one, at most.
    const MOST: (u64, u64) = (1000, 6);
    let log = tree.join("target/faults-search.log");
    let mut command = Command::new(program(tree));
    command.current_dir(tree).arg(seconds.to_string()).args(ids);
    let searches = if ids.iter().any(|id| id == "--all") { MOST.0 } else { MOST.1 * ids.len() as u64 };
    let limit = Duration::from_secs(u64::from(seconds) * searches + 30);
    let ended = run(command, &log, Some(limit));
    let text = fs::read_to_string(&log).unwrap_or_default();
    let crash = match ended {
        Ended::Well => None,
        Ended::Badly(why) => Some(format!("crash: {why}")),
        Ended::Late(_) => Some("a search that does not end".to_string()),
    };
    Searches { made: text.lines().filter_map(Searched::parse).collect(), crash }
}

fn program(tree: &Path) -> PathBuf {
    tree.join("target/faults/examples/search")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_searches_are_understood() {
        let line = "A1\ttiny\tbroken\t17\t0.1\tI-LOST: a store";
        let search = Searched::parse(line).expect("a search");
        assert_eq!((search.id.as_str(), search.mode.as_str(), search.schedules), ("A1", "tiny", 17));
        assert_eq!(search.what, "I-LOST: a store");
        assert_eq!(Searched::parse("thread main panicked"), None);
    }

    #[test]
    fn the_first_that_breaks_is_what_was_found() {
        let line = |id: &str, word: &str| Searched::parse(&format!("{id}	tiny	{word}	5	0.1	")).expect("a search");
        let searches =
            |words: &[&str]| Searches { made: words.iter().map(|word| line(word, word)).collect(), crash: None };
        let found = |words: &[&str]| searches(words).broken().map(|search| search.id.clone());
        assert_eq!(found(&["clean", "cut-off", "absent"]), None);
        assert_eq!(found(&["clean", "broken", "failed"]).as_deref(), Some("broken"));
        assert_eq!(found(&["absent", "failed"]).as_deref(), Some("failed"));
        assert_eq!(searches(&["clean", "broken"]).schedules(), 10);
    }
}
