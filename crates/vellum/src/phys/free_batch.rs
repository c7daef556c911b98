//! Freeing many frames at once: consecutive ones go to the buddy allocators as blocks, not through a CPU's stack.

use super::frame::set_tails_of_none;
#[cfg(debug_assertions)]
use super::percpu::check_owned;
use super::{Pfn, Physical};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::stat::Event;

/// Shorter runs go to the CPU's stack of free frames.
const RUN_MIN: u64 = 8;

/// Single frames to be freed, in any sequence; consecutive ones, upwards or downwards, are freed together. Frees the
/// rest when dropped. A frame that was added may be in use by nobody, but counts as allocated until then.
pub(crate) struct FreeBatch<'a, M: Machine> {
    cx: &'a Cx<'a, M>,
    /// The frames not freed yet.
    start: u64,
    end: u64,
}

impl<'a, M: Machine> FreeBatch<'a, M> {
    #[inline(always)]
    pub(crate) fn new(cx: &'a Cx<'a, M>) -> Self {
        FreeBatch { cx, start: 0, end: 0 }
    }

    /// Adds a frame as [`Cx::free_frame`] would take it: of order 0 and without references.
    #[inline(always)]
    pub(crate) fn add(&mut self, pfn: Pfn) {
        if pfn.0 == self.end {
            self.end += 1;
        } else if pfn.0 + 1 == self.start {
            self.start -= 1;
        } else {
            self.begin(pfn);
        }
    }

    /// Frees what was added.
    #[inline(always)]
    pub(crate) fn finish(&mut self) {
        if self.start != self.end {
            let (start, end) = (self.start, self.end);
            (self.start, self.end) = (0, 0);
            free(self.cx, start, end);
        }
    }

    /// Begins another run.
    #[inline(never)]
    fn begin(&mut self, pfn: Pfn) {
        let (start, end) = (self.start, self.end);
        (self.start, self.end) = (pfn.0, pfn.0 + 1);
        if end > start {
            free(self.cx, start, end);
        }
    }
}

/// Frees the frames `start..end`, the way that suits their number.
#[inline(never)]
fn free<M: Machine>(cx: &Cx<'_, M>, start: u64, end: u64) {
    match end - start {
        1 => cx.free_frame(Pfn(start)),
        _ => free_several(cx, start, end),
    }
}

#[inline(never)]
fn free_several<M: Machine>(cx: &Cx<'_, M>, start: u64, end: u64) {
    if end - start >= RUN_MIN {
        return cx.free_run(Pfn(start), end - start);
    }
    // Downwards, so that they are allocated upwards.
    (start..end).rev().for_each(|pfn| cx.free_frame(Pfn(pfn)));
}

impl<M: Machine> Drop for FreeBatch<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.finish();
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Frees `frames` consecutive frames, each allocated with order 0. They may be of several nodes and memory ranges.
    /// Nobody refers to them any more: their counts are 0.
    #[inline(never)]
    pub(crate) fn free_run(&self, first: Pfn, frames: u64) {
        let physical = self.vm().physical();
        self.count(Event::Free, frames);
        let (mut at, end) = (first, first.0 + frames);
        while at.0 < end {
            let Some((count, node)) = part_of_range(self.vm().machine(), at, end - at.0) else {
                debug_assert!(false, "{at:?} is not a frame of this machine");
                return;
            };
            physical.unify(at, count, node);
            physical.lock_zone(self, node).put_run(at, count);
            at = at.offset(count);
        }
    }
}

impl<M: Machine> Physical<M> {
    /// Makes the frames of a run, which are of one range on `node`, [`Kind::Tail`].
    fn unify(&self, first: Pfn, frames: u64, node: u8) {
        self.map.each_part(first, frames, |pfn, part| {
            #[cfg(debug_assertions)]
            for (number, frame) in (pfn.0..).zip(part) {
                check_owned(Pfn(number), frame);
                assert_eq!(frame.order(), 0, "{:?} is freed as a single frame: order", Pfn(number));
                assert_eq!(frame.counts().load(core::sync::atomic::Ordering::Relaxed), 0, "counts of a freed frame");
            }
            let _ = pfn;
            set_tails_of_none(part, node);
        });
    }
}

/// How many of the `frames` frames from `first` on are of the same memory range, and its node.
fn part_of_range<M: Machine>(machine: &M, first: Pfn, frames: u64) -> Option<(u64, u8)> {
    let ranges = machine.memory();
    let range = ranges.get(ranges.partition_point(|range| range.start.0 + range.frames <= first.0))?;
    let left = range.frames.checked_sub(first.0.checked_sub(range.start.0)?)?;
    Some((frames.min(left), range.node))
}
