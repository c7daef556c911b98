//! Switching an area off: everything in it is brought back first.
//!
//! The entries that name slots are found by going through all spaces, as often as slots are left in use: a fork copies
//! entries to where the search has passed, and a child is registered before its first entry is copied (E16). Each entry
//! is resolved as a fault would, with tags and exclusiveness, whatever the mapping allows (E3).

use super::AreaId;
use crate::arch::{Absent, Arch};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::release;
use crate::ops::swap_in::leave_cache;
use crate::space::{Inner, Space};
use crate::vm::Vm;

/// Passes over all spaces that bring nothing in before the attempt is given up.
const IDLE_MAX: u32 = 1000;

impl<M: Machine> Vm<M> {
    /// Switches a swap area off: its pages are brought back into memory, then the device is dropped. Pages that cannot
    /// be read are lost, and accesses to them get a bus error from then on.
    ///
    /// Programs may run. Sleeps for I/O, and while others use pages of the area; allocates a frame for each page.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such area or somebody is switching it off already, or if slots stay in use
    /// though nothing names them. [`Error::OutOfMemory`] if memory does not take what is in it. In both last cases the
    /// area stays on, with what is left.
    pub fn swap_off(&self, area: AreaId) -> Result<(), Error> {
        self.begin_off(area)?;
        let result = self.empty_and_end(area);
        if result.is_err() {
            self.cancel_off(area);
        }
        result
    }

    fn empty_and_end(&self, area: AreaId) -> Result<(), Error> {
        loop {
            self.empty_area(area)?;
            if self.end_off(area)? {
                return Ok(());
            }
        }
    }

    /// Brings pages in until no slot of the area is in use.
    fn empty_area(&self, area: AreaId) -> Result<(), Error> {
        let mut idle = 0;
        while self.area_used(area) > 0 {
            let mut brought = 0;
            let mut last = u64::MAX;
            while let Some(space) = Space::older_than(self, last) {
                last = space.id();
                brought += space.bring_area_in(area)?;
            }
            brought += self.drop_unnamed(area);
            idle = if brought == 0 { idle + 1 } else { 0 };
            if brought == 0 {
                // What is used but not named any more may wait for a grace period.
                self.quiesce();
            }
            if idle > IDLE_MAX || !M::guard(Guard::SwapOffRepeats) {
                return Err(Error::Invalid { what: "end of a swap area whose slots stay in use" });
            }
        }
        Ok(())
    }

    /// Takes pages out of the swap cache whose slots no entry names; how many. Sleeps for those that somebody is at
    /// work on.
    fn drop_unnamed(&self, area: AreaId) -> u64 {
        let mut dropped = 0;
        self.each_used_slot(area, |slot| {
            let cx = Cx::enter(self);
            let Some(pfn) = cx.swap_lookup(slot) else { return };
            let has_left = leave_cache(&cx, pfn);
            release(&cx, pfn);
            drop(cx);
            dropped += u64::from(has_left);
            if !has_left {
                let is_still_it = || Cx::enter(self).swap_is_cached(slot, pfn);
                self.physical().frame(pfn).folio_lock().wait(self, is_still_it);
            }
        });
        dropped
    }
}

impl<M: Machine> Space<'_, M> {
    /// Brings in what entries of the space say is in `area`; how many entries there were.
    fn bring_area_in(&self, area: AreaId) -> Result<u64, Error> {
        let mut brought = 0;
        let mut here = M::Arch::USER_START;
        while let Some(address) = next_of_area(&Cx::enter(self.vm()), self.inner(), area, &mut here) {
            self.vm().with_room(|| self.bring_back(address))?;
            brought += 1;
            here = address + (1 << M::Arch::PAGE_SHIFT);
        }
        Ok(brought)
    }
}

/// The first address at or above `here` whose entry names a slot of `area`.
fn next_of_area<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, area: AreaId, here: &mut u64) -> Option<u64> {
    while *here < M::Arch::USER_END {
        let leaf = space.lowest(cx, *here);
        if leaf.level > 0 {
            *here = leaf.slot_end(*here);
            continue;
        }
        let base = leaf.base(*here);
        let is_of_area = |&index: &usize| {
            let word = leaf.entry(index);
            !M::Arch::is_page(word)
                && matches!(M::Arch::absent_of(word), Some(Absent::Swap { slot, .. }) if slot.area() == area.number())
        };
        if let Some(index) = (leaf.index(*here)..leaf.len()).find(is_of_area) {
            return Some(base + ((index as u64) << M::Arch::PAGE_SHIFT));
        }
        *here = base.saturating_add(leaf.span() * leaf.len() as u64);
    }
    None
}
