//! Switching an area off: everything in it is brought back first.
//!
//! The entries that name slots are found by going through all spaces, as often as slots are left in use: a fork copies
//! entries to where the search has passed, and a child is registered before its first entry is copied (E16). Each entry
//! is resolved as a fault would, with tags and exclusiveness, whatever the mapping allows (E3).
//!
//! From the beginning no page is put out to the area: whoever makes room for what comes back, with nowhere else to put
//! pages, is told that memory is short, instead of having them read back and forth.

use crate::arch::{Absent, Arch, Word};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::release;
use crate::space::Space;
use crate::swap::{AreaId, leave_cache_locked};
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::SeqCst;

impl<M: Machine> Vm<M> {
    /// Switches a swap area off: its pages are brought back into memory, then the device is dropped. Pages that cannot
    /// be read are lost, and accesses to them get a bus error from then on.
    ///
    /// Programs may run. Sleeps for I/O, and while others use pages of the area; allocates a frame for each page.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such area or somebody is switching it off already. [`Error::CommitLimit`] if
    /// more is committed than may be without the area ([`Vm::set_overcommit`]): nothing has changed then.
    /// [`Error::OutOfMemory`] if memory does not take what is in it: then the area stays on, with what is left.
    pub fn swap_off(&self, area: AreaId) -> Result<(), Error> {
        /// Leaves the area on, also if its device has panicked.
        struct Off<'vm, M: Machine>(&'vm Vm<M>, AreaId);
        impl<M: Machine> Drop for Off<'_, M> {
            fn drop(&mut self) {
                self.0.cancel_off(self.1);
            }
        }
        self.begin_off(area)?;
        let off = Off(self, area);
        self.empty_and_end(area)?;
        core::mem::forget(off);
        Ok(())
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
    ///
    /// A search that finds nothing although slots are used has met somebody at work: one who takes an entry away
    /// (munmap, the end of a space) has yet to drop its count; one who takes a slot has yet to put his page there, or
    /// to give it back; what fork copied was gone, where it came from, before the search came there. All of these
    /// change the slot afterwards, or have changed it during the search. So that is slept for.
    fn empty_area(&self, area: AreaId) -> Result<(), Error> {
        loop {
            // First: what changes from here on ends the sleep.
            let seen = self.area_changes(area);
            if self.area_used(area) == 0 {
                return Ok(());
            }
            let found = self.bring_all_in(area)? + self.drop_unnamed(area);
            if !M::guard(Guard::SwapOffRepeats) {
                let is_empty = self.area_used(area) == 0;
                return is_empty.then_some(()).ok_or(Error::Invalid { what: "end of a swap area that is in use" });
            }
            if found == 0 {
                self.await_area_change(area, seen);
            }
        }
    }

    /// Brings in what entries of all spaces say is in `area`; how many there were, and searches that met a move.
    fn bring_all_in(&self, area: AreaId) -> Result<u64, Error> {
        let mut found = 0;
        let mut next = Space::youngest(self);
        while let Some(space) = next {
            found += space.bring_area_in(area)?;
            next = space.older();
        }
        Ok(found)
    }

    /// Takes pages out of the swap cache whose slots no entry names, and sleeps for those that somebody is at work on,
    /// whose entries may be on their way; how many of both.
    fn drop_unnamed(&self, area: AreaId) -> u64 {
        let mut found = 0;
        self.each_used_slot(area, |slot| {
            let cx = Cx::enter(self);
            let Some(cached) = cx.swap_lookup(slot) else { return };
            let lock = self.physical().frame(cached.head).folio_lock();
            let is_free = lock.try_acquire();
            let has_left = is_free && leave_cache_locked(&cx, cached.head);
            if is_free {
                lock.release(self);
            }
            release(&cx, cached.head);
            drop(cx);
            let is_busy = !is_free && M::guard(Guard::CachedPageAwaited);
            if is_busy {
                lock.wait(self, || Cx::enter(self).swap_is_cached(slot, cached.page));
            }
            found += u64::from(has_left || is_busy);
        });
        found
    }
}

impl<M: Machine> Space<'_, M> {
    /// Brings in what entries of the space say is in `area`; how many entries there were. One more for a search during
    /// which entries were moved, perhaps to where it had been: it says nothing about what is left.
    fn bring_area_in(&self, area: AreaId) -> Result<u64, Error> {
        let done = self.inner().moves_done.load(SeqCst);
        let mut brought = 0;
        let mut here = M::Arch::USER_START;
        while let Some(address) = self.next_of_area(area, here) {
            self.vm().with_room(|| self.bring_back(address))?;
            brought += 1;
            here = address + (1 << M::Arch::PAGE_SHIFT);
        }
        Ok(brought + u64::from(M::guard(Guard::SwapOffFollowsMoves) && self.have_moved(done)))
    }

    /// Whether entries have moved within the space since `done` moves were done, or do so now; that is waited for.
    fn have_moved(&self, done: u32) -> bool {
        let (begun, ended) = (&self.inner().moves_begun, &self.inner().moves_done);
        if begun.load(SeqCst) == done {
            return false;
        }
        let cx = Cx::enter(self.vm());
        cx.serve_mailbox();
        let now = ended.load(SeqCst);
        if begun.load(SeqCst) != now {
            // Whoever moves entries has pre-emption off.
            self.vm().machine().wait_change(ended.as_core(), now);
        }
        true
    }

    /// The first address at or above `here` whose entry names a slot of `area`. Without a [`Cx`]: there is none when it
    /// has returned.
    fn next_of_area(&self, area: AreaId, here: u64) -> Option<u64> {
        let is_of_area = |word: Word<M::Arch>| match word.absent() {
            Some(Absent::Swap { slot, .. }) => slot.area() == area.number(),
            _ => false,
        };
        let found = self.inner().each_leaf(self.vm(), (here, M::Arch::USER_END), &mut |_, slots| match (slots.low
            ..=slots.high)
            .find(|&index| is_of_area(slots.leaf.page(index)))
        {
            Some(index) => ControlFlow::Break(slots.address(index)),
            None => ControlFlow::Continue(()),
        });
        found.break_value()
    }
}
