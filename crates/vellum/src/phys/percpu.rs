//! Allocation and freeing of frames, and the free frames each CPU keeps.
//!
//! A CPU has a stack of single free frames, refilled from a zone and drained to it in batches under one lock, and a
//! stack of zeroed frames for page tables: a table that is freed is empty, so it need not be cleared again. The stacks
//! belong to the CPU: with pre-emption off (a [`Cx`] exists) nobody else accesses them, and they need no lock and no
//! atomic read-modify-write. A frame on one is [`Kind::Cached`].
//!
//! An allocation tries the CPU's own node first and then the others, leaving `min` frames in each; one flagged
//! [`AllocFlags::RESERVE`] then tries again and leaves none.

use super::frame::single_on_node;
use super::list::Stack;
use super::{AllocFlags, Folio, Frame, Kind, NODES_MAX, ORDER_MAX, Pfn, Physical};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::stat::Event;
use crate::sync::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// Frames taken from a zone at a time on machines that are not small.
pub(super) const BATCH: u64 = 32;
/// Batches on a CPU's stack when it is drained, to half.
const BATCHES_MAX: u32 = 3;
/// Batches of zeroed frames a CPU keeps: one half.
const TABLES_PER_LIMIT: u64 = 2 * BATCHES_MAX as u64;
/// [`CpuLists::home`] before the first use; no frame has that order and node.
const UNKNOWN: u32 = u32::MAX;

/// The batch for `managed` frames shared by `cpus` CPUs: what all CPUs together keep stays below a fifth of the memory.
pub(super) fn batch_for(managed: u64, cpus: usize) -> u32 {
    (managed / (16 * cpus.max(1) as u64)).clamp(1, BATCH) as u32
}

/// The free frames one CPU keeps. What every allocation touches comes first.
#[repr(C)]
pub(crate) struct CpuLists<M> {
    frames: Stack<M>,
    /// What [`Frame::make_cached`] compares the frames kept here with, or [`UNKNOWN`]; constant once known.
    home: AtomicU32<M>,
    /// Length at which `frames` is drained; 0 while `home` is unknown.
    limit: AtomicU32<M>,
    tables: Stack<M>,
    /// Frames of another node, of a [`Stock`](super::Stock), which does not outlive a section.
    pub(super) ahead: Stack<M>,
}

// With the epoch announcement, which precedes it in `Cpu`, it fills no more than a cache line.
const _: () = assert!(size_of::<CpuLists<()>>() + size_of::<u64>() <= 64);

impl<M: Machine> CpuLists<M> {
    pub(crate) const fn new() -> Self {
        CpuLists {
            frames: Stack::new(),
            home: AtomicU32::new(UNKNOWN),
            limit: AtomicU32::new(0),
            tables: Stack::new(),
            ahead: Stack::new(),
        }
    }

    /// The node whose frames are kept here; `None` before the first use.
    pub(super) fn home(&self) -> Option<u8> {
        let home = self.home.load(Relaxed);
        (home != UNKNOWN).then_some((home >> 16) as u8)
    }

    /// The node of the frame on top of the stack.
    pub(super) fn node_on_top(&self, physical: &Physical<M>) -> Option<u8> {
        self.frames.first().map(|pfn| physical.frame(pfn).node())
    }

    /// Frames kept, of both sorts.
    pub(crate) fn len(&self) -> u64 {
        self.frames.len() + self.tables.len()
    }

    /// The stack of free frames and that of zeroed ones, for [`super::audit`] at quiescence.
    pub(super) fn stacks(&self) -> (&Stack<M>, &Stack<M>) {
        (&self.frames, &self.tables)
    }
}

