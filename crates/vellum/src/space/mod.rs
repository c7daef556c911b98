//! Address spaces: one radix tree each, which is the page table itself.
//!
//! * [`table`] – a page table and its descriptor; [`slot`] – where an entry stands; [`runs`] – the classes of its slots, and
//!   [`spares`] – memory for them; [`class`] – what a class says.
//! * [`walk`] – the way to one address; [`cursor`] – that through a range; [`claim`] – how range operations exclude each
//!   other; [`pair`] – two ranges of one operation; [`split`] – tables at the edges of a range; [`huge`] – those in the place of a
//!   huge page, and [`collapse`] – a huge page in the place of a table; [`rules`] – which changes of an entry there are; [`apply`] – changing the slots
//!   of a range; [`fold`] – giving empty tables back; [`detach`] – giving full ones back; [`gone`] – what goes with their entries.
//! * [`leaf`] – the short way for a range within one leaf; [`shift`] – moving pages.
//! * [`place`] – choosing addresses; [`gap`] – searching for free ones; [`query`] – what is mapped; [`stacks`] – where grows-down
//!   mappings are.
//! * [`inner`] – what a space consists of; [`handle`] – the public handle; [`registry`] – all spaces; [`lines`] – what it has for
//!   each CPU; [`resident`] – its resident pages; [`members`] – what a group of spaces has in common; [`lineage`] – who
//!   descends from whom; [`walks`] – who comes by reverse mapping; [`teardown`] – the end; [`ends`] – who waits for it;
//!   [`batch`] – one flush for many pages, of any spaces; [`user`] – what CPUs run in.
//!
//! # Lock order
//!
//! Outermost first; a lock may be taken only while every lock held stands above it. Debug builds check it
//! ([`crate::sync::Rank`] is the same list).
//!
//! ```text
//! claim of a range (sleeps; no lock held while waiting)
//! folio lock of a page (sleeps; only tried where any other lock is held, another folio lock included)
//!   object: the page cache's lock
//!     table locks: upper tables before lower ones, on one level by address; a parent's before its fork's child
//!       a part of the class registry
//!         the chain of an object's classes
//!         the memory of the classes' records
//!           registries of spaces and objects
//!             swap: an area, or the table of areas
//!               slab cache
//!                 buddy allocator of a node
//!                   address-space identifiers, at a switch where flushes are broadcasts (its holder waits for nobody)
//!                     flush mailbox of a CPU (its holder waits for nobody)
//! ```
//!
//! Nothing sleeps with a lock held but a folio lock. A fault takes table locks only, and tries a folio lock first where
//! the page is in swap.

pub(crate) mod absent;
pub(crate) mod apply;
mod audit;
mod batch;
pub(crate) mod claim;
mod class;
pub(crate) mod collapse;
pub(crate) mod cursor;
mod detach;
mod ends;
mod fold;
mod gap;
mod give_up;
mod gone;
mod handle;
mod huge;
mod inner;
pub(crate) mod leaf;
pub(crate) mod lineage;
mod lines;
pub(crate) mod members;
pub(crate) mod pair;
mod place;
mod query;
mod registry;
mod resident;
mod rules;
mod runs;
pub(crate) mod shift;
mod slot;
mod spares;
pub(crate) mod split;
mod stacks;
pub(crate) mod table;
mod teardown;
mod user;
mod vacate;
pub(crate) mod walk;
mod walks;

pub use audit::{Audit, AuditError};
pub(crate) use batch::UnmapBatch;
pub(crate) use claim::claimed;
pub(crate) use class::{Attributes, ClassFlags, ClassId, Classes, Extent};
pub(crate) use ends::{Begun, OneMore};
pub use handle::Space;
pub(crate) use inner::{ALL_HUGE_PAGES, Inner, NO_HUGE_PAGES};
pub use place::stack_guard_pages;
pub use query::{MapEntry, Rss, SmapsEntry};
pub(crate) use registry::Spaces;
pub(crate) use resident::RssKind;
pub(crate) use runs::Runs;
pub(crate) use spares::{Counted, Spares};
pub(crate) use table::header_change;
