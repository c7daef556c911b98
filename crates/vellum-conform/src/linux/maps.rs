//! `/proc/PID/smaps`.

use crate::arena;
use crate::maps::{Flags, Line, Shown};
use std::io;

/// What identifies a file there: device and inode, as they are written.
pub type Identity = String;

/// What process `pid` has mapped in the arena. `file` says which file an identity is of.
pub fn read(pid: u32, file: impl Fn(&str) -> Option<u64>) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut lines: Vec<Line> = Vec::new();
    for text in text.lines() {
        if let Some(flags) = text.strip_prefix("VmFlags:") {
            lines.last_mut().into_iter().for_each(|line| line.flags = flags_of(flags, line.prot));
        } else if let Some(line) = line_of(text, &file) {
            lines.push(line);
        }
    }
    lines.retain(|line| line.start < arena::END && line.end > arena::START);
    for line in &mut lines {
        // What the arena is surrounded by may have been joined to it.
        (line.start, line.end) = (line.start.max(arena::START), line.end.min(arena::END));
    }
    Ok(lines)
}

/// The first line about a mapping.
fn line_of(text: &str, file: impl Fn(&str) -> Option<u64>) -> Option<Line> {
    let mut fields = text.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let [rights, offset, device, inode] = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    let has = |index: usize, letter: u8| u8::from(rights.as_bytes().get(index) == Some(&letter));
    Some(Line {
        start,
        end,
        prot: has(0, b'r') | has(1, b'w') << 1 | has(2, b'x') << 2,
        is_shared: has(3, b's') == 1,
        shown: match inode.parse() {
            Ok(0) | Err(_) => Shown::Nothing,
            Ok(number) => file(&format!("{device} {inode}")).map_or(Shown::Unnamed(number), Shown::File),
        },
        offset: u64::from_str_radix(offset, 16).unwrap_or(u64::MAX),
        flags: Flags::default(),
    })
}

/// The flags of a mapping with rights `prot`.
fn flags_of(text: &str, prot: u8) -> Flags {
    let has = |name| text.split_ascii_whitespace().any(|flag| flag == name);
    Flags {
        grows_down: has("gd"),
        no_reserve: has("nr"),
        dont_fork: has("dc"),
        wipe_on_fork: has("wf"),
        dont_dump: has("dd"),
        huge: has("hg"),
        no_huge: has("nh"),
        committed: has("ac") && prot & 2 != 0,
    }
}

/// The identity of what this process has mapped at `address`.
pub fn identity(address: u64) -> io::Result<Identity> {
    let text = std::fs::read_to_string("/proc/self/maps")?;
    let here = format!("{address:08x}-");
    let line = text.lines().find(|line| line.starts_with(&here)).ok_or(io::ErrorKind::NotFound)?;
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    Ok(format!("{} {}", fields[3], fields[4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_mapped() {
        let text = "100000200000-100000202000 rw-s 00003000 fd:00 4711                     /tmp/some (deleted)";
        let file = |identity: &str| (identity == "fd:00 4711").then_some(1);
        let line = line_of(text, file).unwrap();
        assert_eq!((line.start, line.end, line.prot, line.is_shared), (0x100000200000, 0x100000202000, 3, true));
        assert_eq!((line.shown, line.offset), (Shown::File(1), 0x3000));
        assert_eq!(line_of(text, |_| None).unwrap().shown, Shown::Unnamed(4711));
        let nothing = line_of("7ff000-800000 ---p 00000000 00:00 0 ", file).unwrap();
        assert_eq!((nothing.shown, nothing.prot, nothing.is_shared), (Shown::Nothing, 0, false));
        assert!(line_of("Size:                  4 kB", file).is_none());
    }

    #[test]
    fn flags_have_two_letters() {
        let flags = Flags { grows_down: true, dont_fork: true, ..Flags::default() };
        assert_eq!(flags_of(" rd wr hg", 3), Flags { huge: true, ..Flags::default() });
        assert_eq!(flags_of(" rd wr nh", 3), Flags { no_huge: true, ..Flags::default() });
        assert_eq!(flags_of(" rd wr mr mw me gd dc ac", 3), Flags { committed: true, ..flags });
        assert_eq!(flags_of(" rd mr mw me gd dc ac", 1), flags, "what cannot be stored to is not compared");
        assert_eq!(flags_of("", 3), Flags::default());
    }
}
