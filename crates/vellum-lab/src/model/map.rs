//! Mapping, unmapping, protecting.

use super::area::{Attributes, ReadOrder};
use super::{Model, ObjectId, Quirk, SpaceId};
use vellum::arch::Prot;
use vellum::ops::{Access, MapFlags, Place, Sharing};
use vellum::{Error, Policy};

/// What a new mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Private memory that reads as zero.
    Anonymous,
    /// Memory that reads as zero, shared with the children of fork.
    SharedAnonymous,
    /// An object.
    Object {
        /// Which.
        object: ObjectId,
        /// Offset in bytes of the first page.
        offset: u64,
        /// Whether stores reach it.
        sharing: Sharing,
    },
}

/// A request for a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// Length in bytes, rounded up to pages.
    pub length: u64,
    /// Access rights.
    pub prot: Prot,
    /// The most that [`Model::protect`] may grant.
    pub max_prot: Prot,
    /// Where.
    pub place: Place,
    /// What it shows.
    pub source: Source,
    /// How.
    pub flags: MapFlags,
}

impl MapRequest {
    /// Private anonymous memory at a fixed place.
    pub fn anonymous(address: u64, length: u64, prot: Prot) -> Self {
        let max_prot = Prot::READ_WRITE | Prot::EXECUTE;
        let (place, source) = (Place::Fixed(address), Source::Anonymous);
        MapRequest { length, prot, max_prot, place, source, flags: MapFlags::NONE }
    }

    fn sharing(&self) -> Sharing {
        match self.source {
            Source::Anonymous => Sharing::Private,
            Source::SharedAnonymous => Sharing::Shared,
            Source::Object { sharing, .. } => sharing,
        }
    }
}

/// Why the model did not carry out a request whose address the system under test chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request must fail so.
    Error(Error),
    /// The system under test chose badly.
    Placement {
        /// The address it chose, if it found one.
        chosen: Option<u64>,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Error(error)
    }
}

impl Refusal {
    pub(super) fn placement(chosen: Option<u64>, what: &'static str) -> Self {
        Refusal::Placement { chosen, what }
    }
}

impl Model {
    /// Makes a mapping. `chosen` is the address that the system under test answered, `None` if it failed; it is
    /// looked at only where the request leaves the choice open.
    ///
    /// # Errors
    /// The error the request must fail with, or what is wrong with the choice.
    pub fn map(&mut self, space: SpaceId, request: &MapRequest, chosen: Option<u64>) -> Result<u64, Refusal> {
        let length = self.check_map(space, request)?;
        let attributes = self.attributes(request).committed();
        if !matches!(request.place, Place::Fixed(_) | Place::FixedNoReplace(_)) && attributes.committed {
            let end = match request.place {
                Place::Hint(hint) => self.limits.end_of_search(self.limits.round_down(hint)),
                _ => self.limits.search_end,
            };
            self.may_commit_in_room(space, length, end)?;
        }
        let start = match request.place {
            Place::Fixed(address) | Place::FixedNoReplace(address) => address,
            Place::Hint(hint) => self.judge_hint(space, hint, length, chosen)?,
            Place::Anywhere => self.judge_place(space, length, self.limits.search_end, chosen)?,
        };
        if attributes.committed {
            let replaced = self.space(space).areas.committed_within(start, start + length);
            self.may_commit(length - replaced, 0)?;
        }
        self.discard(space, start, start + length);
        let (object, offset) = match request.source {
            Source::Anonymous => (None, start),
            Source::SharedAnonymous => {
                let object = self.add_memory(length >> self.limits.page_shift, !attributes.no_reserve);
                (Some(object), 0)
            }
            Source::Object { object, offset, .. } => (Some(object), offset),
        };
        let attributes = Attributes { object, difference: offset.wrapping_sub(start), ..attributes };
        self.space_mut(space).areas.insert(start, start + length, attributes);
        if request.flags.has(MapFlags::POPULATE) {
            let writes = attributes.sharing == Sharing::Private && request.prot.has(Prot::WRITE);
            let access = if writes { Access::Write } else { Access::Read };
            // As in Linux, a mapping that cannot be populated is made all the same.
            self.populate_new(space, start, start + length, access);
        }
        Ok(start)
    }

    /// What a mapping will be, but for what it shows.
    fn attributes(&self, request: &MapRequest) -> Attributes {
        Attributes {
            prot: request.prot,
            max_prot: request.max_prot,
            sharing: request.sharing(),
            grows_down: request.flags.has(MapFlags::GROWS_DOWN),
            // With a limit everything is reserved.
            no_reserve: request.flags.has(MapFlags::NO_RESERVE) && self.commit_limit.is_none(),
            dont_fork: false,
            wipe_on_fork: false,
            dont_dump: false,
            huge_pages: None,
            committed: false,
            order: ReadOrder::Normal,
            policy: Policy::Local,
            object: None,
            difference: 0,
        }
    }

