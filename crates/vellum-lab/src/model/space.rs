//! One space's state.

use super::area::Areas;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// The state of one space.
pub(super) struct SpaceState {
    pub(super) areas: Areas,
    /// Contents of private pages that were written (or populated for writing), by page number. Forks share them.
    pub(super) pages: FxHashMap<u64, Rc<[u8]>>,
    pub(super) brk: Option<Brk>,
    pub(super) stack_limit: u64,
}

/// The heap: from `base` to `end`, neither need be aligned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brk {
    pub(super) base: u64,
    pub(super) end: u64,
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
    pub(super) fn take_pages(&mut self, first: u64, end: u64) -> Vec<(u64, Rc<[u8]>)> {
        let mut taken: Vec<_> = if end - first > self.pages.len() as u64 {
            self.pages.keys().copied().filter(|page| (first..end).contains(page)).map(|page| (page, None)).collect()
        } else {
            (first..end).filter(|page| self.pages.contains_key(page)).map(|page| (page, None)).collect()
        };
        for (page, contents) in &mut taken {
            *contents = self.pages.remove(page);
        }
        taken.into_iter().filter_map(|(page, contents)| Some((page, contents?))).collect()
    }
}
