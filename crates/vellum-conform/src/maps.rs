//! What a process has mapped, as both sides say it.

use crate::arena::{self, PAGE};
use std::collections::HashMap;
use std::fmt;

/// A range of equal mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// First address.
    pub start: u64,
    /// End.
    pub end: u64,
    /// Rights, as bits: 1 to read, 2 to write, 4 to execute.
    pub prot: u8,
    /// Whether stores go to the object.
    pub is_shared: bool,
    /// The object.
    pub shown: Shown,
    /// Where in it the range begins.
    pub offset: u64,
    /// What was asked for beside; nothing if that is not known.
    pub flags: Flags,
}

/// Properties of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// It grows down.
    pub grows_down: bool,
    /// No memory is reserved for it.
    pub no_reserve: bool,
    /// Children do not get it.
    pub dont_fork: bool,
    /// Children get it empty.
    pub wipe_on_fork: bool,
    /// It is not part of a core dump.
    pub dont_dump: bool,
    /// It gets huge pages.
    pub huge: bool,
    /// It gets none.
    pub no_huge: bool,
    /// It is committed, and can be stored to. What cannot be stored to any more is so on one side, and on the other as
    /// long as it may have pages.
    pub committed: bool,
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flags { grows_down, no_reserve, dont_fork, wipe_on_fork, dont_dump, huge, no_huge, committed } = *self;
        let names = [
            (grows_down, "grows down"),
            (no_reserve, "not reserved"),
            (dont_fork, "not for children"),
            (wipe_on_fork, "empty for children"),
            (dont_dump, "not in dumps"),
            (huge, "with huge pages"),
            (no_huge, "without huge pages"),
            (committed, "committed"),
        ];
        names.iter().filter(|(has, _)| *has).try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}

/// What a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// Private anonymous memory.
    Nothing,
    /// A file of [`FILES`](crate::files::FILES).
    File(u64),
    /// An object without a name: what its own side calls it.
    Unnamed(u64),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |bit: u8, letter: char| if self.prot & bit != 0 { letter } else { '-' };
        let sharing = if self.is_shared { 's' } else { 'p' };
        let (start, end) = (arena::name(self.start), arena::name(self.end));
        write!(f, "{start}..{end} {}{}{}{sharing}", has(1, 'r'), has(2, 'w'), has(4, 'x'))?;
        match self.shown {
            Shown::Nothing => Ok(()),
            Shown::File(number) => {
                write!(f, " {} from {:#x}", crate::files::FILES[number as usize].name, self.offset)
            }
            Shown::Unnamed(number) => write!(f, " object {number} from {:#x}", self.offset),
        }?;
        self.flags.fmt(f)
    }
}

/// Which object without a name of Linux is which of Vellum.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    ours: HashMap<u64, u64>,
    linux: HashMap<u64, u64>,
}

impl Identities {
    /// Whether both lines show the same at the same place of it. What is seen for the first time stands for the other
    /// from then on, and for nothing else.
    fn agree(&mut self, linux: Shown, ours: Shown) -> bool {
        match (linux, ours) {
            (Shown::Unnamed(linux), Shown::Unnamed(ours)) => {
                *self.ours.entry(linux).or_insert(ours) == ours && *self.linux.entry(ours).or_insert(linux) == linux
            }
            (linux, ours) => linux == ours,
        }
    }
}

/// Joins neighbours that are alike.
pub fn joined(lines: &[Line]) -> Vec<Line> {
    let mut joined: Vec<Line> = Vec::new();
    for line in lines {
        match joined.last_mut() {
            Some(last) if continues(last, line) => last.end = line.end,
            _ => joined.push(*line),
        }
    }
    joined
}

fn continues(last: &Line, line: &Line) -> bool {
    let offset = match line.shown {
        Shown::Nothing => line.offset,
        _ => last.offset.wrapping_add(last.end - last.start),
    };
    let alike = Line { start: last.start, end: last.end, offset: last.offset, ..*line };
    last.end == line.start && alike == *last && line.offset == offset
}

/// How two lists of joined lines differ first.
pub fn difference(linux: &[Line], ours: &[Line], identities: &mut Identities) -> Option<String> {
    let count = linux.len().max(ours.len());
    (0..count).find_map(|index| {
        let (linux, ours) = (linux.get(index), ours.get(index));
        if let (Some(linux), Some(ours)) = (linux, ours)
            && (Line { shown: Shown::Nothing, ..*linux }) == (Line { shown: Shown::Nothing, ..*ours })
            && identities.agree(linux.shown, ours.shown)
        {
            return None;
        }
        let say = |line: Option<&Line>| line.map_or_else(|| "nothing more".to_string(), Line::to_string);
        Some(format!("Linux has mapped {}, Vellum {}", say(linux), say(ours)))
    })
}

/// The pages of the lines.
pub fn pages(lines: &[Line]) -> u64 {
    lines.iter().map(|line| (line.end - line.start) / PAGE).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: Flags = Flags {
        grows_down: false,
        no_reserve: false,
        dont_fork: false,
        wipe_on_fork: false,
        dont_dump: false,
        huge: false,
        no_huge: false,
        committed: false,
    };
    const LINE: Line =
        Line { start: 0x1000, end: 0x2000, prot: 3, is_shared: false, shown: Shown::Nothing, offset: 0, flags: FLAGS };

    #[test]
    fn neighbours_are_joined_if_they_are_alike() {
        let next = Line { start: 0x2000, end: 0x4000, ..LINE };
        assert_eq!(joined(&[LINE, next]), [Line { end: 0x4000, ..LINE }]);
        assert_eq!(joined(&[LINE, Line { prot: 1, ..next }]).len(), 2);
        assert_eq!(joined(&[LINE, Line { flags: Flags { grows_down: true, ..FLAGS }, ..next }]).len(), 2);
        assert_eq!(joined(&[LINE, Line { start: 0x3000, ..next }]).len(), 2);
        let file = Line { shown: Shown::File(1), offset: 0x1000, ..LINE };
        let goes_on = Line { shown: Shown::File(1), offset: 0x2000, ..next };
        assert_eq!(joined(&[file, goes_on]), [Line { end: 0x4000, ..file }]);
        assert_eq!(joined(&[file, Line { offset: 0x1000, ..goes_on }]).len(), 2);
    }

    #[test]
    fn objects_without_names_are_taken_for_each_other_once() {
        let mut identities = Identities::default();
        let line = |number| Line { shown: Shown::Unnamed(number), is_shared: true, ..LINE };
        assert_eq!(difference(&[line(7)], &[line(90)], &mut identities), None);
        assert_eq!(difference(&[line(8)], &[line(91)], &mut identities), None);
        assert!(difference(&[line(7)], &[line(91)], &mut identities).is_some());
        assert!(difference(&[line(9)], &[line(90)], &mut identities).is_some());
        assert!(difference(&[line(7)], &[], &mut identities).unwrap().contains("nothing more"));
    }
}
