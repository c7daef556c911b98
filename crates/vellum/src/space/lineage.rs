//! Who descends from whom: how the pages of anonymous memory are found.
//!
//! An anonymous page is named by a node of the tree of lines; neither fork nor a move changes that. It can be mapped in
//! the spaces below that node and nowhere else. Each space has a node as its place in the tree; a space made from
//! nothing begins a line of its own. So an address of a node which a *mapped* page names is that of a node below which
//! spaces live, and stays so until the end of the read-side section in which the mapping was seen.
//!
//! A node by which pages are named outlives its space as long as descendants live. Lest there be one for every
//! generation that ever was, however few spaces live, names are used again: a node whose space has ended and that has
//! one child leads to the same spaces as that child. A new space therefore names its pages by such a node above its
//! parent, if there is one by which nobody else names his; and a node by which no page was ever named gives its place
//! to its only child when its space has ended. So a line has no more nodes than a small multiple of the spaces that
//! lived in it at one time, and `s = s.fork()` goes to and fro between two names.
//!
//! Walks pass by passages that lead to the same spaces as another one further down: they note that one, for the next
//! walk. It stays as long as the node itself, since whatever is above it is above all that is below it.
//!
//! Links change under the lock of the registry of spaces. Readers take none: a node that has left the tree keeps its
//! links until a grace period is over. A child is linked before its first entry is copied (F1, E16).
//!
//! *Readers beside a node that gives its place to its child.* Nodes keep their order, parents before children: so who stands
//! on that node goes on to its child, and who stands on the child, or comes up to it, goes on to what followed the
//! node, which follows the child from then on. He has looked for a sibling of the child, there was none, and now goes
//! up: but if he finds himself one level higher than where he looked, he has passed by the siblings of the node that
//! has gone. The child gets those before it gets its new parent; so he asks for siblings once more when he knows the
//! parent (F18).

use super::Inner;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::stat::Event;
use crate::sync::{AtomicU64, Rank};
use core::ops::ControlFlow;
use core::ptr::{NonNull, with_exposed_provenance};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// In [`Lineage::user`]: no page was ever named by the node.
const NEVER: u64 = 1;
/// In [`Lineage::space`]: it has ended, and pages may be named by the node.
const NAME_LEFT: u64 = 1;
/// How many nodes are looked at to find a name that is not used. Names on longer ways are not used again before the way
/// has become shorter.
const SOUGHT: usize = 128;

/// A space's place in its line: addresses of nodes, 0 for none.
#[repr(C)]
pub(crate) struct Lineage<M: Machine> {
    /// The space that names its pages by the node: its address, 0 if that has ended, or [`NEVER`]. Like the next only
    /// for who has the lock, and written over when the node is retired.
    user: AtomicU64<M>,
    previous: AtomicU64<M>,
    /// Address of the space; once that has ended 0 or [`NAME_LEFT`].
    space: AtomicU64<M>,
    parent: AtomicU64<M>,
    /// Youngest first.
    first_child: AtomicU64<M>,
    next: AtomicU64<M>,
    /// One further down that leads to the same spaces, if a walk has seen one.
    ahead: AtomicU64<M>,
}

/// The node by which a space names its pages.
pub(crate) struct OwnerName<M: Machine>(NonNull<Lineage<M>>);

impl<M: Machine> Clone for OwnerName<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for OwnerName<M> {}

impl<M: Machine> OwnerName<M> {
    /// What the pages say.
    #[inline(always)]
    pub(crate) fn address(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }
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

    /// What the space at address `space` names its pages by, whose node this is to be, as a child of `parent`: a name
    /// that is left over, or the node itself. Takes the lock of the registry.
    pub(crate) fn choose_name(&self, cx: &Cx<'_, M>, space: u64, parent: Option<&Self>) -> OwnerName<M> {
        self.user.store(space, Relaxed);
        // Where none is left no lock is needed to see that: what comes meanwhile is for who forks next.
        if parent.is_none_or(|parent| parent.name_left(cx).is_none()) {
            return OwnerName(NonNull::from(self));
        }
        let _guard = cx.vm().spaces().lock.lock(cx, Rank::Spaces);
        match parent.and_then(|parent| parent.name_left(cx)) {
            Some(name) => {
                name.user.store(space, Relaxed);
                self.user.store(NEVER, Relaxed);
                OwnerName(NonNull::from(name))
            }
            None => OwnerName(NonNull::from(self)),
        }
    }

