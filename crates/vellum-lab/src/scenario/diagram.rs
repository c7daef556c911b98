//! Diagrams: one column a CPU, time downwards.

use crate::explore::{Broken, Detail, Happening};

/// Width of a column.
const WIDTH: usize = 44;

/// Draws what happened, under the names of the CPUs' actors.
pub fn draw(heads: &[&str], happenings: &[Happening], broken: Option<&Broken>, detail: Detail) -> String {
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        let row: Vec<String> = cells.iter().map(|cell| format!("{cell:WIDTH$}")).collect();
        text.push_str(row.join(" ").trim_end());
        text.push('\n');
    };
    line(&heads.iter().enumerate().map(|(cpu, head)| format!("CPU{cpu} {head}")).collect::<Vec<_>>());
    // What was found is said once, at the end.
    let is_found = |text: &str| broken.is_some_and(|broken| text.strip_prefix("found: ") == Some(&broken.detail));
    for (cpu, happening) in merged(happenings, detail).into_iter().filter(|(_, text)| !is_found(text)) {
        for part in wrapped(&happening) {
            let mut cells = vec![String::new(); heads.len()];
            cells[cpu] = part;
            line(&cells);
        }
    }
    if let Some(Broken { invariant, detail }) = broken {
        text.push_str(&format!("broken: {invariant}: {detail}\n"));
    }
    text
}

/// What to draw, by CPU: what happens to one thing, one after the other, is one happening; what is repeated is told
/// once.
fn merged(happenings: &[Happening], detail: Detail) -> Vec<(usize, String)> {
    let mut merged: Vec<(usize, String, Detail)> = Vec::new();
    for happening in happenings.iter().filter(|happening| happening.detail <= detail) {
        let place = happening.place.as_ref().filter(|_| detail == Detail::Full);
        let text = match place {
            Some(place) => format!("{} in {place}", happening.text),
            None => happening.text.clone(),
        };
        match merged.last_mut() {
            Some((cpu, last, _)) if *cpu == happening.cpu && *last == text => {}
            Some((cpu, last, Detail::Full)) if *cpu == happening.cpu && happening.detail == Detail::Full => {
                match joined(last, &text) {
                    Some(both) => *last = both,
                    None => merged.push((happening.cpu, text, happening.detail)),
                }
            }
            _ => merged.push((happening.cpu, text, happening.detail)),
        }
    }
    merged.into_iter().map(|(cpu, text, _)| (cpu, text)).collect()
}

/// Both as one, if they are about the same thing, which stands before a colon, and fit a column.
fn joined(first: &str, second: &str) -> Option<String> {
    let (subject, change) = second.split_once(": ")?;
    let is_same = first.split_once(": ").is_some_and(|(other, _)| other == subject);
    let both = chained(first, change).unwrap_or_else(|| format!("{first}, {change}"));
    (is_same && both.chars().count() < WIDTH).then_some(both)
}

/// Where `first` ends in `name a→b`, and `change` is `name b→c`: it ends in `name a→b→c`.
fn chained(first: &str, change: &str) -> Option<String> {
    let (name, numbers) = change.rsplit_once(' ')?;
    let (from, to) = numbers.split_once('→')?;
    let last = first.rsplit([':', ',']).next()?.trim_start();
    let goes_on = last.rsplit_once(' ').is_some_and(|(other, way)| other == name && way.ends_with(&format!("→{from}")));
    goes_on.then(|| format!("{first}→{to}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(cpu: usize, text: &str, detail: Detail) -> Happening {
        Happening { cpu, step: 0, text: text.into(), detail, place: None }
    }

    #[test]
    fn what_is_about_one_thing_is_one_line() {
        let all = [
            happening(0, "munmap 0x4000", Detail::Brief),
            happening(0, "F143: refs 2→1, mapped 1→0", Detail::Full),
            happening(0, "F143: dirty", Detail::Full),
            happening(0, "F144: refs 1→2", Detail::Full),
            happening(0, "F144: refs 2→13", Detail::Full),
            happening(0, "F144: refs 13→1, mapped 2→1", Detail::Full),
            happening(1, "F144: locked", Detail::Full),
            happening(1, "waits for a change", Detail::Full),
            happening(1, "waits for a change", Detail::Full),
        ];
        let drawn = draw(&["a", "b"], &all, None, Detail::Full);
        let lines: Vec<&str> = drawn.lines().map(str::trim).collect();
        assert_eq!(
            lines[1..],
            [
                "munmap 0x4000",
                "F143: refs 2→1, mapped 1→0, dirty",
                "F144: refs 1→2→13, refs 13→1, mapped 2→1",
                "F144: locked",
                "waits for a change"
            ]
        );
        assert_eq!(draw(&["a", "b"], &all, None, Detail::Brief).lines().count(), 2);
    }

    #[test]
    fn long_lines_stay_in_their_column() {
        let text = "an entry of table F123, linked nowhere: 0x8000000000000067 → 0x0";
        let drawn = draw(&["a", "b"], &[happening(0, text, Detail::Brief)], None, Detail::Full);
        assert!(
            drawn.lines().count() == 3 && drawn.lines().skip(1).all(|line| line.chars().count() <= WIDTH + 5),
            "{drawn}"
        );
    }
}
