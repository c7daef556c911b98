//! The files that sequences map, on both sides with the same contents.

use crate::arena::PAGE;

/// What a file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// What operations print for it.
    pub name: &'static str,
    /// Its length at first, in bytes.
    pub length: u64,
    /// Whether it is shared memory; else a file of a file system.
    pub is_memory: bool,
    /// Whether it was opened for reading.
    pub readable: bool,
    /// Whether it was opened for writing.
    pub writable: bool,
}

/// The files. An operation names one by its number here; any other number is no open file.
pub const FILES: [FileSpec; 5] = [
    FileSpec { name: "memory", length: 8 * PAGE, is_memory: true, readable: true, writable: true },
    FileSpec { name: "file", length: 3 * PAGE + 0x234, is_memory: false, readable: true, writable: true },
    FileSpec { name: "whole", length: 6 * PAGE, is_memory: false, readable: true, writable: true },
    FileSpec { name: "read-only", length: 2 * PAGE, is_memory: false, readable: true, writable: false },
    FileSpec { name: "write-only", length: 2 * PAGE, is_memory: false, readable: false, writable: true },
];

/// Most bytes of a file.
pub const LENGTH_MAX: u64 = 16 * PAGE;

/// Where files may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Anywhere.
    Anywhere,
    /// With a page. What a process stores behind the end, within the last page, goes when the page is written or
    /// reclaimed, and on tmpfs does not go when the file grows: where any of that happens, there is nothing to compare.
    WithPage,
}

/// What file `number` contains at first.
pub fn contents(number: usize, ends: Ends) -> Vec<u8> {
    let byte = |offset: u64| (number as u64 * 101 + (offset >> 12) * 37 + offset) as u8 | 1;
    let length = FILES[number].length;
    (0..if ends == Ends::WithPage { length / PAGE * PAGE } else { length }).map(byte).collect()
}
