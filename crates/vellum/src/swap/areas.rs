//! The table of areas, and finding an area and its words.

use super::clusters;
use super::compressed::Pool;
use super::device::SwapDevice;
use super::word::SlotWord;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::moved::Moved;
use crate::phys::FrameArray;
use crate::sync::{AtomicU32, AtomicU64, RawLock};
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};

/// The most areas.
pub(super) const AREAS: usize = 32;

/// An area that was switched on, by identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AreaId {
    pub(super) number: u8,
    pub(super) serial: u64,
}

impl AreaId {
    /// Its place in the table of areas, which another area may get when this one is gone.
    pub fn number(self) -> u8 {
        self.number
    }
}

/// What swap is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapUsage {
    /// Slots of all areas, bad ones excepted.
    pub total: u64,
    /// Slots that are not free.
    pub used: u64,
    /// Slots whose page is in memory.
    pub cached: u64,
    /// Pages in the compressed tier.
    pub compressed_pages: u64,
    /// Bytes they take there.
    pub compressed_bytes: u64,
}

/// All swap of an instance.
pub(crate) struct Swap<M: Machine> {
    /// `Rank::Swap`: which entries are taken.
    pub(super) lock: RawLock<M>,
    pub(super) entries: [Entry<M>; AREAS],
    /// The area that a cluster was taken from last.
    pub(super) latest: AtomicU64<M>,
    pub(super) pool: Pool<M>,
}

/// Room for an area. What users without a context count on stands here, since it outlives the area.
pub(super) struct Entry<M> {
    /// Address of the [`Area`], 0 for none. Changed under the table's lock.
    pub(super) area: AtomicU64<M>,
    /// Pins, and [`CLOSED`].
    pub(super) users: AtomicU32<M>,
    /// Changes of slots while the area is being switched off, for whoever does that to sleep on.
    pub(super) changes: AtomicU32<M>,
}

/// In [`Entry::users`]: no pin is given any more.
pub(super) const CLOSED: u32 = 1 << 31;

/// [`Area::state`]: slots are given out.
pub(super) const ON: u32 = 0;
/// Slots are given back only.
pub(super) const DRAINING: u32 = 1;
/// About to be taken apart.
pub(super) const CLOSING: u32 = 2;

/// An area; a slab object, freed a grace period after it has left the table.
#[repr(C)]
pub(super) struct Area<M> {
    /// Not used, then what [`Cx::retire`] writes.
    _link: [AtomicU64<M>; 2],
    pub(super) id: AreaId,
    pub(super) priority: i16,
    /// The device, which lives until the last pin is gone; none for an area in memory.
    pub(super) device: Option<Moved<dyn SwapDevice>>,
    pub(super) arrays: Arrays<M>,
    /// `Rank::Swap`: taking clusters.
    pub(super) lock: RawLock<M>,
    /// Under the lock: the cluster after the one taken last.
    pub(super) hand: AtomicU64<M>,
    /// The slot from which on a run of slots is looked for: a hint.
    pub(super) run_hand: AtomicU64<M>,
    /// [`ON`], [`DRAINING`] or [`CLOSING`].
    pub(super) state: AtomicU32<M>,
    /// Slots that are not free, and attempts to take one.
    pub(super) used: AtomicU64<M>,
    /// Slots that are cached.
    pub(super) cached: AtomicU64<M>,
    /// Free slots that are kept back.
    pub(super) bad: AtomicU64<M>,
}

pub(super) const AREA_BYTES: usize = size_of::<Area<()>>();
const _: () = assert!(AREA_BYTES <= 512 && !core::mem::needs_drop::<Area<()>>());

// SAFETY: all fields are atomics or constant, and a device is `Send` and `Sync` itself.
unsafe impl<M> Sync for Area<M> {}

/// The words of an area.
pub(super) struct Arrays<M> {
    pub(super) slots: FrameArray<M>,
    pub(super) owners: FrameArray<M>,
    pub(super) contents: FrameArray<M>,
    /// Empty where the processor has no tags.
    pub(super) tags: FrameArray<M>,
    /// One word a cluster: see [`clusters`].
    pub(super) clusters: FrameArray<M>,
}

impl<M: Machine> Swap<M> {
    pub(crate) const fn new() -> Self {
        const { assert!(clusters::CLUSTER.is_power_of_two()) };
        Swap {
            lock: RawLock::new(),
            entries: [const { Entry::new() }; AREAS],
            latest: AtomicU64::new(0),
            pool: Pool::new(),
        }
    }
}

impl<M: Machine> Entry<M> {
    const fn new() -> Self {
        Entry { area: AtomicU64::new(0), users: AtomicU32::new(CLOSED), changes: AtomicU32::new(0) }
    }
}

