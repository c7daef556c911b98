//! The heap that grows at its end.

use super::range::{aligned, page};
use crate::arch::{Arch, Prot};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::claim::Claim;
use crate::space::{ClassId, Space};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl<M: Machine> Space<'_, M> {
    /// Says where the heap begins: its end is there too, at first.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfRange`]; [`Error::Invalid`] if the heap is not empty.
    pub fn set_brk_base(&self, base: u64) -> Result<(), Error> {
        aligned::<M::Arch>("heap base", base)?;
        if !(M::Arch::USER_START..M::Arch::USER_END).contains(&base) {
            return Err(Error::OutOfRange { start: base, length: 0 });
        }
        let inner = self.inner();
        let (old, end) = (inner.brk_base.load(Relaxed), inner.brk_end.load(Relaxed));
        if old != end || inner.brk_end.compare_exchange(end, base, SeqCst).is_err() {
            return Err(Error::Invalid { what: "the heap's base cannot change while it is in use" });
        }
        inner.brk_base.store(base, SeqCst);
        Ok(())
    }

    /// Moves the end of the heap to `end`, any address at or above its base; the end afterwards, which is `end`. An
    /// `end` of zero only asks.
    ///
    /// Context and allocation as [`Space::map`] and [`Space::unmap`]. Callers serialise their calls for one space.
    ///
    /// # Errors
    /// [`Error::Invalid`] below the base or without one; [`Error::Exists`] if something is in the way, or in the page
    /// behind, which stays free, or a stack would be too close; [`Error::NotMapped`] if nothing is there that could be
    /// given back; [`Error::OutOfRange`]; [`Error::Limit`]; [`Error::CommitLimit`]; [`Error::OutOfMemory`]. Nothing is
    /// changed then.
    pub fn brk(&self, end: u64) -> Result<u64, Error> {
        let inner = self.inner();
        let (base, old) = (inner.brk_base.load(SeqCst), inner.brk_end.load(SeqCst));
        if end == 0 {
            return Ok(old);
        }
        if base == 0 || end < base {
            return Err(Error::Invalid { what: "the heap's end lies below its base" });
        }
        if end > M::Arch::USER_END {
            return Err(Error::OutOfRange { start: base, length: end - base });
        }
        let up = |address: u64| (address + page::<M::Arch>() - 1) & !(page::<M::Arch>() - 1);
        let (old_top, new_top) = (up(old), up(end));
        if new_top > old_top {
            self.vm().with_room(|| self.extend_heap(old_top, new_top))?;
        } else if new_top < old_top {
            self.vm().with_room(|| self.cut_heap(new_top, old_top))?;
        }
        inner.brk_end.store(end, SeqCst);
        Ok(end)
    }

    fn extend_heap(&self, old_top: u64, new_top: u64) -> Result<(), Error> {
        let _limited = self.may_map(new_top - old_top, (0, 0))?;
        let behind = (new_top + page::<M::Arch>()).min(M::Arch::USER_END);
        let mut claim = Claim::acquire(self.vm(), self.inner(), old_top, behind);
        let free = self.inner().gap(self.vm(), behind - old_top, old_top, behind);
        let result = match free == Some(old_top) {
            true => self.map_part(&claim, old_top, new_top, ClassId::plain(Prot::READ_WRITE)),
            false => Err(Error::Exists { address: old_top }),
        };
        claim.fold_now(&Cx::enter(self.vm()));
        claim.release();
        result
    }

    /// Unmaps the end of the heap, unless all of it has been unmapped already.
    fn cut_heap(&self, new_top: u64, old_top: u64) -> Result<(), Error> {
        let mut claim = Claim::acquire(self.vm(), self.inner(), new_top, old_top);
        let result = match self.first_mapped(new_top, old_top - new_top) {
            Some(_) => self.unmap_part(&claim, new_top, old_top),
            None => Err(Error::NotMapped { address: new_top }),
        };
        claim.fold_now(&Cx::enter(self.vm()));
        claim.release();
        result
    }
}
