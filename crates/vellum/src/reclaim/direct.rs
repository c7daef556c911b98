//! Reclaim by whoever found no memory, and in the background.

use super::folio::{Going, take_old};
use super::list::{Isolated, LENGTH};
use super::shrink::{Choice, shrink_from};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::stat::Event;
use crate::vm::Vm;
use core::ops::ControlFlow;

/// Pages that one who found no memory frees before he tries again.
const DIRECT: u64 = 32;
/// How often he does, while pages are freed but others are faster to take them.
const ATTEMPTS: u32 = 16;
/// Frames looked at before the core is left for a moment, and what was found until then is dealt with.
const SCAN: usize = 320;

/// What is taken in each turn of the hand, until enough was: the least age in turns, and whether accessed pages go too.
const TURNS: [(u8, Choice); 5] =
    [(2, Choice::Unused), (2, Choice::Unused), (1, Choice::Unused), (0, Choice::Unused), (0, Choice::All)];

/// How far a scan got.
pub(crate) struct Scan<'vm, M: Machine> {
    looked: usize,
    /// The hand has come round.
    pub(crate) ends_turn: bool,
    /// A folio of several pages that is to go, by itself: there the scan has stopped.
    going: Option<Going<'vm, M>>,
}

/// What is taken from where the hand is.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// Folios, whatever their order.
    Folios,
    /// Single pages. A folio of several that is to go is taken aside.
    Pages(Choice),
}

impl<M: Machine> Scan<'_, M> {
    pub(crate) const fn new() -> Self {
        Scan { looked: 0, ends_turn: false, going: None }
    }

    fn is_over(&self) -> bool {
        self.ends_turn || self.looked >= SCAN || self.going.is_some()
    }
}

impl<M: Machine> Vm<M> {
    /// Tries to free `wanted` pages of memory node `node`: pages of files and, where there is swap, anonymous ones;
    /// those not used for longest first. How many were freed; none for a node without memory.
    ///
    /// Sleeps for I/O. Needs no free memory.
    pub fn reclaim(&self, node: u8, wanted: u64) -> u64 {
        if !self.physical().nodes().contains(node) {
            return 0;
        }
        let mut freed = 0;
        for (age_min, choice) in TURNS {
            loop {
                if freed >= wanted {
                    return freed;
                }
                let mut scan = Scan::new();
                let mut source = |cx: &Cx<'_, M>, room, list: &mut Isolated<LENGTH>| {
                    self.isolate_old(cx, node, (age_min, Wanted::Pages(choice)), room, &mut scan, list)
                };
                freed += shrink_from(self, &mut source, choice);
                freed += scan.going.map_or(0, Going::go);
                if scan.ends_turn {
                    break;
                }
            }
        }
        freed
    }

    /// Frees memory in each node that has little left, until it has enough again: what an embedder's background task
    /// does whenever [`Vm::needs_reclaim`] names a node. How many pages were freed.
    ///
    /// Sleeps for I/O.
    pub fn reclaim_background(&self) -> u64 {
        let mut freed = 0;
        for node in self.nodes() {
            if !self.physical().is_below_low(self, node) {
                continue;
            }
            Cx::enter(self).count(Event::PageOutRun, 1);
            while self.physical().is_below_high(self, node) {
                let pages = self.demote(node, DIRECT) + self.reclaim(node, DIRECT);
                freed += pages;
                if pages == 0 {
                    break;
                }
            }
            // For all, and not only for this CPU.
            Cx::enter(self).drain_cpu();
        }
        freed
    }

    /// Looks at the next frames, as many as are said or as there is room for, from where the hand of `node` is, and
    /// adds the pages, or folios, to the list that are of an age or older. Whether there may be more in this scan.
    pub(crate) fn isolate_old<'vm, const N: usize>(
        &'vm self,
        cx: &Cx<'_, M>,
        node: u8,
        (age_min, wanted): (u8, Wanted),
        frames: usize,
        scan: &mut Scan<'vm, M>,
        list: &mut Isolated<N>,
    ) -> bool {
        if scan.is_over() {
            return false;
        }
        // As many as there is room for, so that none is passed over.
        let frames = frames.min(list.room());
        let turns = self.physical().scan(self.machine(), node, frames, &mut |pfn, frame| {
            match wanted {
                Wanted::Pages(choice) if frame.order() > 0 => {
                    scan.going = take_old(self, cx, pfn, frame, (age_min, choice));
                }
                _ => list.isolate(cx, pfn, frame, age_min),
            }
            if scan.going.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        scan.looked += frames;
        scan.ends_turn = turns > 0;
        !scan.is_over()
    }

    /// Makes room for somebody who found none; whether trying again may help. Without a context.
    fn make_room(&self) -> bool {
        self.quiesce();
        let mut freed = 0;
        for node in self.nodes() {
            if self.physical().is_below_high(self, node) {
                Cx::enter(self).count(Event::AllocationStall, 1);
                freed += self.reclaim(node, DIRECT);
            }
        }
        let is_short = self.nodes().any(|node| self.physical().is_below_high(self, node));
        freed > 0 || is_short && self.offer_victim()
    }

    /// Carries `operation` out again after memory was freed, as often as that helps, if memory is what it lacked when
    /// it had this `result`. It must have changed nothing then. Without a context, and without a claim.
    #[cold]
    #[inline(never)]
    pub(crate) fn again_with_memory<R, E>(
        &self,
        mut operation: impl FnMut() -> Result<R, E>,
        is_out_of_memory: impl Fn(&E) -> bool,
        mut result: Result<R, E>,
    ) -> Result<R, E> {
        for _ in 0..ATTEMPTS {
            let lacks_memory = matches!(&result, Err(error) if is_out_of_memory(error));
            if !lacks_memory || !self.make_room() {
                break;
            }
            result = operation();
        }
        result
    }

    /// Carries `operation` out, and again with [`Vm::again_with_memory`].
    #[inline(always)]
    pub(crate) fn with_room<R>(&self, mut operation: impl FnMut() -> Result<R, Error>) -> Result<R, Error> {
        let result = operation();
        if !matches!(result, Err(Error::OutOfMemory)) {
            return result;
        }
        self.again_with_memory(operation, |error| *error == Error::OutOfMemory, result)
    }
}
