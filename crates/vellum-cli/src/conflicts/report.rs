//! The report: a matrix and a list for people, a document for programs.

use serde::Serialize;
use std::fmt::Write;
use vellum_lab::conflicts::{DISTANCE, Line, Operation, Pair, ROUNDS};

/// What was measured.
pub struct Report<'a> {
    pub arch: &'static str,
    pub operations: &'a [Operation],
    /// Every pair of them, each once.
    pub pairs: &'a [Pair],
}

#[derive(Serialize)]
struct Document<'a> {
    arch: &'a str,
    distance_bytes: u64,
    rounds: u64,
    pairs: Vec<PairEntry>,
}

#[derive(Serialize)]
struct PairEntry {
    operations: [&'static str; 2],
    /// Lines that both write although they may not.
    conflicts: usize,
    /// Lines that both write, and may.
    exempted: usize,
    lines: Vec<LineEntry>,
}

#[derive(Serialize)]
struct LineEntry {
    structures: Vec<String>,
    writers: Vec<usize>,
    readers: Vec<usize>,
    exempt: bool,
}

impl Report<'_> {
    /// The document, with a line end.
    pub fn json(&self) -> String {
        let pairs = self.pairs.iter().map(PairEntry::new).collect();
        let document = Document { arch: self.arch, distance_bytes: DISTANCE, rounds: ROUNDS, pairs };
        match serde_json::to_string_pretty(&document) {
            Ok(text) => text + "\n",
            Err(error) => unreachable!("names and numbers always have a JSON form: {error}"),
        }
    }

    /// The report as lines.
    pub fn text(&self) -> String {
        let mut text = format!(
            "cache lines that both of two CPUs write, each in a range of its own {} MiB from the other's\n\
             {}, each operation {ROUNDS} times; in brackets: for flushes, which are exempt\n\n",
            DISTANCE >> 20,
            self.arch
        );
        self.matrix(&mut text);
        self.pairs.iter().filter(|pair| !pair.lines.is_empty()).for_each(|pair| list(&mut text, pair));
        text
    }

    fn matrix(&self, text: &mut String) {
        let names = self.operations.iter().map(|operation| operation.name());
        let head = names.fold(format!("{:<10}", ""), |head, name| format!("{head}{name:>12}"));
        let _ = writeln!(text, "{head}");
        for &row in self.operations {
            let cells = self.operations.iter().map(|&column| self.pair(row, column).map_or(String::new(), count));
            let line = cells.fold(format!("{:<10}", row.name()), |line, cell| format!("{line}{cell:>12}"));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }

    /// The pair, in the order in which it was measured.
    fn pair(&self, first: Operation, second: Operation) -> Option<&Pair> {
        self.pairs.iter().find(|pair| (pair.first, pair.second) == (first, second))
    }
}

/// What the matrix says of a pair.
fn count(pair: &Pair) -> String {
    match (pair.conflicts().count(), pair.exempted().count()) {
        (conflicts, 0) => format!("{conflicts}"),
        (conflicts, exempted) => format!("{conflicts} ({exempted})"),
    }
}

fn list(text: &mut String, pair: &Pair) {
    let _ = writeln!(text, "\n{} on CPU 0, {} on CPU 1:", pair.first.name(), pair.second.name());
    for line in &pair.lines {
        let who = match (line.writers.as_slice(), line.readers.as_slice()) {
            ([writer], [reader]) => format!("CPU {writer} writes, {reader} reads"),
            _ => "both write".to_string(),
        };
        let exempt = if line.is_written_by_several() && pair.exempts(line) { " (exempt)" } else { "" };
        let _ = writeln!(text, "  {who:<21}  {line}{exempt}");
    }
}

impl PairEntry {
    fn new(pair: &Pair) -> PairEntry {
        let line = |line: &Line| LineEntry {
            structures: line.structures.iter().map(ToString::to_string).collect(),
            writers: line.writers.clone(),
            readers: line.readers.clone(),
            exempt: pair.exempts(line),
        };
        PairEntry {
            operations: [pair.first.name(), pair.second.name()],
            conflicts: pair.conflicts().count(),
            exempted: pair.exempted().count(),
            lines: pair.lines.iter().map(line).collect(),
        }
    }
}
