//! Moving and resizing mappings.

use super::area::Area;
use super::map::Refusal;
use super::{Model, Quirk, SpaceId};
use vellum::Error;
use vellum::ops::{RemapPlace, RemapRequest, Sharing};

impl Model {
    /// Moves, grows or shrinks a mapping, all of which must be one area. `chosen` is the address that the system
    /// under test answered, looked at where the request leaves the choice open.
    ///
    /// # Errors
    /// The error the request must fail with (those of Linux's `mremap`), or what is wrong with the choice.
    pub fn remap(&mut self, space: SpaceId, request: &RemapRequest, chosen: Option<u64>) -> Result<u64, Refusal> {
        let (old_length, new_length) = self.check_remap(request)?;
        let area = self.area_to_remap(space, request.old, old_length)?;
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
        if old_length > 0 && self.may_grow_in_place(space, area, old + old_length, old + new_length) {
            let attributes = area.attributes;
            self.space_mut(space).areas.insert(old + old_length, old + new_length, attributes);
            return Ok(old);
        }
        if request.place == RemapPlace::InPlace {
            return Err(Error::NoAddressSpace { length: new_length }.into());
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
        let round = |length| limits.round_up(length).ok_or(Error::OutOfRange { start: request.old, length });
        let (old_length, new_length) = (round(request.old_length)?, round(request.new_length)?);
        if new_length == 0 {
            return Err(Error::ZeroLength { what: "new length" });
        }
        if request.keep_old && (old_length != new_length || request.place == RemapPlace::InPlace) {
            return Err(Error::Invalid { what: "keeping the old mapping means moving without resizing" });
        }
        if let RemapPlace::Fixed(new) = request.place {
            self.check_fixed(new, new_length)?;
            if request.old < new + new_length && new < request.old.saturating_add(old_length) {
                return Err(Error::Invalid { what: "old and new range overlap" });
            }
        }
        if !limits.fits(request.old, old_length) {
            return Err(Error::OutOfRange { start: request.old, length: request.old_length });
        }
        Ok((old_length, new_length))
    }

    /// The area that holds all of the old range, cut to begin there.
    fn area_to_remap(&self, space: SpaceId, old: u64, old_length: u64) -> Result<Area, Error> {
        let areas = &self.space(space).areas;
        let area = areas.find(old).ok_or(Error::NotMapped { address: old })?;
        if old_length == 0 && area.attributes.sharing == Sharing::Private {
            return Err(Error::Invalid { what: "a private mapping cannot be duplicated" });
        }
        if old_length > area.end - old {
            let hole = areas.first_hole(old, old + old_length);
            let what = "the range spans several mappings";
            return Err(hole.map_or(Error::Invalid { what }, |address| Error::NotMapped { address }));
        }
        Ok(Area { start: old, ..area })
    }

    fn may_grow_in_place(&self, space: SpaceId, area: Area, old_end: u64, new_end: u64) -> bool {
        area.end == old_end && new_end <= self.limits.user_end && self.space(space).areas.is_free(old_end, new_end)
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
