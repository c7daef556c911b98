//! Writing what was stored to files in a range.

use super::range::checked;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::object::Object;
use crate::space::{ClassId, Space};

impl<'vm, M: Machine> Space<'vm, M> {
    /// Writes the dirty pages of all files of which the range has shared mappings, as `msync` does with `MS_SYNC`:
    /// around holes, the first of which it reports at the end.
    ///
    /// Sleeps for I/O; see [`Object::write_back`].
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::ZeroLength`], [`Error::OutOfRange`]; those of [`Object::write_back`] for the
    /// first file that could not be written; [`Error::NotMapped`].
    pub fn write_back(&self, start: u64, length: u64) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let mut here = start;
        let mut result = Ok(());
        let mut last = 0;
        while here < end {
            let (next, object) = self.shared_object_at(here, end);
            match object {
                Ok(Some(object)) if object.id() != last => {
                    last = object.id();
                    object.write_back()?;
                }
                Ok(_) => {}
                Err(hole) => result = result.and(Err(hole)),
            }
            here = next;
        }
        result
    }

    /// The object of which there is a shared mapping at `address`, with a reference, and where the next may begin.
    fn shared_object_at(&self, address: u64, end: u64) -> (u64, Result<Option<Object<'vm, M>>, Error>) {
        let cx = Cx::enter(self.vm());
        let span = self.inner().span_at(&cx, address, end);
        if span.class == ClassId::NONE {
            return (span.end, Err(Error::NotMapped { address }));
        }
        let attributes = cx.attributes(span.class);
        let object = attributes.object.filter(|_| !attributes.is_private());
        // SAFETY: the object's memory stays allocated within the read-side section.
        let object = object.filter(|object| unsafe { object.as_ref() }.try_get());
        // SAFETY: the reference that was just taken.
        (span.end, Ok(object.map(|object| unsafe { Object::of_reference(self.vm(), object) })))
    }
}
