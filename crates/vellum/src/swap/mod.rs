//! Swap: where pages go that are not in memory.
//!
//! An *area* is a number of slots on a device, or in memory alone ([`Vm::swap_on`](crate::Vm::swap_on)). A slot keeps
//! one page, for as many page-table entries as name it. What is known of it stands in words, one of each sort a slot:
//!
//! | word | what |
//! |---|---|
//! | slot ([`word`]) | entries that name it; flags; the frame of the page while it is cached, else a stamp |
//! | owner | what `words[0]` of the page's frame said when the slot was given to it |
//! | contents ([`compressed`]) | the compressed copy, or the checksum of what is on the device; 0: never written |
//! | tags ([`tags`]) | saved memory tags, where the processor has tags; 0: none |
//!
//! # The life of a slot
//!
//! The slot word changes by compare-exchange, without a lock.
//!
//! | state | slot word | goes to | by |
//! |---|---|---|---|
//! | free | 0 | reserved | `swap_reserve` |
//! | reserved | RESERVED | cached | `swap_attach`: reclaim puts a page, or a folio, in |
//! | | | free | `swap_cancel` |
//! | cached | CACHED, frame, count ≥ 0 | cached, count ± 1 | `swap_dup`, `swap_put` |
//! | | | stored | `swap_detach` with count > 0: reclaim has written the page |
//! | | | ending | `swap_detach` with count 0: nobody needs the slot |
//! | stored | stamp, count > 0 | stored, count ± 1 | `swap_dup`, `swap_put` |
//! | | | cached | `swap_insert`: a fault is about to read the page |
//! | | | ending | `swap_put` of the last entry |
//! | ending | RESERVED | free | the same operation, when tags and contents are freed |
//! | bad | BAD | – | `swap_mark_bad` beforehand: not given out again |
//!
//! # The swap cache
//!
//! While a slot is cached its page is both: the frame names the slot and the slot names the frame, with one reference
//! for that. A page enters when it is given a slot, before it is written, and when it is read, before it is there: so
//! it is read once however many want it, and all of them find the same page. Whoever brings the page into the cache,
//! reads or writes it, or takes it out, has its folio lock; whoever has found a page in the cache takes that lock, and
//! looks whether it still is there ([`Cx::swap_is_cached`](crate::cpu::Cx)).
//!
//! A folio of several pages enters and leaves the cache as a whole, and has as many slots side by side, each of which
//! names its page; the head names the first slot, and has the cache's one reference and the folio lock.
//!
//! # What keeps an area
//!
//! Inside the core what was found of an area stays until the core is left: its memory is freed a grace period after it
//! cannot be found any more. Outside, an [`AreaPin`](areas::AreaPin) keeps it. Whoever owns a reserved or cached slot,
//! or an entry, needs neither: an area with used slots is not switched off.
//!
//! Locks: `Rank::Swap` protects the table of areas, and in each area which cluster is given out next. The words need
//! none.
//!
//! | file | what |
//! |---|---|
//! | `device` | what the embedder implements |
//! | `areas` | the table, finding an area's words, pins |
//! | `switch` | switching areas on and off |
//! | `word` | what the slot word says |
//! | `clusters` | finding free slots |
//! | `slots` | counts, and the end of a slot |
//! | `run` | the slots of a folio of several pages |
//! | `cache` | the swap cache |
//! | `compressed` | the compressed tier; checksums |
//! | `tags` | saved memory tags |
//! | `io` | writing and reading a page |
//! | `bring_in` | reading a page into the cache, and its neighbours |
//! | `leave` | pages that nobody wants in the cache any more |
//! | `audit` | recounting |

mod areas;
mod audit;
mod bring_in;
mod cache;
mod clusters;
mod compressed;
mod device;
mod io;
mod leave;
mod run;
mod slots;
mod switch;
mod tags;
#[cfg(test)]
mod tests;
mod word;

#[cfg(test)]
pub(crate) use areas::AreaPin;
pub(crate) use areas::Swap;
pub use areas::{AreaId, SwapUsage};
pub(crate) use audit::SwapTally;
pub use audit::{SwapAudit, SwapAuditError};
pub(crate) use bring_in::{SwapIn, bring_in, new_page};
pub(crate) use cache::{Cached, Inserted};
pub(crate) use clusters::SwapCursor;
pub use device::SwapDevice;
pub(crate) use io::{SwapError, read_page, write_folio, write_page};
pub(crate) use leave::{leave_cache, leave_cache_locked};
use slots::Left;
pub(crate) use tags::save_folio_tags;
pub(crate) use word::slot_state;
