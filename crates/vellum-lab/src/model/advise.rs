//! Advice and population.

use super::area::{Area, ReadOrder};
use super::space::Page;
use super::{Model, Quirk, SpaceId};
use std::collections::BTreeSet;
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, Sharing};
use vellum::{Error, Policy};

impl Model {
    /// Gives advice on a range. With a hole in it nothing changes (Linux applies it around the hole).
    ///
    /// # Errors
    /// Those of Linux's `madvise`; [`Error::Unsupported`] for advice the core does not know yet.
    pub fn advise(&mut self, space: SpaceId, start: u64, length: u64, advice: Advice) -> Result<(), Error> {
        if !self.limits.is_aligned(start) {
            return Err(Error::Unaligned { what: "address", value: start });
        }
        if length == 0 {
            return Ok(());
        }
        if !is_supported(advice) {
            return Err(Error::Unsupported { what: "advice" });
        }
        let end = self.end_of(start, length)?;
        self.check_each(space, start, end, |attributes, address| match advice {
            Advice::Remove if attributes.object.is_none() => {
                Err(Error::Invalid { what: "private anonymous memory shows no object to make a hole in" })
            }
            Advice::Remove if attributes.sharing == Sharing::Private || !attributes.max_prot.has(Prot::WRITE) => {
                Err(Error::AccessDenied { address })
            }
            Advice::WipeOnFork if attributes.object.is_some() => {
                Err(Error::Invalid { what: "only private anonymous memory can be wiped on fork" })
            }
            Advice::Free if attributes.object.is_some() => {
                Err(Error::Invalid { what: "only private anonymous memory can be given up" })
            }
            Advice::Collapse
                if attributes
                    .object
                    .is_some_and(|object| attributes.sharing == Sharing::Private || self.is_file(object)) =>
            {
                Err(Error::Invalid { what: "only anonymous and shared memory can be collapsed" })
            }
            _ => Ok(()),
        })?;
        match advice {
            Advice::DontNeed => self.drop_contents(space, start, end),
            Advice::Free => self.give_up(space, start, end),
            Advice::Remove => self.remove(space, start, end),
            Advice::GuardInstall => {
                if self.quirk != Some(Quirk::KeepUnderGuard) {
                    self.drop_contents(space, start, end);
                }
                self.space_mut(space).guards.add(start, end);
            }
            Advice::GuardRemove => self.space_mut(space).guards.remove(start, end),
            Advice::PopulateRead => return self.populate(space, start, length, Access::Read),
            Advice::PopulateWrite => return self.populate(space, start, length, Access::Write),
            _ => self.space_mut(space).areas.update(start, end, |attributes| match advice {
                Advice::Normal => attributes.order = ReadOrder::Normal,
                Advice::Sequential => attributes.order = ReadOrder::Sequential,
                Advice::Random => attributes.order = ReadOrder::Random,
                Advice::DontFork => attributes.dont_fork = true,
                Advice::DoFork => attributes.dont_fork = false,
                Advice::WipeOnFork => attributes.wipe_on_fork = true,
                Advice::KeepOnFork => attributes.wipe_on_fork = false,
                Advice::DontDump => attributes.dont_dump = true,
                Advice::DoDump => attributes.dont_dump = false,
                Advice::HugePage => attributes.huge_pages = Some(true),
                Advice::NoHugePage => attributes.huge_pages = Some(false),
                _ => {}
            }),
        }
        Ok(())
    }

    /// As [`Model::advise`], but what is mapped takes it, around holes, up to the first area which it does not fit;
    /// what populates goes to the first page that cannot be had.
    ///
    /// # Errors
    /// Those of Linux's `madvise`: a hole is said only if nothing else is wrong.
    pub fn advise_partly(&mut self, space: SpaceId, start: u64, length: u64, advice: Advice) -> Result<(), Error> {
        let whole = self.advise(space, start, length, advice);
        let hole = match whole {
            Err(Error::NotMapped { address }) => address,
            Err(Error::Invalid { .. } | Error::AccessDenied { .. }) => start,
            other => return other,
        };
        let end = self.end_of(start, length)?;
        if matches!(advice, Advice::PopulateRead | Advice::PopulateWrite) {
            return if hole > start { self.advise(space, start, hole - start, advice).and(whole) } else { whole };
        }
        for area in self.space(space).areas.within(start, end) {
            self.advise(space, area.start, area.end - area.start, advice)?;
        }
        whole
    }

    fn remove(&mut self, space: SpaceId, start: u64, end: u64) {
        if self.quirk == Some(Quirk::KeepOnRemove) {
            return;
        }
        for area in self.space(space).areas.within(start, end) {
            let page = |address| self.limits.page(area.attributes.offset(address));
            let pages = page(area.start)..page(area.start) + self.limits.page(area.end - area.start);
            if let Some(object) = area.attributes.object {
                self.object_mut(object).punch(pages);
            }
        }
    }

    fn drop_contents(&mut self, space: SpaceId, start: u64, end: u64) {
        if self.quirk != Some(Quirk::KeepOnDontNeed) {
            let (first, last) = (self.limits.page(start), self.limits.page(end));
            self.space_mut(space).drop_pages(first, last);
        }
    }

