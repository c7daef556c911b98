//! The end of an object: its last pages are written, its memory is freed, its backing dropped.

use super::inner::{INNER_BYTES, Inner, Source};
use super::writeback;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::vm::Vm;
use core::cell::Cell;
use core::ptr::{NonNull, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::Relaxed;

/// Ends an object whose last reference is gone: writes dirty pages of a file back, counting failures
/// ([`Event::WriteBackError`](crate::stat::Event::WriteBackError)), and frees everything; last, drops the backing.
/// Sleeps: without a [`Cx`].
///
/// To be called once, by whom [`Inner::put`] has said so.
pub(crate) fn destroy<M: Machine>(vm: &Vm<M>, inner: NonNull<Inner<M>>) {
    // Dropped also if the backing panics when it is written to: then what is dirty is lost, and nothing else.
    let ending = Ending { vm, inner };
    // SAFETY: the object is freed when `ending` is dropped, and by nobody else.
    let inner = unsafe { inner.as_ref() };
    debug_assert_eq!(inner.references.load(Relaxed), 0, "an object is destroyed while it is referred to");
    writeback::write_back_last(vm, inner);
    drop(ending);
}

/// An object that nobody refers to any more, whose pages are written: dropping this frees it.
struct Ending<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    inner: NonNull<Inner<M>>,
}

impl<M: Machine> Drop for Ending<'_, M> {
    fn drop(&mut self) {
        /// Nodes of the cache, of 64 pages each, freed before the core is left for a moment.
        const NODES: usize = 2;
        let vm = self.vm;
        // SAFETY: the object is freed below, and by nobody else.
        let inner = unsafe { self.inner.as_ref() };
        let prune = || {
            let cx = Cx::enter(vm);
            (0..NODES).all(|_| inner.cache.prune(&cx))
        };
        while prune() {}
        debug_assert_eq!(inner.cached_pages(), 0, "pages left in the cache of a dead object");
        let backing = match inner.source {
            Source::SharedMemory(_) => None,
            Source::File(backing) => Some(backing),
        };
        {
            let cx = Cx::enter(vm);
            vm.objects().remove(&cx, self.inner);
            cx.commit_pages(-(inner.committed_pages() as i64));
            cx.retire(self.inner.cast(), INNER_BYTES);
        }
        if let Some(backing) = backing {
            // SAFETY: who looks at the object without a reference does not use its backing; it is not in the list of
            // objects any more, and is destroyed once.
            unsafe { backing.end(vm) };
        }
    }
}

/// Objects whose last reference was dropped inside the core, part of a [`Cx`]. They are destroyed when that has ended,
/// by the same operation and nobody else: so the backing is dropped by whoever ended its last use, before he returns.
pub(crate) struct Dying<M>(Cell<Option<NonNull<Inner<M>>>>);

impl<M: Machine> Dying<M> {
    /// None yet.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Dying(Cell::new(None))
    }

    /// Whether none is on the list.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Drops a reference to an object; if it was the last, the object is destroyed later. Any lock may be held.
    pub(crate) fn put(&self, object: NonNull<Inner<M>>) {
        // SAFETY: the caller's reference keeps the object; the last one passes to the list.
        let inner = unsafe { object.as_ref() };
        if inner.put() {
            self.add(object);
        }
    }

    fn add(&self, object: NonNull<Inner<M>>) {
        let next = self.0.get().map_or(0, |head| head.as_ptr().expose_provenance() as u64);
        // SAFETY: what is on a list is not freed yet, and each list has one owner.
        unsafe { object.as_ref() }.link.0[0].store(next, Relaxed);
        self.0.set(Some(object));
    }

    fn take(&self) -> Option<NonNull<Inner<M>>> {
        let object = self.0.take()?;
        // SAFETY: as in `add`.
        let next = unsafe { object.as_ref() }.link.0[0].load(Relaxed);
        self.0.set(NonNull::new(with_exposed_provenance_mut(next as usize)));
        Some(object)
    }

    /// Takes over what `other` has.
    pub(crate) fn adopt(&self, other: &Dying<M>) {
        while let Some(object) = other.take() {
            self.add(object);
        }
    }

    /// Destroys what there is; called outside the core, with pre-emption on.
    #[inline(always)]
    pub(crate) fn destroy(&self, vm: &Vm<M>) {
        if self.0.get().is_some() {
            self.destroy_all(vm);
        }
    }

    #[cold]
    #[inline(never)]
    fn destroy_all(&self, vm: &Vm<M>) {
        /// The others, if one of their backings panics.
        struct Others<'a, M: Machine>(&'a Dying<M>, &'a Vm<M>);
        impl<M: Machine> Drop for Others<'_, M> {
            fn drop(&mut self) {
                self.0.destroy(self.1);
            }
        }
        while let Some(object) = self.take() {
            let others = Others(self, vm);
            destroy(vm, object);
            core::mem::forget(others);
        }
    }
}
