//! Moving and resizing mappings.

use super::area::Area;
use super::map::Refusal;
use super::{Model, Quirk, SpaceId};
use vellum::Error;
use vellum::ops::{RemapPlace, RemapRequest, Sharing};

impl Model {
    /// Moves, grows or shrinks a mapping, all of which must be one area; the first address where it is not is said to
    /// be not mapped (Linux says `EFAULT`). What cannot grow in place because something is there fails with
    /// [`Error::Exists`] (Linux says `ENOMEM`). `chosen` is the address that the system under test answered, looked at
    /// where the request leaves the choice open.
    ///
    /// # Errors
    /// The error the request must fail with (those of Linux's `mremap`), or what is wrong with the choice.
    pub fn remap(&mut self, space: SpaceId, request: &RemapRequest, chosen: Option<u64>) -> Result<u64, Refusal> {
        let (old_length, new_length) = self.check_remap(request)?;
        let area = self.area_to_remap(space, request, (old_length, new_length))?;
        let old = request.old;
        if let RemapPlace::Fixed(new) = request.place {
            self.move_mapping(space, area, old_length, new, new_length, request.keep_old);
            return Ok(new);
        }
        if request.keep_old {
            let new = self.judge_place(space, new_length, chosen)?;
            self.move_mapping(space, area, old_length, new, new_length, true);
            return Ok(new);
        }
        if new_length <= old_length && old_length > 0 {
            if new_length < old_length {
                self.discard(space, old + new_length, old + old_length);
            }
            return Ok(old);
        }
        if old_length > 0 {
            match self.check_growth(space, area, old_length, new_length) {
                Ok(()) => {
                    self.space_mut(space).areas.insert(old + old_length, old + new_length, area.attributes);
                    return Ok(old);
                }
                Err(error) if request.place == RemapPlace::InPlace => return Err(error.into()),
                Err(_) => {}
            }
        }
        let new = self.judge_place(space, new_length, chosen)?;
        self.move_mapping(space, area, old_length, new, new_length, false);
        Ok(new)
    }

    /// The rules that depend on the request alone; both lengths in whole pages.
    fn check_remap(&self, request: &RemapRequest) -> Result<(u64, u64), Error> {
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
            self.check_fixed(new, new_length)?;
            if request.old < new + new_length && new < request.old.saturating_add(old_length) {
                return Err(Error::Invalid { what: "old and new range overlap" });
            }
        }
        if !limits.fits(request.old, old_length.max(limits.page_size())) {
            return Err(Error::OutOfRange { start: request.old, length: request.old_length });
        }
        if request.place == RemapPlace::InPlace && old_length > 0 && !limits.fits(request.old, new_length) {
            return Err(Error::OutOfRange { start: request.old, length: request.new_length });
        }
        Ok((old_length, new_length))
    }

    /// The area that holds all of the old range, cut to begin there.
    fn area_to_remap(&self, space: SpaceId, request: &RemapRequest, lengths: (u64, u64)) -> Result<Area, Error> {
        let (old, (old_length, new_length)) = (request.old, lengths);
        let area = self.space(space).areas.find(old).ok_or(Error::NotMapped { address: old })?;
        if old_length > area.end - old {
            return Err(Error::NotMapped { address: area.end });
        }
        if old_length == 0 && area.attributes.sharing == Sharing::Private {
            return Err(Error::Invalid { what: "a private mapping cannot be duplicated" });
        }
        let end = area.attributes.offset(old).checked_add(new_length);
        if area.attributes.object.is_some() && end.is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::Invalid { what: "the mapping reaches beyond the largest offset" });
        }
        Ok(Area { start: old, ..area })
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

    /// Moves the pages of an old range, beginning at `area.start`, to a new one and maps that like the old.
    fn move_mapping(&mut self, space: SpaceId, area: Area, old_length: u64, new: u64, new_length: u64, keep_old: bool) {
        let old = area.start;
        self.discard(space, new, new + new_length);
        let (from, to) = (self.limits.page(old), self.limits.page(new));
        let moved = old_length.min(new_length);
        let loses = self.quirk == Some(Quirk::LoseAtRemap);
        let old_end = self.limits.page(old + moved);
        let mut attributes = area.attributes;
        // Only one of two copies can be the stack. (In Linux both say so.)
        attributes.grows_down &= !keep_old;
        attributes.difference = attributes.difference.wrapping_add(old).wrapping_sub(new);
        let state = self.space_mut(space);
        for (page, contents) in state.take_pages(from, old_end) {
            if !loses {
                state.pages.insert(page - from + to, contents);
            }
        }
        if !keep_old {
            self.discard(space, old, old + old_length);
        }
        self.space_mut(space).areas.insert(new, new + new_length, attributes);
    }
}
