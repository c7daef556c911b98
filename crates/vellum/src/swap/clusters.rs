//! Finding free slots: by clusters, so that what one CPU writes at a time lies together and CPUs keep apart.
//!
//! A CPU takes consecutive slots from a cluster of its own. At its end it takes another one, from the area of the
//! highest priority that has free slots: an empty one if there is one near, else one with free slots, be it another
//! CPU's. That a cluster is a CPU's own keeps no other from taking slots there: slots change hands by compare-exchange.
//!
//! A cluster's word: slots used (bad ones included), and [`OWNED`].

use super::areas::{AREAS, Area, ON};
use super::slots::end_slot;
use super::word::SlotWord;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::sync::{AtomicU64, Rank};
use crate::vm::Vm;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

/// Slots of a cluster.
pub(super) const CLUSTER: u64 = 256;

/// In a cluster's word: some CPU takes slots there.
const OWNED: u64 = 1 << 32;
/// Clusters looked at for an empty one.
const LOOK: u64 = 1024;

/// Where a CPU takes slots from. Written by the CPU alone.
pub(crate) struct SwapCursor<M> {
    /// The slot to try next, as its number + 1; 0 for none.
    next: AtomicU64<M>,
    /// Serial number of the area.
    serial: AtomicU64<M>,
}

impl<M: Machine> SwapCursor<M> {
    pub(crate) const fn new() -> Self {
        SwapCursor { next: AtomicU64::new(0), serial: AtomicU64::new(0) }
    }
}

impl<M: Machine> Cx<'_, M> {
    /// A free slot, now the caller's: he attaches a page to it ([`Cx::swap_attach`]) or gives it back
    /// ([`Cx::swap_cancel`]). `None` when swap is full. Takes `Rank::Swap` for a moment.
    pub(crate) fn swap_reserve(&self) -> Option<SwapSlot> {
        if let Some(slot) = self.take_at_cursor() {
            return Some(slot);
        }
        let mut tried = 0;
        while let Some(area) = self.best_area(tried) {
            tried |= 1 << area.id.number;
            self.vm().swap().latest.store(area.id.number as u64, Relaxed);
            // Others may empty the clusters meanwhile; the bound keeps it from going on for ever.
            for _ in 0..=area.arrays.clusters.length() {
                let Some(cluster) = area.claim_cluster(self) else { break };
                self.cpu().swap.next.store(SwapSlot::new(area.id.number, cluster * CLUSTER).0 + 1, Relaxed);
                self.cpu().swap.serial.store(area.id.serial, Relaxed);
                if let Some(slot) = self.take_at_cursor() {
                    return Some(slot);
                }
            }
        }
        None
    }

    /// Gives a slot back to which no page was attached.
    pub(crate) fn swap_cancel(&self, slot: SwapSlot) {
        let Some(place) = self.swap_place(slot) else { return };
        debug_assert!(place.load().is_reserved(), "a slot is given back that was not reserved");
        end_slot(self, &place);
    }

    /// The area to take a cluster from, of those whose bit is not set in `tried`.
    pub(super) fn best_area(&self, tried: u32) -> Option<&Area<M>> {
        let latest = self.vm().swap().latest.load(Relaxed) as usize;
        let areas = (1..=AREAS).map(|step| (latest + step) % AREAS).filter(|number| tried & 1 << number == 0);
        let areas = areas.filter_map(|number| self.swap_area(number as u8));
        let mut best: Option<&Area<M>> = None;
        for area in areas.filter(|area| area.state.load(Relaxed) == ON && area.has_room()) {
            if best.is_none_or(|best| area.priority > best.priority) {
                best = Some(area);
            }
        }
        best
    }

    /// The next free slot of this CPU's cluster.
    fn take_at_cursor(&self) -> Option<SwapSlot> {
        let (vm, cursor) = (self.vm(), &self.cpu().swap);
        let first = SwapSlot(cursor.next.load(Relaxed).checked_sub(1)?);
        cursor.next.store(0, Relaxed);
        let area = self.swap_area(first.area()).filter(|area| area.id.serial == cursor.serial.load(Relaxed))?;
        if !area.begin_use(vm, 1) {
            return None;
        }
        let cluster = first.offset() / CLUSTER;
        let end = area.slots().min((cluster + 1) * CLUSTER);
        let taken = (first.offset()..end).find(|&offset| area.take(vm, offset));
        match taken {
            Some(_) => area.count_in_cluster(vm, cluster, 1),
            None => area.end_use(vm, 1),
        }
        match taken {
            Some(offset) if offset + 1 < end => {
                cursor.next.store(SwapSlot::new(first.area(), offset + 1).0 + 1, Relaxed);
            }
            _ => area.leave_cluster(vm, cluster),
        }
        taken.map(|offset| SwapSlot::new(first.area(), offset))
    }
}

