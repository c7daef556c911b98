//! How much memory is free, at this moment, by node.

use super::{Frame, NODES_MAX, Pfn, Physical};
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

impl<M: Machine> Physical<M> {
    /// The memory of `node`; all zero for a node that does not exist.
    #[allow(dead_code)]
    pub(crate) fn node_stats(&self, vm: &Vm<M>, node: u8) -> NodeStats {
        if node as usize >= NODES_MAX {
            return NodeStats::default();
        }
        let zone = self.zone(node);
        let marks = zone.watermarks();
        let cpus = (0..vm.machine().cpu_count()).filter(|&cpu| self.home_of(vm.machine(), cpu) == node);
        NodeStats {
            present: zone.present(),
            managed: zone.managed(),
            free: zone.free(),
            cached: cpus.map(|cpu| vm.cpu(cpu).lists.len()).sum(),
            min: marks.min,
            low: marks.low,
            high: marks.high,
        }
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
