//! Folios: pages that are one block of memory, and count as one.
//!
//! The first frame of a folio, its *head*, has what is counted and noted of all its pages: references, mappings, the
//! folio lock, name and flags. A mapping is an entry, whether it shows the whole folio or one page of it. The other
//! frames ([`Kind::Tail`](super::Kind::Tail)) say the folio's order, so that one load leads from any page to the head.
//! Most folios are one page, which is its own head.
//!
//! The tails of a block that is no folio, free or not, say the order of a huge page. So where a block becomes a huge
//! page, or one becomes free, nothing is to be written to its tails; those of folios of other orders are written twice.
//! Nobody relies on what a tail says whose block may be none: who has no reference asks again when he has one, and
//! which block a frame lies in is asked of first frames ([`Physical::block_kind`]).

use super::frame::{order_of_none, set_tails};
use super::{AllocFlags, Frame, Kind, Pfn, Physical, Policy, folio};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::stat::Event;

/// In the offset of an anonymous page: it is a private copy of a page of an object, and the offset is that in the
/// object.
pub(crate) const COPY_OF_OBJECT: u64 = 1 << 63;

/// The offset by which the first of so many pages of a folio is found that is mapped from page number `first` on, with
/// difference `delta`. `None` if some offsets were below 0 and others not, as for a stack that was moved and has grown
/// down past what corresponds to page 0: such pages are named one by one.
pub(crate) fn folio_offset(first: u64, delta: u64, pages: u64) -> Option<u64> {
    let offset = first.wrapping_sub(delta);
    offset.checked_add(pages - 1).map(|_| offset & !COPY_OF_OBJECT)
}

/// A folio: its head, and of how many pages it is. What it says holds for whoever has the folio lock and a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Folio {
    pub(crate) head: Pfn,
    pub(crate) order: u8,
}

impl Folio {
    /// The page in frame `pfn`, by itself.
    #[inline(always)]
    pub(crate) fn single(pfn: Pfn) -> Folio {
        Folio { head: pfn, order: 0 }
    }

    /// How many pages it has.
    #[inline(always)]
    pub(crate) fn pages(self) -> u64 {
        1 << self.order
    }

    /// Whether frame `pfn` is one of its pages.
    #[inline(always)]
    pub(crate) fn has(self, pfn: Pfn) -> bool {
        (pfn.0 ^ self.head.0) >> self.order == 0
    }
}

impl<M: Machine> Physical<M> {
    /// The folio of which `head` is the head.
    #[inline(always)]
    pub(crate) fn whole(&self, head: Pfn) -> Folio {
        Folio { head, order: self.frame(head).order() }
    }

    /// The head of the folio that page `pfn` belongs to. Who holds no reference may get any other frame, if the folio
    /// has been freed meanwhile, and asks once more when he has one.
    #[inline(always)]
    pub(crate) fn head(&self, pfn: Pfn) -> Pfn {
        self.frame(pfn).order_of_tail().map_or(pfn, |order| Pfn(pfn.0 >> order << order))
    }

    /// The descriptor of the folio that page `pfn` belongs to: that of its [head](Physical::head).
    #[inline(always)]
    pub(crate) fn folio(&self, pfn: Pfn) -> &Frame<M> {
        let frame = self.frame(pfn);
        frame.order_of_tail().map_or(frame, |order| self.frame(Pfn(pfn.0 >> order << order)))
    }
}

impl<M: Machine> Physical<M> {
    /// What the block that frame `pfn` lies in is used for: what its first frame says; `None` if there is no such
    /// frame. A folio that is being split is one to the last, as its head says all the time.
    pub(crate) fn block_kind(&self, pfn: Pfn) -> Option<Kind> {
        loop {
            let frame = self.get(pfn)?;
            let seen = frame.kind_and_order();
            let (Kind::Tail, order) = seen else { return Some(seen.0) };
            let named = self.get(Pfn(pfn.0 >> order << order)).filter(|head| covers(head, order));
            // Of no folio: how large the block is says its first frame alone.
            let below = || (0..pfn.0).rev().filter_map(|below| self.get(Pfn(below))).find(|at| !at.is_kind(Kind::Tail));
            let kind = named.or_else(below)?.kind();
            // Else it has become a page by itself, and what it belonged to something else.
            if frame.kind_and_order() == seen {
                return Some(kind);
            }
        }
    }
}

/// Whether the frame begins a block of at least that order.
fn covers<M: Machine>(frame: &Frame<M>, order: u8) -> bool {
    let (kind, of) = frame.kind_and_order();
    kind != Kind::Tail && of >= order
}

impl<M: Machine> Cx<'_, M> {
    /// Allocates a folio of `1 << order` pages, not cleared, from the node that `policy` wants for page `offset` of
    /// what it is for: its head, of [`Kind::Allocated`](super::Kind::Allocated) and with counts 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], without anything having been done to get some.
    pub(crate) fn alloc_folio_by(&self, order: u8, policy: Policy, offset: u64) -> Result<Pfn, Error> {
        let head = self.alloc_block_by(order, policy, offset)?;
        if order > 0 {
            self.join(Folio { head, order });
        }
        Ok(head)
    }

    /// As [`Cx::alloc_folio_by`], on `node` alone; not counted as a policy's.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], without anything having been done to get some.
    pub(crate) fn alloc_folio_on(&self, node: u8, order: u8) -> Result<Pfn, Error> {
        let head = self.alloc_block_on(node, order, AllocFlags::NONE)?;
        if order > 0 {
            self.join(Folio { head, order });
        }
        Ok(head)
    }

    /// Notes with the folio of a page, if it has several, that a part of it is unmapped. The caller has an entry's
    /// mapping.
    #[cold]
    pub(crate) fn note_partly_mapped(&self, pfn: Pfn) {
        let frame = self.vm().physical().folio(pfn);
        // What is not mapped of shared memory is in the cache still.
        if frame.is_kind(Kind::Anonymous) && frame.order() > 0 && frame.flags_relaxed() & folio::PARTLY_MAPPED == 0 {
            frame.set_flags(folio::PARTLY_MAPPED);
            self.count(Event::SplitDeferred, 1);
        }
    }

    /// Makes the frames of a block that was just allocated one folio.
    #[inline(always)]
    fn join(&self, folio: Folio) {
        if folio.order != order_of_none::<M::Arch>() {
            set_tails(self.vm().physical().map.block(folio.head, folio.order), folio.order);
        }
    }

    /// Makes of a folio, if a block that is about to be freed is one, a block that is none.
    #[inline(always)]
    pub(super) fn part_tails(&self, of: Folio) {
        if of.order == order_of_none::<M::Arch>() || of.order == 0 {
            return;
        }
        let block = self.vm().physical().map.block(of.head, of.order);
        if block.get(1).is_some_and(|tail| tail.order() == of.order) {
            set_tails(block, order_of_none::<M::Arch>());
        }
    }
}
