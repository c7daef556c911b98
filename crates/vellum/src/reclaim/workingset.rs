//! Pages that come back soon after they were evicted.
//!
//! Each eviction from a node has a number. It is kept in the place of the page: in the slot of the page cache, or of
//! swap. When the page comes back, the difference to the number of evictions by then says how much more memory it would
//! have taken to keep the page. If that is less than the node has, the page belongs to what is in use, and is protected
//! for as many turns as an accessed one. (Linux calls this refault detection; see `workingset` there.)

use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Frame, Kind};
use crate::stat::Event;

/// The bits of an eviction's number that are kept.
const STAMP: u64 = (1 << 40) - 1;

/// The number of an eviction from `node`, which is counted; not 0.
pub(super) fn stamp<M: Machine>(cx: &Cx<'_, M>, node: u8) -> u64 {
    (cx.vm().physical().count_eviction(node) & STAMP).max(1)
}

/// Notes that the page in `frame` has come back, which was evicted with number `stamp`.
pub(crate) fn refaulted<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, stamp: u64) {
    let physical = cx.vm().physical();
    let node = frame.node();
    let distance = physical.evictions(node).wrapping_sub(stamp) & STAMP;
    let is_anonymous = frame.kind() == Kind::Anonymous;
    cx.count(if is_anonymous { Event::RefaultAnonymous } else { Event::RefaultFile }, 1);
    if distance < physical.managed(node) {
        frame.set_generation(physical.generation(node));
        cx.count(if is_anonymous { Event::ActivateAnonymous } else { Event::ActivateFile }, 1);
    }
}
