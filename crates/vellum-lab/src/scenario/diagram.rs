//! Diagrams: one column a CPU, time downwards.

use crate::explore::{Broken, Happening};

/// Width of a column.
const WIDTH: usize = 44;

/// Draws what happened, under the names of the CPUs' actors.
pub fn draw(heads: &[&str], happenings: &[Happening], broken: Option<&Broken>) -> String {
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let row: Vec<String> = cells.iter().map(|cell| format!("{cell:WIDTH$}")).collect();
        text.push_str(row.join(" ").trim_end());
        text.push('\n');
    };
    line(&heads.iter().enumerate().map(|(cpu, head)| format!("CPU{cpu} {head}")).collect::<Vec<_>>());
    for happening in happenings {
        for part in wrapped(&happening.text) {
            let mut cells = vec![String::new(); heads.len()];
            cells[happening.cpu] = part;
            line(&cells);
        }
    }
    if let Some(Broken { invariant, detail }) = broken {
        text.push_str(&format!("broken: {invariant}: {detail}\n"));
    }
    text
}

/// `text` in pieces that fit a column; those after the first are set in.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.trim_end().chars().count() > WIDTH - 1 {
            lines.push(format!("    {word}"));
        } else {
            lines[last].push_str(word);
        }
    }
    lines
}