impl<M: Machine> Drop for Swap<M> {
    fn drop(&mut self) {
        for entry in &mut self.entries {
            let area = with_exposed_provenance::<Area<M>>(*entry.area.get_mut() as usize);
            // SAFETY: an address in the table is 0 or that of an area; nobody else has the instance any more.
            if let Some(device) = unsafe { area.as_ref() }.and_then(|area| area.device) {
                // SAFETY: the area still has it, and it is used by nobody.
                unsafe { device.drop_with_instance() };
            }
        }
    }
}

impl<M: Machine> Area<M> {
    /// A new area, not in the table yet: without a number.
    pub(super) fn new(serial: u64, priority: i16, device: Option<Moved<dyn SwapDevice>>, arrays: Arrays<M>) -> Self {
        Area {
            _link: [const { AtomicU64::new(0) }; 2],
            id: AreaId { number: 0, serial },
            priority,
            device,
            arrays,
            lock: RawLock::new(),
            hand: AtomicU64::new(0),
            run_hand: AtomicU64::new(0),
            state: AtomicU32::new(ON),
            used: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            bad: AtomicU64::new(0),
        }
    }

    /// Number of slots.
    pub(super) fn slots(&self) -> u64 {
        self.arrays.slots.length()
    }

    pub(super) fn is_on(&self) -> bool {
        self.state.load(SeqCst) == ON
    }

    /// Something has become of a slot: whoever switches the area off looks again. Inside the core.
    ///
    /// The change is sequentially consistent, and so is what is asked here: either he is told, or he has begun after
    /// the change and sees it.
    #[inline]
    pub(super) fn changed(&self, vm: &Vm<M>) {
        if !self.is_on() {
            self.tell_of_change(vm);
        }
    }

    #[cold]
    fn tell_of_change(&self, vm: &Vm<M>) {
        let changes = &vm.swap().entries[self.id.number as usize % AREAS].changes;
        changes.fetch_add(1, SeqCst);
        if M::guard(Guard::SlotChangeWakes) {
            vm.machine().wake(changes.as_core());
        }
    }

    /// The words of slot `offset`, if it exists.
    #[inline]
    pub(super) fn place<'a>(&'a self, vm: &'a Vm<M>, offset: u64) -> Option<Place<'a, M>> {
        let word = self.arrays.slots.get(vm, offset)?;
        Some(Place { vm, area: self, offset, word })
    }
}

/// The words of one slot.
pub(super) struct Place<'a, M: Machine> {
    pub(super) vm: &'a Vm<M>,
    pub(super) area: &'a Area<M>,
    pub(super) offset: u64,
    pub(super) word: &'a AtomicU64<M>,
}

impl<'a, M: Machine> Place<'a, M> {
    /// The slot word.
    #[inline]
    pub(super) fn load(&self) -> SlotWord {
        SlotWord(self.word.load(Acquire))
    }

    /// Changes the slot word to what `change` makes of it, unless that is nothing: what it was, and what it is.
    #[inline]
    pub(super) fn update(
        &self,
        change: impl Fn(SlotWord) -> Option<SlotWord>,
    ) -> Result<(SlotWord, SlotWord), SlotWord> {
        let mut seen = self.load();
        loop {
            let new = change(seen).ok_or(seen)?;
            match self.word.compare_exchange(seen.0, new.0, SeqCst) {
                Ok(_) => {
                    self.area.changed(self.vm);
                    return Ok((seen, new));
                }
                Err(now) => seen = SlotWord(now),
            }
        }
    }

    pub(super) fn owner(&self) -> Option<&'a AtomicU64<M>> {
        self.area.arrays.owners.get(self.vm, self.offset)
    }

    pub(super) fn contents(&self) -> Option<&'a AtomicU64<M>> {
        self.area.arrays.contents.get(self.vm, self.offset)
    }

    pub(super) fn tags(&self) -> Option<&'a AtomicU64<M>> {
        self.area.arrays.tags.get(self.vm, self.offset)
    }
}

impl<'vm, M: Machine> Cx<'vm, M> {
    /// The area in that place of the table.
    pub(super) fn swap_area(&self, number: u8) -> Option<&Area<M>> {
        let entry = self.vm().swap().entries.get(number as usize)?;
        let area = with_exposed_provenance::<Area<M>>(entry.area.load(Acquire) as usize);
        // SAFETY: an address in the table is 0 or that of an area, which leaves the table before it is retired, so that
        // it outlives the section of the context; all it has are atomics and constants.
        unsafe { area.as_ref() }
    }

    /// The area that was switched on with that identity, if it still is there.
    pub(super) fn swap_area_of(&self, id: AreaId) -> Option<&Area<M>> {
        self.swap_area(id.number).filter(|area| area.id == id)
    }

    /// Whether the area of `slot` is on: pages may be put out there.
    pub(crate) fn swap_takes_pages(&self, slot: SwapSlot) -> bool {
        self.swap_area(slot.area()).is_some_and(Area::is_on)
    }

