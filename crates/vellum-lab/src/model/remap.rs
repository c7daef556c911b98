//! Moving and resizing mappings.

use super::area::Area;
use super::map::Refusal;
use super::{Model, Quirk, SpaceId};
use vellum::Error;
use vellum::ops::{RemapPlace, RemapRequest, Sharing};

impl Model {
    /// Moves, grows or shrinks what is mapped. What may be several areas is what goes to a fixed place as it is; the
    /// first address where it is not, and must be, is said to be not mapped (Linux says `EFAULT`). What cannot grow in
    /// place because something is there fails with [`Error::Exists`] (Linux says `ENOMEM`). `chosen` is the address
    /// that the system under test answered, looked at where the request leaves the choice open.
    ///
    /// # Errors
    /// The error the request must fail with (those of Linux's `mremap`), or what is wrong with the choice.
    pub fn remap(&mut self, space: SpaceId, request: &RemapRequest, chosen: Option<u64>) -> Result<u64, Refusal> {
        let (old_length, new_length) = self.check_remap(space, request)?;
        let RemapRequest { old, place, keep_old, .. } = *request;
        if let RemapPlace::Fixed(new) = place {
            let areas = self.areas_to_move(space, request, (old_length, new_length))?;
            if new < self.limits.user_start {
                return Err(Error::TooLow { address: new }.into());
            }
            let lengths = |area: &Area| match old_length == new_length {
                true => (area.end - area.start, area.end - area.start),
                false => (old_length, new_length),
            };
            let (mut more, mut freed) = (0, 0);
            for area in &areas {
                let ((from, to), start) = (lengths(area), new + (area.start - old));
                let stays = if keep_old { 0 } else { from.min(to) };
                more += if area.attributes.committed { to - stays } else { 0 };
                freed += self.space(space).areas.committed_within(start, start + to);
            }
            self.may_commit(more, freed)?;
            for area in areas {
                let (from, to) = lengths(&area);
                self.move_mapping(space, area, from, new + (area.start - old), to, keep_old);
            }
            return Ok(new);
        }
        if !keep_old && new_length <= old_length {
            return Ok(self.cut(space, old, old_length, new_length)?);
        }
        let area = self.area_to_remap(space, old, old_length, (old_length, new_length))?;
        if !keep_old {
            match self.check_growth(space, area, old_length, new_length) {
                Ok(()) => {
                    self.may_commit(if area.attributes.committed { new_length - old_length } else { 0 }, 0)?;
                    self.space_mut(space).areas.insert(old + old_length, old + new_length, area.attributes);
                    return Ok(old);
                }
                Err(error) if place == RemapPlace::InPlace => return Err(error.into()),
                Err(_) => {}
            }
        }
        let end = match place {
            RemapPlace::Hint(hint) => self.limits.end_of_search(self.limits.round_down(hint)),
            _ => self.limits.search_end,
        };
        if area.attributes.committed {
            let stays = if keep_old { 0 } else { old_length };
            let refused = self.may_commit(new_length - stays, 0);
            if refused.is_err() && self.space(space).areas.has_room(new_length, end, &self.limits) {
                refused?;
            }
        }
        let new = match place {
            RemapPlace::Hint(hint) => self.judge_hint(space, hint, new_length, chosen)?,
            _ => self.judge_place(space, new_length, self.limits.search_end, chosen)?,
        };
        self.move_mapping(space, area, old_length, new, new_length, keep_old);
        Ok(new)
    }

    /// The rules that depend on the request alone; both lengths in whole pages.
    fn check_remap(&self, space: SpaceId, request: &RemapRequest) -> Result<(u64, u64), Error> {
        let limits = &self.limits;
        if !limits.is_aligned(request.old) {
            return Err(Error::Unaligned { what: "address", value: request.old });
        }
        if request.new_length == 0 {
            return Err(Error::ZeroLength { what: "new length" });
        }
        let round = |length| limits.round_up(length).ok_or(Error::OutOfRange { start: request.old, length });
        let (old_length, new_length) = (round(request.old_length)?, round(request.new_length)?);
        if request.keep_old && (old_length != new_length || request.place == RemapPlace::InPlace) {
            return Err(Error::Invalid { what: "keeping the old mapping means moving without resizing" });
        }
        if let RemapPlace::Fixed(new) = request.place {
            if !limits.is_aligned(new) {
                return Err(Error::Unaligned { what: "new address", value: new });
            }
            if !limits.fits(new, new_length) {
                return Err(Error::OutOfRange { start: new, length: new_length });
            }
            self.check_source(space, request.old, old_length, new_length)?;
            if request.old < new + new_length && new < request.old.saturating_add(old_length) {
                return Err(Error::Invalid { what: "old and new range overlap" });
            }
        } else if new_length <= old_length && !request.keep_old {
            return Ok((old_length, new_length));
        }
        self.check_source(space, request.old, old_length, new_length)?;
        Ok((old_length, new_length))
    }

