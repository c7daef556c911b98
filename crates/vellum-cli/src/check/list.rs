//! The list of scenarios.

use super::json::document;
use super::request::about;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use vellum::Guard;
use vellum_lab::scenario::{Mode, Scenario};

#[derive(Serialize)]
struct Entry {
    id: &'static str,
    title: &'static str,
    /// Each breaks something when it alone is off.
    guards: Vec<&'static str>,
    /// Only together.
    guards_redundant: Vec<&'static str>,
    /// What comes of switching them off.
    modes: BTreeMap<&'static str, &'static str>,
    thread: &'static str,
    /// The fault of the core that shows with every guard on, if one is known.
    known: Option<&'static str>,
    /// How long the searches of `vellum check ID` took, added up, if that was measured.
    seconds: Option<f64>,
}

/// One document, with a line end.
pub fn json() -> String {
    let names = |guards: &[Guard]| guards.iter().map(|guard| guard.name()).collect();
    let entries = vellum_scenarios::all().iter().map(|scenario| Entry {
        id: scenario.id,
        title: scenario.title,
        guards: names(scenario.guards),
        guards_redundant: names(scenario.guards_redundant),
        modes: scenario.modes().into_iter().map(|mode| (mode.name, safety(scenario, mode))).collect(),
        thread: scenario.thread,
        known: scenario.known.map(|known| known.fault),
        seconds: vellum_scenarios::seconds(scenario.id),
    });
    document(&entries.collect::<Vec<_>>())
}

fn safety(scenario: &Scenario, mode: Mode) -> &'static str {
    if (scenario.breaks)(mode) { "unsafe" } else { "safe" }
}

/// One line a scenario.
pub fn text() -> String {
    let mut rows = vec![["id", "thread", "seconds", "title", "guards", "unsafe without them in"].map(String::from)];
    for scenario in vellum_scenarios::all() {
        let seconds = vellum_scenarios::seconds(scenario.id).map_or("-".into(), |seconds| format!("{seconds:.1}"));
        let (modes, breaking): (Vec<Mode>, Vec<Mode>) =
            (scenario.modes(), scenario.modes().into_iter().filter(|&mode| (scenario.breaks)(mode)).collect());
        let breaking = match breaking.len() {
            0 if scenario.known.is_some() => String::new(),
            0 => "no mode".into(),
            all if all == Mode::TOYS.len() => "every mode".into(),
            all if all == modes.len() => format!("{} (all it runs in)", named(&breaking)),
            _ => named(&breaking),
        };
        let (id, thread, title) = (scenario.id.into(), scenario.thread.into(), scenario.title.into());
        let breaking = match scenario.known {
            Some(known) => format!("{breaking} (KNOWN TO BREAK with every guard on: {})", known.fault).trim().into(),
            None => breaking,
        };
        rows.push([id, thread, seconds, title, about(scenario), breaking]);
    }
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

fn named(modes: &[Mode]) -> String {
    modes.iter().map(|mode| mode.name).collect::<Vec<_>>().join(", ")
}
