//! Switching areas on and off.

use super::areas::{AREA_BYTES, AREAS, Area, AreaId, Arrays, CLOSED, CLOSING, DRAINING, Entry, ON, pointer_to};
use super::clusters::CLUSTER;
use super::device::SwapDevice;
use crate::arch::{Arch, SwapSlot};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::moved::{Moved, Room};
use crate::phys::FrameArray;
use crate::sync::{Rank, fence};
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Slots looked at before the core is left for a moment.
const LOOK: u64 = 4096;

impl<M: Machine> Vm<M> {
    /// Adds a swap area with the pages of `device`. Slots are taken from areas of the highest priority first, from
    /// those of equal priority in turns.
    ///
    /// The device is moved into the core's memory, and dropped when the area is switched off or the instance is
    /// dropped: pass a small handle of it. An `Arc` is one, and a reference with static lifetime. Uses 24 to 32 bytes
    /// of memory a page.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::ZeroLength`] for an empty device; [`Error::Invalid`] if the handle is larger
    /// than 2048 bytes or aligned to more than 64, the device too large, or there are 32 areas already. Nothing has
    /// changed, and the handle was dropped.
    pub fn swap_on<D: SwapDevice + 'static>(&self, device: D, priority: i16) -> Result<AreaId, Error> {
        let pages = device.pages();
        let room = Room::new(self, "size or alignment of a swap device")?;
        let device = room.fill(device, |device| device as NonNull<dyn SwapDevice>);
        // SAFETY: no area has the device.
        self.add_area(pages, Some(device), priority).inspect_err(|_| unsafe { device.end(self) })
    }

    /// Adds a swap area of `pages` pages without a device: its slots live in the compressed tier alone, and hold what
    /// that takes ([`Vm::set_compressed_limit`]).
    ///
    /// # Errors
    /// As for [`Vm::swap_on`].
    pub fn swap_on_memory(&self, pages: u64, priority: i16) -> Result<AreaId, Error> {
        self.add_area(pages, None, priority)
    }

    /// Begins to switch an area off: from now on it gives out no slots. Its pages can be read and written as before.
    /// What may be committed is less by them.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such area, or somebody is switching it off already; [`Error::CommitLimit`] if
    /// more is committed than may be without it.
    pub(crate) fn begin_off(&self, id: AreaId) -> Result<(), Error> {
        let cx = Cx::enter(self);
        let area = cx.swap_area_of(id).ok_or(UNKNOWN)?;
        if !area.is_on() {
            return Err(UNKNOWN);
        }
        // As if its pages were committed: until they do not count any more.
        let _ticket = self.may_commit(area.slots(), || 0)?;
        area.state.compare_exchange(ON, DRAINING, SeqCst).map_err(|_| UNKNOWN)?;
        self.commitment().remove_swap(area.slots());
        // Who changed a slot and found the area on has done so before: see `Area::changed`.
        fence::<M>(SeqCst);
        Ok(())
    }

    /// How often something has become of a slot of an area that is being switched off.
    pub(crate) fn area_changes(&self, id: AreaId) -> u32 {
        self.area_entry(id).changes.load(SeqCst)
    }

    /// Sleeps until something becomes of a slot, unless it has since [`Vm::area_changes`] said `seen`. Without a
    /// [`Cx`].
    pub(crate) fn await_area_change(&self, id: AreaId, seen: u32) {
        self.machine().sleep(self.area_entry(id).changes.as_core(), seen);
    }

    fn area_entry(&self, id: AreaId) -> &Entry<M> {
        &self.swap().entries[id.number as usize % AREAS]
    }

    /// Takes [`Vm::begin_off`] back.
    pub(crate) fn cancel_off(&self, id: AreaId) {
        let cx = Cx::enter(self);
        if let Some(area) = cx.swap_area_of(id) {
            // First: somebody else may begin as soon as it is on.
            self.commitment().add_swap(area.slots());
            if area.state.compare_exchange(DRAINING, ON, SeqCst).is_err() {
                self.commitment().remove_swap(area.slots());
            }
        }
    }

    /// Slots of an area that are not free; 0 if it is gone. May be too high for a moment, when it gives out slots.
    pub(crate) fn area_used(&self, id: AreaId) -> u64 {
        Cx::enter(self).swap_area_of(id).map_or(0, |area| area.used.load(SeqCst))
    }

    /// Passes each used slot of an area to `visit`, in order, outside the core. Slots that become used meanwhile may be
    /// missed.
    pub(crate) fn each_used_slot(&self, id: AreaId, mut visit: impl FnMut(SwapSlot)) {
        let mut from = Some(0);
        while let Some(slot) = from.and_then(|from| self.next_used_slot(id, from)) {
            visit(slot);
            from = slot.offset().checked_add(1);
        }
    }

    /// The first used slot of an area whose offset is `from` or above. Without a [`Cx`].
    pub(crate) fn next_used_slot(&self, id: AreaId, from: u64) -> Option<SwapSlot> {
        let mut from = from;
        loop {
            let cx = Cx::enter(self);
            let area = cx.swap_area_of(id).filter(|area| from < area.slots())?;
            let end = area.slots().min(from.saturating_add(LOOK));
            while from < end {
                if from.is_multiple_of(CLUSTER) && area.used_in_cluster(self, from / CLUSTER) == 0 {
                    from += CLUSTER;
                    continue;
                }
                if area.place(self, from)?.load().is_used() {
                    return Some(SwapSlot::new(id.number, from));
                }
                from += 1;
            }
        }
    }

    /// Takes apart an area after [`Vm::begin_off`], if no slot of it is used; whether it did. Sleeps until nobody uses
    /// it, and drops the device: without a [`Cx`]. If slots are in use, or for a moment seem to be, the area still
    /// gives none out.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such area, or nobody has begun.
    pub(crate) fn end_off(&self, id: AreaId) -> Result<bool, Error> {
        let entry = self.swap().entries.get(id.number as usize).ok_or(UNKNOWN)?;
        let (pointer, device) = {
            let cx = Cx::enter(self);
            let area = cx.swap_area_of(id).ok_or(UNKNOWN)?;
            area.state.compare_exchange(DRAINING, CLOSING, SeqCst).map_err(|_| UNKNOWN)?;
            // Whoever takes a slot counts it before he looks at the state: see `Area::begin_use`.
            if area.used.load(SeqCst) != 0 {
                area.state.store(DRAINING, SeqCst);
                return Ok(false);
            }
            (pointer_to(area), area.device)
        };
        self.wait_for_users(entry);
        {
            let cx = Cx::enter(self);
            let _guard = self.swap().lock.lock(&cx, Rank::Swap);
            entry.area.store(0, Release);
        }
        // SAFETY: an area is retired once, below, by who has set its state to `CLOSING`.
        let area = unsafe { pointer.cast::<Area<M>>().as_ref() };
        area.arrays.each(|array| array.retire(self));
        Cx::enter(self).retire(pointer, AREA_BYTES);
        // Last, since it may panic.
        if let Some(device) = device {
            // SAFETY: the area is in no table, and nobody has a pin of it; it is taken apart once, by who has closed it.
            unsafe { device.end(self) };
        }
        Ok(true)
    }

    /// Ends the giving of pins, and sleeps until those that there are have gone.
    fn wait_for_users(&self, entry: &Entry<M>) {
        let mut seen = entry.users.fetch_or(CLOSED, AcqRel) | CLOSED;
        while seen != CLOSED {
            self.machine().sleep(entry.users.as_core(), seen);
            seen = entry.users.load(Acquire);
        }
    }

    fn add_area(&self, pages: u64, device: Option<Moved<dyn SwapDevice>>, priority: i16) -> Result<AreaId, Error> {
        if pages == 0 {
            return Err(Error::ZeroLength { what: "swap area" });
        }
        if pages > FrameArray::<M>::LENGTH_MAX.min(1 << SwapSlot::OFFSET_BITS) {
            return Err(Error::Invalid { what: "size of a swap area" });
        }
        let object = Cx::enter(self).slab_alloc(AREA_BYTES)?;
        let arrays = Arrays::new(self, pages).inspect_err(|_| Cx::enter(self).slab_free(object, AREA_BYTES))?;
        let mut area = object.cast::<Area<M>>();
        // SAFETY: the slab object is large enough, aligned, and nobody else's until it is in the table.
        let area = unsafe {
            area.write(Area::new(self.next_id(), priority, device, arrays));
            area.as_mut()
        };
        let result = self.publish(area);
        if result.is_err() {
            area.arrays.each(|array| array.free(self));
            Cx::enter(self).slab_free(object, AREA_BYTES);
        }
        result
    }

    /// Puts a new area into the table.
    fn publish(&self, area: &mut Area<M>) -> Result<AreaId, Error> {
        let cx = Cx::enter(self);
        let _guard = self.swap().lock.lock(&cx, Rank::Swap);
        let mut entries = (0..).zip(&self.swap().entries);
        let free = entries.find(|(_, entry)| entry.area.load(Relaxed) == 0);
        let (number, entry) = free.ok_or(Error::Invalid { what: "number of swap areas" })?;
        area.id.number = number;
        let id = area.id;
        self.commitment().add_swap(area.slots());
        entry.area.store((&raw mut *area).expose_provenance() as u64, Release);
        entry.users.store(0, Release);
        Ok(id)
    }
}

const UNKNOWN: Error = Error::Invalid { what: "swap area" };

impl<M: Machine> Arrays<M> {
    /// Allocates the words of `slots` slots.
    fn new(vm: &Vm<M>, slots: u64) -> Result<Self, Error> {
        let tags = if M::Arch::semantics().tags.is_some() { slots } else { 0 };
        let lengths = [slots, slots, slots, tags, slots.div_ceil(CLUSTER)];
        let mut made: [Option<FrameArray<M>>; 5] = [const { None }; 5];
        for (array, length) in made.iter_mut().zip(lengths) {
            *array = FrameArray::new(vm, length).ok();
            if array.is_none() {
                break;
            }
        }
        match made {
            [Some(slots), Some(owners), Some(contents), Some(tags), Some(clusters)] => {
                Ok(Arrays { slots, owners, contents, tags, clusters })
            }
            made => {
                made.iter().flatten().for_each(|array| array.free(vm));
                Err(Error::OutOfMemory)
            }
        }
    }

    fn each(&self, mut visit: impl FnMut(&FrameArray<M>)) {
        [&self.slots, &self.owners, &self.contents, &self.tags, &self.clusters].into_iter().for_each(&mut visit);
    }
}
