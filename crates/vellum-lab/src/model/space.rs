//! One space's state.

use super::area::Areas;
use super::guards::Guards;
use rustc_hash::FxHashMap;
use std::ops::RangeInclusive;
use std::rc::Rc;

/// The state of one space.
pub(super) struct SpaceState {
    pub(super) areas: Areas,
    pub(super) guards: Guards,
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
    held: Held,
    /// What it may hold instead.
    others: Vec<Held>,
    /// It may become zero at any moment, if it is not that already: it was given up, and not stored to since.
    pub(super) may_go: bool,
}

/// What a private page holds.
#[derive(Clone)]
struct Held {
    contents: Rc<[u8]>,
    /// Its memory tags, one a granule; none are all 0.
    tags: Option<Rc<[u8]>>,
}

impl Held {
    fn zeroes(bytes: usize) -> Held {
        Held { contents: vec![0; bytes].into(), tags: None }
    }

    fn tag(&self, granule: usize) -> u8 {
        self.tags.as_ref().map_or(0, |tags| tags[granule])
    }
}

/// The heap: from `base` to `end`, neither need be aligned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brk {
    pub(super) base: u64,
    pub(super) end: u64,
}

impl Page {
    pub(super) fn new(contents: Rc<[u8]>) -> Self {
        Page { held: Held { contents, tags: None }, others: Vec::new(), may_go: false }
    }

    /// One that is there, or is not and reads the same.
    pub(super) fn that_may_be(zeros: Rc<[u8]>) -> Self {
        Page { may_go: true, ..Page::new(zeros) }
    }

    /// What it holds, as far as is known.
    pub(super) fn contents(&self) -> &Rc<[u8]> {
        &self.held.contents
    }

    /// The tag of a granule, as far as is known.
    pub(super) fn tag(&self, granule: usize) -> u8 {
        self.held.tag(granule)
    }

    /// Stores bytes to whatever it holds.
    pub(super) fn store(&mut self, within: usize, bytes: &[u8]) {
        for held in self.changed() {
            Rc::make_mut(&mut held.contents)[within..within + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Tags whatever it holds, which has `granules`.
    pub(super) fn set_tags(&mut self, granules: usize, tagged: RangeInclusive<usize>, tag: u8) {
        for held in self.changed() {
            let tags = held.tags.get_or_insert_with(|| vec![0; granules].into());
            Rc::make_mut(tags)[tagged.clone()].fill(tag);
        }
    }

    /// Forgets its tags.
    pub(super) fn lose_tags(&mut self) {
        self.held.tags = None;
    }

    /// All that it may hold, to be changed: from now on it does not become zero.
    fn changed(&mut self) -> impl Iterator<Item = &mut Held> {
        if std::mem::take(&mut self.may_go) {
            self.others.push(Held::zeroes(self.held.contents.len()));
        }
        std::iter::once(&mut self.held).chain(&mut self.others)
    }

    /// Notes that a part of it was seen to be `got`. What cannot be is not noted.
    pub(super) fn observe(&mut self, within: usize, got: &[u8]) {
        self.observe_what(|held| held.contents[within..within + got.len()] == *got);
    }

    /// Notes that a granule was seen to have `tag`; whether it has that now.
    pub(super) fn observe_tag(&mut self, granule: usize, tag: u8) -> bool {
        self.observe_what(|held| held.tag(granule) == tag);
        self.tag(granule) == tag
    }

    fn observe_what(&mut self, shows: impl Fn(&Held) -> bool) {
        self.others.retain(|other| shows(other));
        if shows(&self.held) {
            return;
        }
        let zeroes = Held::zeroes(self.held.contents.len());
        if let Some(other) = self.others.pop() {
            self.held = other;
        } else if self.may_go && shows(&zeroes) {
            self.held = zeroes;
        }
    }
}

impl SpaceState {
    pub(super) fn new(stack_limit: u64) -> Self {
        SpaceState {
            areas: Areas::default(),
            guards: Guards::default(),
            pages: FxHashMap::default(),
            brk: None,
            stack_limit,
        }
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
