//! Reverse mapping: from a page to the entries that show it.
//!
//! * [`walk`] – visiting the entries of a page;
//! * [`unmap`] – taking a page out of all its entries, and putting it back: one transaction for swap and migration;
//! * [`split`] – making single pages of a folio;
//! * [`age`] – whether a page was accessed; [`clean`] – making the entries of a file's page clean.
//!
//! A page of anonymous memory is named by a lineage node, of the space that created it or above that, and by its offset
//! there; a page of an object by the object and its index. The name is stable under the folio lock. A walk visits the
//! places at which a page of that name can be mapped, takes the lock of each leaf there, and looks whether the entry
//! names the page; so a name that is out of date costs a look and does no harm. How often it has found one says nothing
//! of how many there are; [`walk`] says where it may stop.
//!
//! A folio of several pages is named as its first page is, and a walk for it visits all entries that show a page of it.
//!
//! A walk takes no lock but those of leaves, one at a time; it neither sleeps nor allocates. What is done with an entry
//! may: a huge page that is cut needs a table.

mod age;
mod clean;
mod split;
#[cfg(test)]
mod tests;
mod unmap;
mod walk;

pub(crate) use age::{renew_if_accessed, take_accessed};
pub(crate) use clean::clean_entries;
pub(crate) use split::{is_partly_mapped, split_folio};
pub(crate) use unmap::{
    FLUSHED, PART, Placeholder, Unmapped, discard_migrating, restore_folio, restore_migrated, restore_page, unmap,
};
pub(crate) use walk::{Found, Name, Seek, walk};
