//! The list of all objects: for the audit, and for the end of the instance.

use super::Inner;
use super::inner::Source;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::{AtomicU64, Rank, RawLock};
use core::ptr::{NonNull, with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::Relaxed;

/// All objects of an instance, in a doubly linked list. Lock: `Rank::Objects`.
pub(crate) struct Objects<M> {
    lock: RawLock<M>,
    /// Under the lock: address of the youngest object, 0 if there is none.
    head: AtomicU64<M>,
    /// Under the lock: number of objects.
    count: AtomicU64<M>,
}

/// An object's place in the list: addresses, 0 at the ends.
pub(super) struct Links<M> {
    next: AtomicU64<M>,
    previous: AtomicU64<M>,
}

impl<M: Machine> Links<M> {
    pub(super) const fn new() -> Self {
        Links { next: AtomicU64::new(0), previous: AtomicU64::new(0) }
    }
}

impl<M: Machine> Objects<M> {
    pub(crate) const fn new() -> Self {
        Objects { lock: RawLock::new(), head: AtomicU64::new(0), count: AtomicU64::new(0) }
    }

    /// Number of objects.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Calls `visit` with each object, youngest first. At quiescence: `visit` must create and drop none.
    pub(crate) fn for_each(&self, cx: &Cx<'_, M>, mut visit: impl FnMut(&Inner<M>)) {
        let _guard = self.lock.lock(cx, Rank::Objects);
        let mut next = self.head.load(Relaxed);
        while let Some(object) = at(cx, next) {
            visit(object);
            next = object.links.next.load(Relaxed);
        }
    }

    /// Adds a new object.
    pub(super) fn add(&self, cx: &Cx<'_, M>, object: NonNull<Inner<M>>) {
        let _guard = self.lock.lock(cx, Rank::Objects);
        let address = object.as_ptr().expose_provenance() as u64;
        let head = self.head.load(Relaxed);
        if let (Some(object), following) = (at(cx, address), at(cx, head)) {
            object.links.next.store(head, Relaxed);
            if let Some(following) = following {
                following.links.previous.store(address, Relaxed);
            }
        }
        self.head.store(address, Relaxed);
        self.count.add_owned(1);
    }

    /// Takes out an object which is in the list.
    pub(super) fn remove(&self, cx: &Cx<'_, M>, object: NonNull<Inner<M>>) {
        let _guard = self.lock.lock(cx, Rank::Objects);
        // SAFETY: what is in the list is not freed yet.
        let links = &unsafe { object.as_ref() }.links;
        let (next, previous) = (links.next.load(Relaxed), links.previous.load(Relaxed));
        match at(cx, previous) {
            Some(object) => object.links.next.store(next, Relaxed),
            None => self.head.store(next, Relaxed),
        }
        if let Some(object) = at(cx, next) {
            object.links.previous.store(previous, Relaxed);
        }
        self.count.add_owned(1u64.wrapping_neg());
    }
}

/// Drops the backings of objects that are still there at the end of the instance, since handles of them, or of spaces
/// that show them, were forgotten.
impl<M> Drop for Objects<M> {
    fn drop(&mut self) {
        let mut next = *self.head.get_mut();
        // SAFETY: an address in the list is 0 or that of an object; nobody else has the instance any more.
        while let Some(object) = unsafe { with_exposed_provenance_mut::<Inner<M>>(next as usize).as_mut() } {
            next = *object.links.next.get_mut();
            if let Source::File(backing) = object.source {
                // SAFETY: what is in the list is not destroyed, and never will be.
                unsafe { backing.drop_with_instance() };
            }
        }
    }
}

/// The object at `address`, 0 for none, which the list names. The list's lock is held.
fn at<'a, M: Machine>(_cx: &'a Cx<'_, M>, address: u64) -> Option<&'a Inner<M>> {
    // SAFETY: an address in the list is 0 or that of an object, which leaves the list before it is retired, so that it
    // outlives the section of the context; all it has are atomics and constants.
    unsafe { with_exposed_provenance::<Inner<M>>(address as usize).as_ref() }
}
