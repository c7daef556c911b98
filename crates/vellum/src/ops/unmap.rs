//! Unmapping memory.

use super::range::checked;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::leaf::{Short, Simple};
use crate::space::split::Holes;
use crate::space::{ClassId, Space};

impl<M: Machine> Space<'_, M> {
    /// Removes all mappings of a range, as `munmap` does; holes in it are fine. When it returns no CPU can reach what
    /// was there, and page tables that became empty are on their way to be freed; but those of one place for each CPU,
    /// which it has emptied twice in a row, stay until it empties another.
    ///
    /// May sleep while another operation works on the same range, and when it ends the last use of a modified file.
    /// Allocates page tables if the range cuts a large mapping.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::ZeroLength`], [`Error::OutOfRange`]; [`Error::OutOfMemory`] for the tables at the
    /// edges. Nothing is changed then.
    pub fn unmap(&self, start: u64, length: u64) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if self.unmap_in_leaf(start, end) {
            return Ok(());
        }
        self.vm().with_room(|| self.unmap_claimed(start, end))
    }

    /// The long way.
    fn unmap_claimed(&self, start: u64, end: u64) -> Result<(), Error> {
        let mut claim = Claim::acquire(self.vm(), self.inner(), start, end);
        let result = claim.split(self.vm(), Holes::Leave).map(|spares| claim.apply_unmap(self.vm(), spares));
        if result.is_err() {
            claim.tidy(&Cx::enter(self.vm()));
        }
        claim.release();
        self.inner().note_unmapped(&Cx::enter(self.vm()), start, end);
        result.map(|emptied| self.inner().table_emptied(self.vm(), start, emptied))
    }

    /// Unmaps `start..end`, a part of what is claimed. Tables that it empties above the part are left to the claim.
    pub(super) fn unmap_part(&self, claim: &Claim<'_, M>, start: u64, end: u64) -> Result<(), Error> {
        let mut part = claim.part(start, end);
        let spares = part.split(self.vm(), Holes::Leave);
        let spares = spares.inspect_err(|_| part.tidy_part(&Cx::enter(self.vm())))?;
        part.apply(self.vm(), ClassChange::Set(ClassId::NONE), PageChange::Zap, spares, Fold::Below);
        claim.join(part);
        Ok(())
    }

    /// The short way.
    #[inline(always)]
    fn unmap_in_leaf(&self, start: u64, end: u64) -> bool {
        let short = {
            let cx = Cx::enter(self.vm());
            let unmapped = |_| Ok(Some(Simple { class: ClassId::NONE, pages: PageChange::Zap }));
            let short = self.inner().change_in_leaf(&cx, start, end, unmapped).unwrap_or(Short::No);
            if short != Short::No {
                self.inner().note_unmapped(&cx, start, end);
            }
            short
        };
        if short == Short::Emptied {
            self.inner().leaf_emptied(self.vm(), start);
        }
        short != Short::No
    }
}