impl<M: Machine> Physical<M> {
    /// The node with memory that is nearest to `cpu`.
    pub(super) fn home_of(&self, machine: &M, cpu: usize) -> u8 {
        let node = machine.node_of_cpu(cpu).min(NODES_MAX as u8 - 1);
        self.nodes_near(node).next().unwrap_or(0)
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Allocates a block of `1 << order` frames: its first frame, of [`Kind::Allocated`] and with counts 0. The
    /// contents are whatever they were.
    #[inline]
    pub(crate) fn alloc_frame(&self, order: u8, flags: AllocFlags) -> Result<Pfn, Error> {
        if !self.is_allocation_allowed(order, flags) {
            return Err(Error::OutOfMemory);
        }
        if order == 0
            && let Some(pfn) = self.pop_frame()
        {
            return Ok(pfn);
        }
        self.alloc_slow(order, flags)
    }

    /// As [`Cx::alloc_frame`], cleared.
    #[inline]
    pub(crate) fn alloc_zeroed(&self, order: u8, flags: AllocFlags) -> Result<Pfn, Error> {
        let pfn = self.alloc_frame(order, flags)?;
        self.clear_block(pfn, order);
        Ok(pfn)
    }

    /// Allocates one zeroed frame for a page table, from the frames of freed ones first.
    #[inline]
    pub(crate) fn alloc_table_frame(&self, flags: AllocFlags) -> Result<Pfn, Error> {
        if !self.is_allocation_allowed(0, flags) {
            return Err(Error::OutOfMemory);
        }
        if let Some(pfn) = self.pop_from(&self.cpu().lists.tables) {
            return Ok(pfn);
        }
        let pfn = match self.pop_frame() {
            Some(pfn) => pfn,
            None => self.alloc_slow(0, flags)?,
        };
        self.clear_block(pfn, 0);
        Ok(pfn)
    }

    /// Frees a block whose first frame is `pfn`; its order is what its descriptor says. Nobody refers to it any more.
    #[inline]
    pub(crate) fn free_frame(&self, pfn: Pfn) {
        let frame = self.vm().physical().frame(pfn);
        check_owned(pfn, frame);
        frame.counts().store(0, Relaxed);
        let lists = &self.cpu().lists;
        let has_room = lists.frames.len() < lists.limit.load(Relaxed) as u64;
        if has_room && frame.make_cached(lists.home.load(Relaxed)) {
            self.count(Event::Free, 1);
            lists.frames.push(pfn, frame);
        } else {
            self.free_slow(pfn, frame);
        }
    }

    /// As [`Cx::free_frame`], for a block that is all zero: a page table without entries.
    #[inline]
    pub(crate) fn free_table_frame(&self, pfn: Pfn) {
        let frame = self.vm().physical().frame(pfn);
        let lists = &self.cpu().lists;
        let has_room = lists.tables.len() < lists.limit.load(Relaxed) as u64 / TABLES_PER_LIMIT;
        check_owned(pfn, frame);
        if has_room && frame.make_cached(lists.home.load(Relaxed)) {
            self.count(Event::Free, 1);
            frame.counts().store(0, Relaxed);
            lists.tables.push(pfn, frame);
        } else {
            self.free_frame(pfn);
        }
    }

    /// Gives all frames the current CPU keeps back to the zones, and all objects to their slabs.
    pub(crate) fn drain_cpu(&self) {
        self.drain_magazines();
        let lists = &self.cpu().lists;
        self.drain(&lists.frames, u64::MAX);
        self.drain(&lists.tables, u64::MAX);
    }

    /// Whether [`Cx::drain_cpu`] may find something.
    pub(super) fn keeps_memory(&self) -> bool {
        self.cpu().lists.len() > 0 || !self.cpu().magazines.is_empty()
    }

    /// Asks the machine, which may inject a failure.
    #[inline(always)]
    pub(super) fn is_allocation_allowed(&self, order: u8, flags: AllocFlags) -> bool {
        flags.has(AllocFlags::RESERVE) || self.vm().machine().allow_allocation(order)
    }

    /// Takes a frame from this CPU's stack of free ones, for the caller.
    #[inline(always)]
    pub(super) fn pop_frame(&self) -> Option<Pfn> {
        self.pop_from(&self.cpu().lists.frames)
    }

    #[inline(always)]
    pub(super) fn pop_from(&self, stack: &Stack<M>) -> Option<Pfn> {
        let pfn = stack.first()?;
        let frame = self.vm().physical().frame(pfn);
        debug_assert_eq!(frame.counts().load(Relaxed), 0, "counts of a free frame");
        stack.pop(frame);
        frame.change_kind(Kind::Cached, Kind::Allocated);
        self.count(Event::Alloc, 1);
        Some(pfn)
    }

    fn clear_block(&self, pfn: Pfn, order: u8) {
        let machine = self.vm().machine();
        match order {
            // SAFETY: the frame was just allocated, so nobody else accesses it.
            0 => unsafe { machine.clear_page(machine.frame(pfn)) },
            // SAFETY: so were these.
            _ => unsafe { machine.clear_frames(pfn, 1 << order) },
        }
    }

    /// Allocates from the zones, refilling this CPU's stack; if that fails, once more after draining its stacks.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_slow(&self, order: u8, flags: AllocFlags) -> Result<Pfn, Error> {
        if order > ORDER_MAX {
            return Err(Error::OutOfMemory);
        }
        self.find_home();
        if let Some(pfn) = self.alloc_from_zones(order, flags) {
            return Ok(pfn);
        }
        if !self.keeps_memory() {
            return Err(Error::OutOfMemory);
        }
        self.drain_cpu();
        self.alloc_from_zones(order, flags).ok_or(Error::OutOfMemory)
    }

    fn alloc_from_zones(&self, order: u8, flags: AllocFlags) -> Option<Pfn> {
        let physical = self.vm().physical();
        let home = (self.cpu().lists.home.load(Relaxed) >> 16) as u8;
        let ordinary = |node| {
            let floor = physical.zone(node).watermarks().min;
            self.alloc_from_zone(node, order, floor, physical.batch as u64)
        };
        // The nearest node with memory, then the others.
        let pfn = ordinary(home).or_else(|| physical.nodes_near(home).skip(1).find_map(ordinary));
        // What comes out of the reserve is for the caller alone: one frame, not a batch.
        let from_reserve = || physical.nodes_near(home).find_map(|node| self.alloc_from_zone(node, order, 0, 1));
        if flags.has(AllocFlags::RESERVE) { pfn.or_else(from_reserve) } else { pfn }
    }

