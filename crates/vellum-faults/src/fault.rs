//! A fault: what to change in the core, and who is expected to notice.
//!
//! A file of lines. First a head, one `key: value` a line; then one or more edits:
//!
//! ```text
//! title: Only the first page of a batch is flushed
//! kind: Y3
//! file: space/batch.rs
//! scenarios: A17 A3
//! tests: vellum-lab --test lab hosted::
//! expect: scenario
//! --- find
//!             Some(owed) => owed.end = owed.end.max(end),
//! --- replace
//!             Some(_) => {}
//! ```
//!
//! What is to be found are whole lines, which the file has exactly once; nothing to replace them by deletes them.

use crate::test_run::TestRun;
use std::fmt;
use std::ops::Range;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its file below the folder of faults, without `.fault`.
    pub name: String,
    /// What is wrong with the core that has it.
    pub title: String,
    /// The mechanism, or the kind of oversight that it stands for.
    pub kind: String,
    /// The file that it changes, below the core's `src`.
    pub file: String,
    /// The scenarios concerned, by their ids; some may not be written yet.
    pub scenarios: Vec<String>,
    /// The tests concerned beside the core's own, for when no scenario finds it.
    pub tests: Vec<TestRun>,
    /// Who is to find it.
    pub expect: Expect,
    /// Of the file's text: a result that was noted stands for the same text alone.
    pub digest: u64,
    edits: Vec<Edit>,
}

/// Who is expected to find a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One of the scenarios.
    Scenario,
    /// One of the tests.
    Test,
    /// Nobody: the core is as right as before, and why.
    Equivalent(String),
    /// Nobody yet, and why.
    NextIssue(String),
}

/// Lines, and what stands in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edit {
    find: String,
    replace: String,
}

/// Why a fault does not fit a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The lines that begin so are not there.
    Absent(String),
    /// The lines that begin so are there more than once.
    Ambiguous(String, usize),
    /// Two edits change the same lines.
    Overlap,
    /// Nothing is changed.
    Idle,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Absent(line) => write!(f, "the lines from “{line}” on are not there"),
            Misfit::Ambiguous(line, times) => write!(f, "the lines from “{line}” on are there {times} times"),
            Misfit::Overlap => write!(f, "two edits change the same lines"),
            Misfit::Idle => write!(f, "nothing is changed"),
        }
    }
}

impl Fault {
    /// Reads the fault `name` from the text of its file.
    pub fn parse(name: &str, text: &str) -> Result<Fault, String> {
        let (head, edits) = match text.find("\n--- ") {
            Some(end) => (&text[..end], edits(&text[end + 1..])?),
            None => return Err("no edit".into()),
        };
        let mut fault = Fault {
            name: name.into(),
            title: String::new(),
            kind: String::new(),
            file: String::new(),
            scenarios: Vec::new(),
            tests: Vec::new(),
            expect: Expect::Scenario,
            digest: digest(text),
            edits,
        };
        let mut is_expected = false;
        for line in head.lines() {
            let (key, value) = line.split_once(':').ok_or_else(|| format!("no key in “{line}”"))?;
            let value = value.trim();
            match key {
                "title" => fault.title = value.into(),
                "kind" => fault.kind = value.into(),
                "file" => fault.file = value.into(),
                "scenarios" => fault.scenarios = value.split_whitespace().map(str::to_string).collect(),
                "tests" => fault.tests = tests(value)?,
                "expect" => (fault.expect, is_expected) = (Expect::parse(value)?, true),
                _ => return Err(format!("unknown key “{key}”")),
            }
        }
        let missing = [("title", &fault.title), ("kind", &fault.kind), ("file", &fault.file)];
        match missing.iter().find(|(_, value)| value.is_empty()) {
            Some((key, _)) => Err(format!("no {key}")),
            None if !is_expected => Err("no expect".into()),
            None => Ok(fault),
        }
    }

    /// `source`, the text of the fault's file, with the fault in it.
    pub fn apply(&self, source: &str) -> Result<String, Misfit> {
        let mut places: Vec<(Range<usize>, &str)> = Vec::new();
        for edit in &self.edits {
            places.push((place_of(&edit.find, source)?, &edit.replace));
        }
        places.sort_by_key(|(range, _)| range.start);
        if places.windows(2).any(|pair| pair[0].0.end > pair[1].0.start) {
            return Err(Misfit::Overlap);
        }
        let mut changed = source.to_string();
        for (range, replace) in places.into_iter().rev() {
            changed.replace_range(range, replace);
        }
        if changed == source { Err(Misfit::Idle) } else { Ok(changed) }
    }
}

impl Expect {
    fn parse(value: &str) -> Result<Expect, String> {
        let (word, why) = value.split_once(':').map_or((value, ""), |(word, why)| (word, why.trim()));
        match (word, why.is_empty()) {
            ("scenario", true) => Ok(Expect::Scenario),
            ("test", true) => Ok(Expect::Test),
            ("equivalent", false) => Ok(Expect::Equivalent(why.into())),
            ("next issue", false) => Ok(Expect::NextIssue(why.into())),
            ("equivalent" | "next issue", true) => Err(format!("“{word}” needs a reason")),
            _ => Err(format!("cannot expect “{value}”")),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expect::Scenario => "scenario",
            Expect::Test => "test",
            Expect::Equivalent(_) => "equivalent",
            Expect::NextIssue(_) => "next issue",
        })
    }
}

fn tests(value: &str) -> Result<Vec<TestRun>, String> {
    value.split(',').map(str::trim).filter(|run| !run.is_empty()).map(TestRun::parse).collect()
}

