//! How much memory is free, at this moment, by node.

use super::{Frame, NodeSet, Pfn, Physical};
use crate::machine::Machine;
use crate::vm::Vm;

/// The memory of one node, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Frames the machine gave.
    pub present: u64,
    /// Those of them that can be allocated; the others hold the core's descriptors and boot memory.
    pub managed: u64,
    /// Free in the node's buddy allocator.
    pub free: u64,
    /// Free on the lists of the CPUs that prefer this node. (After the node ran out some may be other nodes'.)
    pub cached: u64,
    /// Ordinary allocations leave this many frames free.
    pub min: u64,
    /// Below this many, memory is to be reclaimed.
    pub low: u64,
    /// Up to this many.
    pub high: u64,
}

impl<M: Machine> Vm<M> {
    /// The memory of `node` at this moment; all zero for a node that has none.
    pub fn node_stats(&self, node: u8) -> NodeStats {
        self.physical().node_stats(self, node)
    }

    /// The nodes that have memory, in ascending order.
    pub fn nodes(&self) -> impl Iterator<Item = u8> + '_ {
        self.physical().nodes().iter()
    }

    /// A node with less free memory than its `low` mark, if there is one: memory is to be reclaimed there. What other
    /// CPUs keep on their lists does not count: this one cannot have it.
    pub fn needs_reclaim(&self) -> Option<u8> {
        self.nodes().find(|&node| self.physical().is_below_low(self, node))
    }
}

impl<M: Machine> Physical<M> {
    /// The memory of `node`; all zero for a node that does not exist.
    pub(crate) fn node_stats(&self, vm: &Vm<M>, node: u8) -> NodeStats {
        if node as usize >= self.zones.len() {
            return NodeStats::default();
        }
        let zone = self.zone(node);
        let marks = zone.watermarks();
        NodeStats {
            present: zone.present(),
            managed: zone.managed(),
            free: zone.free(),
            cached: self.cached(vm, node),
            min: marks.min,
            low: marks.low,
            high: marks.high,
        }
    }

    /// Frames on the lists of the CPUs that prefer `node`.
    fn cached(&self, vm: &Vm<M>, node: u8) -> u64 {
        vm.cpus().filter(|cpu| cpu.lists.home() == Some(node)).map(|cpu| cpu.lists.len()).sum()
    }

    /// Whether memory of `node` is to be reclaimed.
    pub(crate) fn is_below_low(&self, vm: &Vm<M>, node: u8) -> bool {
        self.is_below(vm, node, self.zone(node).watermarks().low)
    }

    /// Whether reclaim of `node`, once begun, is to go on.
    pub(crate) fn is_below_high(&self, vm: &Vm<M>, node: u8) -> bool {
        self.is_below(vm, node, self.zone(node).watermarks().high)
    }

    /// Whether the current CPU can get fewer than `mark` frames; a node without memory has marks of 0. Its list is
    /// looked at only if it depends on that. (With the lists of all CPUs together, a CPU could find no frame, and
    /// nobody would reclaim one.)
    fn is_below(&self, vm: &Vm<M>, node: u8, mark: u64) -> bool {
        let free = self.zone(node).free();
        free < mark && {
            let lists = &vm.cpu(vm.machine().current_cpu()).lists;
            lists.home() != Some(node) || free + lists.len() < mark
        }
    }

    /// The nodes that have memory.
    pub(crate) fn nodes(&self) -> NodeSet {
        let nodes = (0..self.zones.len() as u8).filter(|&node| self.zone(node).managed() > 0);
        nodes.fold(NodeSet::EMPTY, NodeSet::with)
    }

    /// Free frames of all nodes, those on the CPUs' lists included; exact at quiescence.
    pub(crate) fn free_pages(&self, vm: &Vm<M>) -> u64 {
        let cached: u64 = (0..vm.machine().cpu_count()).map(|cpu| vm.cpu(cpu).lists.len()).sum();
        self.zones.iter().map(|zone| zone.free()).sum::<u64>() + cached
    }

    /// Frames that can be allocated at most.
    #[cfg(test)]
    pub(crate) fn managed_pages(&self) -> u64 {
        self.zones.iter().map(|zone| zone.managed()).sum()
    }

    /// Calls `visit` with the descriptor of every frame of the machine.
    pub(crate) fn for_each_frame(&self, mut visit: impl FnMut(Pfn, &Frame<M>)) {
        self.map.iter().for_each(|(pfn, frame)| visit(pfn, frame));
    }
}
