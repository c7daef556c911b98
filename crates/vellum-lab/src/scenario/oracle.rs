//! What loads may return.
//!
//! The lab carries user accesses out one after the other, so the last store to a page of a process is known. While an
//! operation that takes contents away is under way on a page, a load may return what was there, what was stored
//! meanwhile, or zero; afterwards only what was stored meanwhile, or zero (I-GONE).

use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// A page of a process, or of the file (process [`FILE`]).
type Key = (usize, u64);

const FILE: usize = usize::MAX;

#[derive(Default)]
struct Cell {
    /// What a load may return; empty: zero.
    may_be: BTreeSet<u64>,
    /// What was stored since the operations under way began.
    stored: BTreeSet<u64>,
    /// Operations under way that take contents away.
    under_way: u32,
    /// A load returned, or a store stored, nothing else since.
    unknown: bool,
}

/// Knows what was stored where.
#[derive(Default)]
pub(crate) struct Oracle {
    cells: FxHashMap<Key, Cell>,
    files: FxHashMap<Key, u64>,
    /// Forks under way: parent and child.
    forks: Vec<(usize, usize)>,
}

impl Oracle {
    /// Says that a page of a process is a page of the file.
    pub(crate) fn is_file(&mut self, process: usize, page: u64, index: u64) {
        self.files.insert((process, page), index);
    }

    fn key(&self, process: usize, page: u64) -> Key {
        self.files.get(&(process, page)).map_or((process, page), |&index| (FILE, index))
    }

    pub(crate) fn store(&mut self, process: usize, page: u64, value: u64) {
        let key = self.key(process, page);
        let children: Vec<usize> =
            self.forks.iter().filter(|fork| fork.0 == process && key.0 != FILE).map(|fork| fork.1).collect();
        for child in children {
            self.cells.entry((child, page)).or_default().may_be.insert(value);
        }
        let cell = self.cells.entry(key).or_default();
        if cell.under_way == 0 {
            cell.may_be.clear();
        } else {
            cell.stored.insert(value);
        }
        cell.may_be.insert(value);
        cell.unknown = false;
    }

    /// What is wrong with a load that returned `value`.
    pub(crate) fn load(&mut self, process: usize, page: u64, value: u64) -> Option<String> {
        let cell = self.cells.entry(self.key(process, page)).or_default();
        let fits = cell.unknown || cell.may_be.contains(&value) || (cell.may_be.is_empty() && value == 0);
        if !fits {
            let expected: Vec<String> = cell.may_be.iter().map(u64::to_string).collect();
            let expected = if expected.is_empty() { "0".into() } else { expected.join(" or ") };
            return Some(format!("a load of process {process} returned {value} where {expected} was stored last"));
        }
        if cell.under_way == 0 && !self.forks.iter().any(|fork| fork.1 == process) {
            cell.may_be = BTreeSet::from([value]);
            cell.unknown = false;
        }
        None
    }

    /// An operation which takes contents of `pages` away begins.
    pub(crate) fn begin_discard(&mut self, process: usize, pages: impl Iterator<Item = u64>) {
        for page in pages {
            let cell = self.cells.entry((process, page)).or_default();
            if cell.under_way == 0 {
                cell.stored.clear();
            }
            cell.under_way += 1;
            cell.may_be.insert(0);
        }
    }

    /// It has ended; whether it succeeded.
    pub(crate) fn end_discard(&mut self, process: usize, pages: impl Iterator<Item = u64>, done: bool) {
        for page in pages {
            let cell = self.cells.entry((process, page)).or_default();
            cell.under_way = cell.under_way.saturating_sub(1);
            if cell.under_way == 0 && done {
                cell.may_be = std::mem::take(&mut cell.stored);
                cell.may_be.insert(0);
            }
        }
    }

    /// The file is about to lose its pages from `from` on.
    pub(crate) fn begin_truncate(&mut self, from: u64) {
        let lost = self.lost(from);
        self.begin_discard(FILE, lost.into_iter());
    }

    /// It has; whether it succeeded.
    pub(crate) fn end_truncate(&mut self, from: u64, done: bool) {
        let lost = self.lost(from);
        self.end_discard(FILE, lost.into_iter(), done);
    }

    /// Pages of the file at or above `from` that something is known of, or mapped.
    fn lost(&self, from: u64) -> BTreeSet<u64> {
        self.files.values().copied().filter(|&index| index >= from).collect()
    }

    /// From now on `page` may also read as at first, until somebody stores to it.
    pub(crate) fn given_up(&mut self, process: usize, page: u64) {
        self.cells.entry((process, page)).or_default().may_be.insert(0);
    }

    /// Contents of `page` now come from elsewhere: nothing is known until the next access.
    pub(crate) fn forget(&mut self, process: usize, page: u64) {
        let cell = self.cells.entry((process, page)).or_default();
        cell.unknown = true;
        cell.may_be.clear();
    }

    /// What a page may hold now.
    pub(crate) fn contents(&self, process: usize, page: u64) -> BTreeSet<u64> {
        self.cells.get(&self.key(process, page)).map(|cell| cell.may_be.clone()).unwrap_or_default()
    }

    /// Contents of a page have moved there from elsewhere, where they were one of `contents`.
    pub(crate) fn moved(&mut self, process: usize, page: u64, contents: BTreeSet<u64>) {
        let cell = self.cells.entry((process, page)).or_default();
        cell.may_be.extend(contents);
    }

    /// `child` is going to be a copy of `parent` as it is at one moment from now on.
    pub(crate) fn begin_fork(&mut self, parent: usize, child: usize) {
        let pages: Vec<(u64, BTreeSet<u64>)> = self
            .cells
            .iter()
            .filter(|((process, _), _)| *process == parent)
            .map(|((_, page), cell)| (*page, cell.may_be.clone()))
            .collect();
        for (page, may_be) in pages {
            self.cells.insert((child, page), Cell { may_be, ..Cell::default() });
        }
        let files: Vec<(u64, u64)> =
            self.files.iter().filter(|((p, _), _)| *p == parent).map(|((_, page), index)| (*page, *index)).collect();
        for (page, index) in files {
            self.files.insert((child, page), index);
        }
        self.forks.push((parent, child));
    }

    pub(crate) fn end_fork(&mut self, child: usize) {
        self.forks.retain(|fork| fork.1 != child);
    }
}