    /// Whether `length` bytes may be committed; that there is no room for them below `end` is noticed first.
    pub(super) fn may_commit_in_room(&self, space: SpaceId, length: u64, end: u64) -> Result<(), Error> {
        let refused = self.may_commit(length, 0);
        let is_room = || self.space(space).areas.has_room(length, end, &self.limits);
        if refused.is_err() && !is_room() { Ok(()) } else { refused }
    }

    /// The rules that do not depend on a choice; the length in whole pages.
    fn check_map(&self, space: SpaceId, request: &MapRequest) -> Result<u64, Error> {
        let limits = &self.limits;
        if request.length == 0 {
            return Err(Error::ZeroLength { what: "mapping" });
        }
        let out_of_range = Error::OutOfRange { start: 0, length: request.length };
        let length = limits.round_up(request.length).ok_or(out_of_range)?;
        if request.source == Source::SharedAnonymous && length > i64::MAX as u64 {
            return Err(out_of_range);
        }
        if !request.max_prot.has(request.prot) {
            return Err(Error::AccessDenied { address: 0 });
        }
        let offset = if let Source::Object { offset, .. } = request.source { offset } else { 0 };
        if !limits.is_aligned(offset) {
            return Err(Error::Unaligned { what: "offset", value: offset });
        }
        if request.flags.has(MapFlags::GROWS_DOWN) && request.source != Source::Anonymous {
            return Err(Error::Invalid { what: "only private anonymous memory grows down" });
        }
        let has_offsets = request.source != Source::Anonymous;
        if has_offsets && offset.checked_add(length).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::Invalid { what: "the mapping reaches beyond the largest offset" });
        }
        if request.source == Source::SharedAnonymous && !self.attributes(request).no_reserve {
            self.may_commit(length, 0)?;
        }
        match request.place {
            Place::Fixed(address) | Place::FixedNoReplace(address) => self.check_fixed(address, length)?,
            Place::Anywhere | Place::Hint(_) if length > limits.user_end => {
                return Err(Error::NoAddressSpace { length });
            }
            Place::Anywhere | Place::Hint(_) => {}
        }
        if let Place::FixedNoReplace(address) = request.place
            && let Some(address) = self.space(space).areas.first_mapped(address, address + length)
        {
            return Err(Error::Exists { address });
        }
        Ok(length)
    }

    /// Whether a range may be mapped at an address the caller insists on.
    pub(super) fn check_fixed(&self, address: u64, length: u64) -> Result<(), Error> {
        if !self.limits.is_aligned(address) {
            return Err(Error::Unaligned { what: "address", value: address });
        }
        if !self.limits.fits(address, length) {
            return Err(Error::OutOfRange { start: address, length });
        }
        if address < self.limits.user_start {
            return Err(Error::TooLow { address });
        }
        Ok(())
    }

    /// A hint is taken if the range there is free and legal; else it is as if none had been given.
    pub(super) fn judge_hint(
        &self,
        space: SpaceId,
        hint: u64,
        length: u64,
        chosen: Option<u64>,
    ) -> Result<u64, Refusal> {
        let hint = self.limits.round_down(hint);
        let end = self.limits.end_of_search(hint);
        let is_within = hint >= self.limits.user_start && self.limits.fits(hint, length);
        let is_possible = is_within && self.limits.end_of_search(hint + length) == end;
        let is_legal = is_possible && self.space(space).areas.is_legal(hint, hint + length, &self.limits);
        if is_legal && chosen != Some(hint) {
            return Err(Refusal::placement(chosen, "the hinted range is free"));
        }
        self.judge_place(space, length, end, chosen)
    }

    /// Whether a new mapping of `length` bytes has a legal place at all.
    pub fn has_room(&self, space: SpaceId, length: u64) -> bool {
        self.space(space).areas.has_room(length, self.limits.search_end, &self.limits)
    }

    /// Whether the system under test chose a legal place below `end`.
    pub(super) fn judge_place(
        &self,
        space: SpaceId,
        length: u64,
        end: u64,
        chosen: Option<u64>,
    ) -> Result<u64, Refusal> {
        let areas = &self.space(space).areas;
        let wrong = |what| Err(Refusal::placement(chosen, what));
        let Some(address) = chosen else {
            if areas.has_room(length, end, &self.limits) {
                return wrong("there is room");
            }
            return Err(Error::NoAddressSpace { length }.into());
        };
        if let Err(error) = self.check_fixed(address, length) {
            return Err(error.into());
        }
        if address + length > end {
            return wrong("nobody has asked for an address so high");
        }
        if !areas.is_free(address, address + length) {
            return wrong("the range is not free");
        }
        if !areas.is_legal(address, address + length, &self.limits) {
            return wrong("the range is in the guard gap of a grows-down mapping");
        }
        Ok(address)
    }

    /// Removes what is mapped in a range, holes and all.
    ///
    /// # Errors
    /// Those of Linux's `munmap`.
    pub fn unmap(&mut self, space: SpaceId, start: u64, length: u64) -> Result<(), Error> {
        if !self.limits.is_aligned(start) {
            return Err(Error::Unaligned { what: "address", value: start });
        }
        if length == 0 {
            return Err(Error::ZeroLength { what: "range" });
        }
        let end = self.end_of(start, length)?;
        self.discard(space, start, end);
        Ok(())
    }

    /// Changes the access rights of a range. With a hole in it, or a part which does not allow those rights, nothing
    /// changes (Linux changes what lies before it).
    ///
    /// # Errors
    /// Those of Linux's `mprotect`.
    pub fn protect(&mut self, space: SpaceId, start: u64, length: u64, prot: Prot) -> Result<(), Error> {
        if !self.limits.is_aligned(start) {
            return Err(Error::Unaligned { what: "address", value: start });
        }
        if length == 0 {
            return Ok(());
        }
        let end = self.end_of(start, length)?;
        self.check_protect(space, start, end, prot).map_err(|(error, _)| error)?;
        let less = if self.quirk == Some(Quirk::ProtectOneLess) { self.limits.page_size() } else { 0 };
        self.set_prot(space, start, end - less, prot);
        Ok(())
    }

    /// Whether a range may have the rights `prot`; if not, what is in the way first, and where.
    fn check_protect(&self, space: SpaceId, start: u64, end: u64, prot: Prot) -> Result<(), (Error, u64)> {
        let areas = &self.space(space).areas;
        let hole = areas.first_hole(start, end);
        let mut more = 0;
        for area in areas.within(start, hole.unwrap_or(end)) {
            if !area.attributes.max_prot.has(prot) {
                return Err((Error::AccessDenied { address: area.start }, area.start));
            }
            if (Attributes { prot, ..area.attributes }).committed().committed && !area.attributes.committed {
                more += area.end - area.start;
                self.may_commit(more, 0).map_err(|error| (error, area.start))?;
            }
        }
        hole.map_or(Ok(()), |address| Err((Error::NotMapped { address }, address)))
    }

    fn set_prot(&mut self, space: SpaceId, start: u64, end: u64, prot: Prot) {
        let areas = &mut self.space_mut(space).areas;
        areas.update(start, end, |attributes| *attributes = Attributes { prot, ..*attributes }.committed());
    }

    /// As [`Model::protect`], but what lies before the first hole, or before the first part which does not allow those
    /// rights, has them also if that is an error.
    ///
    /// # Errors
    /// Those of Linux's `mprotect`.
    pub fn protect_partly(&mut self, space: SpaceId, start: u64, length: u64, prot: Prot) -> Result<(), Error> {
        let result = self.protect(space, start, length, prot);
        if let Err(Error::NotMapped { .. } | Error::AccessDenied { .. } | Error::CommitLimit { .. }) = result
            && let Err((_, address)) = self.check_protect(space, start, self.end_of(start, length)?, prot)
            && address > start
        {
            self.set_prot(space, start, address, prot);
        }
        result
    }

    /// Checks the areas of a range one after the other, up to the first hole.
    pub(super) fn check_each(
        &self,
        space: SpaceId,
        start: u64,
        end: u64,
        check: impl Fn(&Attributes, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let areas = &self.space(space).areas;
        let hole = areas.first_hole(start, end);
        for area in areas.within(start, hole.unwrap_or(end)) {
            check(&area.attributes, area.start)?;
        }
        hole.map_or(Ok(()), |address| Err(Error::NotMapped { address }))
    }

    /// The end of a range whose length is rounded up to pages.
    pub(super) fn end_of(&self, start: u64, length: u64) -> Result<u64, Error> {
        let out_of_range = Error::OutOfRange { start, length };
        let length = self.limits.round_up(length).ok_or(out_of_range)?;
        if self.limits.fits(start, length) { Ok(start + length) } else { Err(out_of_range) }
    }

    /// Removes areas, guards and private pages of a range.
    pub(super) fn discard(&mut self, space: SpaceId, start: u64, end: u64) {
        let (first, last) = (self.limits.page(start), self.limits.page(end));
        let space = self.space_mut(space);
        space.areas.remove(start, end);
        space.guards.remove(start, end);
        space.drop_pages(first, last);
    }
}
