//! Changing access rights.

use super::holds::Holds;
use super::range::{aligned, checked};
use crate::arch::Prot;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::leaf::{Short, Simple};
use crate::space::split::Holes;
use crate::space::{Attributes, ClassId, Space};

/// Whether the mapping of these attributes at an address may be changed.
type May<'a, M> = dyn Fn(&Attributes<M>, u64) -> Result<(), Error> + 'a;
/// What attributes become.
type Becomes<'a, M> = dyn Fn(Attributes<M>) -> Attributes<M> + 'a;

impl<M: Machine> Space<'_, M> {
    /// Gives a range the access rights `prot`, as `mprotect` does. When it returns no CPU can use a right that was
    /// taken away. A range of length zero is fine and means nothing.
    ///
    /// May sleep while another operation works on the same range; allocates as [`Space::unmap`] does.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfRange`]; [`Error::NotMapped`] if the range has a hole;
    /// [`Error::AccessDenied`] if a mapping's `max_prot` does not allow it; [`Error::OutOfMemory`]. Nothing is changed
    /// then, unlike in Linux, which changes what lies before the hole.
    pub fn protect(&self, start: u64, length: u64, prot: Prot) -> Result<(), Error> {
        if prot.without(Prot(7)) != Prot::NONE {
            return Err(Error::Invalid { what: "unknown access rights" });
        }
        if length == 0 {
            return aligned::<M::Arch>("address", start).map(|_| ());
        }
        let (start, end) = checked::<M::Arch>(start, length)?;
        if self.protect_plain(start, end, prot)? {
            return Ok(());
        }
        self.vm().with_room(|| self.protect_other(start, end, prot))
    }

    /// Everything but the shortest way.
    #[cold]
    #[inline(never)]
    fn protect_other(&self, start: u64, end: u64, prot: Prot) -> Result<(), Error> {
        let may = |attributes: &Attributes<M>, address| {
            if prot.without(attributes.max_prot) == Prot::NONE { Ok(()) } else { Err(Error::AccessDenied { address }) }
        };
        self.change(start, end - start, may, |attributes| attributes.with_prot(prot), PageChange::Reprotect(prot))
    }

    /// The short way for private anonymous memory, whose classes need no record; whether it was taken.
    #[inline(always)]
    fn protect_plain(&self, start: u64, end: u64, prot: Prot) -> Result<bool, Error> {
        let cx = Cx::enter(self.vm());
        let short = self.inner().change_in_leaf(&cx, start, end, |old| {
            if old == ClassId::NONE {
                return Err(Error::NotMapped { address: start });
            }
            let pages = PageChange::Reprotect(prot);
            Ok((!old.is_stored()).then(|| Simple { class: old.plain_with_prot(prot), pages }))
        })?;
        Ok(short != Short::No)
    }

    /// Changes what the classes of a range say, if `may` lets it for each mapping, and the range has no hole.
    pub(super) fn change(
        &self,
        start: u64,
        length: u64,
        may: impl Fn(&Attributes<M>, u64) -> Result<(), Error>,
        change: impl Fn(Attributes<M>) -> Attributes<M>,
        pages: PageChange,
    ) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if self.change_in_leaf(start, end, &may, &change, pages)? {
            return Ok(());
        }
        self.change_claimed(start, end, &may, &change, pages)
    }

    /// The long way.
    #[inline(never)]
    fn change_claimed(
        &self,
        start: u64,
        end: u64,
        may: &May<'_, M>,
        change: &Becomes<'_, M>,
        pages: PageChange,
    ) -> Result<(), Error> {
        let mut claim = Claim::acquire(self.vm(), self.inner(), start, end);
        let mut holds = Holds::new();
        let prepared = self.hold_changed(&mut holds, start, end, may, change);
        let result = match prepared.and_then(|()| claim.split(self.vm(), Holes::Leave)) {
            Ok(spares) => {
                claim.apply(self.vm(), ClassChange::Map(change), pages, spares, Fold::Whole);
                Ok(())
            }
            Err(error) => {
                claim.tidy(&Cx::enter(self.vm()));
                Err(error)
            }
        };
        holds.release(&Cx::enter(self.vm()));
        claim.release();
        result
    }

    /// The short way; whether it was taken.
    #[inline(always)]
    fn change_in_leaf(
        &self,
        start: u64,
        end: u64,
        may: &impl Fn(&Attributes<M>, u64) -> Result<(), Error>,
        change: &impl Fn(Attributes<M>) -> Attributes<M>,
        pages: PageChange,
    ) -> Result<bool, Error> {
        let cx = Cx::enter(self.vm());
        let mut held = ClassId::NONE;
        let short = self.inner().change_in_leaf(&cx, start, end, |old| {
            if old == ClassId::NONE {
                return Err(Error::NotMapped { address: start });
            }
            let attributes = cx.attributes(old);
            may(&attributes, start)?;
            held = cx.intern(&change(attributes))?;
            Ok(Some(Simple { class: held, pages }))
        })?;
        if short != Short::No {
            cx.release_class(held, 1);
        }
        Ok(short != Short::No)
    }

    /// Checks each mapping of the claimed range and holds the class it will have.
    fn hold_changed(
        &self,
        holds: &mut Holds<M>,
        start: u64,
        end: u64,
        may: &May<'_, M>,
        change: &Becomes<'_, M>,
    ) -> Result<(), Error> {
        let mut here = start;
        let mut last = ClassId::NONE;
        while here < end {
            let cx = Cx::enter(self.vm());
            let span = self.inner().span_at(&cx, here, end);
            if span.class == ClassId::NONE {
                return Err(Error::NotMapped { address: here });
            }
            if span.class != last {
                let attributes = cx.attributes(span.class);
                may(&attributes, here)?;
                holds.add(&cx, cx.intern(&change(attributes))?)?;
                last = span.class;
            }
            here = span.end;
        }
        Ok(())
    }
}
