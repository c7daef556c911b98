//! Huge pages, and folios of several pages: nobody sees them but by what they take.
//!
//! Where a page is stored to, all of a huge page may come, or of a folio, full of zeroes. So its other pages are noted
//! as pages that may be there or not, as are those that were given up: what they show is the same.

use super::area::Attributes;
use super::space::Page;
use super::{Model, SpaceId};
use vellum::ops::{HugePages, Sharing};

impl Model {
    /// Says which memory may get huge pages; at first, none.
    pub fn set_huge_pages(&mut self, policy: HugePages) {
        self.huge_pages = policy;
    }

    /// Says of which sizes folios may be, as [`vellum::Vm::set_folio_orders`] does; at first, none.
    pub fn set_folio_orders(&mut self, orders: u32) {
        self.folio_orders = orders;
    }

    /// Notes that the page at `address` is stored to, where `attributes` say so, and perhaps others with it: a huge
    /// page, or a folio, if there is no page yet.
    pub(super) fn note_huge(&mut self, space: SpaceId, address: u64, attributes: &Attributes) {
        if !self.may_be_huge(attributes) {
            return;
        }
        let (page_shift, huge_shift) = (self.limits.page_size().ilog2(), self.limits.huge_shift);
        let folios = (1..huge_shift - page_shift).filter(|order| self.folio_orders & 1 << order != 0);
        for shift in folios.map(|order| page_shift + order).chain([huge_shift]).rev() {
            let start = address & !((1 << shift) - 1);
            let end = start + (1 << shift);
            let is_free = shift == huge_shift || self.may_be_without_pages(space, start, end);
            if is_free && self.is_alike(space, start, end) {
                return self.note_perhaps(space, start, end);
            }
        }
    }

    /// Notes that there may be pages in a range where there are none.
    fn note_perhaps(&mut self, space: SpaceId, start: u64, end: u64) {
        let zeroes = Page::perhaps(self.zeros.clone());
        let pages = self.limits.page(start)..self.limits.page(end);
        let all = &mut self.space_mut(space).pages;
        pages.for_each(|page| _ = all.entry(page).or_insert_with(|| zeroes.clone()));
    }

    /// Whether there may be no page in a range.
    fn may_be_without_pages(&self, space: SpaceId, start: u64, end: u64) -> bool {
        let pages = &self.space(space).pages;
        (self.limits.page(start)..self.limits.page(end)).all(|page| pages.get(&page).is_none_or(|page| page.may_go))
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
