//! The buddy allocator: one zone per node, free blocks of `1 << 0` to `1 << ORDER_MAX` frames.
//!
//! A block is aligned to its size. Its first frame is [`Kind::Free`] with its order and is on the list of that order;
//! the others are [`Kind::Tail`] ([`super::head`] has what they say), and stay so while the block is allocated whole. A
//! freed block merges with its buddy as long as that is free, of the same order, and in the same memory range (only
//! within a range are pages consecutive in the direct map).
//!
//! Lock: `Rank::Zone`, one per zone. [`ZoneLists`] is the proof that it is held, or that the zone is not shared yet.

use super::frame::set_cached;
use super::list::{LinkedList, Stack};
use super::memmap::MemoryMap;
use super::scan::Clock;
use super::{Frame, Kind, ORDER_MAX, ORDERS, Pfn, Physical};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::{AtomicU64, LockGuard, Rank, RawLock};
use core::sync::atomic::Ordering::Relaxed;

/// The smallest order of blocks that are worth being cut into single frames while there are larger ones.
const WORTH: u8 = 3;

/// The free memory of one node.
#[repr(align(64))]
pub(super) struct Zone<M> {
    lock: RawLock<M>,
    /// Free frames; written under the lock.
    free: AtomicU64<M>,
    /// Under the lock.
    lists: [LinkedList<M>; ORDERS],
    /// Frames of the node, and those of them which ever were the allocator's; constant, as are the watermarks.
    present: u64,
    managed: u64,
    watermarks: Watermarks,
    clock: Clock<M>,
}

/// Numbers of free frames at which something changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watermarks {
    /// Ordinary allocations leave this many.
    pub(super) min: u64,
    /// Below this, memory is to be reclaimed.
    pub(super) low: u64,
    /// Up to this.
    pub(super) high: u64,
}

impl Watermarks {
    /// As Linux's `min_free_kbytes`: 4 √KiB, within 128 KiB and 64 MiB; on small machines at most a 32nd of the memory.
    fn of(managed: u64, page_bytes: usize) -> Self {
        let page_kib = (page_bytes as u64 / 1024).max(1);
        let kib = (managed.saturating_mul(page_kib).saturating_mul(16)).isqrt().clamp(128, 65536);
        let min = (kib / page_kib).min(managed / 32);
        Watermarks { min, low: min + (min / 4).max(1), high: min + (min / 2).max(2) }
    }
}

impl<M: Machine> Zone<M> {
    pub(super) const fn new() -> Self {
        Zone {
            lock: RawLock::new(),
            free: AtomicU64::new(0),
            lists: [const { LinkedList::new() }; ORDERS],
            present: 0,
            managed: 0,
            watermarks: Watermarks { min: 0, low: 0, high: 0 },
            clock: Clock::new(),
        }
    }

    /// Notes, at boot, a range of `present` frames of which `managed` become free.
    pub(super) fn grow(&mut self, present: u64, managed: u64) {
        self.present += present;
        self.managed += managed;
    }

    pub(super) fn set_watermarks(&mut self, page_bytes: usize) {
        if self.managed > 0 {
            self.watermarks = Watermarks::of(self.managed, page_bytes);
        }
    }

    pub(super) fn watermarks(&self) -> Watermarks {
        self.watermarks
    }

    pub(super) fn clock(&self) -> &Clock<M> {
        &self.clock
    }

    pub(super) fn present(&self) -> u64 {
        self.present
    }

    pub(super) fn managed(&self) -> u64 {
        self.managed
    }

    /// Free frames at this moment.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// The list of the free blocks of `order`, for [`super::audit`] at quiescence.
    pub(super) fn list(&self, order: u8) -> &LinkedList<M> {
        &self.lists[order as usize]
    }
}

impl<M: Machine> Physical<M> {
    /// Locks the free lists of `node`.
    pub(super) fn lock_zone<'a>(&'a self, cx: &'a Cx<'_, M>, node: u8) -> ZoneLists<'a, M, LockGuard<'a, M>> {
        let zone = self.zone(node);
        let proof = zone.lock.lock(cx, Rank::Zone);
        ZoneLists { zone, map: &self.map, node: node % super::NODES_MAX as u8, _proof: proof }
    }
}

/// Exclusive access to a zone's free lists; `P` is what makes it so.
pub(super) struct ZoneLists<'a, M: Machine, P> {
    zone: &'a Zone<M>,
    map: &'a MemoryMap<M>,
    node: u8,
    _proof: P,
}

impl<'a, M: Machine> ZoneLists<'a, M, ()> {
    /// Access at boot, before the zone is shared.
    pub(super) fn exclusive(zone: &'a mut Zone<M>, map: &'a MemoryMap<M>) -> Self {
        ZoneLists { zone, map, node: 0, _proof: () }
    }
}

