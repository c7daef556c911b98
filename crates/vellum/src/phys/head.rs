//! Folios: pages that are one block of memory, and count as one.
//!
//! The first frame of a folio, its *head*, has what is counted and noted of all its pages: references, mappings, the folio
//! lock, name and flags. A mapping is an entry, whether it shows the whole folio or one page of it. The other frames
//! ([`Kind::Tail`]) say the folio's order, so that one load leads from any page to the head. Most folios are one page, which
//! is its own head.

use super::frame::set_tails;
use super::{Frame, Kind, Pfn, Physical, Policy};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;

impl<M: Machine> Physical<M> {
    /// The head of the folio that page `pfn` belongs to. Who holds no reference may get any other frame, if the folio has been
    /// freed meanwhile, and asks once more when he has one.
    #[inline(always)]
    pub(crate) fn head(&self, pfn: Pfn) -> Pfn {
        match self.frame(pfn).kind_and_order() {
            (Kind::Tail, order) => Pfn(pfn.0 >> order << order),
            _ => pfn,
        }
    }

    /// The descriptor of the folio that page `pfn` belongs to: that of its [head](Physical::head).
    #[inline(always)]
    pub(crate) fn folio(&self, pfn: Pfn) -> &Frame<M> {
        self.frame(self.head(pfn))
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Allocates a folio of `1 << order` pages, not cleared, from the node that `policy` wants for page `offset` of what it is
    /// for: its head, of [`Kind::Allocated`] and with counts 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], without anything having been done to get some.
    pub(crate) fn alloc_folio_by(&self, order: u8, policy: Policy, offset: u64) -> Result<Pfn, Error> {
        let head = self.alloc_block_by(order, policy, offset)?;
        set_tails(self.vm().physical().map.block(head, order), order);
        Ok(head)
    }
}
