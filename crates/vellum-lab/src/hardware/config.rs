//! The shape of a simulated machine.

use vellum::MemoryRange;
use vellum::arch::Arch;
use vellum::phys::Pfn;

/// How many CPUs a machine has and where its memory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Number of CPUs.
    pub cpus: usize,
    /// The memory, as the core will see it.
    pub ranges: Vec<MemoryRange>,
}

/// Where memory begins unless said otherwise: frame numbers near 0 are then no memory, so that a zero taken for a
/// frame number shows.
const FIRST: u64 = 256;
/// Frames that are no memory between one node and the next.
const HOLE: u64 = 256;

impl MachineConfig {
    /// One range of `frames` frames on node 0.
    pub fn new(cpus: usize, frames: u64) -> MachineConfig {
        MachineConfig { cpus, ranges: vec![MemoryRange { start: Pfn(FIRST), frames, node: 0 }] }
    }

    /// One range of `bytes` bytes, rounded down to pages.
    pub fn with_bytes<A: Arch>(cpus: usize, bytes: u64) -> MachineConfig {
        MachineConfig::new(cpus, bytes >> A::PAGE_SHIFT)
    }

    /// `frames` frames spread evenly over `nodes` nodes (none are one), with a hole between each and the next.
    pub fn with_nodes(cpus: usize, frames: u64, nodes: u8) -> MachineConfig {
        let nodes = nodes.max(1);
        let (each, more) = (frames / u64::from(nodes), frames % u64::from(nodes));
        let share = |node: u8| each + u64::from(u64::from(node) < more);
        (1..nodes).fold(MachineConfig::new(cpus, share(0)), |config, node| config.and_range(HOLE, share(node), node))
    }

    /// Adds a range of `frames` frames on `node`, after a hole of `hole` frames.
    pub fn and_range(mut self, hole: u64, frames: u64, node: u8) -> MachineConfig {
        let end = self.ranges.last().map_or(FIRST, |range| range.start.0 + range.frames);
        self.ranges.push(MemoryRange { start: Pfn(end + hole), frames, node });
        self
    }

    /// The sum of the ranges, in frames.
    pub fn frames(&self) -> u64 {
        self.ranges.iter().map(|range| range.frames).sum()
    }

    /// The node of each CPU: the nodes of the ranges in turn.
    pub(crate) fn cpu_nodes(&self) -> Box<[u8]> {
        let mut nodes: Vec<u8> = self.ranges.iter().map(|range| range.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        (0..self.cpus).map(|cpu| if nodes.is_empty() { 0 } else { nodes[cpu % nodes.len()] }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_share_memory_evenly() {
        let config = MachineConfig::with_nodes(5, 1003, 3);
        assert_eq!(config.frames(), 1003);
        assert_eq!(config.ranges.iter().map(|range| range.frames).collect::<Vec<_>>(), [335, 334, 334]);
        assert_eq!(config.ranges.iter().map(|range| range.node).collect::<Vec<_>>(), [0, 1, 2]);
        for pair in config.ranges.windows(2) {
            assert!(pair[0].start.0 + pair[0].frames < pair[1].start.0, "no hole: {pair:?}");
        }
        assert_eq!(*config.cpu_nodes(), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn one_node_is_the_ordinary_machine() {
        for nodes in [0, 1] {
            assert_eq!(MachineConfig::with_nodes(2, 4096, nodes), MachineConfig::new(2, 4096));
        }
    }
}
