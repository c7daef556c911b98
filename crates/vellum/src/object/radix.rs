//! A radix tree from page indices to words: what the page cache is made of.
//!
//! Nodes have 64 slots and say themselves how far they shift an index, so the root's address alone is a consistent
//! tree, of whatever height its largest index needs. Readers take no lock: they follow addresses loaded with acquire
//! order inside a read-side section, and nodes are freed a grace period after they were unlinked. Writers hold the
//! lock of the object, and bring the nodes they may need along, so that adding an index either succeeds or changes
//! nothing.

use super::RetireLink;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::sync::{AtomicU64, LockGuard};
use core::ops::Range;
use core::ptr::{NonNull, with_exposed_provenance};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// log2 of the slots of a node.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;

/// A node: 536 bytes, in a slab object of 1024.
#[repr(C)]
struct Node<M> {
    /// Not read while the node is reachable.
    link: RetireLink<M>,
    /// How far an index is shifted for this node: 0 in a leaf. Constant once published.
    shift: AtomicU64<M>,
    /// Addresses of nodes; in a leaf, the words. 0 is empty.
    slots: [AtomicU64<M>; SLOTS],
}

const NODE_BYTES: usize = size_of::<Node<()>>();
const _: () = assert!(NODE_BYTES <= 1024, "a node fits a slab object");

impl<M: Machine> Node<M> {
    /// The node at `address`, 0 for none, as it was loaded from a tree in the section of `cx`.
    #[inline(always)]
    fn at<'a>(_cx: &'a Cx<'_, M>, address: u64) -> Option<&'a Node<M>> {
        // SAFETY: an address in a tree is 0 or that of a node, which was initialised before it was published with
        // release order and stays allocated for a grace period after it is unlinked; the section lasts for `'a`. All
        // its fields are atomic.
        unsafe { with_exposed_provenance::<Node<M>>(address as usize).as_ref() }
    }

    #[inline(always)]
    fn shift(&self) -> u32 {
        self.shift.load(Relaxed) as u32
    }

    /// Whether the node's subtree has a place for `index`, if the node is the root.
    #[inline(always)]
    fn covers(&self, index: u64) -> bool {
        index >> self.shift() >> SLOT_BITS == 0
    }

    /// The slot on the way to `index`.
    #[inline(always)]
    fn slot(&self, index: u64) -> &AtomicU64<M> {
        &self.slots[(index >> self.shift()) as usize % SLOTS]
    }

    fn child<'a>(&self, cx: &'a Cx<'_, M>, index: u64) -> Option<&'a Node<M>> {
        Node::at(cx, self.slot(index).load(Acquire))
    }
}

/// How many levels of nodes a tree needs for `index`.
fn levels_for(index: u64) -> usize {
    (u64::BITS - index.leading_zeros()).div_ceil(SLOT_BITS).max(1) as usize
}

/// The first index that has no slot in the leaf that `index` has its slot in.
fn behind_node(index: u64) -> u64 {
    (index | (SLOTS as u64 - 1)) + 1
}

/// The tree.
pub(super) struct Tree<M> {
    /// Address of the root node, 0 while there is none.
    root: AtomicU64<M>,
}

impl<M: Machine> Tree<M> {
    pub(super) const fn new() -> Self {
        Tree { root: AtomicU64::new(0) }
    }

    fn root<'a>(&self, cx: &'a Cx<'_, M>) -> Option<&'a Node<M>> {
        Node::at(cx, self.root.load(Acquire))
    }

    /// The slot of `index`, if the tree has come to have one.
    #[inline]
    pub(super) fn slot<'a>(&self, cx: &'a Cx<'_, M>, index: u64) -> Option<&'a AtomicU64<M>> {
        Some(self.leaf(cx, index)?.slot(index))
    }

    /// The node that has the slot of `index`, if there is one.
    #[inline(always)]
    fn leaf<'a>(&self, cx: &'a Cx<'_, M>, index: u64) -> Option<&'a Node<M>> {
        let mut node = self.root(cx).filter(|root| root.covers(index))?;
        while node.shift() > 0 {
            node = node.child(cx, index)?;
        }
        Some(node)
    }

