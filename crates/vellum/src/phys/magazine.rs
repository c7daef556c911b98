//! Free slab objects that each CPU keeps: a *magazine* for each size, filled and emptied in batches.
//!
//! A magazine belongs to its CPU as the lists of frames do (see `percpu`): with pre-emption off nobody else accesses
//! it, and it needs no lock and no atomic read-modify-write. To their slabs the objects in it are in use. They are
//! linked through their first words.

use super::slab::{CLASSES, Slab, check_poison, object_size, poison};
use super::{Kind, Pfn, Physical, pfn_of};
use crate::machine::Machine;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::Relaxed;

/// The most objects of a size that go to a magazine, or from there, at a time.
const BATCH: usize = 8;
/// The most bytes that do.
const BATCH_BYTES: usize = 4096;
/// Of a word, the bits below the address of an object: every size is a multiple of 64.
const COUNT: u64 = 63;

const _: () = assert!(2 * BATCH < COUNT as usize);

/// The free objects that a CPU keeps, by size class: the address of the first, and in the bits that are free below it
/// how many there are.
#[repr(align(64))]
pub(crate) struct Magazines<M>([AtomicU64<M>; CLASSES]);

impl<M: Machine> Magazines<M> {
    pub(crate) const fn new() -> Self {
        Magazines([const { AtomicU64::new(0) }; CLASSES])
    }

    pub(super) fn len(&self, class: usize) -> u64 {
        self.0[class].load(Relaxed) & COUNT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(Relaxed) == 0)
    }

    /// Puts a free object on top, of which there are fewer than [`COUNT`].
    pub(super) fn push(&self, class: usize, object: NonNull<u8>) {
        #[cfg(debug_assertions)]
        self.objects(class).for_each(|kept| assert_ne!(kept, object, "slab object {object:?} is freed twice"));
        let word = self.0[class].load(Relaxed);
        poison(object, class);
        // SAFETY: the object is free and this CPU's, so nobody else accesses it.
        unsafe { object.cast::<u64>().write(word & !COUNT) };
        let address = object.as_ptr().expose_provenance() as u64;
        self.0[class].store(address | ((word & COUNT) + 1), Relaxed);
    }

    /// Takes the object on top.
    pub(super) fn pop(&self, class: usize) -> Option<NonNull<u8>> {
        let word = self.0[class].load(Relaxed);
        let object = first(word)?;
        check_poison(object, class);
        self.0[class].store(next_of(object) | ((word & COUNT) - 1), Relaxed);
        Some(object)
    }

    /// The objects kept, from the top; at most as many as there ought to be.
    fn objects(&self, class: usize) -> impl Iterator<Item = NonNull<u8>> {
        let word = self.0[class].load(Relaxed);
        core::iter::successors(first(word), |&object| first(next_of(object))).take((word & COUNT) as usize)
    }

    /// Calls `check` for each object kept of a size, with its slab if it lies in one of that size. At quiescence; how
    /// many there are.
    pub(super) fn audit<E>(
        &self,
        vm: &Vm<M>,
        class: usize,
        mut check: impl FnMut(Option<(Pfn, Slab<'_, M>)>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut found = 0;
        for object in self.objects(class) {
            let pfn =
                pfn_of(vm.machine(), object.as_ptr()).filter(|&pfn| vm.physical().frame(pfn).kind() == Kind::Slab);
            let slab = pfn.and_then(|pfn| Some((pfn, Slab::of(vm.physical(), vm.machine(), pfn)?)));
            check(slab.filter(|(_, slab)| slab.class() == class))?;
            found += 1;
        }
        Ok(found)
    }
}

/// The object whose address is in `word`, of a magazine or of the object before.
fn first(word: u64) -> Option<NonNull<u8>> {
    NonNull::new(with_exposed_provenance_mut((word & !COUNT) as usize))
}

/// What follows an object in its magazine.
fn next_of(object: NonNull<u8>) -> u64 {
    // SAFETY: the object is free and this CPU's, and `push` has written its first word.
    unsafe { object.cast::<u64>().read() }
}

impl<M: Machine> Physical<M> {
    /// How many objects of a size go to a magazine, or from there, at a time; it has twice as many at most. 0 where
    /// memory is small: even if each object kept lay in a slab of its own, all CPUs together would keep a sixth of the
    /// memory.
    pub(super) fn magazine_batch(&self, class: usize) -> u64 {
        let most = BATCH.min(BATCH_BYTES / object_size(class)) as u64;
        most * self.batch as u64 / super::percpu::BATCH
    }
}
