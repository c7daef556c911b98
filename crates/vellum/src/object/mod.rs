//! What a mapping shows beside private anonymous memory: shared memory, and files through a page cache.
//!
//! An object is counted by its handles ([`Object`]) and by the attribute classes that name it. What it consists of is
//! an [`Inner`] in a slab, freed a grace period after the last reference was dropped, so that a fault may look a page
//! up ([`Inner::lookup`]) with nothing but a class it has read optimistically. Dropping the last reference does not
//! destroy the object, since that sleeps: inside the core, a [`Dying`] keeps it until the core is left.
//!
//! | file | what |
//! |---|---|
//! | `handle` | what embedders have of an object |
//! | `backing` | what they supply for a file |
//! | `inner` | what an object consists of |
//! | `ending` | its end |
//! | `radix` | the tree, lockless for readers |
//! | `cache` | pages in it, with their references |
//! | `page` | getting a page: adding, reading, waiting |
//! | `folio` | huge pages of shared memory |
//! | `gather` | small pages of it become a huge one |
//! | `writeback` | bringing stores to the backing |
//! | `truncate` | making an object shorter, and longer |
//! | `punch` | making a hole in an object |
//! | `unmap` | taking pages out of whatever shows them, for both |
//! | `registry` | all objects of an instance |

mod backing;
mod cache;
mod ending;
mod folio;
mod gather;
mod handle;
mod inner;
mod page;
mod punch;
mod radix;
mod registry;
#[cfg(test)]
mod tests;
mod truncate;
mod unmap;
mod writeback;

pub use crate::error::IoError;
pub(crate) use crate::error::PageError;
pub(crate) use crate::phys::release;
pub use backing::Backing;
pub(crate) use cache::Cache;
pub(crate) use ending::{Dying, destroy};
pub(crate) use folio::{Shows, is_only_cached, move_folio, split_folio};
pub(crate) use gather::{Cached, gather, look_at_cached};
pub use handle::Object;
pub(crate) use inner::{Homeless, Inner, RetireLink, check_size, shared_memory};
pub(crate) use page::{
    await_page, begin_filling, end_filling, get_page, is_page_of, is_up_to_date, mark_dirty, read_ahead, rss_kind,
};
pub(crate) use registry::Objects;
pub(crate) use writeback::write_unmapped;
