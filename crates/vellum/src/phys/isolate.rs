//! Putting a block together for compaction: what is free of it is taken out of the allocator, what is in use is added
//! frame by frame as its owner moves elsewhere.
//!
//! Frames so held are [`Kind::Isolated`] and nobody else's: not merged, not allocated, not visited by migration. Frames
//! on the lists of other CPUs cannot be taken; they are missing until those CPUs use them or give them back.
//!
//! Lock: `Rank::Zone`, not held between the steps.

use super::frame::order_of_none;
use super::scan::frames_from;
use super::{Folio, Kind, ORDER_MAX, Pfn, Physical};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::stat::Event;
use core::sync::atomic::Ordering::Relaxed;

/// Descriptors looked at, about, in one search for a candidate.
const LOOKS: u64 = 1 << 14;
/// Words of a set of the frames of a block.
const WORDS: usize = (1 << ORDER_MAX) / 64;

/// A block being put together. Ends with [`Isolation::finish`], without which its frames are lost.
#[must_use = "what was isolated has to be given back"]
pub(crate) struct Isolation {
    start: Pfn,
    order: u8,
    node: u8,
    /// Which frames are held: bits by distance from `start`.
    held: [u64; WORDS],
}

impl Isolation {
    fn frames(&self) -> u64 {
        1 << self.order
    }

    fn holds(&self, index: u64) -> bool {
        self.held[index as usize / 64] & 1 << (index % 64) != 0
    }

    fn hold(&mut self, index: u64, frames: u64) {
        (index..index + frames).for_each(|index| self.held[index as usize / 64] |= 1 << (index % 64));
    }

    /// The frames of the block not yet held, in ascending order.
    pub(crate) fn missing(&self) -> impl Iterator<Item = Pfn> + '_ {
        (0..self.frames()).filter(|&index| !self.holds(index)).map(|index| self.start.offset(index))
    }

    /// Takes over a single frame of the block which the caller has emptied and owns. Any other frame is freed.
    pub(crate) fn add<M: Machine>(&mut self, cx: &Cx<'_, M>, pfn: Pfn) {
        let index = pfn.0.wrapping_sub(self.start.0);
        let frame = cx.vm().physical().frame(pfn);
        if index >= self.frames() || frame.order() != 0 {
            debug_assert!(false, "{pfn:?} is no frame of the block at {:?}", self.start);
            return cx.free_frame(pfn);
        }
        super::percpu::check_owned(pfn, frame);
        cx.count(Event::Free, 1);
        frame.counts().store(0, Relaxed);
        frame.set_kind(Kind::Isolated, 0);
        self.hold(index, 1);
    }

    /// Takes over a folio within the block, or a frame, which the caller has just allocated. Any other is freed.
    pub(crate) fn add_folio<M: Machine>(&mut self, cx: &Cx<'_, M>, of: Folio) {
        let index = of.head.0.wrapping_sub(self.start.0);
        if of.order == 0 || index >= self.frames() || of.order > self.order {
            return self.add(cx, of.head);
        }
        cx.count(Event::Free, of.pages());
        cx.vm().physical().map.block(of.head, of.order).iter().for_each(|frame| frame.set_kind(Kind::Isolated, 0));
        self.hold(index, of.pages());
    }

    /// Takes what has become free of the block since, from the zone and the current CPU's lists.
    pub(crate) fn collect<M: Machine>(&mut self, cx: &Cx<'_, M>) {
        cx.drain_cpu();
        let physical = cx.vm().physical();
        let (start, order) = (self.start, self.order);
        physical.lock_zone(cx, self.node).take_inside(start, order, |pfn, part| {
            physical.map.block(pfn, part).iter().for_each(|frame| frame.set_kind(Kind::Isolated, 0));
            self.hold(pfn.0 - start.0, 1 << part);
        });
    }

    /// The whole block, allocated as [`Cx::alloc_frame`] would, if no frame of it is missing. Otherwise everything held
    /// becomes free.
    pub(crate) fn finish<M: Machine>(self, cx: &Cx<'_, M>) -> Option<Pfn> {
        let physical = cx.vm().physical();
        if self.missing().next().is_none() {
            physical
                .map
                .block(self.start, self.order)
                .iter()
                .for_each(|frame| frame.set_kind(Kind::Tail, order_of_none::<M::Arch>()));
            physical.frame(self.start).set_kind(Kind::Allocated, self.order);
            cx.count(Event::Alloc, self.frames());
            return Some(self.start);
        }
        let mut lists = physical.lock_zone(cx, self.node);
        let mut index = 0;
        while index < self.frames() {
            let end = (index..self.frames()).find(|&at| !self.holds(at)).unwrap_or(self.frames());
            for held in index..end {
                physical.frame(self.start.offset(held)).set_kind(Kind::Tail, order_of_none::<M::Arch>());
            }
            lists.put_run(self.start.offset(index), end - index);
            index = end + 1;
        }
        None
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Begins to put the block of `order` at `start` together, with what is free of it. `None` if it is no block of one
    /// memory range, if something of it cannot be moved, or if so many frames cannot be allocated: moving takes as many
    /// elsewhere as the block has in use.
    pub(crate) fn isolate_block(&self, start: Pfn, order: u8) -> Option<Isolation> {
        let physical = self.vm().physical();
        if order > ORDER_MAX || !start.0.is_multiple_of(1 << order) {
            return None;
        }
        let node = physical.get(start).filter(|frame| frame.kind() != Kind::Absent)?.node();
        let (first, end) = frames_from(self.vm().machine(), node, start.0)?;
        if first != start.0 || end - first < 1 << order {
            return None;
        }
        self.drain_cpu();
        let zone = physical.zone(node);
        let is_enough = zone.free() >= zone.watermarks().min + (1 << order);
        if !is_enough || physical.used_frames(start, order).is_none() {
            return None;
        }
        let mut isolation = Isolation { start, order, node, held: [0; WORDS] };
        isolation.collect(self);
        Some(isolation)
    }
}