    /// The nearest passage above this node by which no space names its pages.
    fn name_left<'a>(&'a self, cx: &'a Cx<'_, M>) -> Option<&'a Self> {
        let above = core::iter::successors(Some(self), |node| Self::at(cx, node.parent.load(Relaxed)));
        above.take(SOUGHT).find(|node| node.is_passage(cx) && node.user.load(Relaxed) == 0)
    }

    /// The child, if there is one only and never will be another: no space forks here any more.
    fn only_child<'a>(&self, cx: &'a Cx<'_, M>) -> Option<&'a Self> {
        if self.space.load(Acquire) > NAME_LEFT {
            return None;
        }
        Self::at(cx, self.first_child.load(Acquire)).filter(|child| child.next.load(Acquire) == 0)
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

    /// Notes that the space has ended, which named its pages by `name`, and none of its entries is left. Retires the
    /// node when nobody needs it: now, or when the last of its descendants has ended. Takes the lock of the registry.
    pub(crate) fn end(&self, cx: &Cx<'_, M>, name: OwnerName<M>) {
        let _guard = cx.vm().spaces().lock.lock(cx, Rank::Spaces);
        let is_named = self.user.load(Relaxed) != NEVER;
        self.space.store(if is_named { NAME_LEFT } else { 0 }, Release);
        // SAFETY: it is the space's node or above that, and stays as long as that does.
        unsafe { name.0.as_ref() }.user.store(0, Relaxed);
        let mut node = Some(self);
        while let Some(this) = node.filter(|node| node.is_over()) {
            node = if M::guard(Guard::NodesOutliveSpaces) { Self::at(cx, this.parent.load(Relaxed)) } else { None };
            this.unlink(cx);
            cx.retire(NonNull::from(this).cast(), size_of::<Self>());
        }
        if let Some(this) = node.filter(|node| node.user.load(Relaxed) == NEVER)
            && let Some(child) = this.only_child(cx)
        {
            this.give_place_to(cx, child);
            cx.retire(NonNull::from(this).cast(), size_of::<Self>());
        }
    }

    /// Whether neither the space nor a descendant lives.
    fn is_over(&self) -> bool {
        let has_ended = self.space.load(Relaxed) <= NAME_LEFT;
        has_ended && (self.first_child.load(Relaxed) == 0 || !M::guard(Guard::NodesOutliveSpaces))
    }

    /// Takes the node out of its parent's list; its own links stay, for readers.
    fn unlink(&self, cx: &Cx<'_, M>) {
        let next = self.next.load(Relaxed);
        self.link_before(cx, next);
        if let Some(next) = Self::at(cx, next) {
            next.previous.store(self.previous.load(Relaxed), Relaxed);
        }
    }

    /// Has whatever leads to the node lead to the one at address `other`.
    fn link_before(&self, cx: &Cx<'_, M>, other: u64) {
        match (Self::at(cx, self.previous.load(Relaxed)), Self::at(cx, self.parent.load(Relaxed))) {
            (Some(previous), _) => previous.next.store(other, Release),
            (None, Some(parent)) => parent.first_child.store(other, Release),
            (None, None) => {}
        }
    }

    /// Puts `child`, the only one, in the node's place among its siblings; the node's own links stay, for readers.
    fn give_place_to(&self, cx: &Cx<'_, M>, child: &Self) {
        child.previous.store(self.previous.load(Relaxed), Relaxed);
        let next = self.next.load(Relaxed);
        child.next.store(next, Release);
        if let Some(next) = Self::at(cx, next) {
            next.previous.store(child.address(), Relaxed);
        }
        self.link_before(cx, child.address());
        // Last: whoever goes up there has the siblings before him (F18).
        child.parent.store(self.parent.load(Relaxed), Release);
    }

    /// The node's space, if that has not ended.
    #[inline(always)]
    fn living<'a>(&self, _cx: &'a Cx<'_, M>) -> Option<&'a Inner<M>> {
        let address = self.space.load(Acquire) & !NAME_LEFT;
        // SAFETY: a space is retired after its node has forgotten it, and freed after a grace period.
        unsafe { with_exposed_provenance::<Inner<M>>(address as usize).as_ref() }
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
            let parent = node.parent.load(Acquire);
            // It may have come up to its parent's place meanwhile: then it has siblings by now.
            let next = if M::guard(Guard::SiblingsSoughtAgain) { node.next.load(Acquire) } else { 0 };
            if let Some(next) = Self::at(cx, next) {
                return Some(next);
            }
            node = Self::at(cx, parent)?;
        }
        None
    }

    /// The lowest passage that leads to the same spaces as this node; itself, if there is none below. It stays where it
    /// is as long as this one. The next walk from here, or from further down, comes there at once.
    fn foremost<'a>(&'a self, cx: &'a Cx<'_, M>) -> &'a Self {
        let steps = || core::iter::successors(Some(self), |node| node.passage_below(cx));
        let Some(last) = steps().last().filter(|&last| !core::ptr::eq(last, self)) else { return self };
        for node in steps().take_while(|&node| !core::ptr::eq(node, last)) {
            cx.count(Event::RmapStep, 1);
            node.ahead.store(last.address(), Release);
        }
        last
    }

    /// A passage further down that leads to the same spaces.
    fn passage_below<'a>(&self, cx: &'a Cx<'_, M>) -> Option<&'a Self> {
        let ahead = Self::at(cx, self.ahead.load(Acquire));
        ahead.or_else(|| self.only_child(cx).filter(|child| child.is_passage(cx)))
    }

    /// Whether the node is a passage: it has a name, an ended space and one child.
    fn is_passage(&self, cx: &Cx<'_, M>) -> bool {
        self.space.load(Acquire) == NAME_LEFT && self.only_child(cx).is_some()
    }
}

