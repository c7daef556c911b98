//! Lists of frames, linked through their descriptors by frame number + 1; 0 ends a list.

use super::memmap::MemoryMap;
use super::{Frame, Pfn};
use crate::machine::Machine;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A doubly linked list through `link` and `words[0]`. The caller holds the lock that protects it.
pub(super) struct LinkedList<M> {
    head: AtomicU64<M>,
    length: AtomicU64<M>,
}

impl<M: Machine> LinkedList<M> {
    pub(super) const fn new() -> Self {
        LinkedList { head: AtomicU64::new(0), length: AtomicU64::new(0) }
    }

    pub(super) fn first(&self) -> Option<Pfn> {
        self.head.load(Relaxed).checked_sub(1).map(Pfn)
    }

    pub(super) fn len(&self) -> u64 {
        self.length.load(Relaxed)
    }

    /// Puts a frame, whose descriptor is `frame`, at the front.
    #[inline(always)]
    pub(super) fn push(&self, map: &MemoryMap<M>, pfn: Pfn, frame: &Frame<M>) {
        let next = self.head.load(Relaxed);
        frame.link.store(next, Relaxed);
        frame.words[0].store(0, Relaxed);
        if next != 0 {
            map.frame(Pfn(next - 1)).words[0].store(pfn.0 + 1, Relaxed);
        }
        self.head.store(pfn.0 + 1, Relaxed);
        self.length.add_owned(1);
    }

    /// Takes out a frame that is on the list.
    #[inline(always)]
    pub(super) fn remove(&self, map: &MemoryMap<M>, frame: &Frame<M>) {
        let (next, previous) = (frame.link.load(Relaxed), frame.words[0].load(Relaxed));
        match previous {
            0 => self.head.store(next, Relaxed),
            _ => map.frame(Pfn(previous - 1)).link.store(next, Relaxed),
        }
        if next != 0 {
            map.frame(Pfn(next - 1)).words[0].store(previous, Relaxed);
        }
        self.length.add_owned(1u64.wrapping_neg());
    }
}

/// A singly linked stack through `link`. Accessed by one CPU only.
#[repr(C)]
pub(super) struct Stack<M> {
    head: AtomicU64<M>,
    length: AtomicU64<M>,
}

impl<M: Machine> Stack<M> {
    pub(super) const fn new() -> Self {
        Stack { head: AtomicU64::new(0), length: AtomicU64::new(0) }
    }

    #[inline(always)]
    pub(super) fn first(&self) -> Option<Pfn> {
        self.head.load(Relaxed).checked_sub(1).map(Pfn)
    }

    #[inline(always)]
    pub(super) fn len(&self) -> u64 {
        self.length.load(Relaxed)
    }

    /// Puts a frame on top.
    #[inline(always)]
    pub(super) fn push(&self, pfn: Pfn, frame: &Frame<M>) {
        frame.link.store(self.head.load(Relaxed), Relaxed);
        self.head.store(pfn.0 + 1, Relaxed);
        self.length.add_owned(1);
    }

    /// Puts `count` frames on top which are linked already: the first is `pfn`, the last is `last`.
    pub(super) fn push_chain(&self, pfn: Pfn, last: &Frame<M>, count: u64) {
        last.link.store(self.head.load(Relaxed), Relaxed);
        self.head.store(pfn.0 + 1, Relaxed);
        self.length.add_owned(count);
    }

    /// Takes off the frame on top, which is `first`.
    #[inline(always)]
    pub(super) fn pop(&self, first: &Frame<M>) {
        self.head.store(first.link.load(Relaxed), Relaxed);
        self.length.add_owned(1u64.wrapping_neg());
    }
}