impl<M: Machine, P> ZoneLists<'_, M, P> {
    /// Takes a block of `order`, if at least `floor` frames stay free. Its kind is then [`Kind::Allocated`].
    pub(super) fn take(&mut self, order: u8, floor: u64) -> Option<Pfn> {
        if self.zone.free() < floor.saturating_add(1 << order) {
            return None;
        }
        let (block, mut at) = self.smallest(order)?;
        self.unlink(self.map.frame(block), at);
        while at > order {
            at -= 1;
            self.insert(block.offset(1 << at), at);
        }
        self.map.frame(block).set_kind(Kind::Allocated, order);
        Some(block)
    }

    /// Takes up to `wanted` single frames as long as `floor` frames stay free, making them [`Kind::Cached`] and putting
    /// them on `stack`, whence each block's come in ascending order; how many. The smallest blocks that are worth it go
    /// first. At most one is split: more would leave fragments where the next batch begins.
    pub(super) fn take_singles(&mut self, wanted: u64, floor: u64, stack: &Stack<M>) -> u64 {
        let wanted = wanted.min(self.zone.free().saturating_sub(floor));
        let mut left = wanted;
        while left > 0 {
            let fits = left.ilog2() as u8;
            let worth = WORTH.min(fits);
            let Some((block, mut at)) = self.smallest(worth).or_else(|| self.largest(worth)) else { break };
            if at > fits && left < wanted {
                break;
            }
            self.unlink(self.map.frame(block), at);
            while at > fits {
                at -= 1;
                self.insert(block.offset(1 << at), at);
            }
            self.cut(block, at, stack);
            left -= 1 << at;
        }
        wanted - left
    }

    /// Makes a block, which is on no list, single frames on `stack`.
    #[inline(always)]
    fn cut(&self, block: Pfn, order: u8, stack: &Stack<M>) {
        let frames = self.map.block(block, order);
        let mut next = block.0 + 1;
        set_cached(frames, self.node, |frame| {
            next += 1;
            frame.link.store(next, Relaxed);
        });
        stack.push_chain(block, &frames[frames.len() - 1], 1 << order);
    }

    /// Frees a block of `order`, merging it with its buddies. Nobody else knows its frames any more.
    pub(super) fn put(&mut self, block: Pfn, order: u8) {
        self.zone.free.add_owned(1 << order);
        // A block that merges stays within its section.
        let section = self.map.section(block);
        let (mut block, mut order, mut frame) = (block, order, self.map.frame(block));
        while order < ORDER_MAX {
            let buddy = Pfn(block.0 ^ 1 << order);
            let Some(other) = section.get(buddy).filter(|other| other.is_free_block(order, self.node)) else { break };
            let is_upper = buddy < block;
            if !(if is_upper { frame } else { other }).make_upper_half() {
                break;
            }
            self.zone.lists[order as usize].remove(self.map, other);
            if is_upper {
                (block, frame) = (buddy, other);
            }
            order += 1;
        }
        frame.set_kind(Kind::Free, order);
        self.zone.lists[order as usize].push(self.map, block, frame);
    }

    /// Frees consecutive frames, as few blocks. They are all [`Kind::Tail`], and of one memory range of this node.
    pub(super) fn put_run(&mut self, first: Pfn, frames: u64) {
        let (mut at, end) = (first.0, first.0 + frames);
        while at < end {
            let order = at.trailing_zeros().min((end - at).ilog2()).min(ORDER_MAX as u32) as u8;
            self.put(Pfn(at), order);
            at += 1 << order;
        }
    }

    /// Takes what is free of the aligned block of `order` at `start` off the lists, passing each part and its order to
    /// `each`, in whose hands its frames are from then on.
    ///
    /// The whole block exists, in one range of this node.
    pub(super) fn take_inside(&mut self, start: Pfn, order: u8, mut each: impl FnMut(Pfn, u8)) {
        if let Some((mut block, mut at)) = self.around(start, order) {
            self.unlink(self.map.frame(block), at);
            while at > order {
                at -= 1;
                let upper = block.offset(1 << at);
                let other = if start < upper { upper } else { core::mem::replace(&mut block, upper) };
                self.insert(other, at);
            }
            return each(start, order);
        }
        let (mut pfn, end) = (start, start.offset(1 << order));
        while pfn < end {
            let frame = self.map.frame(pfn);
            let (kind, part) = frame.kind_and_order();
            if kind == Kind::Free {
                self.unlink(frame, part);
                each(pfn, part);
            }
            pfn = pfn.offset(if kind == Kind::Free { 1 << part } else { 1 });
        }
    }

    /// The free block which contains the whole aligned block of `order` at `start`; its first frame and its order.
    pub(super) fn around(&self, start: Pfn, order: u8) -> Option<(Pfn, u8)> {
        let section = self.map.section(start);
        (order..=ORDER_MAX).find_map(|at| {
            let block = Pfn(start.0 >> at << at);
            section.get(block).filter(|frame| frame.is_free_block(at, self.node)).map(|_| (block, at))
        })
    }

    /// Puts a free block on its list as it is.
    pub(super) fn insert(&mut self, block: Pfn, order: u8) {
        let frame = self.map.frame(block);
        frame.set_kind(Kind::Free, order);
        self.zone.lists[order as usize].push(self.map, block, frame);
        self.zone.free.add_owned(1 << order);
    }

    /// The first of the smallest blocks of at least `order`; the block and its order.
    #[inline(always)]
    fn smallest(&self, order: u8) -> Option<(Pfn, u8)> {
        (order..=ORDER_MAX).find_map(|at| Some((self.zone.lists[at as usize].first()?, at)))
    }

    /// The first of the largest blocks below `order`; the block and its order.
    fn largest(&self, order: u8) -> Option<(Pfn, u8)> {
        (0..order).rev().find_map(|at| Some((self.zone.lists[at as usize].first()?, at)))
    }

    /// Takes a free block off its list.
    #[inline(always)]
    fn unlink(&mut self, frame: &Frame<M>, order: u8) {
        debug_assert!(frame.is_free_block(order, self.node), "what is on a list of free blocks");
        self.zone.lists[order as usize].remove(self.map, frame);
        self.zone.free.add_owned((1u64 << order).wrapping_neg());
    }
}
