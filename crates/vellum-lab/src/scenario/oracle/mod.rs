//! What loads may return, and what a write-back must have written.
//!
//! The lab carries user accesses out one after the other, so the last store to a page of a process is known. While an
//! operation that takes contents away is under way on a page, a load may return what was there, what was stored
//! meanwhile, or zero, but nothing older than a store; afterwards only what was stored meanwhile, or zero (I-GONE).
//!
//! A fork copies the parent as it is at one moment while it is under way: whatever a page of the parent may hold
//! meanwhile, its child's may hold.

mod cell;
mod written;

use cell::Cell;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::ops::Range;
use written::{Promise, Written};

/// A page of a process, or of the file (process [`FILE`]).
type Key = (usize, u64);

const FILE: usize = usize::MAX;
/// More pages than the file of a world ever has.
const FILE_PAGES: u64 = 16;
/// Processes from here on are children whose number is not known yet.
const UNBORN: usize = usize::MAX / 2;

/// What a page of a process shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Shown {
    /// Private memory, zero at first.
    #[default]
    Own,
    /// A page of the file.
    File(u64),
    /// A private copy of a page of the file, as soon as it is stored to.
    Copy(u64),
    /// One of these; it is not known which.
    Unclear,
}

/// What is wrong with an access.
pub(crate) struct Wrong {
    /// The invariant that it breaks.
    pub(crate) invariant: &'static str,
    /// How.
    pub(crate) text: String,
}

/// Contents on their way from one page of a process to another.
struct Move {
    process: usize,
    from: u64,
    to: u64,
    contents: BTreeSet<u64>,
    is_unknown: bool,
}

/// A fork under way.
struct Fork {
    parent: usize,
    child: usize,
}

/// A change of the file's length under way.
struct Truncation {
    pages: u64,
    /// The file was made longer meanwhile.
    has_grown: bool,
    /// The private copies that it takes.
    copies: Vec<Key>,
}

/// Knows what was stored where.
#[derive(Default)]
pub(crate) struct Oracle {
    cells: FxHashMap<Key, Cell>,
    /// Unless it is the process's own.
    shown: FxHashMap<Key, Shown>,
    /// What operations under way make pages show.
    becoming: FxHashMap<Key, Vec<Shown>>,
    moves: Vec<Move>,
    forks: Vec<Fork>,
    /// Forks begun so far.
    begun: usize,
    written: Written,
    /// Pages that the file may have; `None`: never changed.
    length: Option<u64>,
    truncations: Vec<Truncation>,
    /// Growths under way.
    growing: u32,
}

impl Oracle {
    fn cell(&mut self, key: Key) -> &mut Cell {
        self.cells.entry(key).or_default()
    }

    fn shown(&self, process: usize, page: u64) -> Shown {
        self.shown.get(&(process, page)).copied().unwrap_or_default()
    }

    fn show(&mut self, process: usize, page: u64, shown: Shown) {
        if self.shown(process, page) != shown {
            self.shown.insert((process, page), shown);
            for child in self.children(process) {
                self.shown.insert((child, page), Shown::Unclear);
            }
        }
    }

    /// Children of forks under way.
    fn children(&self, parent: usize) -> Vec<usize> {
        self.forks.iter().filter(|fork| fork.parent == parent).map(|fork| fork.child).collect()
    }

    /// Everything that a page may show now; nothing if that is unclear.
    fn shows(&self, process: usize, page: u64) -> Vec<Shown> {
        let others = self.becoming.get(&(process, page)).into_iter().flatten().copied();
        let mut shows: Vec<Shown> = std::iter::once(self.shown(process, page)).chain(others).collect();
        shows.dedup();
        if shows.contains(&Shown::Unclear) { Vec::new() } else { shows }
    }

    fn key(process: usize, page: u64, shown: Shown) -> Key {
        match shown {
            Shown::File(index) => (FILE, index),
            _ => (process, page),
        }
    }

    /// A user has stored to a page. What is wrong with that.
    pub(crate) fn store(&mut self, process: usize, page: u64, value: u64) -> Option<Wrong> {
        self.store_as(process, page, value, true)
    }

    /// A device has stored to a page, and will say so ([`Oracle::said`]).
    pub(crate) fn store_by_device(&mut self, process: usize, page: u64, value: u64) {
        self.store_as(process, page, value, false);
    }

    /// The device that stored `value` to a page has said so.
    pub(crate) fn said(&mut self, process: usize, page: u64, value: u64) {
        if let [Shown::File(index)] = self.shows(process, page)[..] {
            self.written.said(index, value);
        }
    }

