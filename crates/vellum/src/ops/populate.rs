//! Faulting a whole range in.

use super::Access;
use super::range::{checked, page};
use crate::error::Error;
use crate::machine::Machine;
use crate::space::Space;

impl<M: Machine> Space<'_, M> {
    /// Faults every page of a range in, as if it were accessed (`MADV_POPULATE_READ` and `_WRITE`).
    ///
    /// May sleep; allocates.
    ///
    /// # Errors
    /// Those of the range as for [`Space::protect`]; [`Error::NotMapped`], [`Error::AccessDenied`], [`Error::Io`] and
    /// [`Error::OutOfMemory`] for the first page that cannot be faulted in; pages before it stay.
    pub fn populate(&self, start: u64, length: u64, access: Access) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if let Some(address) = self.first_hole(start, end) {
            return Err(Error::NotMapped { address });
        }
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
