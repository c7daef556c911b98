//! A slot of a page table: where an entry stands, which others load and change, and the hardware too.

use crate::arch::Word;
use crate::machine::Machine;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::{self, Relaxed};

/// A slot of a page table.
#[repr(transparent)]
pub(crate) struct Slot<M>(AtomicU64<M>);

impl<M: Machine> Slot<M> {
    /// Its entry.
    #[inline(always)]
    pub(crate) fn load(&self, order: Ordering) -> Word<M::Arch> {
        Word::from_raw(self.0.load(order))
    }

    /// Makes `word` its entry: of a slot that nobody else changes, nor the hardware.
    #[inline(always)]
    pub(crate) fn store(&self, word: Word<M::Arch>, order: Ordering) {
        self.0.store(word.raw(), order);
    }

    /// Makes `word` its entry; what it was.
    #[inline(always)]
    pub(crate) fn swap(&self, word: Word<M::Arch>, order: Ordering) -> Word<M::Arch> {
        Word::from_raw(self.0.swap(word.raw(), order))
    }

    /// Makes `new` its entry if it is `old`; what it is, if it is not.
    #[inline(always)]
    pub(crate) fn compare_exchange(
        &self,
        old: Word<M::Arch>,
        new: Word<M::Arch>,
        order: Ordering,
    ) -> Result<(), Word<M::Arch>> {
        self.0.compare_exchange(old.raw(), new.raw(), order).map(|_| ()).map_err(Word::from_raw)
    }
}

/// Slots that are looked at together: upper tables of large and sparse mappings have few entries.
const TOGETHER: usize = 4;

/// How many slots at the beginning have no entry, as far as that shows by whole groups of them: behind these comes a
/// group that has one, or less than a group.
#[inline(always)]
pub(super) fn skip_empty<M: Machine>(slots: &[Slot<M>]) -> usize {
    // Nothing is gained in tables of a few slots, and looks are lost on who wants none of those behind the first entry.
    if slots.len() < 2 * TOGETHER {
        return 0;
    }
    let is_empty = |group: &[Slot<M>; TOGETHER]| {
        let [a, b, c, d] = group.each_ref().map(|slot| slot.load(Relaxed).raw());
        a | b | c | d == 0
    };
    let (groups, _) = slots.as_chunks::<TOGETHER>();
    TOGETHER * groups.iter().position(|group| !is_empty(group)).unwrap_or(groups.len())
}
