//! Frames of one node that are taken ahead: who needs many, one after the other, takes the lock of its zone once for a
//! batch.
//!
//! They lie on a stack of the CPU's, as frames of its own node do, but not for longer than a section: nobody else is to
//! miss them.

use super::{AllocFlags, Pfn};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::stat::Event;

/// What is taken ahead in a section. What is left of it is given back when this is dropped; there is one at a time.
pub(crate) struct Stock<'a, M: Machine> {
    cx: &'a Cx<'a, M>,
}

impl<'a, M: Machine> Stock<'a, M> {
    pub(crate) fn new(cx: &'a Cx<'a, M>) -> Self {
        debug_assert_eq!(cx.cpu().lists.ahead.len(), 0, "two stocks at a time");
        Stock { cx }
    }

    /// As [`Cx::alloc_folio_on`], for a single frame of which so many, this one among them, are likely to be wanted.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], without anything having been done to get some.
    #[inline(always)]
    pub(crate) fn take(&self, node: u8, wanted: u64) -> Result<Pfn, Error> {
        let (cx, physical) = (self.cx, self.cx.vm().physical());
        let ahead = &cx.cpu().lists.ahead;
        let fits = ahead.first().is_some_and(|pfn| physical.frame(pfn).node() == node);
        if !fits && !self.refill(node, wanted) {
            return cx.alloc_block_on(node, 0, AllocFlags::NONE);
        }
        if !cx.is_allocation_allowed(0, AllocFlags::NONE) {
            return Err(Error::OutOfMemory);
        }
        cx.pop_from(ahead).ok_or(Error::OutOfMemory)
    }

    /// Takes frames of `node`, and gives back those of another one; whether there are any. None of the CPU's own node,
    /// of which it has some anyway.
    #[inline(never)]
    fn refill(&self, node: u8, wanted: u64) -> bool {
        let (cx, physical) = (self.cx, self.cx.vm().physical());
        let ahead = &cx.cpu().lists.ahead;
        cx.drain(ahead, u64::MAX);
        if node == cx.home_node() {
            return false;
        }
        let floor = physical.zone(node).watermarks().min;
        let taken = physical.lock_zone(cx, node).take_singles(wanted.min(physical.batch as u64), floor, ahead);
        cx.count(Event::Refill, u64::from(taken > 0));
        taken > 0
    }
}

impl<M: Machine> Drop for Stock<'_, M> {
    fn drop(&mut self) {
        self.cx.drain(&self.cx.cpu().lists.ahead, u64::MAX);
    }
}
