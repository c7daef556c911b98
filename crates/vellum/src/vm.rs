//! One instance of the memory manager.

use crate::cpu::{Cpu, Cx};
use crate::cpuset::CPUS_MAX;
use crate::error::{BootError, Error};
use crate::machine::Machine;
use crate::moved::Room;
use crate::object::{self, Backing, Homeless, Object, Objects};
use crate::overcommit::Commitment;
use crate::phys::{BootMemory, Kind, Pfn, Physical};
use crate::placed::Placed;
use crate::space::{Classes, NO_HUGE_PAGES, Space, Spaces};
use crate::stat::{EVENTS, Event, Totals};
use crate::swap::Swap;
use crate::sync::{AtomicU32, AtomicU64, GlobalEpoch};
use crate::tlb::Identifiers;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// What frames are used for; see [`Vm::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Free.
    pub free: u64,
    /// Page tables, and what belongs to them.
    pub tables: u64,
    /// Anonymous memory.
    pub anonymous: u64,
    /// Those of it that are parts of huge pages.
    pub anonymous_huge: u64,
    /// Caches of files and shared memory.
    pub file: u64,
    /// The core's own objects.
    pub slab: u64,
    /// Descriptors and other memory of the core that is never freed.
    pub reserved: u64,
}

/// One instance of the memory manager: a machine's memory, and the address spaces and objects that use it.
///
/// Handles ([`Space`], [`Object`]) borrow it. A kernel keeps it in a static or in boot memory; a hosted program may
/// keep several. Dropping it drops the devices of its swap areas, the backings of files of which handles, or of spaces
/// that show them, were forgotten, and the machine.
pub struct Vm<M: Machine> {
    swap: Placed<Swap<M>>,
    objects: Objects<M>,
    physical: Physical<M>,
    cpus: NonNull<Cpu<M>>,
    cpu_count: usize,
    epoch: GlobalEpoch<M>,
    identifiers: Identifiers<M>,
    classes: Placed<Classes<M>>,
    spaces: Spaces<M>,
    next_id: AtomicU64<M>,
    zero_page: Pfn,
    /// The number of the first frame of the huge page of zeroes + 1; 0: there is none yet. Kept for ever.
    huge_zero_page: AtomicU64<M>,
    commitment: Commitment<M>,
    /// Not zero: unmap batches flush each entry at once.
    unbatched: AtomicU32<M>,
    /// A [`HugePages`](crate::ops::HugePages).
    pub(crate) huge_pages: AtomicU32<M>,
    /// As that, for shared memory.
    pub(crate) shared_huge_pages: AtomicU32<M>,
    /// Of which sizes folios may be, log2 of their pages: a bit each.
    pub(crate) folio_orders: AtomicU32<M>,
    /// Where [`Vm::collapse`] goes on: the number of a space, and an address there.
    pub(crate) collapse_cursor: [AtomicU64<M>; 2],
    /// Last: what precedes it lies in its memory, as do the devices and backings that are dropped with that.
    machine: M,
}

// SAFETY: `cpus` points to `cpu_count` values owned by this instance for its life, and `identifiers` to atomics
// likewise; both are `Sync` themselves.
unsafe impl<M: Machine> Send for Vm<M> {}
// SAFETY: as above.
unsafe impl<M: Machine> Sync for Vm<M> {}

