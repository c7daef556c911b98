//! The registry of all spaces: for audits, and for those who go from one to the next.

use super::Inner;
use super::ends::Ends;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::{AtomicU64, Rank, RawLock};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// All spaces of an instance, linked through themselves: the youngest first.
pub(crate) struct Spaces<M> {
    /// Also protects the links of the lineages.
    pub(crate) lock: RawLock<M>,
    head: AtomicU64<M>,
    count: AtomicU64<M>,
    ends: Ends<M>,
}

impl<M: Machine> Spaces<M> {
    pub(crate) const fn new() -> Self {
        Spaces { lock: RawLock::new(), head: AtomicU64::new(0), count: AtomicU64::new(0), ends: Ends::new() }
    }

    /// The spaces that are at their end.
    pub(crate) fn ends(&self) -> &Ends<M> {
        &self.ends
    }

    /// Calls `visit` with every space, under the registry's lock: none of them ends meanwhile.
    pub(crate) fn for_each(&self, cx: &Cx<'_, M>, mut visit: impl FnMut(&Inner<M>)) {
        let _guard = self.lock.lock(cx, Rank::Spaces);
        let mut next = self.head.load(Relaxed);
        while let Some(space) = Inner::from_address(next) {
            // SAFETY: a space leaves the registry before it ends.
            let space = unsafe { space.as_ref() };
            visit(space);
            next = space.next.load(Relaxed);
        }
    }

    /// The first that has not begun to end, with one more handle: of those that were registered before `younger`, or of
    /// all, the youngest first.
    pub(super) fn first_alive(&self, cx: &Cx<'_, M>, younger: Option<&Inner<M>>) -> Option<NonNull<Inner<M>>> {
        let _guard = self.lock.lock(cx, Rank::Spaces);
        let mut next = younger.map_or(&self.head, |space| &space.next).load(Relaxed);
        while let Some(inner) = Inner::from_address(next) {
            // SAFETY: a space leaves the registry before it ends.
            let space = unsafe { inner.as_ref() };
            if space.try_get() {
                return Some(inner);
            }
            next = space.next.load(Relaxed);
        }
        None
    }
}

impl<M: Machine> Inner<M> {
    /// Adds the space, the youngest of all, and begins its place among the descendants of `parent`.
    pub(super) fn register(&self, cx: &Cx<'_, M>, parent: Option<&Inner<M>>) {
        let spaces = cx.vm().spaces();
        let _guard = spaces.lock.lock(cx, Rank::Spaces);
        let address = (&raw const *self).expose_provenance() as u64;
        let head = spaces.head.load(Relaxed);
        self.next.store(head, Relaxed);
        if let Some(head) = Self::from_address(head) {
            // SAFETY: spaces in the registry are alive; their links are under its lock.
            unsafe { head.as_ref() }.previous.store(address, Relaxed);
        }
        spaces.head.store(address, Relaxed);
        spaces.count.add_owned(1);
        self.lineage().begin(cx, address, parent.map(Inner::lineage));
    }

    /// Takes the space out, before it ends.
    pub(super) fn unregister(&self, cx: &Cx<'_, M>) {
        let spaces = cx.vm().spaces();
        let _guard = spaces.lock.lock(cx, Rank::Spaces);
        let (next, previous) = (self.next.load(Relaxed), self.previous.load(Relaxed));
        match Self::from_address(previous) {
            // SAFETY: as in `register`.
            Some(space) => unsafe { space.as_ref() }.next.store(next, Relaxed),
            None => spaces.head.store(next, Relaxed),
        }
        if let Some(space) = Self::from_address(next) {
            // SAFETY: as in `register`.
            unsafe { space.as_ref() }.previous.store(previous, Relaxed);
        }
        spaces.count.add_owned(u64::MAX);
    }
}
