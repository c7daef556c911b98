//! Slab caches: the core's own small objects, by size class.
//!
//! One frame is one slab, cut into objects of one size from its first byte, so each object is aligned to its size.
//! Everything else is in the frame's descriptor: which class (`words[1]`), the first free object (`words[2]`, as its
//! index plus one; the next one's is in the free object itself), how many objects are in use and how many have ever
//! been (`words[3]`, low and high half; what was never used is on no list). Slabs with room are on the class's list; of
//! those that are empty a class keeps one. Allocations are served from the CPU's own magazine (see `magazine`), which
//! is filled from the slabs and emptied to them in batches.
//!
//! Lock: `Rank::Slab`, one per class; never held while a frame is allocated or freed.

use super::list::LinkedList;
use super::{AllocFlags, Frame, Kind, Pfn, Physical, pfn_of};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::structure::holds;
use crate::sync::{AtomicU64, Rank, RawLock};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// log2 of the smallest object size.
const SHIFT_MIN: u32 = 6;
/// log2 of the largest object size.
const SHIFT_MAX: u32 = 11;
/// The largest object size.
pub(crate) const SLAB_MAX: usize = 1 << SHIFT_MAX;
pub(super) const CLASSES: usize = (SHIFT_MAX - SHIFT_MIN) as usize + 1;

/// Debug builds fill free objects with this, and check that it is still there when they are allocated.
#[cfg(debug_assertions)]
const POISON: u8 = 0xa5;

/// The slabs of one object size.
#[repr(align(64))]
pub(super) struct SlabClass<M> {
    lock: RawLock<M>,
    /// Under the lock: slabs with a free object.
    partial: LinkedList<M>,
    /// Under the lock: how many of those have no object in use.
    empty: AtomicU64<M>,
}

/// The size of the objects of that one of the caches which contains `address`.
pub(super) fn cache_at<M>(caches: &[SlabClass<M>], address: usize) -> Option<usize> {
    caches.iter().position(|cache| holds(cache, address)).map(object_size)
}

impl<M: Machine> SlabClass<M> {
    pub(super) const fn new() -> Self {
        SlabClass { lock: RawLock::new(), partial: LinkedList::new(), empty: AtomicU64::new(0) }
    }

    /// The list of slabs with room, for [`super::audit`] at quiescence.
    pub(super) fn partial(&self) -> &LinkedList<M> {
        &self.partial
    }

    /// Under the lock: takes an object from a slab with room, if there is one.
    fn take(&self, physical: &Physical<M>, machine: &M) -> Option<NonNull<u8>> {
        let pfn = self.partial.first()?;
        let slab = Slab::of(physical, machine, pfn)?;
        if slab.in_use() == 0 {
            self.empty.add_owned(1u64.wrapping_neg());
        }
        let object = slab.take();
        if slab.is_full() {
            self.partial.remove(&physical.map, slab.frame);
        }
        object
    }

    /// Under the lock: puts an object back into its slab, frame `pfn`. Whether the slab, now empty, is one too many:
    /// then it is on no list any more, and the caller's to free.
    fn put(&self, physical: &Physical<M>, machine: &M, pfn: Pfn, object: NonNull<u8>) -> bool {
        let Some(slab) = Slab::of(physical, machine, pfn) else { return false };
        if slab.is_full() {
            self.partial.push(&physical.map, pfn, slab.frame);
        }
        slab.put(object);
        let is_empty = slab.in_use() == 0;
        let is_surplus = is_empty && self.empty.load(Relaxed) > 0;
        if is_surplus {
            self.partial.remove(&physical.map, slab.frame);
        } else if is_empty {
            self.empty.add_owned(1);
        }
        is_surplus
    }
}

/// The descriptor of a frame that is a slab, with the class's lock held.
pub(super) struct Slab<'a, M> {
    frame: &'a Frame<M>,
    page: *mut u8,
    class: usize,
}

