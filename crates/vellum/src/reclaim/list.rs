//! Pages taken aside to be worked on.

use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Kind, Pfn};

/// Pages that are unmapped with one flush, and in one section: each is a thousand instructions, looked at and given a
/// slot of swap.
pub(crate) const LENGTH: usize = 44;

/// Some pages, each with a reference.
pub(crate) struct Isolated<const N: usize> {
    pages: [Pfn; N],
    count: usize,
}

impl<const N: usize> Isolated<N> {
    pub(crate) const fn new() -> Self {
        Isolated { pages: [Pfn(0); N], count: 0 }
    }

    /// Forgets the pages, whose references were dropped.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == N
    }

    /// How many more there is room for.
    pub(crate) fn room(&self) -> usize {
        N - self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn pages(&self) -> &[Pfn] {
        &self.pages[..self.count]
    }

    /// Adds a page to which the caller has a reference; the list is not full.
    pub(crate) fn push(&mut self, pfn: Pfn) {
        self.pages[self.count] = pfn;
        self.count += 1;
    }

    /// Adds the page in frame `pfn`, or the folio whose head it is, if it is one, and is neither new nor of an age
    /// below `age_min`.
    pub(crate) fn isolate<M: Machine>(&mut self, cx: &Cx<'_, M>, pfn: Pfn, frame: &Frame<M>, age_min: u8) {
        let physical = cx.vm().physical();
        // Most of what is too young is so without a reference, too.
        let is_too_young = |known: u8| known != 0 && physical.age_of(frame.node(), known) < age_min;
        if self.is_full() || !is_page(frame) || is_too_young(frame.generation()) || !get(frame) {
            return;
        }
        // With a reference it stays what it is; before, it may have become something else.
        let generation = if is_page(frame) { frame.generation() } else { 0 };
        if generation == 0 && is_page(frame) {
            frame.set_generation(physical.generation(frame.node()));
        }
        let is_old = generation != 0 && physical.age_of(frame.node(), generation) >= age_min;
        if is_page(frame) && (is_old || age_min == 0) {
            self.push(pfn);
        } else {
            object::release(cx, pfn);
        }
    }
}

/// Whether the frame holds a page that can be reclaimed or moved, or is the head of a folio of them.
pub(super) fn is_page<M: Machine>(frame: &Frame<M>) -> bool {
    frame.is_kind(Kind::Anonymous) || frame.is_kind(Kind::File)
}

/// Takes a reference; not where there is none, for that frame is about to be freed (I9).
pub(super) fn get<M: Machine>(frame: &Frame<M>) -> bool {
    if M::guard(Guard::IsolateCounted) {
        return frame.try_get();
    }
    frame.get();
    true
}
