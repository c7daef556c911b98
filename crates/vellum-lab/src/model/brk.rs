//! The heap.

use super::map::MapRequest;
use super::space::Brk;
use super::{Model, Refusal, SpaceId};
use vellum::Error;
use vellum::arch::Prot;

impl Model {
    /// Says where the heap begins. It is empty then.
    ///
    /// # Errors
    /// [`Error::Unaligned`]; [`Error::OutOfRange`] outside the user range; [`Error::Invalid`] if the heap is not empty.
    pub fn set_brk_base(&mut self, space: SpaceId, base: u64) -> Result<(), Error> {
        if !self.limits.is_aligned(base) {
            return Err(Error::Unaligned { what: "heap base", value: base });
        }
        if base < self.limits.user_start || base >= self.limits.user_end {
            return Err(Error::OutOfRange { start: base, length: 0 });
        }
        if self.space(space).brk.is_some_and(|brk| brk.base != brk.end) {
            return Err(Error::Invalid { what: "the heap is in use" });
        }
        self.space_mut(space).brk = Some(Brk { base, end: base });
        Ok(())
    }

    /// Moves the end of the heap; what it is afterwards. An `end` of 0 only asks.
    ///
    /// # Errors
    /// Where Linux's `brk` would leave it where it is: below the base, or into another mapping, its guard gap or the
    /// page before, or back where nothing is mapped any more.
    pub fn brk(&mut self, space: SpaceId, end: u64) -> Result<u64, Error> {
        let limits = self.limits;
        let state = self.space(space);
        if end == 0 {
            return Ok(state.brk.map_or(0, |brk| brk.end));
        }
        let invalid = Error::Invalid { what: "the heap has no base" };
        let Brk { base, end: old_end } = state.brk.ok_or(invalid)?;
        if end < base {
            return Err(Error::Invalid { what: "the heap cannot end below its base" });
        }
        let out_of_range = Error::OutOfRange { start: base, length: end - base };
        let new = limits.round_up(end).filter(|&new| new <= limits.user_end).ok_or(out_of_range)?;
        let old = limits.round_up(old_end).ok_or(out_of_range)?;
        if new < old {
            if state.areas.is_free(new, old) {
                return Err(Error::NotMapped { address: new });
            }
            self.discard(space, new, old);
        } else if new > old {
            // A page stays free behind the heap.
            let behind = (new + limits.page_size()).min(limits.user_end);
            if !state.areas.is_legal(old, behind, &limits) {
                return Err(Error::Exists { address: old });
            }
            let request = MapRequest::anonymous(old, new - old, Prot::READ_WRITE);
            self.map(space, &request, None).map_err(|refusal| match refusal {
                Refusal::Error(error) => error,
                Refusal::Placement { .. } => out_of_range,
            })?;
        }
        self.space_mut(space).brk = Some(Brk { base, end });
        Ok(end)
    }
}