    /// Calls `each` with those of `indices` that have slots, and these.
    pub(super) fn each_slot(&self, cx: &Cx<'_, M>, indices: Range<u64>, mut each: impl FnMut(u64, &AtomicU64<M>)) {
        let mut index = indices.start;
        while index < indices.end {
            let end = indices.end.min(behind_node(index));
            if let Some(node) = self.leaf(cx, index) {
                (index..end).for_each(|index| each(index, node.slot(index)));
            }
            index = end;
        }
    }

    /// How many nodes must be added before all of `indices` have slots, which all lie below one node of the level above
    /// the leaves; as [`Tree::missing`].
    pub(super) fn missing_of(&self, cx: &Cx<'_, M>, indices: &Range<u64>) -> usize {
        // With the last one, what is above the leaves is there for all.
        let last = indices.end - 1;
        let mut nodes = self.missing(cx, last);
        let mut index = indices.start;
        while behind_node(index) <= last {
            nodes += usize::from(self.leaf(cx, index).is_none());
            index = behind_node(index);
        }
        nodes
    }

    /// Makes the slots of all of `indices`, from `reserve`, which has the missing nodes.
    pub(super) fn make_slots(
        &self,
        cx: &Cx<'_, M>,
        locked: &LockGuard<'_, M>,
        indices: &Range<u64>,
        reserve: &mut Reserve<'_, M>,
    ) {
        // The last one first, as they are counted.
        self.make_slot(cx, locked, indices.end - 1, reserve);
        let mut index = indices.start;
        while index < indices.end {
            self.make_slot(cx, locked, index, reserve);
            index = behind_node(index);
        }
    }

    /// How many nodes must be added before `index` has a slot: exact under the lock, else as it was lately.
    pub(super) fn missing(&self, cx: &Cx<'_, M>, index: u64) -> usize {
        let levels = levels_for(index);
        let Some(mut node) = self.root(cx) else { return levels };
        let height = (node.shift() / SLOT_BITS) as usize + 1;
        if levels > height {
            // New roots, and a path below the topmost which shares nothing with the old tree.
            return levels - height + levels - 1;
        }
        while node.shift() > 0 {
            match node.child(cx, index) {
                Some(child) => node = child,
                None => return (node.shift() / SLOT_BITS) as usize,
            }
        }
        0
    }

    /// The slot of `index`, made if need be from `reserve`, which has the missing nodes.
    pub(super) fn make_slot<'a>(
        &self,
        cx: &'a Cx<'_, M>,
        _locked: &LockGuard<'_, M>,
        index: u64,
        reserve: &mut Reserve<'_, M>,
    ) -> &'a AtomicU64<M> {
        let top = (levels_for(index) as u32 - 1) * SLOT_BITS;
        let mut node = match self.root(cx) {
            Some(root) => root,
            None => reserve.publish(cx, &self.root, top, 0),
        };
        while !node.covers(index) {
            let old = self.root.load(Relaxed);
            node = reserve.publish(cx, &self.root, node.shift() + SLOT_BITS, old);
        }
        while node.shift() > 0 {
            node = match node.child(cx, index) {
                Some(child) => child,
                None => reserve.publish(cx, node.slot(index), node.shift() - SLOT_BITS, 0),
            };
        }
        node.slot(index)
    }

    /// The first word that is not 0 at or above `from`, with its index.
    pub(super) fn next(&self, cx: &Cx<'_, M>, from: u64) -> Option<(u64, u64)> {
        let mut index = from;
        'descend: loop {
            let mut node = self.root(cx).filter(|root| root.covers(index))?;
            loop {
                let (shift, first) = (node.shift(), (index >> node.shift()) as usize % SLOTS);
                let mut words = (first..SLOTS).map(|place| (place, node.slots[place].load(Acquire)));
                let Some((place, word)) = words.find(|&(_, word)| word != 0) else {
                    // Nothing more below this node: on with what follows it.
                    let following = (index >> shift >> SLOT_BITS) + 1;
                    if following > u64::MAX >> shift >> SLOT_BITS {
                        return None;
                    }
                    index = following << shift << SLOT_BITS;
                    continue 'descend;
                };
                if place != first {
                    index = ((index >> shift) + (place - first) as u64) << shift;
                }
                if shift == 0 {
                    return Some((index, word));
                }
                node = Node::at(cx, word)?;
            }
        }
    }

    /// Takes one node without children out of a tree that nobody adds to any more, giving the words it held to
    /// `each`; false when the tree is empty. Lookups may still be going on: a word is gone before `each` gets it.
    pub(super) fn prune(&self, cx: &Cx<'_, M>, mut each: impl FnMut(u64)) -> bool {
        let mut place = &self.root;
        let Some(mut node) = self.root(cx) else { return false };
        while node.shift() > 0 {
            let Some(slot) = node.slots.iter().find(|slot| slot.load(Relaxed) != 0) else { break };
            let Some(child) = Node::at(cx, slot.load(Acquire)) else { break };
            (place, node) = (slot, child);
        }
        place.store(0, Release);
        if node.shift() == 0 {
            for word in node.slots.iter().map(|slot| slot.swap(0, AcqRel)).filter(|&word| word != 0) {
                each(word);
            }
        }
        cx.retire(NonNull::from(node).cast(), NODE_BYTES);
        true
    }
}