impl<M: Machine> Cx<'_, M> {
    /// Allocates a zeroed object of at most 2048 bytes, aligned to the next power of two of `size`, and to 64 bytes.
    pub(crate) fn slab_alloc(&self, size: usize) -> Result<NonNull<u8>, Error> {
        self.slab_alloc_with(size, AllocFlags::NONE)
    }

    /// As [`Cx::slab_alloc`], with flags.
    pub(crate) fn slab_alloc_with(&self, size: usize, flags: AllocFlags) -> Result<NonNull<u8>, Error> {
        let class = class_of(size).ok_or(Error::Invalid { what: "size of a slab object" })?;
        if !self.is_allocation_allowed(0, flags) {
            return Err(Error::OutOfMemory);
        }
        let object = match self.cpu().magazines.pop(class) {
            Some(object) => object,
            None => self.slab_refill(class, flags)?,
        };
        // SAFETY: the object is the caller's alone, and that large.
        unsafe { object.write_bytes(0, object_size(class)) };
        Ok(object)
    }

    /// Frees an object which [`Cx::slab_alloc`] gave for `size`; the caller is its only user. Anything that is not an
    /// object of that size is left alone (and an assertion in debug builds).
    pub(crate) fn slab_free(&self, object: NonNull<u8>, size: usize) {
        let vm = self.vm();
        let slab = pfn_of(vm.machine(), object.as_ptr()).map(|pfn| vm.physical().frame(pfn));
        let (Some(class), Some(frame)) = (class_of(size), slab) else {
            debug_assert!(false, "{object:?} of {size} bytes is not a slab object");
            return;
        };
        let is_slab = frame.kind() == Kind::Slab && frame.words[1].load(Relaxed) == class as u64;
        if !is_slab || !object.as_ptr().addr().is_multiple_of(object_size(class)) {
            debug_assert!(
                false,
                "{object:?} is no slab object of {size} bytes: it lies in a frame of {:?}",
                frame.kind()
            );
            return;
        }
        let magazines = &self.cpu().magazines;
        magazines.push(class, object);
        let batch = vm.physical().magazine_batch(class);
        if magazines.len(class) > 2 * batch {
            self.slab_give_back(class, batch.max(1));
        }
    }

    /// Gives all objects that the current CPU keeps back to their slabs, and slabs that become empty to its list of
    /// frames.
    pub(super) fn drain_magazines(&self) {
        (0..CLASSES).for_each(|class| self.slab_give_back(class, u64::MAX));
    }

    /// Gives up to `count` objects of the CPU's magazine back to their slabs.
    #[cold]
    #[inline(never)]
    fn slab_give_back(&self, class: usize, count: u64) {
        let (vm, magazines) = (self.vm(), &self.cpu().magazines);
        let physical = vm.physical();
        let mut left = count.min(magazines.len(class));
        if left == 0 {
            return;
        }
        let mut surplus = None;
        let guard = physical.slabs[class].lock.lock(self, Rank::Slab);
        while left > 0
            && let Some(object) = magazines.pop(class)
        {
            left -= 1;
            let Some(pfn) = pfn_of(vm.machine(), object.as_ptr()) else { continue };
            if physical.slabs[class].put(physical, vm.machine(), pfn, object) {
                physical.frame(pfn).link.store(surplus.map_or(0, |next: Pfn| next.0 + 1), Relaxed);
                surplus = Some(pfn);
            }
        }
        drop(guard);
        while let Some(pfn) = surplus {
            surplus = physical.frame(pfn).link.load(Relaxed).checked_sub(1).map(Pfn);
            self.free_frame(pfn);
        }
    }

    /// An object, and a batch for the CPU's magazine, which is empty, as far as there are slabs with room.
    #[cold]
    #[inline(never)]
    fn slab_refill(&self, class: usize, flags: AllocFlags) -> Result<NonNull<u8>, Error> {
        self.slab_take(class, None);
        match self.cpu().magazines.pop(class) {
            Some(object) => Ok(object),
            None => self.slab_grow(class, flags),
        }
    }

    /// Fills the CPU's magazine from slabs with room; `fresh` is a new slab to add to those first.
    fn slab_take(&self, class: usize, fresh: Option<Pfn>) {
        let (physical, magazines) = (self.vm().physical(), &self.cpu().magazines);
        let cache = &physical.slabs[class];
        let _guard = cache.lock.lock(self, Rank::Slab);
        if let Some(pfn) = fresh {
            cache.partial.push(&physical.map, pfn, physical.frame(pfn));
            cache.empty.add_owned(1);
        }
        for _ in 0..physical.magazine_batch(class).max(1) {
            let Some(object) = cache.take(physical, self.vm().machine()) else { return };
            magazines.push(class, object);
        }
    }

    #[cold]
    fn slab_grow(&self, class: usize, flags: AllocFlags) -> Result<NonNull<u8>, Error> {
        let pfn = match self.pop_frame() {
            Some(pfn) => pfn,
            None => self.alloc_slow(0, flags)?,
        };
        let frame = self.vm().physical().frame(pfn);
        frame.set_kind(Kind::Slab, 0);
        frame.words[1].store(class as u64, Relaxed);
        frame.words[2].store(0, Relaxed);
        frame.words[3].store(0, Relaxed);
        self.slab_take(class, Some(pfn));
        self.cpu().magazines.pop(class).ok_or(Error::OutOfMemory)
    }
}

impl<'a, M: Machine> Slab<'a, M> {
    /// The slab `pfn`, with the class's lock held or at quiescence; `None` if its class does not exist.
    pub(super) fn of(physical: &'a Physical<M>, machine: &M, pfn: Pfn) -> Option<Self> {
        let frame = physical.frame(pfn);
        let class = frame.words[1].load(Relaxed) as usize;
        (class < CLASSES).then(|| Slab { frame, page: machine.frame(pfn), class })
    }