/// The edits of `text`, which begins with the first.
fn edits(text: &str) -> Result<Vec<Edit>, String> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut is_finding = false;
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("--- ").map(str::trim_end), edits.last_mut()) {
            (Some("find"), _) if !is_finding => {
                edits.push(Edit { find: String::new(), replace: String::new() });
                is_finding = true;
            }
            (Some("replace"), Some(_)) if is_finding => is_finding = false,
            (Some(word), _) => return Err(format!("“--- {word}” is out of place")),
            (None, Some(edit)) if is_finding => edit.find += line,
            (None, Some(edit)) => edit.replace += line,
            (None, None) => return Err("a line before the first edit".into()),
        }
    }
    match edits.iter().any(|edit| edit.find.is_empty()) {
        _ if is_finding => Err("the last edit has no “--- replace”".into()),
        true => Err("an edit has nothing to find".into()),
        false => Ok(edits),
    }
}

/// Where the lines `find` are in `source`.
fn place_of(find: &str, source: &str) -> Result<Range<usize>, Misfit> {
    let begins_line = |&start: &usize| start == 0 || source.as_bytes()[start - 1] == b'\n';
    let mut places = (0..).zip(source.match_indices(find).map(|(start, _)| start).filter(begins_line));
    let first = || find.lines().next().unwrap_or_default().trim().to_string();
    let (_, start) = places.next().ok_or_else(|| Misfit::Absent(first()))?;
    match places.last() {
        Some((others, _)) => Err(Misfit::Ambiguous(first(), others + 1)),
        None => Ok(start..start + find.len()),
    }
}

/// FNV-1a, 64 bits: the same on every machine, and whatever compiles it.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn one() {\n    step();\n}\n\nfn two() {\n    step();\n    check();\n    step();\n}\n";

    fn fault(edits: &str) -> Fault {
        let head = "title: T\nkind: K\nfile: f.rs\nscenarios: A1 B22\ntests: vellum tlb::\nexpect: scenario\n";
        Fault::parse("a/b", &format!("{head}{edits}")).expect("a fault")
    }

    #[test]
    fn a_file_says_what_it_says() {
        let fault = fault("--- find\n    check();\n--- replace\n");
        assert_eq!((fault.name.as_str(), fault.title.as_str(), fault.kind.as_str()), ("a/b", "T", "K"));
        assert_eq!((fault.file.as_str(), fault.scenarios.len()), ("f.rs", 2));
        assert_eq!(fault.tests, [TestRun::parse("vellum tlb::").expect("a test")]);
        assert_eq!(fault.expect, Expect::Scenario);
        assert_eq!(fault.apply(SOURCE).expect("fits"), SOURCE.replace("    check();\n", ""));
    }

    #[test]
    fn several_edits_are_of_the_text_as_it_was() {
        // Each makes what the other is anchored by ambiguous, or removes it; that does not matter.
        let edits =
            "--- find\n    check();\n--- replace\nfn one() {\n--- find\nfn one() {\n--- replace\n    check();\n";
        let expected = "    check();\n    step();\n}\n\nfn two() {\n    step();\nfn one() {\n    step();\n}\n";
        assert_eq!(fault(edits).apply(SOURCE).expect("fits"), expected);
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let misfit = |edits: &str| fault(edits).apply(SOURCE).expect_err("a misfit");
        assert_eq!(misfit("--- find\n    stop();\n--- replace\n"), Misfit::Absent("stop();".into()));
        assert_eq!(misfit("--- find\n    step();\n--- replace\n"), Misfit::Ambiguous("step();".into(), 3));
        // Not whole lines.
        assert_eq!(misfit("--- find\ncheck();\n--- replace\n"), Misfit::Absent("check();".into()));
        assert_eq!(misfit("--- find\n    check();\n--- replace\n    check();\n"), Misfit::Idle);
        let twice = "--- find\n    check();\n--- replace\n--- find\n    check();\n    step();\n--- replace\n";
        assert_eq!(misfit(twice), Misfit::Overlap);
    }

    #[test]
    fn what_is_no_fault_says_why() {
        let head = "title: T\nkind: K\nfile: f.rs\nexpect: ";
        let edit = "\n--- find\nx\n--- replace\n";
        let why = |text: &str| Fault::parse("a", text).expect_err("no fault");
        assert_eq!(why("title: T\n"), "no edit");
        assert_eq!(why(&format!("title: T{edit}")), "no kind");
        assert_eq!(why(&format!("title: T\nkind: K\nfile: f.rs{edit}")), "no expect");
        assert_eq!(why(&format!("{head}luck{edit}")), "cannot expect “luck”");
        assert_eq!(why(&format!("{head}equivalent{edit}")), "“equivalent” needs a reason");
        assert_eq!(why(&format!("{head}test\n--- find\nx\n")), "the last edit has no “--- replace”");
        assert_eq!(why(&format!("{head}test\n--- find\n--- replace\n")), "an edit has nothing to find");
        assert_eq!(why(&format!("{head}test\n--- replace\nx\n")), "“--- replace” is out of place");
        assert_eq!(why(&format!("{head}test\ncolour: red{edit}")), "unknown key “colour”");
    }

    #[test]
    fn reasons_are_kept() {
        let text = "title: T\nkind: K\nfile: f.rs\nexpect: next issue: D2: is mended there\n--- find\nx\n--- replace\n";
        let fault = Fault::parse("a", text).expect("a fault");
        assert_eq!(fault.expect, Expect::NextIssue("D2: is mended there".into()));
        assert_ne!(fault.digest, digest(&text.replace("D2", "D3")));
    }
}
