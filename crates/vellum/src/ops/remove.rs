//! Making holes in the objects that a range shows.

use super::range::{Reach, checked};
use crate::arch::{Arch, Prot};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::object::Object;
use crate::space::{ClassId, Space};

impl<'vm, M: Machine> Space<'vm, M> {
    /// Makes a hole in each object where the range shows it: [`Object::punch`]. No range is claimed, as that sleeps:
    /// what is unmapped meanwhile loses its pages all the same.
    pub(super) fn remove(&self, start: u64, length: u64, reach: Reach) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if reach == Reach::Whole {
            self.each_removable(start, end, reach, |_, _, _| Ok(()))?;
        }
        self.each_removable(start, end, reach, |object, offset, length| object.punch(offset, length))
    }

    /// Calls `act` with each object in the range, and the bytes of it that are shown.
    fn each_removable(
        &self,
        start: u64,
        end: u64,
        reach: Reach,
        act: impl Fn(&Object<'vm, M>, u64, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut here = start;
        let mut result = Ok(());
        while here < end {
            let (next, found) = self.removable_at(here, end);
            match found {
                Ok((object, offset)) => act(&object, offset, next - here)?,
                Err(hole @ Error::NotMapped { .. }) if reach == Reach::Mapped => result = result.and(Err(hole)),
                Err(error) => return Err(error),
            }
            here = next;
        }
        result
    }

    /// The object which the mapping at `address` shows, and may store to, with a reference, and the offset there; and
    /// where the next mapping may begin.
    fn removable_at(&self, address: u64, end: u64) -> (u64, Result<(Object<'vm, M>, u64), Error>) {
        let cx = Cx::enter(self.vm());
        let span = self.inner().span_at(&cx, address, end);
        let next = span.end.min(end);
        if span.class == ClassId::NONE {
            return (next, Err(Error::NotMapped { address }));
        }
        let attributes = cx.attributes(span.class);
        let Some(object) = attributes.object else {
            return (next, Err(Error::Invalid { what: "private anonymous memory shows no object to make a hole in" }));
        };
        if attributes.is_private() || !attributes.max_prot.has(Prot::WRITE) {
            return (next, Err(Error::AccessDenied { address }));
        }
        // SAFETY: the object's memory stays allocated within the read-side section.
        if !unsafe { object.as_ref() }.try_get() {
            // Unmapped meanwhile.
            return (next, Err(Error::NotMapped { address }));
        }
        // SAFETY: the reference that was just taken.
        let object = unsafe { Object::of_reference(self.vm(), object) };
        let index = (address >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
        (next, Ok((object, index << M::Arch::PAGE_SHIFT)))
    }
}