impl<M: Machine> Physical<M> {
    /// The block of `order` of `node` with the fewest frames in use among the next ones whose frames can all be moved:
    /// free ones, and pages of anonymous memory or objects. A look without a lock, at a bounded number of blocks from
    /// where the last one ended; `None` if there is none among them, which says nothing about others.
    pub(crate) fn find_candidate(&self, machine: &M, node: u8, order: u8) -> Option<Pfn> {
        if order > ORDER_MAX {
            return None;
        }
        let size = 1u64 << order;
        let cursor = &self.zone(node).clock().compaction;
        let begin = cursor.load(Relaxed);
        let (mut at, mut is_second_turn) = (begin, false);
        let mut best: Option<(u64, Pfn)> = None;
        for _ in 0..(LOOKS >> order).max(1) {
            let Some(block) = next_block(machine, node, at, size) else {
                // Behind the last block: on from the first one, to where the search began.
                if is_second_turn || begin == 0 {
                    break;
                }
                (at, is_second_turn) = (0, true);
                continue;
            };
            if is_second_turn && block >= begin {
                break;
            }
            if let Some(used) = self.used_frames(Pfn(block), order)
                && best.is_none_or(|(least, _)| used < least)
            {
                best = Some((used, Pfn(block)));
            }
            at = block + size;
        }
        cursor.store(next_block(machine, node, at, size).map_or(0, |_| at), Relaxed);
        best.map(|(_, block)| block)
    }

    /// How many frames of a block, which lies in one range, are in use; `None` if one of them cannot be moved.
    fn used_frames(&self, start: Pfn, order: u8) -> Option<u64> {
        let (mut at, end, mut used) = (start.0, start.0 + (1 << order), 0);
        while at < end {
            let (kind, part) = self.frame(Pfn(at)).kind_and_order();
            at += match (kind, part) {
                (Kind::Free, _) => 1u64 << part.min(ORDER_MAX),
                (Kind::Cached | Kind::Anonymous | Kind::File, 0) => {
                    used += 1;
                    1
                }
                // One as large as the block itself would need another such block.
                (Kind::Anonymous | Kind::File, _) if part < order => {
                    used += 1 << part;
                    1 << part
                }
                // Inside a larger free block, if at all.
                (Kind::Tail, _) if self.is_inside_free(start, order) => return Some(0),
                _ => return None,
            }
        }
        Some(used)
    }

    /// Whether a free block of a greater order than `order` has `start` in it.
    fn is_inside_free(&self, start: Pfn, order: u8) -> bool {
        (order + 1..=ORDER_MAX).any(|at| {
            let block = self.get(Pfn(start.0 >> at << at));
            block.is_some_and(|frame| frame.kind_and_order() == (Kind::Free, at))
        })
    }
}

/// The first aligned block of `size` frames at or behind `from` that lies in one range of `node`.
fn next_block<M: Machine>(machine: &M, node: u8, from: u64, size: u64) -> Option<u64> {
    let mut from = from;
    loop {
        let (start, end) = frames_from(machine, node, from)?;
        let block = start.next_multiple_of(size);
        if block + size <= end {
            return Some(block);
        }
        from = end;
    }
}
