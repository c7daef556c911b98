//! What one page may hold.

use std::collections::BTreeSet;

/// What is known of the contents of a page, of a process or of the file.
#[derive(Clone)]
pub(super) struct Cell {
    /// What a load may return; never empty.
    may_be: BTreeSet<u64>,
    /// What was stored since the operations under way began.
    stored: BTreeSet<u64>,
    /// Operations under way that take contents away.
    under_way: u32,
    /// Contents come from elsewhere, and nothing was stored or loaded since.
    unknown: bool,
    /// It may be zero at any time, until it is stored to.
    given_up: bool,
    /// Operations under way that give the page up.
    giving_up: u32,
}

impl Default for Cell {
    fn default() -> Cell {
        let may_be = BTreeSet::from([0]);
        Cell { may_be, stored: BTreeSet::new(), under_way: 0, unknown: false, given_up: false, giving_up: 0 }
    }
}

impl Cell {
    /// The same contents in another process, where nothing is under way.
    pub(super) fn copy(&self) -> Cell {
        Cell { stored: BTreeSet::new(), under_way: 0, giving_up: 0, ..self.clone() }
    }

    /// Whether a load may return `value`.
    pub(super) fn allows(&self, value: u64) -> bool {
        self.unknown || self.may_be.contains(&value) || self.given_up && value == 0
    }

    /// What a load may return, as text.
    pub(super) fn text(&self) -> String {
        self.may_be.iter().map(u64::to_string).collect::<Vec<_>>().join(" or ")
    }

    /// What it may hold.
    pub(super) fn contents(&self) -> &BTreeSet<u64> {
        &self.may_be
    }

    /// Whether nothing is known of what it holds.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether an operation is under way that takes it away.
    pub(super) fn is_being_taken(&self) -> bool {
        self.under_way > 0
    }

    /// A load has returned `value`.
    pub(super) fn loaded(&mut self, value: u64) {
        if self.under_way == 0 && !self.unknown {
            self.may_be = BTreeSet::from([value]);
        }
    }

    /// A store has gone here. What was here before, nobody may see any more; while contents are being taken away, zero.
    pub(super) fn store(&mut self, value: u64) {
        self.may_be = BTreeSet::from([value]);
        if self.under_way > 0 {
            self.stored.insert(value);
            self.may_be.insert(0);
        }
        self.unknown = false;
        self.given_up &= self.giving_up > 0;
    }

    /// It may hold these, too.
    pub(super) fn add(&mut self, values: impl IntoIterator<Item = u64>) {
        self.may_be.extend(values);
    }

    /// A store may have gone here.
    pub(super) fn add_stored(&mut self, value: u64) {
        self.may_be.insert(value);
        if self.under_way > 0 {
            self.stored.insert(value);
        }
    }

    /// Contents come from elsewhere from now on.
    pub(super) fn forget(&mut self) {
        self.unknown = true;
    }

    /// From now on it may be zero, until somebody stores to it.
    pub(super) fn may_go(&mut self) {
        self.given_up = true;
    }

    pub(super) fn begin_giving_up(&mut self) {
        self.giving_up += 1;
        self.given_up = true;
    }

    pub(super) fn end_giving_up(&mut self) {
        self.giving_up = self.giving_up.saturating_sub(1);
    }

    /// An operation that takes contents away begins.
    pub(super) fn begin_discard(&mut self) {
        if self.under_way == 0 {
            self.stored.clear();
        }
        self.under_way += 1;
    }

    /// It has ended; whether it was done.
    pub(super) fn end_discard(&mut self, done: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 && done {
            self.may_be = std::mem::take(&mut self.stored);
            self.may_be.insert(0);
            self.unknown = false;
        }
    }

    /// As [`Cell::end_discard`], of one that has put `contents` here, or something unknown.
    pub(super) fn end_replace(&mut self, contents: &BTreeSet<u64>, unknown: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        if self.under_way == 0 {
            self.may_be = std::mem::take(&mut self.stored);
            self.unknown = unknown;
        }
        self.may_be.extend(contents);
    }

    /// Whether contents are being taken away.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way > 0
    }
}