impl<M: Machine> Vm<M> {
    /// Takes over the machine's memory.
    ///
    /// Call once, on one CPU. Uses about 1.6 % of the memory for descriptors.
    ///
    /// # Errors
    /// [`BootError`] when the machine describes itself inconsistently or has too little memory.
    pub fn new(machine: M) -> Result<Vm<M>, BootError> {
        let cpu_count = machine.cpu_count();
        if cpu_count == 0 || cpu_count > CPUS_MAX {
            return Err(BootError::CpuCount { count: cpu_count });
        }
        let frames = machine.memory().iter().fold(0u64, |sum, range| sum.saturating_add(range.frames));
        let too_little = BootError::TooLittleMemory { frames };
        let mut boot = BootMemory::new(&machine)?;
        let cpus = boot.alloc(size_of::<Cpu<M>>() * cpu_count, align_of::<Cpu<M>>()).ok_or(too_little)?;
        let cpus = cpus.cast::<Cpu<M>>();
        for number in 0..cpu_count {
            // SAFETY: the allocation has room for `cpu_count` values, is aligned for them and unused.
            unsafe { Cpu::build(cpus.add(number).as_ptr()) };
        }
        let identifiers = Identifiers::new(&mut boot, cpu_count, frames)?;
        let classes = Classes::new(&mut boot, cpu_count).and_then(|classes| boot.place(classes)).ok_or(too_little)?;
        let swap = boot.place(Swap::new()).ok_or(too_little)?;
        let (zero_page, physical) = boot.finish_with_zero_page().ok_or(too_little)?;
        let mut vm = Vm {
            swap,
            objects: Objects::new(),
            physical,
            cpus,
            cpu_count,
            epoch: GlobalEpoch::new(),
            identifiers,
            classes,
            spaces: Spaces::new(),
            next_id: AtomicU64::new(1),
            zero_page,
            huge_zero_page: AtomicU64::new(0),
            commitment: Commitment::new(),
            unbatched: AtomicU32::new(0),
            huge_pages: AtomicU32::new(0),
            shared_huge_pages: AtomicU32::new(NO_HUGE_PAGES),
            folio_orders: AtomicU32::new(0),
            collapse_cursor: [const { AtomicU64::new(0) }; 2],
            machine,
        };
        let memory = vm.free_frames();
        vm.commitment.set_memory(memory);
        Ok(vm)
    }

