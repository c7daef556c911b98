//! What sequences do under pressure: memory is taken back, moved and given up, and what programs see stays the same.

use super::op::{Op, Spot};
use super::outcome::{Wrong, settled, settled_access};
use super::world::World;
use crate::access::{AccessError, Simulated};
use crate::swap_device::{Handle, MemoryDevice};
use std::sync::Arc;
use vellum::arch::Arch;
use vellum::{AreaId, Error, NodeSet, Policy};

/// A machine of two nodes, with what it has against shortage of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relief {
    /// Pages of the swap area.
    pub swap_pages: u64,
    /// Frames that compressed pages may take; 0 is no compressed tier.
    pub compressed_frames: u64,
    /// Whether private anonymous memory is mapped with memory tags. There is no heap then.
    pub tags: bool,
}

impl Default for Relief {
    fn default() -> Self {
        Relief { swap_pages: 512, compressed_frames: 0, tags: false }
    }
}

/// The swap of a sequence's machine.
pub(super) struct SwapArea {
    device: Arc<MemoryDevice>,
    area: Option<AreaId>,
}

impl SwapArea {
    pub(super) fn new<A: Arch>(relief: Option<Relief>) -> SwapArea {
        let pages = relief.map_or(0, |relief| relief.swap_pages);
        SwapArea { device: Arc::new(MemoryDevice::new(pages, 1 << A::PAGE_SHIFT)), area: None }
    }
}