/// The space whose node lies at address `owner`, if that has not ended: the first that [`each_descendant`] visits, on
/// the same terms.
#[inline(always)]
pub(crate) fn space_named<'a, M: Machine>(cx: &'a Cx<'_, M>, owner: u64) -> Option<&'a Inner<M>> {
    Lineage::at(cx, owner)?.living(cx)
}

/// Calls `visit` with the spaces at and below the node at address `owner`, parents before children, until it breaks
/// off. `owner` was named, in this read-side section, by a page that was mapped or a slot that was in use. The spaces
/// may be about to end: see [`Inner::pin`].
pub(crate) fn each_descendant<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    owner: u64,
    visit: &mut dyn FnMut(&'a Inner<M>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(named) = Lineage::at(cx, owner) else { return ControlFlow::Continue(()) };
    let root = named.foremost(cx);
    let mut node = Some(root);
    while let Some(this) = node {
        cx.count(Event::RmapStep, 1);
        if let Some(space) = this.living(cx) {
            visit(space)?;
        }
        node = this.following(cx, root);
    }
    ControlFlow::Continue(())
}

/// How many nodes the line of `space` has, of which so many have a space. For tests.
#[cfg(test)]
pub(crate) fn count_line<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>) -> (usize, usize) {
    let mut top = space.lineage();
    while let Some(parent) = Lineage::at(cx, top.parent.load(Relaxed)) {
        top = parent;
    }
    let nodes = core::iter::successors(Some(top), |node| node.following(cx, top));
    nodes.fold((0, 0), |(nodes, live), node| (nodes + 1, live + usize::from(node.space.load(Relaxed) > NAME_LEFT)))
}
