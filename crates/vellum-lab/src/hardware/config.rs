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

impl MachineConfig {
    /// One range of `frames` frames on node 0.
    pub fn new(cpus: usize, frames: u64) -> MachineConfig {
        MachineConfig { cpus, ranges: vec![MemoryRange { start: Pfn(FIRST), frames, node: 0 }] }
    }

    /// One range of `bytes` bytes, rounded down to pages.
    pub fn with_bytes<A: Arch>(cpus: usize, bytes: u64) -> MachineConfig {
        MachineConfig::new(cpus, bytes >> A::PAGE_SHIFT)
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
