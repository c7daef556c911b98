//! The heap that grows at its end.

use super::range::{aligned, page};
use crate::arch::Arch;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::Space;
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
    /// [`Error::Invalid`] below the base or without one; [`Error::Exists`] if something is in the way, or a stack would
    /// be too close; [`Error::OutOfRange`]; [`Error::OutOfMemory`]. Nothing is changed then.
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
            self.vm().with_room(|| self.map_heap(old_top, new_top - old_top))?;
        } else if new_top < old_top {
            self.unmap(new_top, old_top - new_top)?;
        }
        inner.brk_end.store(end, SeqCst);
        Ok(end)
    }
}
