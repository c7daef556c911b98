//! Running tests on a core with a fault.

use crate::process::{Ended, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Tests of one package, as a fault names them: `vellum ops::races`, or `vellum-lab --test lab hosted::`, perhaps with
/// part of a test's name behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    package: String,
    /// The file of `tests/`; `None` for the library's own.
    target: Option<String>,
    filter: Option<String>,
}

/// What a run of tests came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tested {
    /// Nothing was noticed.
    Passed,
    /// A test failed, crashed, or did not end.
    Failed(String),
    /// They could not be built.
    NotBuilt(String),
}

impl TestRun {
    /// Reads what a fault says.
    pub fn parse(text: &str) -> Result<TestRun, String> {
        let mut words = text.split_whitespace().peekable();
        let package = words.next().ok_or("tests without a package")?.to_string();
        let target = match words.next_if_eq(&"--test") {
            Some(_) => Some(words.next().ok_or_else(|| format!("“{text}” names no test"))?.to_string()),
            None => None,
        };
        let filter = words.next().map(str::to_string);
        match words.next() {
            Some(word) => Err(format!("“{word}” in “{text}” is too much")),
            None => Ok(TestRun { package, target, filter }),
        }
    }

    /// The core's own: they are built and run in half a minute, so a fault need not say which concern it.
    pub fn core() -> TestRun {
        TestRun { package: "vellum".to_string(), target: None, filter: None }
    }

    /// How it is written.
    pub fn name(&self) -> String {
        let target = self.target.iter().map(|target| format!(" --test {target}"));
        let rest = target.chain(self.filter.iter().map(|filter| format!(" {filter}")));
        rest.fold(self.package.clone(), |name, word| name + &word)
    }

    /// Builds and runs them in the tree at `tree`, for `limit` at most.
    pub fn run(&self, tree: &Path, limit: Duration) -> Tested {
        let log = tree.join("target/faults-tests.log");
        let mut build = self.command(tree);
        build.arg("--no-run");
        match run(build, &log, None) {
            Ended::Well => {}
            Ended::Badly(why) | Ended::Late(why) => return Tested::NotBuilt(why),
        }
        let mut command = self.command(tree);
        command.arg("--").args(&self.filter);
        match run(command, &log, Some(limit)) {
            Ended::Well => Tested::Passed,
            Ended::Late(_) => Tested::Failed(format!("{} does not end", self.name())),
            Ended::Badly(_) => Tested::Failed(failed_test(&log).unwrap_or_else(|| self.name())),
        }
    }

    fn command(&self, tree: &Path) -> Command {
        let mut command = crate::process::cargo(tree);
        command.args(["test", "--quiet", "--profile", "faults-tests", "--package", &self.package]);
        match &self.target {
            Some(target) => command.args(["--test", target]),
            None => command.arg("--lib"),
        };
        command
    }
}

/// The first test that a log says has failed.
fn failed_test(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.starts_with("---- ") && line.ends_with(" stdout ----"))?;
    Some(line.trim_start_matches("---- ").trim_end_matches(" stdout ----").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for text in
            ["vellum", "vellum ops::races", "vellum-lab --test lab hosted::", "vellum-lab --test lab tags::a_page"]
        {
            assert_eq!(TestRun::parse(text).expect("tests").name(), text);
        }
        assert_eq!(TestRun::parse("vellum a b").expect_err("too much"), "“b” in “vellum a b” is too much");
        assert!(TestRun::parse("vellum --test").is_err());
        assert!(TestRun::parse(" ").is_err());
    }
}
