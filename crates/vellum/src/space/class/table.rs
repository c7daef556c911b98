//! Hash tables of classes, which grow by one bucket at a time.

use super::record::{FrameTree, Record};
use super::{Attributes, ClassId};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::stat::Event;
use crate::structure::holds;
use crate::sync::AtomicU32;
use core::sync::atomic::Ordering::{Relaxed, Release};

/// With how many buckets a table begins: a power of two.
const FIRST: usize = 8;

/// A table. It is accessed under the lock of its part of the registry.
///
/// With n buckets, a power of two or between two of them, a hash means the bucket that its low bits number: as many as
/// n has, or one less where that number is not below n. So one bucket more takes classes from one other only, and there
/// never is more to do at a time than that. (Litwin, "Linear hashing", 1980.)
pub(super) struct Table<M> {
    /// How many buckets there are.
    length: AtomicU32<M>,
    classes: AtomicU32<M>,
    first: [AtomicU32<M>; FIRST],
    /// The others, in the places of their numbers.
    others: FrameTree<M, AtomicU32<M>, 1>,
}

/// The bucket of `hash` among `length`.
fn bucket_of(hash: usize, length: u32) -> u32 {
    let mask = length.next_power_of_two() - 1;
    let index = hash as u32 & mask;
    if index < length { index } else { index & (mask >> 1) }
}

impl<M: Machine> Table<M> {
    pub(super) const fn new() -> Self {
        Table {
            length: AtomicU32::new(FIRST as u32),
            classes: AtomicU32::new(0),
            first: [const { AtomicU32::new(0) }; FIRST],
            others: FrameTree::new(),
        }
    }

    /// The bucket of that number: the first of its classes, the youngest.
    fn bucket(&self, cx: &Cx<'_, M>, number: u32) -> Option<&AtomicU32<M>> {
        let number = number as usize;
        self.first.get(number).or_else(|| self.others.get(cx, number))
    }

    fn bucket_of(&self, cx: &Cx<'_, M>, hash: usize) -> Option<&AtomicU32<M>> {
        self.bucket(cx, bucket_of(hash, self.length.load(Relaxed)))
    }

    /// Calls `visit` with each class in the bucket of `hash`, youngest first, until it returns something.
    pub(super) fn find<'a, R>(
        &self,
        cx: &'a Cx<'_, M>,
        hash: usize,
        mut visit: impl FnMut(ClassId, &'a Record<M>) -> Option<R>,
    ) -> Option<R> {
        let mut id = ClassId(self.bucket_of(cx, hash)?.load(Relaxed));
        while let Some(record) = cx.record(id) {
            cx.count(Event::ClassStep, 1);
            if let Some(result) = visit(id, record) {
                return Some(result);
            }
            id = ClassId(record.next.load(Relaxed));
        }
        None
    }

    /// Adds class `id`, whose hash that is, to the table. May allocate, and does without if that fails.
    pub(super) fn insert(&self, cx: &Cx<'_, M>, hash: usize, id: ClassId, record: &Record<M>) {
        let Some(bucket) = self.bucket_of(cx, hash) else { return };
        record.next.store(bucket.load(Relaxed), Relaxed);
        bucket.store(id.0, Release);
        let classes = self.classes.load(Relaxed) + 1;
        self.classes.store(classes, Relaxed);
        if classes > self.length.load(Relaxed) {
            self.add_bucket(cx);
        }
    }

    /// Takes class `id` out.
    pub(super) fn remove(&self, cx: &Cx<'_, M>, hash: usize, id: ClassId, record: &Record<M>) {
        let Some(mut link) = self.bucket_of(cx, hash) else { return };
        while link.load(Relaxed) != id.0 {
            cx.count(Event::ClassStep, 1);
            let Some(previous) = cx.record(ClassId(link.load(Relaxed))) else { return };
            link = &previous.next;
        }
        link.store(record.next.load(Relaxed), Relaxed);
        self.classes.store(self.classes.load(Relaxed) - 1, Relaxed);
    }

    /// One bucket more, to which classes come from the one whose number has the same low bits; in their order, which
    /// tells the age. Without memory for it there is none.
    #[cold]
    fn add_bucket(&self, cx: &Cx<'_, M>) {
        let length = self.length.load(Relaxed);
        let from = length - (1 << length.ilog2());
        if length == u32::MAX || self.others.grow(cx, length as usize).is_err() {
            return;
        }
        let (Some(mut stay), Some(mut go)) = (self.bucket(cx, from), self.bucket(cx, length)) else {
            return;
        };
        let mut id = ClassId(stay.load(Relaxed));
        while let Some(record) = cx.record(id) {
            cx.count(Event::ClassStep, 1);
            let link = if bucket_of(hash_of(record), length + 1) == length { &mut go } else { &mut stay };
            link.store(id.0, Relaxed);
            *link = &record.next;
            id = ClassId(record.next.load(Relaxed));
        }
        stay.store(0, Relaxed);
        go.store(0, Relaxed);
        self.length.store(length + 1, Relaxed);
    }

    /// Whether one of the buckets lies at `address`.
    pub(super) fn has_bucket_at(&self, cx: &Cx<'_, M>, address: usize) -> bool {
        let buckets = (0..self.length.load(Relaxed)).filter_map(|number| self.bucket(cx, number));
        buckets.into_iter().any(|bucket| holds(bucket, address))
    }

    /// How many buckets there are.
    #[cfg(test)]
    pub(super) fn length(&self) -> u32 {
        self.length.load(Relaxed)
    }
}

/// The hash of a class that is in a table.
fn hash_of<M: Machine>(record: &Record<M>) -> usize {
    let attributes: Attributes<M> = record.attributes();
    attributes.hash()
}

#[cfg(test)]
mod tests {
    use super::bucket_of;

    /// One bucket more changes the bucket of those hashes only that were in the one it is made from.
    #[test]
    fn a_bucket_takes_from_one_other() {
        for length in 1u32..300 {
            let from = length - (1 << length.ilog2());
            for hash in 0..2048 {
                let (before, after) = (bucket_of(hash, length), bucket_of(hash, length + 1));
                assert!(before < length && after <= length);
                assert!(before == after || (before, after) == (from, length), "{hash} of {length}: {before}, {after}");
            }
            assert!((0..2048).any(|hash| bucket_of(hash, length + 1) == length), "nobody comes to bucket {length}");
        }
    }
}