    /// Allocates a block of `order` from one zone; a single frame by way of this CPU's stack.
    pub(super) fn alloc_from_zone(&self, node: u8, order: u8, floor: u64, batch: u64) -> Option<Pfn> {
        let physical = self.vm().physical();
        if physical.zone(node).free() < floor.saturating_add(1 << order) {
            return None;
        }
        let mut lists = physical.lock_zone(self, node);
        if order > 0 {
            let pfn = lists.take(order, floor)?;
            self.count(Event::Alloc, 1 << order);
            return Some(pfn);
        }
        let taken = lists.take_singles(batch, floor, &self.cpu().lists.frames);
        drop(lists);
        if taken == 0 {
            return None;
        }
        self.count(Event::Refill, 1);
        self.pop_frame()
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, pfn: Pfn, frame: &Frame<M>) {
        self.find_home();
        let lists = &self.cpu().lists;
        let order = frame.order();
        self.count(Event::Free, 1 << order);
        if !frame.make_cached(lists.home.load(Relaxed)) {
            self.part_tails(Folio { head: pfn, order });
            self.vm().physical().lock_zone(self, frame.node()).put(pfn, order);
            return;
        }
        lists.frames.push(pfn, frame);
        let limit = lists.limit.load(Relaxed) as u64;
        if lists.frames.len() > limit {
            self.drain(&lists.frames, limit.div_ceil(2));
        }
    }

    /// Gives up to `count` frames of a stack back, taking a lock once for each sequence of frames of one node.
    pub(super) fn drain(&self, stack: &Stack<M>, count: u64) {
        let physical = self.vm().physical();
        let mut left = count.min(stack.len());
        while left > 0 {
            let Some(first) = stack.first() else { return };
            let node = physical.frame(first).node();
            let mut lists = physical.lock_zone(self, node);
            while left > 0
                && let Some(first) = stack.first()
                && let frame = physical.frame(first)
                && frame.node() == node
            {
                let (lowest, frames) = self.pop_run(stack, first, frame, left);
                left -= frames;
                match frames {
                    1 => lists.put(lowest, 0),
                    _ => lists.put_run(lowest, frames),
                }
            }
        }
    }

    /// Takes the frames on top of a stack whose numbers are consecutive, upwards or downwards, `first` being the one
    /// uppermost on the stack and at most `limit` in all: the lowest, and how many. All are of one memory range, and
    /// [`Kind::Tail`] now.
    #[inline(always)]
    fn pop_run(&self, stack: &Stack<M>, first: Pfn, frame: &Frame<M>, limit: u64) -> (Pfn, u64) {
        let physical = self.vm().physical();
        let take = |frame: &Frame<M>| {
            stack.pop(frame);
            frame.make_tail();
        };
        take(frame);
        let (mut start, mut end) = (first, first.offset(1));
        while end.0 - start.0 < limit
            && let Some(pfn) = stack.first()
        {
            let frame = physical.frame(pfn);
            // What is not the first of a range is of the same one as its lower neighbour.
            if pfn == end && !frame.is_range_start() {
                end = end.offset(1);
            } else if pfn.offset(1) == start && !physical.frame(start).is_range_start() {
                start = pfn;
            } else {
                break;
            }
            take(frame);
        }
        (start, end.0 - start.0)
    }

    /// Finds out, on first use, whose frames this CPU keeps, and how many.
    pub(super) fn find_home(&self) {
        let (lists, vm) = (&self.cpu().lists, self.vm());
        if lists.home.load(Relaxed) == UNKNOWN {
            let node = vm.physical().home_of(vm.machine(), self.number());
            lists.home.store(single_on_node(node), Relaxed);
            lists.limit.store(BATCHES_MAX * vm.physical().batch, Relaxed);
        }
    }
}

/// Drops a reference to the folio of a page, freeing it if that was the last.
pub(crate) fn release<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) {
    let head = cx.vm().physical().head(pfn);
    if cx.vm().physical().frame(head).put() {
        cx.free_frame(head);
    }
}

/// In debug builds: the frame is one that its owner may free.
#[inline(always)]
pub(super) fn check_owned<M: Machine>(pfn: Pfn, frame: &Frame<M>) {
    debug_assert!(frame.kind().is_owned(), "{pfn:?} is freed while it is {:?}", frame.kind());
    debug_assert!(
        !matches!(frame.kind(), Kind::Anonymous | Kind::File) || frame.references() == 0,
        "{pfn:?} is freed while it is referred to"
    );
}