/// Nodes allocated ahead of the lock; those left over are freed. They are chained through their first slots.
pub(super) struct Reserve<'a, M: Machine> {
    cx: &'a Cx<'a, M>,
    head: Option<NonNull<Node<M>>>,
    nodes: usize,
}

impl<'a, M: Machine> Reserve<'a, M> {
    pub(super) fn new(cx: &'a Cx<'_, M>) -> Self {
        Reserve { cx, head: None, nodes: 0 }
    }

    /// Allocates until there are `nodes`.
    pub(super) fn fill(&mut self, nodes: usize) -> Result<(), Error> {
        while self.nodes < nodes {
            let node = self.cx.slab_alloc(NODE_BYTES)?.cast::<Node<M>>();
            let next = self.head.map_or(0, |head| head.as_ptr().expose_provenance() as u64);
            // SAFETY: the object is large enough, aligned, all zero, which is a valid node, and nobody else's.
            unsafe { node.as_ref() }.slots[0].store(next, Relaxed);
            self.head = Some(node);
            self.nodes += 1;
        }
        Ok(())
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.nodes
    }

    fn take(&mut self) -> Option<NonNull<Node<M>>> {
        let node = self.head?;
        // SAFETY: a node in reserve is initialised and this reserve's alone.
        let next = unsafe { node.as_ref() }.slots[0].swap(0, Relaxed);
        self.head = NonNull::new(core::ptr::with_exposed_provenance_mut(next as usize));
        self.nodes -= 1;
        Some(node)
    }

    /// Makes `place` name a node of the reserve, which shifts by `shift` and has `first` in its first slot.
    fn publish<'n>(&mut self, cx: &'n Cx<'_, M>, place: &AtomicU64<M>, shift: u32, first: u64) -> &'n Node<M> {
        let Some(pointer) = self.take() else { unreachable!("the nodes that are missing were counted under the lock") };
        let address = pointer.as_ptr().expose_provenance() as u64;
        // SAFETY: as in `take`; and from here on it is reachable, so that it lives as long as the section of `cx`.
        let node: &'n Node<M> = unsafe { pointer.as_ref() };
        let _ = cx;
        node.shift.store(shift as u64, Relaxed);
        node.slots[0].store(first, Relaxed);
        place.store(address, Release);
        node
    }
}

impl<M: Machine> Drop for Reserve<'_, M> {
    fn drop(&mut self) {
        while let Some(node) = self.take() {
            self.cx.slab_free(node.cast(), NODE_BYTES);
        }
    }
}
