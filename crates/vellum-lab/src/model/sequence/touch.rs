//! Loads, stores and instruction fetches on both sides.

use super::op::Spot;
use super::outcome::{Wrong, is_same_fault, settled_access};
use super::world::World;
use crate::access::AccessError;
use crate::model::Fault;
use crate::model::oracle::LoadError;
use vellum::arch::Arch;
use vellum::ops::Access;

/// Who accesses a program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The program, by way of the MMU.
    Program,
    /// The kernel on its behalf, on a CPU that may have another space loaded.
    Kernel,
}

impl<A: Arch> World<'_, A> {
    /// Stores fresh bytes on both sides.
    pub(super) fn store(&mut self, cpu: usize, index: usize, address: u64, bytes: usize, by: By) -> Result<(), Wrong> {
        let (tag, bytes) = self.tag_and_length(index, address, bytes);
        self.stamp = self.stamp.wrapping_add(41);
        let stamp = self.stamp;
        let bytes: Vec<u8> = (0..bytes).map(|index| stamp.wrapping_add(index as u8) | 1).collect();
        let space = self.spaces[index].model;
        let core = self.with_tag((index, address), tag, |world, tag| {
            let core = &world.spaces[index].core;
            match by {
                By::Program => world.hosted.store_tagged(cpu, core, address, &bytes, tag),
                By::Kernel => world.hosted.on(cpu, || core.copy_out(address, &bytes)).map_err(AccessError::Fault),
            }
        });
        let core = settled_access(core)?;
        let model = self.model().store(space, address, &bytes);
        self.agree_on_fault(core, model)
    }

    /// Fetches an instruction on both sides.
    pub(super) fn fetch(&mut self, cpu: u8, space: u8, at: Spot) -> Result<(), Wrong> {
        let address = self.address(self.space_index(space), at);
        let pair = &self.spaces[self.space_index(space)];
        let (core, space) = (self.hosted.execute(self.cpu(cpu), &pair.core, address, 1), pair.model);
        let core = settled_access(core)?;
        let model = self.model().execute(space, address);
        self.agree_on_fault(core, model)
    }

    /// Loads on both sides, and compares the bytes.
    pub(super) fn load(&mut self, cpu: usize, index: usize, address: u64, count: usize, by: By) -> Result<(), Wrong> {
        let (tag, count) = self.tag_and_length(index, address, count);
        let space = self.spaces[index].model;
        let core = self.with_tag((index, address), tag, |world, tag| {
            let core = &world.spaces[index].core;
            match by {
                By::Program => world.hosted.load_tagged(cpu, core, address, count, tag),
                By::Kernel => {
                    let mut bytes = vec![0; count];
                    let copied = world.hosted.on(cpu, || core.copy_in(address, &mut bytes));
                    copied.map(|()| bytes).map_err(AccessError::Fault)
                }
            }
        });
        match settled_access(core)? {
            Ok(got) => self.oracle.check_load(space, address, &got).map_err(|error| match error {
                LoadError::Mismatch(mismatch) => Wrong::Differs(mismatch.to_string()),
                LoadError::Fault(fault) => Wrong::Differs(format!("the load succeeds, the model says {fault:x?}")),
            }),
            Err(error) => {
                let model = self.oracle.model.load(space, address, &mut vec![0; count]);
                self.agree_on_fault(Err(error), model)
            }
        }
    }

    pub(super) fn agree_on_fault(
        &mut self,
        core: Result<(), AccessError>,
        model: Result<(), Fault>,
    ) -> Result<(), Wrong> {
        let is_same = match (core, model) {
            (Ok(()), Ok(())) => true,
            (Err(core), Err(model)) => is_same_fault(core, model),
            _ => false,
        };
        self.stats.count_access(core.is_ok());
        if is_same { Ok(()) } else { Err(Wrong::Differs(format!("the access: core {core:x?}, model {model:x?}"))) }
    }

    /// Whether the core may be asked for an access at all.
    pub(super) fn can_read(&self, index: usize, address: u64) -> bool {
        let area = self.oracle.model.area_at(self.spaces[index].model, address);
        area.is_some_and(|(_, _, attributes)| self.oracle.model.limits().allows(attributes.prot, Access::Read))
    }
}
