//! Going round a node's frames, for reclaim: a clock hand instead of lists of pages.
//!
//! A node's *hand* says which frame is looked at next. CPUs that scan at once claim parts of the circle by moving the
//! hand, without a lock, and mostly look at different frames; nothing depends on that. Each time the hand has gone all
//! the way round, the node's *generation* advances. A page carries the generation in which it was last seen in use (see
//! [`super::folio`]), so the difference says for how many turns it was not.

use super::{Frame, Kind, ORDER_MAX, Pfn, Physical};
use crate::machine::Machine;
use crate::sync::AtomicU64;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;

/// Frames claimed at a time.
const CHUNK: u64 = 64;
/// Generations there are: 1 to 255, as 0 says that a page was not looked at yet.
const GENERATIONS: u64 = 255;

/// How far reclaim and compaction got in a node. Off the cache line of the zone's lock.
#[repr(align(64))]
pub(super) struct Clock<M> {
    /// The frame from which on the next one is looked at; 0 where a turn begins. Moved by compare and exchange.
    hand: AtomicU64<M>,
    /// Turns completed; the generation is this modulo [`GENERATIONS`], plus 1.
    turns: AtomicU64<M>,
    /// Pages whose frames were taken from them.
    evictions: AtomicU64<M>,
    /// Where compaction looks for its next block; a hint.
    pub(super) compaction: AtomicU64<M>,
}

impl<M: Machine> Clock<M> {
    pub(super) const fn new() -> Self {
        Clock {
            hand: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            compaction: AtomicU64::new(0),
        }
    }
}

/// A claimed part of the circle: frames of one range.
struct Chunk {
    start: u64,
    end: u64,
    /// End of the range.
    limit: u64,
    /// The hand is at its begin again.
    ends_turn: bool,
}

impl<M: Machine> Physical<M> {
    /// Calls `visit` for what is in use among the next frames of `node`, from the hand on: once for a block, with its
    /// first frame, and for the pages of a folio that it splits; also for frames on CPUs' lists and the core's own.
    /// Looks at `frames` descriptors, free blocks counting as one each, or up to the end of the turn if that comes
    /// first, or until `visit` breaks off; the number of turns completed, 0 or 1.
    ///
    /// No lock is held, nor needed: frames change hands meanwhile, and another CPU may visit the same one.
    pub(crate) fn scan(
        &self,
        machine: &M,
        node: u8,
        frames: usize,
        visit: &mut dyn FnMut(Pfn, &Frame<M>) -> ControlFlow<()>,
    ) -> u8 {
        let mut left = frames as u64;
        while left > 0 {
            let Some(chunk) = self.claim_chunk(machine, node, left.min(CHUNK)) else { return 0 };
            let (looks, stop, flow) = self.visit_chunk(&chunk, visit);
            if flow.is_break() && stop < chunk.end && self.return_to(machine, node, chunk.end, stop) {
                return 0;
            }
            // More than the chunk has frames, where a folio was split.
            left = left.saturating_sub(looks);
            let skips_to_end = !chunk.ends_turn && stop > chunk.end && self.skip(machine, node, chunk.end, stop);
            if chunk.ends_turn || skips_to_end {
                self.clock(node).turns.fetch_add(1, Relaxed);
                return 1;
            }
            if flow.is_break() {
                return 0;
            }
        }
        0
    }

    /// The generation of `node` now: 1 to 255.
    pub(crate) fn generation(&self, node: u8) -> u8 {
        (self.clock(node).turns.load(Relaxed) % GENERATIONS) as u8 + 1
    }

    /// How many turns ago `generation` was, up to 254: of a page last seen in use longer ago, the remainder. A page
    /// that was not looked at yet is of age 0.
    pub(crate) fn age_of(&self, node: u8, generation: u8) -> u8 {
        let now = self.generation(node);
        match generation {
            0 => 0,
            _ if generation <= now => now - generation,
            _ => (now as u64 + GENERATIONS - generation as u64) as u8,
        }
    }

    /// The generation that is of age `age` now.
    pub(crate) fn generation_before(&self, node: u8, age: u8) -> u8 {
        let now = self.generation(node) as u64;
        ((now - 1 + GENERATIONS - age as u64 % GENERATIONS) % GENERATIONS) as u8 + 1
    }

