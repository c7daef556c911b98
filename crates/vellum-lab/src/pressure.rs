//! How a run's memory is served: nodes, swap and its compressed tier, whether unmapping is batched, and what gets huge
//! pages.

use crate::hardware::MachineConfig;
use crate::outcome::RunError;
use crate::swap_device::FileDevice;
use vellum::arch::Arch;
use vellum::ops::HugePages;
use vellum::{Machine, Overcommit, Vm};

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// NUMA nodes, over which memory and CPUs are spread: 1 to [`vellum::phys::NODES_MAX`].
    pub nodes: u8,
    /// Bytes of swap; 0 is none.
    pub swap_bytes: u64,
    /// Bytes of memory that compressed pages may take; 0 is none.
    pub zswap_bytes: u64,
    /// Whether one flush serves a list of pages that are unmapped, rather than one flush each.
    pub is_batched: bool,
    /// Which memory gets huge pages.
    pub huge_pages: HugePages,
}

impl Default for Pressure {
    fn default() -> Self {
        Pressure::NONE
    }
}

impl Pressure {
    /// One node, no swap; unmapping is batched; huge pages where they are advised.
    pub const NONE: Pressure =
        Pressure { nodes: 1, swap_bytes: 0, zswap_bytes: 0, is_batched: true, huge_pages: HugePages::Advised };

    /// The machine.
    pub(crate) fn machine(&self, cpus: usize, frames: u64) -> MachineConfig {
        MachineConfig::with_nodes(cpus, frames, self.nodes)
    }

    /// The device of a swap area, if there is swap: to be made before the `Vm`, which must not outlive it.
    pub(crate) fn swap_device<A: Arch>(&self) -> Result<Option<FileDevice>, RunError> {
        let pages = self.swap_bytes >> A::PAGE_SHIFT;
        if pages == 0 {
            return Ok(None);
        }
        let failed = |error| RunError::Workload(format!("no file for {} bytes of swap: {error}", self.swap_bytes));
        FileDevice::new(pages, 1 << A::PAGE_SHIFT).map(Some).map_err(failed)
    }

    /// Pages of memory that compressed pages may take.
    pub(crate) fn zswap_pages<A: Arch>(&self) -> u64 {
        self.zswap_bytes >> A::PAGE_SHIFT
    }
}

/// Hands the core what is to serve it under pressure: a swap area on `device`, or without one an area whose pages live
/// in the compressed tier alone; the tier's limit; the switch for batches; what gets huge pages; that no memory is
/// refused in advance.
pub(crate) fn hand_to_core<M: Machine>(
    vm: &Vm<M>,
    pressure: &Pressure,
    device: Option<FileDevice>,
) -> Result<(), RunError> {
    let failed = |error| RunError::Workload(format!("no swap area: {error}"));
    let zswap_pages = pressure.zswap_pages::<M::Arch>();
    vm.set_batching(pressure.is_batched);
    vm.set_huge_pages(pressure.huge_pages);
    // Of shared memory none come on advice alone, as at first in Linux.
    if pressure.huge_pages == HugePages::Always {
        vm.set_shared_huge_pages(HugePages::Always);
    }
    vm.set_compressed_limit(zswap_pages);
    // What a program was given where it was recorded, it gets here, however little memory there is.
    vm.set_overcommit(Overcommit::Always);
    match device {
        Some(device) => vm.swap_on(device, 0).map(|_| ()).map_err(failed),
        None if zswap_pages > 0 => vm.swap_on_memory(zswap_pages * COMPRESSION_MAX, 0).map(|_| ()).map_err(failed),
        None => Ok(()),
    }
}

/// Pages that a page of the compressed tier is taken to hold at most, where there is nothing behind it.
const COMPRESSION_MAX: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use vellum::arch::{Sparc64, X86_64};

    #[test]
    fn bytes_are_pages_of_the_architecture() {
        let pressure = Pressure { nodes: 2, swap_bytes: 3 << 20, zswap_bytes: 1 << 20, ..Pressure::NONE };
        assert_eq!(pressure.swap_device::<X86_64>().unwrap().unwrap().pages(), 768);
        assert_eq!(pressure.swap_device::<Sparc64>().unwrap().unwrap().pages(), 384);
        assert_eq!((pressure.zswap_pages::<X86_64>(), pressure.zswap_pages::<Sparc64>()), (256, 128));
        assert_eq!(pressure.machine(2, 1000).ranges.len(), 2);
        assert!(Pressure::NONE.swap_device::<X86_64>().unwrap().is_none());
    }
}
