//! The list of all objects, for the audit, and those that are to be destroyed.
//!
//! The last reference to an object may be dropped under locks, by the release of a class. Destroying it sleeps, so it
//! waits on a stack for the end of the operation. That operation must not return before the object is destroyed: its
//! backing may be gone then. Whoever destroys objects therefore holds a lock, and who finds it held waits, lest its own
//! object be among those.

use super::writeback::SleepLock;
use super::{Inner, destroy};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::{AtomicU64, Rank, RawLock};
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// All objects of an instance, in a doubly linked list. Lock: `Rank::Objects`.
pub(crate) struct Objects<M> {
    lock: RawLock<M>,
    /// Under the lock: address of the youngest object, 0 if there is none.
    head: AtomicU64<M>,
    /// Under the lock: number of objects.
    count: AtomicU64<M>,
    /// Address of the last object whose last reference is gone, 0 if there is none; chained through their links.
    dying: AtomicU64<M>,
    /// Held while such objects are destroyed.
    reaping: SleepLock<M>,
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
        Objects {
            lock: RawLock::new(),
            head: AtomicU64::new(0),
            count: AtomicU64::new(0),
            dying: AtomicU64::new(0),
            reaping: SleepLock::new(),
        }
    }

    /// Number of objects.
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

impl<M: Machine> Cx<'_, M> {
    /// Drops a reference to an object. If it was the last, the operation must call [`Vm::reap_objects`] before it
    /// returns. Any lock may be held.
    pub(crate) fn put_object(&self, object: NonNull<Inner<M>>) {
        // SAFETY: the caller's reference keeps the object, which is retired only after it has gone through `dying`.
        let inner = unsafe { object.as_ref() };
        if !inner.put() {
            return;
        }
        let dying = &self.vm().objects().dying;
        let address = object.as_ptr().expose_provenance() as u64;
        let mut head = dying.load(Relaxed);
        loop {
            inner.link.0[0].store(head, Relaxed);
            match dying.compare_exchange(head, address, AcqRel) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

impl<M: Machine> Vm<M> {
    /// Destroys the objects whose last reference [`Cx::put_object`] has dropped. Sleeps: called outside the core, at the
    /// end of each operation that may have released a class.
    #[inline]
    pub(crate) fn reap_objects(&self) {
        let objects = self.objects();
        // In this order: whoever empties the stack has taken the lock before.
        if objects.dying.load(Acquire) != 0 || !objects.reaping.is_free() {
            self.reap_objects_slow();
        }
    }

    #[cold]
    fn reap_objects_slow(&self) {
        let _reaping = self.objects().reaping.lock(self);
        let mut next = self.objects().dying.swap(0, AcqRel);
        while let Some(object) = NonNull::new(with_exposed_provenance_mut::<Inner<M>>(next as usize)) {
            // SAFETY: what was on the stack is destroyed here, and not before.
            next = unsafe { object.as_ref() }.link.0[0].load(Relaxed);
            destroy(self, object);
        }
    }
}

/// The object at `address`, 0 for none, which the list names. The list's lock is held.
fn at<'a, M: Machine>(_cx: &'a Cx<'_, M>, address: u64) -> Option<&'a Inner<M>> {
    // SAFETY: an address in the list is 0 or that of an object, which leaves the list before it is retired, so that it
    // outlives the section of the context; all it has are atomics and constants.
    unsafe { with_exposed_provenance::<Inner<M>>(address as usize).as_ref() }
}