    pub(super) fn class(&self) -> usize {
        self.class
    }

    pub(super) fn in_use(&self) -> u64 {
        self.frame.words[3].load(Relaxed) & 0xffff_ffff
    }

    fn ever_used(&self) -> u64 {
        self.frame.words[3].load(Relaxed) >> 32
    }

    pub(super) fn capacity(&self) -> u64 {
        capacity::<M>(self.class)
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_use() == self.capacity()
    }

    /// Counts one more of the objects that CPUs keep; how many have been, of an audit that has set the count to 0.
    pub(super) fn count_kept(&self) -> u64 {
        self.frame.halves[1].fetch_add(1, Relaxed) as u64 + 1
    }

    /// The objects on the free list and those never used; `None` if the list is broken.
    pub(super) fn free(&self) -> Option<u64> {
        let (mut listed, mut next) = (0, self.frame.words[2].load(Relaxed));
        while next != 0 {
            if next > self.ever_used() || listed == self.ever_used() {
                return None;
            }
            listed += 1;
            next = self.next_of(next - 1);
        }
        Some(listed + self.capacity().checked_sub(self.ever_used())?)
    }

    /// Takes a free object, if there is one.
    fn take(&self) -> Option<NonNull<u8>> {
        let (free, counts) = (self.frame.words[2].load(Relaxed), self.frame.words[3].load(Relaxed));
        let (index, counts) = match free {
            0 => (counts >> 32, counts + 1 + (1 << 32)),
            _ => (free - 1, counts + 1),
        };
        let object = NonNull::new(self.object(index))?;
        if free != 0 {
            check_poison(object, self.class);
            self.frame.words[2].store(self.next_of(index), Relaxed);
        }
        self.frame.words[3].store(counts, Relaxed);
        Some(object)
    }

    /// Puts an object back.
    fn put(&self, object: NonNull<u8>) {
        let offset = object.as_ptr().addr() & (Physical::<M>::PAGE - 1);
        let index = (offset >> (SHIFT_MIN as usize + self.class)) as u64;
        self.check_used(index);
        poison(object, self.class);
        let next = self.frame.words[2].load(Relaxed);
        // SAFETY: the object is free now and the class's lock is held, so nobody else accesses it.
        unsafe { self.object(index).cast::<u64>().write(next) };
        self.frame.words[2].store(index + 1, Relaxed);
        self.frame.words[3].add_owned(1u64.wrapping_neg());
    }

    fn object(&self, index: u64) -> *mut u8 {
        self.page.wrapping_add((index as usize) << (SHIFT_MIN as usize + self.class))
    }

    /// What a free object says follows it on the free list.
    fn next_of(&self, index: u64) -> u64 {
        // SAFETY: the object is free, hence nobody else accesses it, and `put` has written its first word.
        unsafe { self.object(index).cast::<u64>().read() }
    }

    /// In debug builds: the object is not free already.
    #[inline(always)]
    fn check_used(&self, index: u64) {
        #[cfg(debug_assertions)]
        {
            let mut next = self.frame.words[2].load(Relaxed);
            while next != 0 {
                assert_ne!(next - 1, index, "slab object {:?} is freed twice", self.object(index));
                next = self.next_of(next - 1);
            }
            assert!(index < self.ever_used(), "slab object {:?} is freed, never having been used", self.object(index));
        }
        let _ = index;
    }
}

/// In debug builds: marks an object that is being freed.
#[inline(always)]
pub(super) fn poison(object: NonNull<u8>, class: usize) {
    #[cfg(debug_assertions)]
    // SAFETY: the object is being freed, so nobody else accesses it.
    unsafe {
        object.write_bytes(POISON, object_size(class));
    }
    let _ = (object, class);
}

/// In debug builds: nobody has written to the free object.
#[inline(always)]
pub(super) fn check_poison(object: NonNull<u8>, class: usize) {
    #[cfg(debug_assertions)]
    for byte in size_of::<u64>()..object_size(class) {
        // SAFETY: the object is free, hence nobody else accesses it, and `poison` has written all of it.
        let found = unsafe { object.add(byte).read() };
        assert_eq!(found, POISON, "byte {byte} of slab object {object:?}, written after it was freed");
    }
    let _ = (object, class);
}

/// The class for objects of `size` bytes.
fn class_of(size: usize) -> Option<usize> {
    let shift = size.max(1).checked_next_power_of_two()?.ilog2().max(SHIFT_MIN);
    (shift <= SHIFT_MAX).then(|| (shift - SHIFT_MIN) as usize)
}

pub(super) const fn object_size(class: usize) -> usize {
    1 << (SHIFT_MIN as usize + class)
}

fn capacity<M: Machine>(class: usize) -> u64 {
    const { assert!(Physical::<M>::PAGE >= 1 << SHIFT_MAX, "a page holds an object of each size") };
    (Physical::<M>::PAGE / object_size(class)) as u64
}