    fn store_as(&mut self, process: usize, page: u64, value: u64, by_user: bool) -> Option<Wrong> {
        let shows = self.shows(process, page);
        let is_certain = shows.len() == 1;
        for &shown in &shows {
            let key = Self::key(process, page, shown);
            if is_certain {
                self.cell(key).store(value);
            } else {
                self.cell(key).add_stored(value);
            }
            if let Shown::File(index) = shown {
                self.written.store(index, value, by_user && is_certain);
            } else {
                self.children(process).into_iter().for_each(|child| self.cell((child, page)).add([value]));
            }
        }
        for place in 0..self.moves.len() {
            let Move { process: of, from, to, .. } = self.moves[place];
            if of == process && from == page {
                self.moves[place].contents.insert(value);
                self.cell((of, to)).add([value]);
            } else if of == process && to == page {
                // What is to come may come after this store.
                let contents = self.moves[place].contents.clone();
                self.cell((of, to)).add(contents);
            }
        }
        self.beyond_end((process, page), &shows, by_user)
    }

    /// What is wrong with a load that returned `value`.
    pub(crate) fn load(&mut self, process: usize, page: u64, value: u64) -> Option<Wrong> {
        let shows = self.shows(process, page);
        let keys: Vec<Key> = shows.iter().map(|&shown| Self::key(process, page, shown)).collect();
        let fits = keys.is_empty() || keys.iter().any(|&key| self.cell(key).allows(value));
        if !fits {
            let expected = keys.iter().map(|&key| self.cell(key).text()).collect::<Vec<_>>().join(" or ");
            let text = format!("a load of process {process} returned {value} where {expected} was stored last");
            return Some(Wrong { invariant: "I-LOST", text });
        }
        if let [key] = keys[..]
            && !self.forks.iter().any(|fork| fork.child == process)
        {
            self.cell(key).loaded(value);
        }
        self.beyond_end((process, page), &shows, true)
    }

    /// What is wrong with an access that was done: it may not be done beyond the end of the file, unless an operation
    /// that takes the page from the process is under way, which has not flushed yet.
    fn beyond_end(&self, key: Key, shows: &[Shown], by_user: bool) -> Option<Wrong> {
        let [Shown::File(index) | Shown::Copy(index)] = *shows else { return None };
        let is_beyond = by_user && self.length.is_some_and(|length| index >= length);
        let is_being_taken = self.cells.get(&key).is_some_and(Cell::is_being_taken);
        (is_beyond && !is_being_taken).then(|| Wrong {
            invariant: "I-GONE",
            text: format!("an access to page {index} of the file, which ends before it"),
        })
    }

    /// An operation which takes contents of `pages` away begins.
    pub(crate) fn begin_discard(&mut self, process: usize, pages: impl Iterator<Item = u64>) {
        for page in pages {
            self.cell((process, page)).begin_discard();
            for of in self.children(process).into_iter().chain([process]) {
                self.cell((of, page)).add([0]);
            }
        }
    }

    /// It has ended; whether it was done.
    pub(crate) fn end_discard(&mut self, process: usize, pages: impl Iterator<Item = u64>, done: bool) {
        pages.for_each(|page| self.cell((process, page)).end_discard(done));
    }

    /// A mapping is going to be made, of what `shown` says for each page.
    pub(crate) fn begin_map(&mut self, process: usize, pages: impl Iterator<Item = (u64, Shown)>) {
        for (page, shown) in pages {
            self.begin_discard(process, std::iter::once(page));
            self.becoming.entry((process, page)).or_default().push(shown);
            if let Shown::Copy(_) = shown {
                for of in self.children(process).into_iter().chain([process]) {
                    self.cell((of, page)).forget();
                }
            }
        }
    }

    /// It has been; whether it was done.
    pub(crate) fn end_map(&mut self, process: usize, pages: impl Iterator<Item = (u64, Shown)>, done: bool) {
        for (page, shown) in pages {
            self.end_discard(process, std::iter::once(page), done);
            self.end_becoming(process, page, shown, done);
            if done && matches!(shown, Shown::Copy(_)) {
                self.cell((process, page)).forget();
            }
        }
    }

    fn end_becoming(&mut self, process: usize, page: u64, shown: Shown, done: bool) {
        let others = self.becoming.entry((process, page)).or_default();
        if let Some(place) = others.iter().position(|&other| other == shown) {
            others.remove(place);
        }
        let is_alone = others.is_empty();
        if done {
            self.leave_truncations((process, page));
            self.show(process, page, if is_alone { shown } else { Shown::Unclear });
        }
    }

