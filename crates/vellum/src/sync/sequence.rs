//! Sequence counts: reading several words without a lock, and knowing whether they belong together.

use super::{AtomicU32, fence};
use crate::machine::Machine;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A view of the word that counts the changes of some others: odd while they change. A lock, held by whoever changes
/// them, keeps changes apart.
pub(crate) struct Sequence<'a, M>(pub(crate) &'a AtomicU32<M>);

impl<'a, M: Machine> Sequence<'a, M> {
    /// The count, to be compared after the words were read; `None` while they change.
    #[inline(always)]
    pub(crate) fn begin(&self) -> Option<u32> {
        let now = self.0.load(Acquire);
        (now & 1 == 0).then_some(now)
    }

    /// Whether what was loaded since the count was `before` belongs together, and was so at this moment or before.
    #[inline(always)]
    pub(crate) fn is_still(&self, before: u32) -> bool {
        fence::<M>(Acquire);
        self.0.load(Relaxed) == before
    }

    /// Begins a change: until the result is dropped, the words counted may be stored to. Under the lock.
    #[inline(always)]
    pub(crate) fn change(self) -> Writing<'a, M> {
        let before = self.0.load(Relaxed);
        self.0.store(before.wrapping_add(1), Relaxed);
        fence::<M>(Release);
        Writing { count: self.0, before }
    }
}

/// Words that are being stored to.
pub(crate) struct Writing<'a, M: Machine> {
    count: &'a AtomicU32<M>,
    before: u32,
}

impl<M: Machine> Drop for Writing<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.count.store(self.before.wrapping_add(2), Release);
    }
}
