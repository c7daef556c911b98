//! What becomes of entries that say something of an absent page, where the slot itself is removed or copied.

use super::RssKind;
use super::apply::rss_kind;
use crate::arch::{Absent, Word};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::{FreeBatch, Pfn};
use crate::tlb::Gather;

/// What an absent page counts as: `None` for one that is lost.
fn kind_of<M: Machine>(cx: &Cx<'_, M>, absent: Absent) -> Option<RssKind> {
    match absent {
        Absent::Swap { .. } => Some(RssKind::Swap),
        // It is resident all the while.
        Absent::Migration { pfn, .. } => Some(rss_kind(cx, pfn)),
        Absent::Poison | Absent::Splitting => None,
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Ends what the entry `word`, no page, which was taken from `address`, stood for; what it counted as. Its part in
    /// a page that is being moved ends with the gather. It was of `pages` pages.
    pub(crate) fn drop_absent(
        &self,
        word: Word<M::Arch>,
        (address, pages): (u64, u64),
        gather: &mut Gather<'_, M>,
    ) -> Option<RssKind> {
        let absent = word.absent()?;
        match absent {
            Absent::Swap { slot, .. } => self.drop_swap_entry(slot),
            // Anonymous, as pages of objects are taken out of their entries for good.
            Absent::Migration { pfn, .. } => {
                self.note_migrating_dropped(pfn, pages);
                gather.add_folio(pfn, address, pages);
            }
            Absent::Poison | Absent::Splitting => {}
        }
        kind_of(self, absent)
    }

    /// As [`Cx::drop_absent`], at the end of a space.
    pub(super) fn end_absent(&self, word: Word<M::Arch>, pages: u64, freed: &mut FreeBatch<'_, M>) -> Option<RssKind> {
        let absent = word.absent()?;
        let kind = kind_of(self, absent);
        match absent {
            Absent::Swap { slot, .. } => self.drop_swap_entry(slot),
            Absent::Migration { pfn, .. } => {
                self.note_migrating_dropped(pfn, pages);
                let frame = self.vm().physical().frame(pfn);
                match (frame.drop_mapping(), frame.order()) {
                    (true, 0) => freed.add(pfn),
                    (true, _) => self.free_frame(pfn),
                    (false, _) => {}
                }
            }
            Absent::Poison | Absent::Splitting => {}
        }
        kind
    }

    /// Notes that an entry goes which says that a page, or so many, of the folio of `pfn` are being moved. Its mapping
    /// stays to the end of this: who has taken the entries of a folio, and counted them, learns that of those there are
    /// fewer now.
    fn note_migrating_dropped(&self, pfn: Pfn, pages: u64) {
        if pages == 1 {
            self.note_partly_mapped(pfn);
        }
    }

    /// Counts one more entry that says what `word`, no page, does: what fork gives the child. What it counts as.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if a slot has as many entries as can be counted; nothing has changed then.
    pub(crate) fn share_absent(&self, word: Word<M::Arch>) -> Result<Option<RssKind>, Error> {
        let Some(absent) = word.absent() else { return Ok(None) };
        match absent {
            Absent::Swap { slot, .. } => self.swap_dup(slot)?,
            Absent::Migration { pfn, .. } => self.vm().physical().frame(pfn).add_mapping(),
            Absent::Poison | Absent::Splitting => {}
        }
        Ok(kind_of(self, absent))
    }
}

/// The frame from which an absent page is being moved.
pub(crate) fn migrating<M: Machine>(word: Word<M::Arch>) -> Option<Pfn> {
    match word.absent() {
        Some(Absent::Migration { pfn, .. }) => Some(pfn),
        _ => None,
    }
}
