//! One space's state.

use super::area::Areas;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// The state of one space.
pub(super) struct SpaceState {
    pub(super) areas: Areas,
    /// Private pages that were written (or populated for writing), by page number.
    pub(super) pages: FxHashMap<u64, Page>,
    pub(super) brk: Option<Brk>,
    pub(super) stack_limit: u64,
}

/// A private page. Forks share what it holds.
///
/// Of a page that was given up one cannot say what it holds before somebody looks: what it held, or zeroes. What is
/// stored then goes to either, and a load says which it was.
#[derive(Clone)]
pub(super) struct Page {
    /// What it holds, as far as is known.
    pub(super) contents: Rc<[u8]>,
    /// What it may hold instead.
    others: Vec<Rc<[u8]>>,
    /// It may become zero at any moment, if it is not that already: it was given up, and not stored to since.
    pub(super) may_go: bool,
    /// Its memory tags, one a granule; none are all 0.
    pub(super) tags: Option<Rc<[u8]>>,
}

/// The heap: from `base` to `end`, neither need be aligned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brk {
    pub(super) base: u64,
    pub(super) end: u64,
}

impl Page {
    pub(super) fn new(contents: Rc<[u8]>) -> Self {
        Page { contents, others: Vec::new(), may_go: false, tags: None }
    }

    /// Stores bytes to whatever it holds.
    pub(super) fn store(&mut self, within: usize, bytes: &[u8]) {
        if std::mem::take(&mut self.may_go) {
            self.others.push(vec![0; self.contents.len()].into());
        }
        for contents in std::iter::once(&mut self.contents).chain(&mut self.others) {
            Rc::make_mut(contents)[within..within + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Notes that a part of it was seen to be `got`. What cannot be is not noted.
    pub(super) fn observe(&mut self, within: usize, got: &[u8]) {
        let shows = |page: &[u8]| page[within..within + got.len()] == *got;
        self.others.retain(|other| shows(other));
        if shows(&self.contents) {
            return;
        }
        if let Some(other) = self.others.pop() {
            self.contents = other;
        } else if self.may_go && got.iter().all(|&byte| byte == 0) {
            self.contents = vec![0; self.contents.len()].into();
        }
    }
}

impl SpaceState {
    pub(super) fn new(stack_limit: u64) -> Self {
        SpaceState { areas: Areas::default(), pages: FxHashMap::default(), brk: None, stack_limit }
    }

    /// Forgets the private pages numbered `first..end`.
    pub(super) fn drop_pages(&mut self, first: u64, end: u64) {
        if end - first > self.pages.len() as u64 {
            self.pages.retain(|page, _| !(first..end).contains(page));
        } else {
            for page in first..end {
                self.pages.remove(&page);
            }
        }
    }

    /// Takes out the private pages numbered `first..end`, in no particular order.
    pub(super) fn take_pages(&mut self, first: u64, end: u64) -> Vec<(u64, Page)> {
        let taken: Vec<u64> = if end - first > self.pages.len() as u64 {
            self.pages.keys().copied().filter(|page| (first..end).contains(page)).collect()
        } else {
            (first..end).filter(|page| self.pages.contains_key(page)).collect()
        };
        taken.into_iter().filter_map(|page| Some((page, self.pages.remove(&page)?))).collect()
    }
}
