//! From which node memory comes: policies of ranges, and allocation by them.
//!
//! A CPU keeps frames of its own node only. A frame of any other one is taken from that node's zone, under its lock.

use super::{AllocFlags, NODES_MAX, ORDER_MAX, Pfn, Physical};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::stat::Event;

/// A set of NUMA nodes: bit n stands for node n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet(pub u16);

const _: () = assert!(NODES_MAX == u16::BITS as usize);

impl NodeSet {
    /// No node.
    pub const EMPTY: NodeSet = NodeSet(0);
    /// Every node there could be.
    pub const ALL: NodeSet = NodeSet(u16::MAX);

    /// The set with `node` besides; numbers of [`NODES_MAX`] and above are ignored.
    #[must_use]
    pub const fn with(self, node: u8) -> NodeSet {
        if (node as usize) < NODES_MAX { NodeSet(self.0 | 1 << node) } else { self }
    }

    /// Whether `node` is in the set.
    pub const fn contains(self, node: u8) -> bool {
        (node as usize) < NODES_MAX && self.0 & 1 << node != 0
    }

    /// Whether all nodes of this set are in `other`.
    pub const fn is_subset(self, other: NodeSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of nodes in the set.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The nodes in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..NODES_MAX as u8).filter(move |&node| self.contains(node))
    }
}

/// From which node the memory of a range comes, with the meanings of Linux's `set_mempolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The node of the CPU which first touches a page, or the nearest with free memory (`MPOL_LOCAL`).
    #[default]
    Local,
    /// Only these nodes, the nearest first (`MPOL_BIND`).
    Bind(NodeSet),
    /// This node, or the nearest to it with free memory (`MPOL_PREFERRED`).
    Preferred(u8),
    /// These nodes in turn, by the page's offset; if the one has no free memory, the nearest to it
    /// (`MPOL_INTERLEAVE`).
    Interleave(NodeSet),
}

impl Policy {
    /// As 24 bits; [`Policy::Local`] is 0.
    pub(crate) const fn to_bits(self) -> u32 {
        match self {
            Policy::Local => 0,
            Policy::Bind(nodes) => 1 | (nodes.0 as u32) << 8,
            Policy::Preferred(node) => 2 | (node as u32) << 8,
            Policy::Interleave(nodes) => 3 | (nodes.0 as u32) << 8,
        }
    }

    /// What [`Policy::to_bits`] made the bits of; higher ones are ignored.
    pub(crate) const fn from_bits(bits: u32) -> Policy {
        let nodes = NodeSet((bits >> 8) as u16);
        match bits & 3 {
            0 => Policy::Local,
            1 => Policy::Bind(nodes),
            2 => Policy::Preferred((bits >> 8) as u8),
            _ => Policy::Interleave(nodes),
        }
    }

    #[inline(always)]
    pub(crate) const fn is_local(self) -> bool {
        matches!(self, Policy::Local)
    }
}

