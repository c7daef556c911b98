//! From which node the memory of a range comes.

use super::range::{Reach, aligned};
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::Policy;
use crate::space::apply::PageChange;
use crate::space::{Attributes, Space};

impl<M: Machine> Space<'_, M> {
    /// Says from which node the private memory of a range comes, as `mbind` does without flags: pages that are there
    /// stay where they are. Memory of objects, shared memory included, is not concerned. Children of fork inherit it.
    /// A range of length zero is fine and means nothing.
    ///
    /// May sleep while another operation works on the same range, and to free memory; allocates as [`Space::unmap`]
    /// does.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the policy names no node, or one without memory; [`Error::Unaligned`],
    /// [`Error::OutOfRange`]; [`Error::NotMapped`] if the range has a hole; [`Error::OutOfMemory`]. Nothing is changed
    /// then.
    pub fn set_policy(&self, start: u64, length: u64, policy: Policy) -> Result<(), Error> {
        self.vm().physical().check_policy(policy)?;
        if length == 0 {
            return aligned::<M::Arch>("address", start).map(|_| ());
        }
        let may = |_: &Attributes<M>, _| Ok(());
        let becomes = |attributes: Attributes<M>| attributes.with_policy(policy);
        self.vm().with_room(|| self.change(start, length, Reach::Whole, may, becomes, PageChange::Keep))
    }
}
