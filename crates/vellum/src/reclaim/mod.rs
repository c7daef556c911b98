//! Taking memory back.
//!
//! * [`list`] – pages taken aside to be worked on; [`shrink`] – the two phases; [`lazy`] – pages their owner has given
//!   up;
//! * [`folio`] – what becomes of folios of several pages;
//! * [`direct`] – for whoever found no memory, and in the background; [`range`] – a range's pages, on advice; [`group`]
//!   – limits of groups of spaces;
//! * [`victim`] – what to end when nothing is left.
//!
//! There are no lists of pages by age. A hand goes round the frames of each node ([`crate::phys`]); a page carries the
//! generation in which it was last seen in use, which a turn of the hand makes older and an accessed bit makes new. So
//! faults add pages to no list, and take no lock for it.
//!
//! *Two phases.* A list of pages is unmapped, each under a folio lock that was free, into one [`UnmapBatch`]; the batch
//! is flushed once; then the pages are written and freed. What was stored to until the flush is written (A1); what is
//! clean goes at once. Between the phases the pages' folio locks are held, so that whoever wants one waits. A page
//! whose counts say that somebody else has a reference is put back, as is one that could not be written.
//!
//! Nothing here needs a free frame: lists are on the stack, slots and shadows are there, the page itself is handed to
//! the device.
//!
//! [`UnmapBatch`]: crate::space::UnmapBatch

mod direct;
mod folio;
mod group;
mod lazy;
mod list;
mod range;
mod shrink;
#[cfg(test)]
mod tests;
mod victim;

pub(crate) use direct::{Scan, Wanted};
pub(crate) use folio::split_cached;
pub use group::Group;
pub(crate) use list::Isolated;
pub(crate) use range::{Sharers, each_list};
pub use victim::Victim;