    /// The words of a slot.
    #[inline]
    pub(super) fn swap_place(&self, slot: SwapSlot) -> Option<Place<'_, M>> {
        self.swap_area(slot.area())?.place(self.vm(), slot.offset())
    }

    /// Keeps the area of `slot` from being taken apart, also while the caller is outside the core; `None` if that has
    /// begun. For those who have neither an entry nor the page that a slot names, or may lose it meanwhile (E13).
    pub(crate) fn swap_pin(&self, slot: SwapSlot) -> Option<AreaPin<'vm, M>> {
        self.vm().swap_pin_area(slot.area())
    }
}

impl<M: Machine> Vm<M> {
    /// As [`Cx::swap_pin`], for the area in that place of the table.
    fn swap_pin_area(&self, number: u8) -> Option<AreaPin<'_, M>> {
        let entry = self.swap().entries.get(number as usize)?;
        let is_counted = M::guard(Guard::AreaPinned);
        let mut seen = entry.users.load(Relaxed);
        loop {
            if seen & CLOSED != 0 {
                return None;
            }
            match entry.users.compare_exchange(seen, seen + is_counted as u32, AcqRel) {
                Ok(_) => return Some(AreaPin { vm: self, number, is_counted }),
                Err(now) => seen = now,
            }
        }
    }
}

/// Keeps an area.
pub(crate) struct AreaPin<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    number: u8,
    is_counted: bool,
}

impl<M: Machine> AreaPin<'_, M> {
    fn entry(&self) -> &Entry<M> {
        &self.vm.swap().entries[self.number as usize % AREAS]
    }

    /// The area.
    pub(super) fn area(&self) -> Option<&Area<M>> {
        let area = with_exposed_provenance::<Area<M>>(self.entry().area.load(Acquire) as usize);
        // SAFETY: the area leaves the table, and is freed, after the last pin is gone.
        unsafe { area.as_ref() }
    }

    /// The words of a slot of the area.
    pub(super) fn place(&self, slot: SwapSlot) -> Option<Place<'_, M>> {
        debug_assert_eq!(slot.area(), self.number, "the area of a slot");
        self.area()?.place(self.vm, slot.offset())
    }

    /// The words that say what the `pages` slots from `first` on contain, which are a run of the area.
    pub(super) fn contents_of_run(&self, first: SwapSlot, pages: u64) -> Option<&[AtomicU64<M>]> {
        self.area()?.arrays.contents.run(self.vm, first.offset(), pages)
    }

    /// The device of the area.
    pub(super) fn device(&self) -> Option<&dyn SwapDevice> {
        // SAFETY: the device is dropped after the last pin is gone.
        self.area()?.device.map(|device| unsafe { device.get() })
    }
}

impl<M: Machine> Drop for AreaPin<'_, M> {
    fn drop(&mut self) {
        let users = &self.entry().users;
        if self.is_counted && users.fetch_sub(1, AcqRel) & CLOSED != 0 {
            self.vm.machine().wake(users.as_core());
        }
    }
}

impl<M: Machine> Vm<M> {
    /// The slot whose word lies at `address`, of an area that is not being taken apart.
    pub(crate) fn swap_slot_at(&self, address: usize) -> Option<SwapSlot> {
        (0..AREAS as u8).find_map(|number| {
            let pin = self.swap_pin_area(number)?;
            Some(SwapSlot::new(number, pin.area()?.arrays.slots.index_at(self, address)?))
        })
    }

    /// Slots of the areas that are on. At quiescence.
    pub(crate) fn swap_slots_on(&self, cx: &Cx<'_, M>) -> u64 {
        let areas = (0..AREAS).filter_map(|number| cx.swap_area(number as u8));
        areas.filter(|area| area.is_on()).map(Area::slots).sum()
    }

    /// What swap is used for at this moment.
    pub fn swap_usage(&self) -> SwapUsage {
        let cx = Cx::enter(self);
        let (compressed_pages, compressed_bytes) = self.swap().pool.size();
        let mut usage = SwapUsage { compressed_pages, compressed_bytes, ..SwapUsage::default() };
        for area in (0..AREAS).filter_map(|number| cx.swap_area(number as u8)) {
            usage.total += area.slots().saturating_sub(area.bad.load(Relaxed));
            usage.used += area.used.load(Relaxed);
            usage.cached += area.cached.load(Relaxed);
        }
        usage
    }
}

/// The pointer to an area that is in the table, for who takes it out.
pub(super) fn pointer_to<M>(area: &Area<M>) -> NonNull<u8> {
    let address = (&raw const *area).addr();
    NonNull::new(with_exposed_provenance_mut(address)).unwrap_or(NonNull::dangling())
}
