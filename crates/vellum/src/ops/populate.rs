//! Faulting a whole range in.

use super::Access;
use super::range::{Reach, checked, page};
use crate::arch::Prot;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::{Attributes, ClassId, Space};

impl<M: Machine> Space<'_, M> {
    /// Faults every page of a range in, as if it were accessed (`MADV_POPULATE_READ` and `_WRITE`).
    ///
    /// May sleep; allocates.
    ///
    /// # Errors
    /// Those of the range as for [`Space::unmap`]; [`Error::NotMapped`]; [`Error::AccessDenied`] for the first mapping
    /// whose rights do not name the access, even if the processor would let it pass; [`Error::Guarded`] for the first
    /// guard, and [`Error::Io`] and [`Error::OutOfMemory`] for the first page that cannot be faulted in. A hole is
    /// noticed first; else pages before the one that failed stay.
    pub fn populate(&self, start: u64, length: u64, access: Access) -> Result<(), Error> {
        self.populate_reaching(start, length, access, Reach::Whole)
    }

    /// As [`Space::populate`], but a hole, too, is noticed when it is come to.
    ///
    /// # Errors
    /// Those of [`Space::populate`].
    pub fn populate_partly(&self, start: u64, length: u64, access: Access) -> Result<(), Error> {
        self.populate_reaching(start, length, access, Reach::Before)
    }

    pub(super) fn populate_reaching(&self, start: u64, length: u64, access: Access, reach: Reach) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if reach == Reach::Whole
            && let Some(address) = self.inner().first_hole(self.vm(), start, end)
        {
            return Err(Error::NotMapped { address });
        }
        let wanted = match access {
            Access::Read => Prot::READ,
            Access::Write => Prot::WRITE,
            Access::Execute => Prot::EXECUTE,
        };
        let mut here = start;
        while here < end {
            let (attributes, next) = self.attributes_at(here, end)?;
            if !attributes.prot.has(wanted) {
                return Err(Error::AccessDenied { address: here });
            }
            if attributes.is_guarded() {
                return Err(Error::Guarded { address: here });
            }
            here = match self.touch_pages(here, next, access) {
                // Unmapped or guarded meanwhile: which it is, another look says.
                Err(Error::NotMapped { address }) => address,
                result => result.map(|()| next)?,
            };
        }
        Ok(())
    }

    /// What is mapped at `address`, and up to where, at most `end`, it is known.
    fn attributes_at(&self, address: u64, end: u64) -> Result<(Attributes<M>, u64), Error> {
        let cx = Cx::enter(self.vm());
        let span = self.inner().span_at(&cx, address, end);
        if span.class == ClassId::NONE {
            return Err(Error::NotMapped { address });
        }
        Ok((cx.attributes(span.class), span.end.min(end)))
    }

    /// Faults the pages of a range in, by whatever rights let the access pass.
    pub(super) fn touch_pages(&self, start: u64, end: u64, access: Access) -> Result<(), Error> {
        let mut address = start;
        while address < end {
            let allows = self.translate(address).is_some_and(|translation| access.is_allowed(translation.bits));
            if !allows {
                self.fault(address, access)?;
            }
            address += page::<M::Arch>();
        }
        Ok(())
    }
}
