//! Pages that come back soon after they were evicted.
//!
//! Each eviction from a node has a number. It is kept in the place of the page: in the slot of the page cache, or of
//! swap. When the page comes back, the difference to the number of evictions by then says how much more memory it would
//! have taken to keep the page. If that is less than the node has, the page belongs to what is in use, and is protected
//! for as many turns as an accessed one. (Linux calls this refault detection; see `workingset` there.)

use super::{Frame, Kind, NODES_MAX};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::stat::Event;

/// The bits of an eviction's number that are kept. Above them, in four more, is the node.
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
const NUMBER_BITS: u32 = 36;
const _: () = assert!(NODES_MAX == 16);

/// What is kept of an eviction from `node`, which is counted; not 0, and below 2⁴⁰.
pub(crate) fn stamp<M: Machine>(cx: &Cx<'_, M>, node: u8) -> u64 {
    let number = cx.vm().physical().count_eviction(node) & NUMBER;
    number.max(1) | (node as u64) << NUMBER_BITS
}

/// Notes that the page in `frame` has come back, which was evicted with this `stamp`, perhaps from
/// another node.
pub(crate) fn refaulted<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, stamp: u64) {
    let physical = cx.vm().physical();
    let node = (stamp >> NUMBER_BITS) as u8 % NODES_MAX as u8;
    let distance = physical.evictions(node).wrapping_sub(stamp) & NUMBER;
    let is_anonymous = frame.kind() == Kind::Anonymous;
    cx.count(if is_anonymous { Event::RefaultAnonymous } else { Event::RefaultFile }, 1);
    if distance < physical.managed(node) {
        frame.set_generation(physical.generation(frame.node()));
        cx.count(if is_anonymous { Event::ActivateAnonymous } else { Event::ActivateFile }, 1);
    }
}
