//! `/proc/PID/maps`.

use crate::arena;
use crate::maps::{Line, Shown};
use std::io;

/// What identifies a file there: device and inode, as they are written.
pub type Identity = String;

/// The lines about the arena, which may reach beyond it.
fn lines(text: &str) -> impl Iterator<Item = (u64, u64, [&str; 4])> {
    text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let rest = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        (start < arena::END && end > arena::START).then_some((start, end, rest))
    })
}

/// What process `pid` has mapped in the arena. `file` says which file an identity is of.
pub fn read(pid: u32, file: impl Fn(&str) -> Option<u64>) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    Ok(lines(&text)
        .map(|(start, end, [rights, offset, device, inode])| {
            let has = |index: usize, letter: u8| u8::from(rights.as_bytes().get(index) == Some(&letter));
            let identity = format!("{device} {inode}");
            Line {
                // What the arena is surrounded by may have been joined to it.
                start: start.max(arena::START),
                end: end.min(arena::END),
                prot: has(0, b'r') | has(1, b'w') << 1 | has(2, b'x') << 2,
                is_shared: has(3, b's') == 1,
                shown: match inode.parse() {
                    Ok(0) | Err(_) => Shown::Nothing,
                    Ok(number) => file(&identity).map_or(Shown::Unnamed(number), Shown::File),
                },
                offset: u64::from_str_radix(offset, 16).unwrap_or(u64::MAX),
            }
        })
        .collect())
}

/// The identity of what this process has mapped at `address`.
pub fn identity(address: u64) -> io::Result<Identity> {
    let text = std::fs::read_to_string("/proc/self/maps")?;
    let here = format!("{address:08x}-");
    let line = text.lines().find(|line| line.starts_with(&here)).ok_or(io::ErrorKind::NotFound)?;
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    Ok(format!("{} {}", fields[3], fields[4]))
}
