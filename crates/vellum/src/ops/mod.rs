//! The operations on an address space, one a file, with Linux's semantics and errors.
//!
//! Range operations (map, unmap, protect, remap, advise, fork) exclude each other by *claims* (see
//! [`crate::space`]); faults take no claim. Each operation that may be slow reads optimistically, prepares on private
//! state without a lock, and commits under a leaf lock after checking that what it read still holds.

mod advise;
mod brk;
mod collapse;
mod copy;
mod fault;
mod fork;
mod grow;
mod holds;
mod huge_pages;
mod limit;
mod map;
mod move_pages;
mod pieces;
mod policy;
mod populate;
mod protect;
#[cfg(test)]
mod races;
mod range;
mod reach;
mod remap;
mod remove;
mod resident;
#[cfg(test)]
mod stress;
mod swap_in;
mod swap_off;
#[cfg(test)]
mod tests;
mod translate;
mod unmap;
mod word;
mod write_back;

pub use advise::Advice;
pub use collapse::CollapseLimits;
pub use fault::{Access, FaultError, FaultKind};
pub use huge_pages::HugePages;
pub use map::{MapFlags, MapRequest, Place, Sharing, Source};
pub use remap::{RemapPlace, RemapRequest};
pub use translate::{HeldPage, Translation};
pub use word::{UserWord, WordError};