impl<A: Arch> World<'_, A> {
    /// Switches the swap area on, or off.
    pub(super) fn switch_swap(&mut self) -> Result<(), Error> {
        let vm = self.hosted.vm();
        match self.swap.area {
            Some(area) => {
                vm.swap_off(area)?;
                self.swap.area = None;
            }
            None => self.swap.area = Some(vm.swap_on(Handle(self.swap.device.clone()), 0)?),
        }
        Ok(())
    }

    /// What is left in swap when every space and object is gone, and whether the area can be switched off then.
    pub(super) fn check_swap_free(&mut self) -> Result<(), String> {
        let usage = self.hosted.vm().swap_usage();
        if usage.used + usage.cached + usage.compressed_pages + usage.compressed_bytes != 0 {
            return Err(format!("swap is in use after the end: {usage:?}"));
        }
        if self.swap.area.is_some() {
            self.switch_swap().map_err(|error| format!("swap cannot be switched off at the end: {error}"))?;
        }
        Ok(())
    }

    /// The operations that are about pressure. Contents are compared after each.
    pub(super) fn step_relief(&mut self, op: &Op) -> Result<(), Wrong> {
        if self.relief.is_none() {
            return Ok(());
        }
        match *op {
            Op::Reclaim { cpu, node, pages } => {
                let cpu = self.cpu(cpu);
                self.stats.freed += self.hosted.on(cpu, || self.hosted.vm().reclaim(node % 2, pages.into()));
            }
            Op::ReclaimBackground { cpu } => {
                let cpu = self.cpu(cpu);
                self.stats.freed += self.hosted.on(cpu, || self.hosted.vm().reclaim_background());
            }
            Op::SwitchSwap { cpu } => {
                self.hosted.machine().set_cpu(self.cpu(cpu));
                match self.switch_swap() {
                    // What is in swap does not go into memory, or the area's own memory does not.
                    Ok(()) | Err(Error::OutOfMemory) => {}
                    Err(error) => return Err(Wrong::Differs(format!("switching swap: {error}"))),
                }
            }
            Op::Compact { cpu, node, order } => {
                let cpu = self.cpu(cpu);
                self.hosted.on(cpu, || self.hosted.vm().compact(node % 2, order % 6));
            }
            Op::MovePages { cpu, space, at, length, node } => {
                let index = self.space_index(space);
                let start = self.address(index, at);
                let (length, cpu) = (self.bytes(index, length, start), self.cpu(cpu));
                let pair = &self.spaces[index];
                // The errors are those of any range.
                if let Ok((moved, _)) = self.hosted.on(cpu, || pair.core.move_pages(start, length, node % 2)) {
                    self.stats.moved += moved;
                }
            }
            Op::SetPolicy { cpu, space, at, length, policy } => {
                let policy = policy_of(policy);
                self.on_range(cpu, space, at, length, |pair, start, length| {
                    let core = pair.core.set_policy(start, length, policy);
                    (core, move |world: &mut Self, space| world.model().set_policy(space, start, length, policy))
                })?;
            }
            Op::Truncate { object, keep } => self.truncate(object, keep)?,
            Op::SetTag { cpu, space, at, offset, tag } => return self.set_tag(cpu, space, at, offset, tag),
            _ => return Err(Wrong::Differs(format!("{op:?} is not carried out anywhere"))),
        }
        self.check_contents().map_err(Wrong::Differs)
    }

    fn truncate(&mut self, object: u8, keep: u8) -> Result<(), Wrong> {
        let index = object as usize % self.objects.len();
        let model = self.objects[index].model;
        let pages = u64::from(keep) % (self.model().object_pages(model) + 1);
        self.shorten_file(model, pages);
        let core = settled(self.objects[index].core.truncate(pages << A::PAGE_SHIFT))?;
        self.model().truncate(model, pages);
        self.agree(core, Ok(()))
    }

    /// log2 of the bytes that have one tag; of none, if the memory has no tags here.
    pub(super) fn granule_shift(&self) -> Option<u32> {
        self.relief.filter(|relief| relief.tags)?;
        A::semantics().tags.map(|tags| tags.granule_shift)
    }

    /// The tag that an access to `address` must bear, and how many of its bytes are accessed: where memory is short an
    /// access stays within a page, so that it happens as a whole or not at all, where it has tags within a granule.
    pub(super) fn tag_and_length(&self, index: usize, address: u64, bytes: usize) -> (u8, usize) {
        let up_to = |shift: u32| ((1u64 << shift) - (address & ((1 << shift) - 1))) as usize;
        match self.granule_shift() {
            Some(shift) => (self.oracle.model.tag(self.spaces[index].model, address, shift), bytes.min(up_to(shift))),
            None if self.may_run_out => (0, bytes.min(up_to(A::PAGE_SHIFT))),
            None => (0, bytes),
        }
    }

    /// Makes an access to `address` with the tag that it must bear. A page that was given up may have become zero, and
    /// lost its tags: then the access fails and says which tag there is, and is made once more.
    pub(super) fn with_tag<R>(
        &mut self,
        (index, address): (usize, u64),
        tag: u8,
        access: impl Fn(&Self, u8) -> Result<R, AccessError>,
    ) -> Result<R, AccessError> {
        let result = access(self, tag);
        let (Err(AccessError::Tag { found, .. }), Some(shift)) = (&result, self.granule_shift()) else {
            return result;
        };
        let (found, space) = (*found, self.spaces[index].model);
        if found != tag && self.oracle.model.observe_tag(space, address, shift, found) {
            return access(self, found);
        }
        result
    }

    fn set_tag(&mut self, cpu: u8, space: u8, at: Spot, offset: u16, tag: u8) -> Result<(), Wrong> {
        let index = self.space_index(space);
        let address = self.address(index, at).wrapping_add(u64::from(offset));
        let Some(shift) = self.granule_shift() else { return Ok(()) };
        let pair = &self.spaces[index];
        let is_tagged = self.oracle.model.area_at(pair.model, address).is_none_or(|area| area.2.object.is_none());
        if !is_tagged {
            return Ok(());
        }
        let core = settled_access(self.hosted.set_tag(self.cpu(cpu), &pair.core, address, 1, tag))?;
        let model = pair.model;
        let model = self.model().set_tags(model, address, 1, tag, shift);
        self.agree_on_fault(core, model)
    }

    /// Compares the tags of a resident page with the model's.
    pub(super) fn check_tags(&mut self, index: usize, address: u64, pfn: vellum::phys::Pfn) -> Result<(), String> {
        let Some(shift) = self.granule_shift() else { return Ok(()) };
        for offset in (0..1usize << A::PAGE_SHIFT).step_by(1 << shift) {
            let (space, address) = (self.spaces[index].model, address + offset as u64);
            let found = self.hosted.machine().physical().tag(pfn, offset);
            if !found.is_some_and(|found| self.oracle.model.observe_tag(space, address, shift, found)) {
                let expected = self.oracle.model.tag(space, address, shift);
                return Err(format!("I-TAG: {address:#x} is tagged {found:?}, not {expected}"));
            }
        }
        Ok(())
    }
}

fn policy_of(number: u8) -> Policy {
    let both = NodeSet::EMPTY.with(0).with(1);
    match number % 5 {
        0 => Policy::Local,
        1 => Policy::Preferred(1),
        2 => Policy::Interleave(both),
        3 => Policy::Bind(both),
        _ => Policy::Preferred(0),
    }
}