    /// What a page has shown is gone: truncations under way take nothing from it any more.
    fn leave_truncations(&mut self, key: Key) {
        for truncation in &mut self.truncations {
            if let Some(place) = truncation.copies.iter().position(|copy| *copy == key) {
                truncation.copies.swap_remove(place);
                self.cells.entry(key).or_default().end_discard(true);
            }
        }
    }

    /// Pages are going to move.
    pub(crate) fn begin_move(&mut self, process: usize, pages: impl Iterator<Item = (u64, u64)>) {
        for (from, to) in pages {
            let cell = self.cell((process, from));
            let (contents, is_unknown) = (cell.contents().clone(), cell.is_unknown());
            self.begin_discard(process, [from, to].into_iter());
            for of in self.children(process).into_iter().chain([process]) {
                let cell = self.cell((of, to));
                cell.add(contents.iter().copied());
                if is_unknown {
                    cell.forget();
                }
            }
            let shown = self.shown(process, from);
            self.becoming.entry((process, to)).or_default().push(shown);
            self.moves.push(Move { process, from, to, contents, is_unknown });
        }
    }

    /// They have; whether it was done.
    pub(crate) fn end_move(&mut self, process: usize, pages: impl Iterator<Item = (u64, u64)>, done: bool) {
        for (from, to) in pages {
            self.end_discard(process, std::iter::once(from), done);
            if done {
                self.leave_truncations((process, from));
            }
            let ended = self.moves.iter().position(|it| (it.process, it.from, it.to) == (process, from, to));
            let Some(Move { contents, is_unknown, .. }) = ended.map(|place| self.moves.remove(place)) else { continue };
            if done {
                self.cell((process, to)).end_replace(&contents, is_unknown);
            } else {
                self.end_discard(process, std::iter::once(to), false);
            }
            let shown = self.shown(process, from);
            self.end_becoming(process, to, shown, done);
        }
    }

    /// From now on pages may also read as at first, until somebody stores to them.
    pub(crate) fn begin_giving_up(&mut self, process: usize, pages: impl Iterator<Item = u64>) {
        for page in pages {
            self.cell((process, page)).begin_giving_up();
            self.children(process).into_iter().for_each(|child| self.cell((child, page)).may_go());
        }
    }

    /// The operation that gives them up has ended: what is stored from now on stays.
    pub(crate) fn end_giving_up(&mut self, process: usize, pages: impl Iterator<Item = u64>) {
        pages.for_each(|page| self.cell((process, page)).end_giving_up());
    }

    /// A process is going to be a copy of `parent` as it is at one moment from now on. What the fork is called.
    pub(crate) fn begin_fork(&mut self, parent: usize) -> usize {
        let child = UNBORN + self.begun;
        self.begun += 1;
        let cells: Vec<(Key, Cell)> = self
            .cells
            .iter()
            .filter(|(key, _)| key.0 == parent)
            .map(|(key, cell)| ((child, key.1), cell.copy()))
            .collect();
        self.cells.extend(cells);
        let pages = self.shown.keys().chain(self.becoming.keys()).filter(|key| key.0 == parent).map(|key| key.1);
        for page in pages.collect::<BTreeSet<_>>() {
            let shown = match self.shows(parent, page)[..] {
                [shown] => shown,
                _ => Shown::Unclear,
            };
            self.shown.insert((child, page), shown);
        }
        self.forks.push(Fork { parent, child });
        child
    }

    /// The child of `fork` is process `number`.
    pub(crate) fn name_child(&mut self, fork: usize, number: usize) {
        let rename = |key: Key| if key.0 == fork { (number, key.1) } else { key };
        self.cells = std::mem::take(&mut self.cells).into_iter().map(|(key, cell)| (rename(key), cell)).collect();
        self.shown = std::mem::take(&mut self.shown).into_iter().map(|(key, shown)| (rename(key), shown)).collect();
        self.forks.iter_mut().filter(|it| it.child == fork).for_each(|it| it.child = number);
    }

    /// The fork whose child is `child`, by name or number, has ended.
    pub(crate) fn end_fork(&mut self, child: usize) {
        self.forks.retain(|fork| fork.child != child);
    }