    /// The machine this runs on.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// A new, empty address space. Allocates; may sleep to free memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn create_space(&self) -> Result<Space<'_, M>, Error> {
        self.with_room(|| Space::create(self, None, None))
    }

    /// A new shared-memory object of `pages` pages that read as zero. All of them are committed as long as it exists,
    /// whatever is mapped of it: see [`Vm::set_overcommit`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::CommitLimit`]; [`Error::OutOfRange`] if its size in bytes does not fit 63 bits.
    pub fn shared_memory(&self, pages: u64) -> Result<Object<'_, M>, Error> {
        self.with_room(|| object::shared_memory(self, pages, true))
    }

    /// As [`Vm::shared_memory`], without a reservation: nothing of it is committed, now or when it is used, unless the
    /// policy is [`Overcommit::Never`](crate::Overcommit::Never) as it is made.
    ///
    /// # Errors
    /// Those of [`Vm::shared_memory`].
    pub fn shared_memory_unreserved(&self, pages: u64) -> Result<Object<'_, M>, Error> {
        self.with_room(|| object::shared_memory(self, pages, self.reserves_always()))
    }

    /// A new object which shows a file. The page cache belongs to the object: make one per file. Allocates; may sleep
    /// to free memory.
    ///
    /// The backing is moved into the core's memory, and dropped when the object is at its end ([`Backing`] says when
    /// that is): pass a small handle of it, if it is to be used otherwise, or is large. An `Arc` is one, and a
    /// reference with static lifetime.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Invalid`] if the backing is larger than 2048 bytes or aligned to more than 64.
    /// Nothing has changed, and the backing was dropped.
    pub fn file<B: Backing + 'static>(&self, backing: B) -> Result<Object<'_, M>, Error> {
        // Memory first, so that the backing is here still if there is too little, and more is freed.
        let room = self.with_room(|| Room::new(self, "size or alignment of a backing"))?;
        let homeless = Homeless::new(self, room, backing);
        let object = self.with_room(|| homeless.create_object())?;
        core::mem::forget(homeless);
        Ok(object)
    }

    /// The event counters, summed over the CPUs.
    pub fn totals(&self) -> Totals {
        let mut totals = [0u64; EVENTS];
        for cpu in self.cpus() {
            for &event in Event::ALL {
                totals[event as usize] = totals[event as usize].wrapping_add(cpu.counters.get(event));
            }
        }
        Totals(totals)
    }

    /// What frame `pfn` is used for now; `None` outside the machine's memory.
    pub fn frame_kind(&self, pfn: Pfn) -> Option<Kind> {
        self.physical.get(pfn).map(|frame| frame.kind())
    }

    /// What the block that frame `pfn` lies in is used for now: what its first frame says. `None` outside the machine's
    /// memory.
    pub fn block_kind(&self, pfn: Pfn) -> Option<Kind> {
        self.physical.block_kind(pfn)
    }

    /// What the machine's frames are used for at this moment. Takes time in proportion to memory.
    pub fn usage(&self) -> MemoryUsage {
        let mut usage = MemoryUsage::default();
        self.physical.for_each_frame(|_, frame| {
            let frames = 1u64 << frame.order();
            match frame.kind() {
                Kind::Absent | Kind::Tail => {}
                Kind::Free | Kind::Cached => usage.free += frames,
                Kind::Table | Kind::ClassArray => usage.tables += frames,
                Kind::Anonymous => {
                    usage.anonymous += frames;
                    usage.anonymous_huge += if frames > 1 { frames } else { 0 };
                }
                Kind::File => usage.file += frames,
                Kind::Slab | Kind::Allocated | Kind::Isolated => usage.slab += frames,
                Kind::Reserved => usage.reserved += frames,
            }
        });
        usage
    }

    /// Whether reclaim and migration flush once for a list of pages, as they do at first, or once for each entry: for
    /// comparison.
    pub fn set_batching(&self, on: bool) {
        self.unbatched.store(!on as u32, Relaxed);
    }

    pub(crate) fn is_batching(&self) -> bool {
        self.unbatched.load(Relaxed) == 0
    }

    /// Free frames at this moment.
    pub fn free_frames(&self) -> u64 {
        self.physical.free_pages(self)
    }

    /// Frees what waits for grace periods, as far as they can end now, on the current CPU. Not needed for progress.
    pub fn quiesce(&self) {
        let free = || {
            let cx = Cx::enter(self);
            cx.cpu().epoch.exit();
            cx.free_dead()
        };
        (0..4).for_each(|_| while free() {});
    }

    pub(crate) fn physical(&self) -> &Physical<M> {
        &self.physical
    }

    pub(crate) fn classes(&self) -> &Classes<M> {
        &self.classes
    }

    pub(crate) fn commitment(&self) -> &Commitment<M> {
        &self.commitment
    }

    pub(crate) fn spaces(&self) -> &Spaces<M> {
        &self.spaces
    }

    pub(crate) fn objects(&self) -> &Objects<M> {
        &self.objects
    }

    pub(crate) fn swap(&self) -> &Swap<M> {
        &self.swap
    }

    pub(crate) fn identifiers(&self) -> &Identifiers<M> {
        &self.identifiers
    }

    pub(crate) fn epoch(&self) -> &GlobalEpoch<M> {
        &self.epoch
    }

    /// The page that all untouched anonymous memory shows to loads.
    pub(crate) fn zero_page(&self) -> Pfn {
        self.zero_page
    }

    /// The huge page of zeroes of `1 << order` pages, if it was made.
    pub(crate) fn huge_zero_page(&self, order: u8) -> Option<Pfn> {
        let head = Pfn(self.huge_zero_page.load(Acquire).checked_sub(1)?);
        (self.physical.frame(head).order() == order).then_some(head)
    }

    /// The counter that identities come from.
    pub(crate) fn identities(&self) -> &AtomicU64<M> {
        &self.next_id
    }

    /// An identity never given out before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    pub(crate) fn cpu_count(&self) -> usize {
        self.cpu_count
    }

    #[inline(always)]
    pub(crate) fn cpu(&self, number: usize) -> &Cpu<M> {
        debug_assert!(number < self.cpu_count);
        // SAFETY: the array has `cpu_count` initialised values and `number` is below it by the machine's contract.
        unsafe { self.cpus.add(number).as_ref() }
    }

    pub(crate) fn cpus(&self) -> impl Iterator<Item = &Cpu<M>> {
        (0..self.cpu_count).map(|number| self.cpu(number))
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Makes the folio `head`, which is all zero and nobody else's, the huge page of zeroes, unless there is one;
    /// whether it is.
    pub(crate) fn keep_huge_zero_page(&self, head: Pfn) -> bool {
        let frame = self.vm().physical.frame(head);
        let is_first = self.vm().huge_zero_page.compare_exchange(0, head.0 + 1, AcqRel).is_ok();
        if is_first {
            frame.set_kind(Kind::Reserved, frame.order());
            frame.counts().store(0, Relaxed);
            self.count(Event::HugeZeroPage, 1);
        }
        is_first
    }
}