    /// Refuses an old range that leaves the user range, where nothing is mapped.
    fn check_source(&self, space: SpaceId, old: u64, old_length: u64, new_length: u64) -> Result<(), Error> {
        if old < self.limits.user_end && self.limits.fits(old, old_length) {
            return Ok(());
        }
        let area = self.space(space).areas.find(old).ok_or(Error::NotMapped { address: old })?;
        if new_length >= old_length {
            return Err(Error::NotMapped { address: self.limits.user_end });
        }
        // What is cut off comes after what is to stay.
        if !self.limits.fits(old, new_length) {
            return Err(Error::OutOfRange { start: old, length: new_length });
        }
        if new_length > area.end - old {
            return Err(Error::NotMapped { address: area.end });
        }
        Err(Error::OutOfRange { start: old, length: old_length })
    }

    /// Removes what lies behind the new length. Only the beginning must be mapped.
    fn cut(&mut self, space: SpaceId, old: u64, old_length: u64, new_length: u64) -> Result<u64, Error> {
        if self.space(space).areas.find(old).is_none() {
            return Err(Error::NotMapped { address: old });
        }
        if new_length < old_length {
            if !self.limits.fits(old, old_length) {
                return Err(Error::OutOfRange { start: old, length: old_length });
            }
            self.discard(space, old + new_length, old + old_length);
        }
        Ok(old)
    }

    /// What goes to a fixed place. Without a change of length that may be several areas with holes between, if there is
    /// one at the beginning; what is made shorter is one area as far as it goes there, and what is made longer
    /// altogether.
    fn areas_to_move(&self, space: SpaceId, request: &RemapRequest, lengths: (u64, u64)) -> Result<Vec<Area>, Error> {
        let (old, (old_length, new_length)) = (request.old, lengths);
        if old_length != new_length {
            return Ok(vec![self.area_to_remap(space, old, old_length.min(new_length), lengths)?]);
        }
        let areas = self.space(space).areas.within(old, old + old_length);
        match areas.first() {
            Some(first) if first.start == old => {}
            _ => return Err(Error::NotMapped { address: old }),
        }
        for area in &areas {
            self.check_offset(area, area.end - area.start)?;
        }
        Ok(areas)
    }

    /// The area that holds all of `length` bytes of the old range, cut to begin there.
    fn area_to_remap(&self, space: SpaceId, old: u64, length: u64, lengths: (u64, u64)) -> Result<Area, Error> {
        let area = self.space(space).areas.find(old).ok_or(Error::NotMapped { address: old })?;
        if length > area.end - old {
            return Err(Error::NotMapped { address: area.end });
        }
        let area = Area { start: old, ..area };
        if lengths.0 == 0 && area.attributes.sharing == Sharing::Private {
            return Err(Error::Invalid { what: "a private mapping cannot be duplicated" });
        }
        self.check_offset(&area, lengths.1)?;
        Ok(area)
    }

    /// Whether the offsets of `length` bytes from the beginning of an area can be represented.
    fn check_offset(&self, area: &Area, length: u64) -> Result<(), Error> {
        let end = area.attributes.offset(area.start).checked_add(length);
        if area.attributes.object.is_some() && end.is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::Invalid { what: "the mapping reaches beyond the largest offset" });
        }
        Ok(())
    }

    /// Whether the mapping can be extended behind its end.
    fn check_growth(&self, space: SpaceId, area: Area, old_length: u64, new_length: u64) -> Result<(), Error> {
        let (start, end) = (area.start + old_length, area.start.saturating_add(new_length));
        if end > self.limits.user_end {
            return Err(Error::OutOfRange { start: area.start, length: new_length });
        }
        match self.space(space).areas.first_mapped(start, end) {
            Some(address) => Err(Error::Exists { address }),
            None => Ok(()),
        }
    }

    /// Moves the pages and guards of an old range, beginning at `area.start`, to a new one and maps that like the old.
    fn move_mapping(&mut self, space: SpaceId, area: Area, old_length: u64, new: u64, new_length: u64, keep_old: bool) {
        let old = area.start;
        self.discard(space, new, new + new_length);
        let (from, to) = (self.limits.page(old), self.limits.page(new));
        let moved = old_length.min(new_length);
        let loses = self.quirk == Some(Quirk::LoseAtRemap);
        let loses_guards = self.quirk == Some(Quirk::LoseGuardsAtRemap);
        let old_end = self.limits.page(old + moved);
        let mut attributes = area.attributes;
        let state = self.space_mut(space);
        let pages = state.take_pages(from, old_end);
        let guards = state.guards.take(old, old + moved);
        attributes.difference = match attributes.object.is_none() && pages.is_empty() {
            // Nothing has a name yet.
            true => 0,
            false => attributes.difference.wrapping_add(old).wrapping_sub(new),
        };
        for (page, contents) in pages {
            if !loses {
                state.pages.insert(page - from + to, contents);
            }
        }
        if !keep_old {
            self.discard(space, old, old + old_length);
        }
        let state = self.space_mut(space);
        state.areas.insert(new, new + new_length, attributes);
        if !loses_guards {
            guards.into_iter().for_each(|(start, end)| state.guards.add(start - old + new, end - old + new));
        }
    }
}