    /// The file is about to lose its pages from `from` on.
    pub(crate) fn begin_truncate(&mut self, from: u64) {
        self.begin_discard(FILE, from..FILE_PAGES);
        (from..FILE_PAGES).for_each(|index| self.written.begin_cut(index));
        let is_growing = self.growing > 0;
        let copies = self.copies(from);
        for &key in &copies {
            let cell = self.cell(key);
            cell.begin_discard();
            if is_growing {
                cell.forget();
            }
        }
        self.truncations.push(Truncation { pages: from, has_grown: is_growing, copies });
    }

    /// It has; whether it was done.
    pub(crate) fn end_truncate(&mut self, from: u64, done: bool) {
        self.end_discard(FILE, from..FILE_PAGES, done);
        (from..FILE_PAGES).for_each(|index| self.written.end_cut(index, done));
        let Some(place) = self.truncations.iter().position(|it| it.pages == from) else { return };
        let truncation = self.truncations.remove(place);
        truncation.copies.iter().for_each(|&key| self.cell(key).end_discard(done));
        if done {
            // If the file grows again, they show the file.
            self.copies(from).into_iter().for_each(|key| self.cell(key).forget());
        }
        if done && !truncation.has_grown {
            self.length = Some(self.length.map_or(from, |length| length.min(from)));
        }
    }

    /// A hole is about to be made in the file: private copies stay.
    pub(crate) fn begin_punch(&mut self, pages: Range<u64>) {
        self.begin_discard(FILE, pages.clone());
        pages.for_each(|index| self.written.begin_cut(index));
    }

    /// It has been; whether it was done.
    pub(crate) fn end_punch(&mut self, pages: Range<u64>, done: bool) {
        self.end_discard(FILE, pages.clone(), done);
        pages.for_each(|index| self.written.end_hole(index, done));
    }

    /// The file is about to be `pages` pages long, which is more.
    pub(crate) fn begin_grow(&mut self, pages: u64) {
        self.growing += 1;
        self.length = self.length.map(|length| length.max(pages));
        self.truncations.iter_mut().for_each(|it| it.has_grown = true);
        for key in self.copies(0) {
            let cell = self.cell(key);
            if cell.is_under_way() {
                cell.forget();
            }
        }
    }

    /// It is.
    pub(crate) fn end_grow(&mut self) {
        self.growing = self.growing.saturating_sub(1);
    }

    /// Pages that are private copies of the file's pages from `from` on.
    fn copies(&self, from: u64) -> Vec<Key> {
        let is_copy = |shown: &Shown| matches!(*shown, Shown::Copy(index) if index >= from);
        self.shown.iter().filter(|(_, shown)| is_copy(shown)).map(|(&key, _)| key).collect()
    }

    /// What a write-back that begins now is to write.
    pub(crate) fn begin_write_back(&self) -> Promise {
        self.written.promise()
    }

    /// What is wrong when it returns and the backing holds `backing` in each page.
    pub(crate) fn end_write_back(&self, promise: &Promise, backing: impl Fn(u64) -> u64) -> Option<Wrong> {
        let text = self.written.lacks(promise, backing)?;
        Some(Wrong { invariant: "I-DIRTY", text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Process 0 has stored to a private copy of the file's first page, which a truncation is about to take.
    fn truncating() -> Oracle {
        let mut oracle = Oracle::default();
        oracle.begin_map(0, [(7, Shown::Copy(0))].into_iter());
        oracle.end_map(0, [(7, Shown::Copy(0))].into_iter(), true);
        assert!(oracle.store(0, 7, 1).is_none());
        oracle.begin_truncate(0);
        oracle
    }

    #[test]
    fn truncation_takes_nothing_from_what_has_replaced_a_copy() {
        let mut oracle = truncating();
        oracle.begin_map(0, [(7, Shown::Own)].into_iter());
        oracle.end_map(0, [(7, Shown::Own)].into_iter(), true);
        assert!(oracle.store(0, 7, 5).is_none());
        assert!(oracle.load(0, 7, 0).is_some_and(|wrong| wrong.invariant == "I-LOST"));
        oracle.end_truncate(0, true);
        assert!(oracle.load(0, 7, 0).is_some());
        assert!(oracle.load(0, 7, 5).is_none());
    }

    #[test]
    fn a_mapping_that_was_not_made_leaves_a_copy_to_truncation() {
        let mut oracle = truncating();
        oracle.begin_map(0, [(7, Shown::Own)].into_iter());
        oracle.end_map(0, [(7, Shown::Own)].into_iter(), false);
        assert!(oracle.load(0, 7, 0).is_none() && oracle.load(0, 7, 1).is_none());
        oracle.end_truncate(0, true);
        assert!(!oracle.cell((0, 7)).is_under_way());
    }
}
