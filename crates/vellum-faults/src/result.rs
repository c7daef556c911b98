//! What was found out about faults: noted in a file, so that a run can be broken off and go on.

use crate::fault::{Expect, Fault};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

/// Who noticed a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A scenario.
    Scenario,
    /// A test.
    Test,
    /// Nobody.
    Survived,
    /// It does not compile, and has to be seeded anew.
    NotBuilt,
}

impl Verdict {
    const ALL: [Verdict; 4] = [Verdict::Scenario, Verdict::Test, Verdict::Survived, Verdict::NotBuilt];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Scenario => "scenario",
            Verdict::Test => "test",
            Verdict::Survived => "survived",
            Verdict::NotBuilt => "not built",
        }
    }
}

/// What came of a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The fault's name, and the digest of its file.
    pub name: String,
    /// See [`Fault::digest`].
    pub digest: u64,
    /// Who noticed it.
    pub verdict: Verdict,
    /// The scenario with its mode and what broke, the test, or why it was not built.
    pub by: String,
    /// Executions searched.
    pub schedules: u64,
    /// How long all of it took.
    pub seconds: f64,
}

impl Found {
    /// Whether that is what the fault's head expects.
    pub fn is_expected(&self, fault: &Fault) -> bool {
        match fault.expect {
            Expect::Scenario => self.verdict == Verdict::Scenario,
            Expect::Test => self.verdict == Verdict::Test,
            Expect::Equivalent(_) | Expect::NextIssue(_) => self.verdict == Verdict::Survived,
        }
    }

    fn line(&self) -> String {
        let Found { name, digest, verdict, by, schedules, seconds } = self;
        let by = by.replace(['\t', '\n'], " ");
        format!("{name}\t{digest:016x}\t{}\t{schedules}\t{seconds:.1}\t{by}\n", verdict.name())
    }

    fn parse(line: &str) -> Option<Found> {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_string();
        let digest = u64::from_str_radix(fields.next()?, 16).ok()?;
        let word = fields.next()?;
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == word)?;
        let schedules = fields.next()?.parse().ok()?;
        let seconds = fields.next()?.parse().ok()?;
        Some(Found { name, digest, verdict, by: fields.next()?.to_string(), schedules, seconds })
    }
}

/// What `path` says of `fault`, as it is now; the last line counts.
pub fn noted(text: &str, fault: &Fault) -> Option<Found> {
    let mut lines = text.lines().rev().filter_map(Found::parse);
    lines.find(|found| found.name == fault.name && found.digest == fault.digest)
}

/// Adds what was found to the file at `path`.
pub fn note(path: &Path, found: &Found) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(found.line().as_bytes())
}

/// The text of the file at `path`; none if there is no such file yet.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// One row of the matrix.
pub fn row(fault: &Fault, found: &Found) -> String {
    let is_met = if found.is_expected(fault) { "" } else { "NOT EXPECTED" };
    let by = match found.verdict {
        Verdict::Survived => "-".to_string(),
        _ => shortened(&found.by, 60),
    };
    format!(
        "{:<42} {:<24} {:<9} {:<60} {:>9} {:>5.0} s  {:<10} {is_met}",
        fault.name,
        shortened(&fault.kind, 24),
        found.verdict.name(),
        by,
        found.schedules,
        found.seconds,
        fault.expect
    )
    .trim_end()
    .to_string()
}

/// What the columns of [`row`] are.
pub fn heads() -> String {
    format!(
        "{:<42} {:<24} {:<9} {:<60} {:>9} {:>7}  {}",
        "fault", "kind", "found by", "", "schedules", "time", "expected"
    )
}

/// How many there are of each sort.
pub fn summary(results: &[(Fault, Found)]) -> String {
    let of = |verdict: Verdict| results.iter().filter(move |(_, found)| found.verdict == verdict);
    let survived =
        |is_meant: fn(&Expect) -> bool| of(Verdict::Survived).filter(move |(fault, _)| is_meant(&fault.expect)).count();
    let equivalent = survived(|expect| matches!(expect, Expect::Equivalent(_)));
    let waiting = survived(|expect| matches!(expect, Expect::NextIssue(_)));
    let mut text = format!(
        "{} faults: {} found by scenario, {} by test, {equivalent} argued equivalent, {waiting} waiting for the next issue, {} survived",
        results.len(),
        of(Verdict::Scenario).count(),
        of(Verdict::Test).count(),
        of(Verdict::Survived).count() - equivalent - waiting,
    );
    let not_built = of(Verdict::NotBuilt).count();
    if not_built > 0 {
        let _ = write!(text, ", {not_built} not built");
    }
    text
}

fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_string();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, expect: &str) -> Fault {
        let text = format!("title: T\nkind: K\nfile: f\nexpect: {expect}\n--- find\nx\n--- replace\n");
        Fault::parse(name, &text).expect("a fault")
    }

    fn found(fault: &Fault, verdict: Verdict) -> Found {
        let (name, digest) = (fault.name.clone(), fault.digest);
        Found { name, digest, verdict, by: "A1 tiny: I-LOST".into(), schedules: 12, seconds: 3.5 }
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let one = fault("tlb/one", "scenario");
        let first = found(&one, Verdict::Survived);
        let second = found(&one, Verdict::Scenario);
        let text =
            first.line() + &found(&fault("tlb/two", "test"), Verdict::Test).line() + "half a li\n" + &second.line();
        assert_eq!(noted(&text, &one), Some(second));
        assert_eq!(noted(&text, &fault("tlb/three", "scenario")), None);
        // Its file has changed since.
        assert_eq!(noted(&text, &fault("tlb/one", "test")), None);
    }

    #[test]
    fn expectations_are_met_or_not() {
        let cases = [("scenario", Verdict::Scenario), ("test", Verdict::Test), ("equivalent: why", Verdict::Survived)];
        for (place, (expect, verdict)) in cases.iter().enumerate() {
            for (other, (_, found_by)) in cases.iter().enumerate() {
                let fault = fault("a", expect);
                assert_eq!(found(&fault, *found_by).is_expected(&fault), place == other, "{expect}: {verdict:?}");
            }
        }
        let fault = fault("a", "scenario");
        assert!(row(&fault, &found(&fault, Verdict::Test)).ends_with("NOT EXPECTED"));
        assert!(!row(&fault, &found(&fault, Verdict::Scenario)).contains("NOT"));
    }

    #[test]
    fn the_summary_counts() {
        let all = [
            (fault("a", "scenario"), Verdict::Scenario),
            (fault("b", "test"), Verdict::Test),
            (fault("c", "equivalent: so"), Verdict::Survived),
            (fault("d", "next issue: so"), Verdict::Survived),
            (fault("e", "scenario"), Verdict::Survived),
        ];
        let results = all.map(|(fault, verdict)| (fault.clone(), found(&fault, verdict)));
        let expected =
            "5 faults: 1 found by scenario, 1 by test, 1 argued equivalent, 1 waiting for the next issue, 1 survived";
        assert_eq!(summary(&results), expected);
    }
}