    /// Frames of `node` that can be allocated.
    pub(crate) fn managed(&self, node: u8) -> u64 {
        self.zone(node).managed()
    }

    /// Counts a page of `node` whose frame is taken from it; how many there were before.
    pub(crate) fn count_eviction(&self, node: u8) -> u64 {
        self.clock(node).evictions.fetch_add(1, Relaxed)
    }

    /// Pages of `node` evicted so far.
    pub(crate) fn evictions(&self, node: u8) -> u64 {
        self.clock(node).evictions.load(Relaxed)
    }

    fn clock(&self, node: u8) -> &Clock<M> {
        self.zone(node).clock()
    }

    /// Moves the hand over the next `frames` frames at most; `None` if the node has none.
    fn claim_chunk(&self, machine: &M, node: u8, frames: u64) -> Option<Chunk> {
        let hand = &self.clock(node).hand;
        let mut seen = hand.load(Relaxed);
        loop {
            let (start, limit) = frames_from(machine, node, seen).or_else(|| frames_from(machine, node, 0))?;
            let end = limit.min(start + frames);
            let next = hand_at(machine, node, end);
            match hand.compare_exchange(seen, next, Relaxed) {
                Ok(_) => return Some(Chunk { start, end, limit, ends_turn: next == 0 }),
                Err(now) => seen = now,
            }
        }
    }

    /// Moves the hand back to `stop` from the end of a chunk, if it is still there; what lies between was not looked
    /// at.
    fn return_to(&self, machine: &M, node: u8, end: u64, stop: u64) -> bool {
        self.clock(node).hand.compare_exchange(hand_at(machine, node, end), stop, Relaxed).is_ok()
    }

    /// Moves the hand on from `end`, if it is still there, to the end of a block, `stop`; whether that ended a turn.
    fn skip(&self, machine: &M, node: u8, end: u64, stop: u64) -> bool {
        let next = hand_at(machine, node, stop);
        self.clock(node).hand.compare_exchange(end, next, Relaxed).is_ok() && next == 0
    }

    /// Visits the frames of a chunk; how many descriptors were looked at, where the last block ends, and whether
    /// `visit` broke off.
    fn visit_chunk(
        &self,
        chunk: &Chunk,
        visit: &mut dyn FnMut(Pfn, &Frame<M>) -> ControlFlow<()>,
    ) -> (u64, u64, ControlFlow<()>) {
        let (mut at, mut looks) = (chunk.start, 0);
        while at < chunk.end {
            looks += 1;
            let frame = self.frame(Pfn(at));
            let (kind, order) = frame.kind_and_order();
            let size = 1u64 << order.min(ORDER_MAX);
            at = match kind {
                Kind::Free => at + size,
                Kind::Tail => self.block_end(at),
                _ => {
                    if visit(Pfn(at), frame).is_break() {
                        return (looks, (at + size).min(chunk.limit), ControlFlow::Break(()));
                    }
                    // What was split by that is gone through page by page, from the first one on.
                    let is_split = order > 0 && frame.is_single(Kind::Anonymous);
                    if is_split { at } else { at + size }
                }
            };
        }
        (looks, at.min(chunk.limit), ControlFlow::Continue(()))
    }

    /// Where the block ends of which the frame is a further one: the hand came to stand inside it.
    fn block_end(&self, pfn: u64) -> u64 {
        let end = (1..=ORDER_MAX).find_map(|order| {
            let head = pfn >> order << order;
            let (kind, order) = self.get(Pfn(head))?.kind_and_order();
            let end = head + (1 << order.min(ORDER_MAX));
            (kind != Kind::Tail && end > pfn).then_some(end)
        });
        end.unwrap_or(pfn + 1)
    }
}

/// The frames of `node` from `from` on that are in one range: the first and the end.
pub(super) fn frames_from<M: Machine>(machine: &M, node: u8, from: u64) -> Option<(u64, u64)> {
    let ranges = machine.memory();
    let first = ranges.partition_point(|range| range.start.0 + range.frames <= from);
    let range = ranges.iter().skip(first).find(|range| range.node == node && range.frames > 0)?;
    Some((range.start.0.max(from), range.start.0 + range.frames))
}

/// What the hand is when everything up to `end` was claimed: 0 if nothing follows.
fn hand_at<M: Machine>(machine: &M, node: u8, end: u64) -> u64 {
    frames_from(machine, node, end).map_or(0, |_| end)
}
