//! The command line.

use std::path::PathBuf;

/// What `--help` says.
pub const HELP: &str = "\
Puts seeded faults into the core, one at a time, and says which scenario or test finds each.

A fault is a file in faults/: a few lines of the core, what stands in their place, and who is expected to notice. Each
is put into a copy of the tree, which is built and searched by the scenarios concerned; then, if no scenario has found
it, the tests concerned are run, and the core's own. The exit code is 1 if one was not found as its file says.

Usage: seeded-faults [OPTION]... [NAME]...

The names are those of faults or of folders [all].

  --list            Lists them.
  --check           Says which do not apply to the core any more, and builds nothing.
  --jobs N          Runs so many side by side, each in a copy of its own [1].
  --all-scenarios   Searches every scenario, not those only that the faults name.
  --tests-too       Runs the tests of a fault although a scenario has found it, and says the first that fails, too.
  --no-scenarios    Searches none: what is found is found by tests.
  --no-tests        Runs no tests: what no scenario finds survives, and is not noted.
  --seconds N       Cuts each search off after so many seconds [60].
  --output FILE     Notes what is found, and takes from there what was found before: a run can be broken off.
  --copies FOLDER   Where the copies are made [a temporary folder].
  --keep            Leaves the copies, with what was built in them, for the next run with these --copies.
  --help            Says this.
";

/// What is asked for; see [`HELP`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The faults, or folders of them; none: all.
    pub names: Vec<String>,
    /// `--help`.
    pub help: bool,
    /// `--list`.
    pub list: bool,
    /// `--check`.
    pub check: bool,
    /// `--jobs`.
    pub jobs: usize,
    /// `--all-scenarios`.
    pub all_scenarios: bool,
    /// `--tests-too`.
    pub tests_too: bool,
    /// `--no-scenarios`.
    pub no_scenarios: bool,
    /// `--no-tests`.
    pub no_tests: bool,
    /// `--seconds`.
    pub seconds: u32,
    /// `--output`.
    pub output: Option<PathBuf>,
    /// `--copies`.
    pub copies: Option<PathBuf>,
    /// `--keep`.
    pub keep: bool,
}

impl Args {
    /// Reads the words of a command line.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Args, String> {
        let mut words = words.into_iter();
        let mut args = Args { jobs: 1, seconds: 60, ..Args::default() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} what?"));
            match word.as_str() {
                "--help" | "-h" => args.help = true,
                "--list" => args.list = true,
                "--check" => args.check = true,
                "--all-scenarios" => args.all_scenarios = true,
                "--tests-too" => args.tests_too = true,
                "--no-scenarios" => args.no_scenarios = true,
                "--no-tests" => args.no_tests = true,
                "--keep" => args.keep = true,
                "--jobs" => args.jobs = number(&word, &value()?)?,
                "--seconds" => args.seconds = number(&word, &value()?)?,
                "--output" => args.output = Some(value()?.into()),
                "--copies" => args.copies = Some(value()?.into()),
                _ if word.starts_with('-') => return Err(format!("unknown option {word}; see --help")),
                _ => args.names.push(word),
            }
        }
        Ok(args)
    }
}

/// A number of at least 1.
fn number<N: std::str::FromStr + PartialOrd + From<u8>>(option: &str, text: &str) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| *number >= N::from(1));
    number.ok_or_else(|| format!("{option}: '{text}' is no number from 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn options_and_names_may_be_mixed() {
        let args = parse("tlb --jobs 2 --output a.txt rmap/walk --keep").expect("a command line");
        assert_eq!(args.names, ["tlb", "rmap/walk"]);
        assert_eq!((args.jobs, args.seconds, args.keep, args.check), (2, 60, true, false));
        assert_eq!(args.output, Some("a.txt".into()));
        assert_eq!(parse("").expect("none").jobs, 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(parse("--jobs").expect_err("no value"), "--jobs what?");
        assert_eq!(parse("--jobs 0").expect_err("too few"), "--jobs: '0' is no number from 1");
        assert_eq!(parse("--seconds x").expect_err("no number"), "--seconds: 'x' is no number from 1");
        assert_eq!(parse("--fast").expect_err("no option"), "unknown option --fast; see --help");
    }

    #[test]
    fn every_option_is_in_the_help() {
        for line in HELP.lines().filter_map(|line| line.strip_prefix("  --")) {
            let option = line.split_whitespace().next().expect("an option");
            let takes_value = line.split_whitespace().nth(1).is_some_and(|word| word.chars().all(char::is_uppercase));
            let line = if takes_value { format!("--{option} 1") } else { format!("--{option}") };
            assert!(parse(&line).is_ok(), "{line}");
        }
    }
}
