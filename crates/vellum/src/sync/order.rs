//! The order in which locks nest, checked at run time in debug builds.
//!
//! The order itself is written in [`crate::space`]; a [`Rank`] is a lock's place in it.

/// A lock's place in the lock order: a lock may be taken only when every lock already held has a lower rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The page cache of an object.
    Object,
    /// A page table: upper tables before lower ones, and those of one level by address.
    /// Fields: levels above (`LEVELS - level`), then first address covered, then space (for fork's child).
    Table(u8, u64, u64),
    /// A part of the class registry.
    Classes,
    /// The chains of the classes of some objects.
    ClassesOfObject,
    /// The memory of the classes' records.
    ClassRecords,
    /// The registry of objects.
    Objects,
    /// The registry of spaces.
    Spaces,
    /// A swap area, or the table of them.
    Swap,
    /// A slab cache.
    Slab,
    /// A node's buddy allocator.
    Zone,
    /// The pool of global address-space identifiers.
    Identifiers,
    /// A CPU's flush mailbox.
    Mailbox,
}

/// The locks a CPU holds, innermost last.
#[cfg(debug_assertions)]
#[derive(Default)]
pub(crate) struct HeldLocks {
    ranks: [Option<Rank>; 16],
    held: usize,
}

#[cfg(debug_assertions)]
impl HeldLocks {
    /// Notes that a lock of `rank` is about to be taken.
    pub(crate) fn acquire(&mut self, rank: Rank) {
        if let Some(last) = self.ranks[..self.held].iter().flatten().max() {
            assert!(*last < rank, "lock order broken: {rank:?} taken while {last:?} is held");
        }
        assert!(self.held < self.ranks.len(), "too many locks held");
        self.ranks[self.held] = Some(rank);
        self.held += 1;
    }

    /// Notes that a lock of `rank` was released.
    pub(crate) fn release(&mut self, rank: Rank) {
        let place = self.ranks[..self.held].iter().rposition(|held| *held == Some(rank));
        let place = place.expect("a lock is released that is not held");
        self.ranks[place..].rotate_left(1);
        self.held -= 1;
        self.ranks[self.held] = None;
    }

    /// Number of locks held.
    pub(crate) fn count(&self) -> usize {
        self.held
    }
}