impl<M: Machine> Area<M> {
    /// Counts so many slots as used before they are taken; whether they may be. Whoever takes the area apart looks at
    /// the count after he has changed the state: so either he sees the slots, or the state is seen here.
    pub(super) fn begin_use(&self, vm: &Vm<M>, slots: u64) -> bool {
        self.used.fetch_add(slots, SeqCst);
        let is_on = self.is_on();
        if !is_on {
            self.end_use(vm, slots);
        }
        is_on
    }

    /// So many slots are free, or were not taken.
    pub(super) fn end_use(&self, vm: &Vm<M>, slots: u64) {
        self.used.fetch_sub(slots, SeqCst);
        self.changed(vm);
    }

    /// Whether a slot seems to be free.
    fn has_room(&self) -> bool {
        self.used.load(Relaxed) + self.bad.load(Relaxed) < self.slots()
    }

    /// Takes slot `offset` if it is free.
    fn take(&self, vm: &Vm<M>, offset: u64) -> bool {
        self.place(vm, offset).is_some_and(|place| {
            place.load() == SlotWord::FREE
                && place.word.compare_exchange(SlotWord::FREE.0, SlotWord::RESERVED.0, AcqRel).is_ok()
        })
    }

    /// Adds to the used slots of a cluster.
    pub(super) fn count_in_cluster(&self, vm: &Vm<M>, cluster: u64, change: i64) {
        if let Some(word) = self.arrays.clusters.get(vm, cluster) {
            word.fetch_add(change as u64, Relaxed);
        }
    }

    /// The slots of a cluster that are not free, as it is recorded.
    pub(super) fn used_in_cluster(&self, vm: &Vm<M>, cluster: u64) -> u64 {
        self.arrays.clusters.get(vm, cluster).map_or(0, |word| word.load(Relaxed) & (OWNED - 1))
    }

    /// Slots of a cluster; the last may be shorter.
    fn cluster_length(&self, cluster: u64) -> u64 {
        CLUSTER.min(self.slots().saturating_sub(cluster * CLUSTER))
    }

    /// The CPU takes no more slots of a cluster.
    fn leave_cluster(&self, vm: &Vm<M>, cluster: u64) {
        if let Some(word) = self.arrays.clusters.get(vm, cluster) {
            word.fetch_and(!OWNED, Relaxed);
        }
    }

    /// Takes a cluster with free slots for the current CPU, an empty one if there is one near.
    fn claim_cluster(&self, cx: &Cx<'_, M>) -> Option<u64> {
        let (vm, clusters) = (cx.vm(), &self.arrays.clusters);
        if !self.has_room() {
            return None;
        }
        let _guard = self.lock.lock(cx, Rank::Swap);
        let hand = self.hand.load(Relaxed);
        let mut best = None;
        for step in 0..clusters.length() {
            if step >= LOOK && best.is_some() {
                break;
            }
            let cluster = (hand + step) % clusters.length();
            let word = clusters.get(vm, cluster)?.load(Relaxed);
            if word == 0 {
                best = Some(cluster);
                break;
            }
            if best.is_none() && word & (OWNED - 1) < self.cluster_length(cluster) {
                best = Some(cluster);
            }
        }
        let cluster = best?;
        clusters.get(vm, cluster)?.fetch_or(OWNED, Relaxed);
        self.hand.store((cluster + 1) % clusters.length(), Relaxed);
        Some(cluster)
    }
}