    /// From now on the private pages may be zero, until they are stored to.
    fn give_up(&mut self, space: SpaceId, start: u64, end: u64) {
        if self.quirk != Some(Quirk::KeepOnFree) {
            let pages = self.limits.page(start)..self.limits.page(end);
            let all = self.space_mut(space).pages.iter_mut();
            all.filter(|(number, _)| pages.contains(number)).for_each(|(_, page)| page.may_go = true);
        }
    }

    /// Notes that the places of `size` bytes in a range may have been collapsed: where there was a page, all may be
    /// there.
    pub fn may_collapse(&mut self, space: SpaceId, start: u64, end: u64, size: u64) {
        let whole = start.checked_next_multiple_of(size).unwrap_or(end)..end / size * size;
        let address_of = |page: u64| page << self.limits.page_shift;
        let with_pages = self.space(space).pages.keys().map(|&page| address_of(page));
        let places: BTreeSet<u64> = with_pages.filter(|at| whole.contains(at)).map(|at| at / size * size).collect();
        for place in places {
            for address in (place..place + size).step_by(self.limits.page_size() as usize) {
                let is_private = |area: Area| area.attributes.object.is_none();
                if self.space(space).areas.find(address).is_some_and(is_private) {
                    let (number, zeros) = (self.limits.page(address), self.zeros.clone());
                    self.space_mut(space).pages.entry(number).or_insert_with(|| Page::perhaps(zeros));
                }
            }
        }
    }

    /// Says from which node the private memory of a range comes. It is only compared.
    ///
    /// # Errors
    /// As for [`Model::protect`].
    pub fn set_policy(&mut self, space: SpaceId, start: u64, length: u64, policy: Policy) -> Result<(), Error> {
        if !self.limits.is_aligned(start) {
            return Err(Error::Unaligned { what: "address", value: start });
        }
        if length == 0 {
            return Ok(());
        }
        let end = self.end_of(start, length)?;
        self.check_each(space, start, end, |_, _| Ok(()))?;
        self.space_mut(space).areas.update(start, end, |attributes| attributes.policy = policy);
        Ok(())
    }

    /// Faults every page of a range in. A hole is noticed first; pages before one that fails stay populated.
    ///
    /// # Errors
    /// For a hole, or a mapping whose rights do not name the access, or a guard, or a page beyond the end of its
    /// object.
    pub fn populate(&mut self, space: SpaceId, start: u64, length: u64, access: Access) -> Result<(), Error> {
        if !self.limits.is_aligned(start) {
            return Err(Error::Unaligned { what: "address", value: start });
        }
        if length == 0 {
            return Err(Error::ZeroLength { what: "range" });
        }
        let end = self.end_of(start, length)?;
        self.check_each(space, start, end, |_, _| Ok(()))?;
        let wanted = match access {
            Access::Read => Prot::READ,
            Access::Write => Prot::WRITE,
            Access::Execute => Prot::EXECUTE,
        };
        for area in self.space(space).areas.within(start, end) {
            if !area.attributes.prot.has(wanted) {
                return Err(Error::AccessDenied { address: area.start });
            }
            self.populate_area(space, area, access)?;
        }
        Ok(())
    }

    /// Faults in what [`Model::map`] has mapped, whatever right lets that pass; up to the first page that cannot be.
    pub(super) fn populate_new(&mut self, space: SpaceId, start: u64, end: u64, access: Access) {
        for area in self.space(space).areas.within(start, end) {
            if self.limits.allows(area.attributes.prot, access) {
                let _ = self.populate_area(space, area, access);
            }
        }
    }

    fn populate_area(&mut self, space: SpaceId, area: Area, access: Access) -> Result<(), Error> {
        let size = self.limits.page_size();
        let mut end = area.end;
        if let Some(object) = area.attributes.object {
            let length = self.object_pages(object) << self.limits.page_shift;
            let offset = area.attributes.offset(area.start);
            end = end.min(area.start + length.saturating_sub(offset));
        }
        let guard = self.space(space).guards.first_within(area.start, area.end).filter(|&guard| guard <= end);
        end = guard.unwrap_or(end);
        if access == Access::Write && area.attributes.sharing == Sharing::Private {
            for address in (area.start..end).step_by(size as usize) {
                self.own_page(space, address, &area.attributes);
            }
        }
        if let Some(address) = guard {
            return Err(Error::Guarded { address });
        }
        if end < area.end {
            return Err(Error::Io { index: self.limits.page(area.attributes.offset(end)) });
        }
        Ok(())
    }
}

fn is_supported(advice: Advice) -> bool {
    matches!(
        advice,
        Advice::Normal
            | Advice::Sequential
            | Advice::Random
            | Advice::WillNeed
            | Advice::DontNeed
            | Advice::Free
            | Advice::Remove
            | Advice::Cold
            | Advice::PageOut
            | Advice::PopulateRead
            | Advice::PopulateWrite
            | Advice::DontFork
            | Advice::DoFork
            | Advice::WipeOnFork
            | Advice::KeepOnFork
            | Advice::DontDump
            | Advice::DoDump
            | Advice::HugePage
            | Advice::NoHugePage
            | Advice::GuardInstall
            | Advice::GuardRemove
            | Advice::Collapse
    )
}
