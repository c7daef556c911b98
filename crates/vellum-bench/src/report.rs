//! The report: a table for people, a document for programs.

use super::table::PEER;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was measured of one operation; figures are per unit.
pub struct Figures {
    /// Its name.
    pub name: &'static str,
    /// What the figures are per.
    pub unit: &'static str,
    /// How many units were measured.
    pub repetitions: u64,
    /// Instructions, but for clearing pages.
    pub instructions: f64,
    /// The most it is to take.
    pub bar: Option<u64>,
    /// Nanoseconds, clearing included.
    pub nanoseconds: f64,
    /// Atomic read-modify-writes.
    pub atomics: f64,
    /// Cache lines written through `vellum::sync`.
    pub lines_written: f64,
    /// The peer's instructions over ours.
    pub peer: Option<f64>,
}

/// The head of the table.
pub fn head() -> String {
    format!(
        "instructions without those that clear pages, {} runs for the time; the peer is {PEER}\n\
         {:<25}{:>6}{:>14}  {:<12}{:>9}{:>9}{:>8}{:>8}{:>8}\n",
        super::TIMED_RUNS,
        "operation",
        "per",
        "instructions",
        "bar",
        "ns",
        "atomics",
        "lines",
        "peer",
        "times"
    )
}

/// One line of the table.
pub fn row(figures: &Figures) -> String {
    let bar = figures.bar.map_or("-".to_string(), |bar| {
        format!("{bar} {}", if figures.instructions <= bar as f64 { "met" } else { "missed" })
    });
    let peer = figures.peer.map_or("-".to_string(), |ratio| format!("{ratio:.2}x"));
    format!(
        "{:<25}{:>6}{:>14.1}  {:<12}{:>9.1}{:>9.2}{:>8.2}{:>8}{:>8}\n",
        figures.name,
        figures.unit,
        figures.instructions,
        bar,
        figures.nanoseconds,
        figures.atomics,
        figures.lines_written,
        peer,
        figures.repetitions
    )
}

/// One operation in the document.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    unit: &'static str,
    instructions: f64,
    nanoseconds: f64,
    atomics: f64,
    shared_lines_written: f64,
    peers: BTreeMap<&'static str, f64>,
    bar: Option<u64>,
    repetitions: u64,
}

impl Entry {
    fn of(figures: &Figures) -> Entry {
        let round = |figure: f64| (figure * 1000.0).round() / 1000.0;
        Entry {
            name: figures.name,
            unit: figures.unit,
            instructions: round(figures.instructions),
            nanoseconds: round(figures.nanoseconds),
            atomics: round(figures.atomics),
            shared_lines_written: round(figures.lines_written),
            peers: figures.peer.iter().map(|&ratio| (PEER, round(ratio))).collect(),
            bar: figures.bar,
            repetitions: figures.repetitions,
        }
    }
}

/// All of them as JSON.
pub fn json(all: &[Figures]) -> String {
    let entries: Vec<Entry> = all.iter().map(Entry::of).collect();
    document(&entries)
}

/// As a JSON document.
pub fn document(all: &impl Serialize) -> String {
    // Numbers and strings can be written.
    serde_json::to_string_pretty(all).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::{Figures, json, row};

    fn figures() -> Figures {
        Figures {
            name: "fault-anon",
            unit: "fault",
            repetitions: 10,
            instructions: 400.0,
            bar: Some(400),
            nanoseconds: 1.23456,
            atomics: 2.0,
            lines_written: 7.0,
            peer: Some(0.5),
        }
    }

    #[test]
    fn a_bar_is_met_or_missed() {
        assert!(row(&figures()).contains("400 met"));
        assert!(row(&Figures { instructions: 400.1, ..figures() }).contains("400 missed"));
        let without = row(&Figures { bar: None, ..figures() });
        assert!(!without.contains("met") && !without.contains("missed"), "{without}");
    }

    #[test]
    fn the_document_has_the_fields_in_their_order() {
        let text: String = json(&[figures()]).split_whitespace().collect();
        let start = r#"[{"name":"fault-anon","unit":"fault","instructions":400.0,"nanoseconds":1.235,"atomics":2.0,"#;
        assert!(text.starts_with(start), "{text}");
        let rest = r#""shared_lines_written":7.0,"peers":{"memory_set+page_table_multiarch":0.5}"#;
        assert!(text.contains(rest), "{text}");
    }
}
