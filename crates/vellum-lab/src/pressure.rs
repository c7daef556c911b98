//! What a run has against the shortage of memory: nodes, swap, its compressed tier, and whether unmapping is batched.

use crate::hardware::MachineConfig;
use crate::outcome::RunError;
use crate::swap_device::FileDevice;
use vellum::arch::Arch;
use vellum::{Machine, Vm};

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
}

impl Default for Pressure {
    fn default() -> Self {
        Pressure::NONE
    }
}

impl Pressure {
    /// One node, no swap; unmapping is batched.
    pub const NONE: Pressure = Pressure { nodes: 1, swap_bytes: 0, zswap_bytes: 0, is_batched: true };

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

/// Hands the core what is to serve it under pressure.
///
/// To be wired when the core has these: a swap area on `device`, the most pages that its compressed tier may take, and
/// the switch for batches. Until then the values end here.
pub(crate) fn hand_to_core<'vm, M: Machine>(
    vm: &'vm Vm<M>,
    pressure: &Pressure,
    device: Option<&'vm FileDevice>,
) -> Result<(), RunError> {
    let (zswap_pages, is_batched) = (pressure.zswap_pages::<M::Arch>(), pressure.is_batched);
    let _ = (vm, device, zswap_pages, is_batched);
    Ok(())
}

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
