//! Who descends from whom: how the pages of anonymous memory are found.
//!
//! An anonymous page is named by the space that created it and its offset there; neither fork nor a move changes that.
//! It can be mapped in that space and in those which descend from it, nowhere else. Each space has a node in the tree
//! of its line; a space made from nothing begins a line of its own. The node of a space that has ended stays as long as
//! descendants live, since pages may still bear its name. So an address of a node which a *mapped* page names is that
//! of a live node, and stays so until the end of the read-side section in which the mapping was seen.
//!
//! Links change under the lock of the registry of spaces. Readers take none: a node that is unlinked keeps its links
//! until a grace period is over. A child is linked before its first entry is copied (F1, E16).

use super::Inner;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::sync::{AtomicU64, Rank};
use core::ops::ControlFlow;
use core::ptr::{NonNull, with_exposed_provenance};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A space's place in its line: addresses of nodes, 0 for none.
#[repr(C)]
pub(crate) struct Lineage<M: Machine> {
    /// Written when the node is retired.
    _retired: [u64; 2],
    /// Address of the space; 0 once it has ended.
    space: AtomicU64<M>,
    /// Constant once linked.
    parent: AtomicU64<M>,
    /// Youngest first.
    first_child: AtomicU64<M>,
    next: AtomicU64<M>,
    previous: AtomicU64<M>,
}

impl<M: Machine> Lineage<M> {
    /// The node at `address`, 0 for none, as it was found in this read-side section.
    fn at<'a>(_cx: &'a Cx<'_, M>, address: u64) -> Option<&'a Self> {
        // SAFETY: nodes are retired after they were unlinked and freed after a grace period; see the module.
        unsafe { with_exposed_provenance::<Self>(address as usize).as_ref() }
    }

    fn address(&self) -> u64 {
        (&raw const *self).expose_provenance() as u64
    }

    /// A node that belongs to no space yet.
    pub(crate) fn allocate(cx: &Cx<'_, M>) -> Result<NonNull<Self>, Error> {
        // All zero is a node without links.
        cx.slab_alloc(size_of::<Self>()).map(NonNull::cast)
    }

    /// Makes the node that of the space at address `space`, a child of `parent`. The registry's lock is held.
    pub(crate) fn begin(&self, cx: &Cx<'_, M>, space: u64, parent: Option<&Self>) {
        self.space.store(space, Relaxed);
        let Some(parent) = parent else { return };
        self.parent.store(parent.address(), Relaxed);
        let next = parent.first_child.load(Relaxed);
        self.next.store(next, Relaxed);
        if let Some(next) = Self::at(cx, next) {
            next.previous.store(self.address(), Relaxed);
        }
        parent.first_child.store(self.address(), Release);
    }

    /// Notes that the space has ended and none of its entries is left. Retires the node, unless descendants live; then
    /// the last of them does. Takes the lock of the registry.
    pub(crate) fn end(&self, cx: &Cx<'_, M>) {
        let _guard = cx.vm().spaces().lock.lock(cx, Rank::Spaces);
        self.space.store(0, Release);
        let mut node = Some(self);
        while let Some(this) = node.filter(|node| node.is_over()) {
            node = if M::guard(Guard::NodesOutliveSpaces) { Self::at(cx, this.parent.load(Relaxed)) } else { None };
            this.unlink(cx);
            cx.retire(NonNull::from(this).cast(), size_of::<Self>());
        }
    }

    /// Whether neither the space nor a descendant lives.
    fn is_over(&self) -> bool {
        self.space.load(Relaxed) == 0 && (self.first_child.load(Relaxed) == 0 || !M::guard(Guard::NodesOutliveSpaces))
    }

    /// Takes the node out of its parent's list; its own links stay, for readers.
    fn unlink(&self, cx: &Cx<'_, M>) {
        let (next, previous) = (self.next.load(Relaxed), self.previous.load(Relaxed));
        match (Self::at(cx, previous), Self::at(cx, self.parent.load(Relaxed))) {
            (Some(previous), _) => previous.next.store(next, Release),
            (None, Some(parent)) => parent.first_child.store(next, Release),
            (None, None) => {}
        }
        if let Some(next) = Self::at(cx, next) {
            next.previous.store(previous, Relaxed);
        }
    }

    /// The node that follows in the tree below `root`, parents before children.
    fn following<'a>(&'a self, cx: &'a Cx<'_, M>, root: &Self) -> Option<&'a Self> {
        if let Some(child) = Self::at(cx, self.first_child.load(Acquire)) {
            return Some(child);
        }
        let mut node = self;
        while !core::ptr::eq(node, root) {
            if let Some(next) = Self::at(cx, node.next.load(Acquire)) {
                return Some(next);
            }
            node = Self::at(cx, node.parent.load(Relaxed))?;
        }
        None
    }
}

/// Calls `visit` with the space that `owner` is the node of and with all that descend from it, parents before children,
/// until it breaks off. `owner` was named, in this read-side section, by a page that was mapped or a slot that was in
/// use. The spaces may be about to end: see [`Inner::pin`].
pub(crate) fn each_descendant<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    owner: u64,
    visit: &mut dyn FnMut(&'a Inner<M>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(root) = Lineage::at(cx, owner) else { return ControlFlow::Continue(()) };
    let mut node = Some(root);
    while let Some(this) = node {
        // SAFETY: a space is retired after its node has forgotten it, and freed after a grace period.
        let space = unsafe { with_exposed_provenance::<Inner<M>>(this.space.load(Acquire) as usize).as_ref() };
        if let Some(space) = space {
            visit(space)?;
        }
        node = this.following(cx, root);
    }
    ControlFlow::Continue(())
}