impl<M: Machine> Physical<M> {
    /// Refuses a policy that names no node, or one without memory.
    pub(crate) fn check_policy(&self, policy: Policy) -> Result<(), Error> {
        let nodes = match policy {
            Policy::Local => return Ok(()),
            Policy::Bind(nodes) | Policy::Interleave(nodes) => nodes,
            Policy::Preferred(node) => NodeSet::EMPTY.with(node),
        };
        if nodes.is_empty() || !nodes.is_subset(self.nodes()) {
            return Err(Error::Invalid { what: "a policy that names no node with memory, or one without" });
        }
        Ok(())
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Allocates a single frame, as [`Cx::alloc_frame`] does, from the node that `policy` wants for page `offset` of
    /// what the frame is for.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; for [`Policy::Bind`] also when other nodes have memory.
    #[inline(always)]
    pub(crate) fn alloc_frame_by(&self, flags: AllocFlags, policy: Policy, offset: u64) -> Result<Pfn, Error> {
        if policy.is_local() { self.alloc_frame(0, flags) } else { self.alloc_by_policy(0, flags, policy, offset) }
    }

    /// As [`Cx::alloc_frame_by`], for a block of `1 << order` frames.
    pub(super) fn alloc_block_by(&self, order: u8, policy: Policy, offset: u64) -> Result<Pfn, Error> {
        match policy.is_local() {
            true => self.alloc_frame(order, AllocFlags::NONE),
            false => self.alloc_by_policy(order, AllocFlags::NONE, policy, offset),
        }
    }

    /// Allocates a block of `1 << order` frames of `node`, or fails. Not counted as a policy's.
    pub(crate) fn alloc_block_on(&self, node: u8, order: u8, flags: AllocFlags) -> Result<Pfn, Error> {
        if !self.is_allocation_allowed(order, flags) {
            return Err(Error::OutOfMemory);
        }
        let pfn = self.try_on(node, order, flags);
        if pfn.is_some() || !self.keeps_memory() {
            return pfn.ok_or(Error::OutOfMemory);
        }
        // As in `alloc_near`.
        self.drain_cpu();
        self.try_on(node, order, flags).ok_or(Error::OutOfMemory)
    }

    #[cold]
    #[inline(never)]
    fn alloc_by_policy(&self, order: u8, flags: AllocFlags, policy: Policy, offset: u64) -> Result<Pfn, Error> {
        if !self.is_allocation_allowed(order, flags) {
            return Err(Error::OutOfMemory);
        }
        let physical = self.vm().physical();
        let home = self.home_node();
        let (wanted, allowed) = match policy {
            Policy::Local => (Some(home), NodeSet::ALL),
            Policy::Bind(nodes) => (physical.nodes_near(home).find(|&node| nodes.contains(node)), nodes),
            Policy::Preferred(node) => (Some(node), NodeSet::ALL),
            Policy::Interleave(nodes) => {
                (nodes.iter().nth((offset % nodes.len().max(1) as u64) as usize), NodeSet::ALL)
            }
        };
        let centre = if let Policy::Bind(_) = policy { home } else { wanted.unwrap_or(home) };
        let pfn = self.alloc_near(centre, allowed, order, flags).ok_or(Error::OutOfMemory)?;
        if Some(physical.frame(pfn).node()) == wanted {
            self.count(Event::NumaHit, 1);
            self.count(Event::NumaInterleave, matches!(policy, Policy::Interleave(_)) as u64);
        } else {
            self.count(Event::NumaMiss, 1);
            self.count(Event::NumaForeign, 1);
        }
        Ok(pfn)
    }

    /// The node whose frames this CPU keeps.
    pub(super) fn home_node(&self) -> u8 {
        self.find_home();
        self.cpu().lists.home().unwrap_or(0)
    }

    /// Takes a block from the node nearest to `centre` among those allowed; if none has any left, once more after
    /// draining this CPU's stacks, which may keep frames of those nodes where they are not looked for.
    fn alloc_near(&self, centre: u8, allowed: NodeSet, order: u8, flags: AllocFlags) -> Option<Pfn> {
        let pfn = self.try_near(centre, allowed, order, flags);
        if pfn.is_some() || !self.keeps_memory() {
            return pfn;
        }
        self.drain_cpu();
        self.try_near(centre, allowed, order, flags)
    }

    fn try_near(&self, centre: u8, allowed: NodeSet, order: u8, flags: AllocFlags) -> Option<Pfn> {
        let physical = self.vm().physical();
        let nodes = || physical.nodes_near(centre).filter(|&node| allowed.contains(node));
        let ordinary = |node| self.alloc_of(node, order, physical.zone(node).watermarks().min, physical.batch as u64);
        let pfn = nodes().find_map(ordinary);
        let from_reserve = || nodes().find_map(|node| self.alloc_of(node, order, 0, 1));
        if flags.has(AllocFlags::RESERVE) { pfn.or_else(from_reserve) } else { pfn }
    }

    /// As `try_near`, from one node.
    #[inline(always)]
    fn try_on(&self, node: u8, order: u8, flags: AllocFlags) -> Option<Pfn> {
        let physical = self.vm().physical();
        let pfn = self.alloc_of(node, order, physical.zone(node).watermarks().min, physical.batch as u64);
        if flags.has(AllocFlags::RESERVE) { pfn.or_else(|| self.alloc_of(node, order, 0, 1)) } else { pfn }
    }

    /// Takes a block of `node`, leaving `floor` in its zone: a single frame by way of this CPU's stack if it is the
    /// CPU's own node.
    fn alloc_of(&self, node: u8, order: u8, floor: u64, batch: u64) -> Option<Pfn> {
        if order > ORDER_MAX {
            return None;
        }
        if order > 0 {
            return self.alloc_from_zone(node, order, floor, batch);
        }
        let physical = self.vm().physical();
        if node == self.home_node() {
            // After its node ran out, another one's frames may lie on the stack.
            let is_own = self.cpu().lists.node_on_top(physical) == Some(node);
            return if is_own { self.pop_frame() } else { self.alloc_from_zone(node, 0, floor, batch) };
        }
        if physical.zone(node).free() <= floor {
            return None;
        }
        let pfn = physical.lock_zone(self, node).take(0, floor)?;
        self.count(Event::Alloc, 1);
        Some(pfn)
    }
}
