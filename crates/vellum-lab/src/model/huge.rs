//! Huge pages: nobody sees them but by what they take.
//!
//! Where a page is stored to, all of a huge page may come, full of zeroes. So its other pages are noted as pages that may be
//! there or not, as are those that were given up: what they show is the same.

use super::area::Attributes;
use super::space::Page;
use super::{Model, SpaceId};
use vellum::ops::{HugePages, Sharing};

impl Model {
    /// Says which memory may get huge pages; at first, none.
    pub fn set_huge_pages(&mut self, policy: HugePages) {
        self.huge_pages = policy;
    }

    /// Notes that the page at `address` was made, where `attributes` say so, and perhaps a huge one with it.
    pub(super) fn note_huge(&mut self, space: SpaceId, address: u64, attributes: &Attributes) {
        let size = 1 << self.limits.huge_shift;
        let start = address & !(size - 1);
        if !self.may_be_huge(attributes) || !self.is_alike(space, start, start + size) {
            return;
        }
        let zeroes = Page::perhaps(self.zeros.clone());
        let pages = self.limits.page(start)..self.limits.page(start + size);
        let all = &mut self.space_mut(space).pages;
        pages.for_each(|page| _ = all.entry(page).or_insert_with(|| zeroes.clone()));
    }

    fn may_be_huge(&self, attributes: &Attributes) -> bool {
        let is_wanted = match self.huge_pages {
            HugePages::Always => attributes.huge_pages != Some(false),
            HugePages::Advised => attributes.huge_pages == Some(true),
            HugePages::Never => false,
        };
        is_wanted && attributes.object.is_none() && attributes.sharing == Sharing::Private
    }

    /// Whether a range is part of one area, and nothing of it is guarded.
    fn is_alike(&self, space: SpaceId, start: u64, end: u64) -> bool {
        let state = self.space(space);
        state.areas.find(start).is_some_and(|area| area.end >= end) && state.guards.within(start, end).is_empty()
    }
}
