//! Recounting swap at quiescence.
//!
//! There is no room to count, slot by slot, the entries that name it. So the audit compares sums, of the counts and of
//! the counts multiplied by a number that belongs to the slot: entries counted with another slot than their own show in
//! the second, but for one case in 2^64.

use super::areas::{AREAS, Area, Place};
use super::clusters::CLUSTER;
use super::compressed::Contents;
use super::word::SlotWord;
use crate::arch::SwapSlot;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::folio::SWAP_CACHE;
use crate::phys::{Kind, Pfn};
use crate::vm::Vm;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// What the audit of swap counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapAudit {
    /// Page-table entries that name slots.
    pub entries: u64,
    /// Slots that are not free.
    pub used: u64,
    /// Slots whose page is in memory.
    pub cached: u64,
    /// Slots with saved memory tags.
    pub tagged: u64,
    /// Pages in the compressed tier.
    pub compressed: u64,
}

/// What the audit of swap found wrong first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapAuditError {
    /// The entries of an area's slots are not as many, or not for the slots, as is recorded.
    Entries {
        /// The area's number.
        area: u8,
        /// What the slots say.
        recorded: u64,
        /// What there are.
        found: u64,
    },
    /// A slot is used though neither entry nor page is there, or free though something is.
    State {
        /// The slot.
        slot: SwapSlot,
        /// Its word.
        word: u64,
    },
    /// A page is not cached with the slot that says so, or not properly.
    Cached {
        /// The slot.
        slot: SwapSlot,
        /// The page.
        frame: Pfn,
    },
    /// A slot which no page is cached with was never written.
    NoContents {
        /// The slot.
        slot: SwapSlot,
    },
    /// A free slot has an owner, tags or contents.
    Left {
        /// The slot.
        slot: SwapSlot,
    },
    /// A sum is recorded wrongly.
    Count {
        /// Of what.
        what: &'static str,
        /// What is recorded.
        recorded: u64,
        /// What there is.
        found: u64,
    },
}

impl fmt::Display for SwapAuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swap does not add up: {self:?}")
    }
}

impl core::error::Error for SwapAuditError {}

/// The page-table entries that name slots, as somebody finds them.
#[derive(Default)]
pub(crate) struct SwapTally {
    areas: [Sum; AREAS],
    /// Entries that name no area's slot.
    unknown: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    entries: u64,
    weighted: u64,
}

impl Sum {
    fn add(&mut self, slot: SwapSlot, entries: u64) {
        let weight = (slot.0 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.entries += entries;
        self.weighted = self.weighted.wrapping_add((weight ^ weight >> 32).wrapping_mul(entries));
    }
}

impl SwapTally {
    /// Counts an entry.
    pub(crate) fn add(&mut self, slot: SwapSlot) {
        match self.areas.get_mut(slot.area() as usize) {
            Some(sum) => sum.add(slot, 1),
            None => self.unknown += 1,
        }
    }
}

impl<M: Machine> Vm<M> {
    /// Recounts swap, with the entries that somebody has found. No other CPU is inside the core, nothing is being read
    /// or written, and no slot is reserved.
    pub(crate) fn swap_audit(&self, tally: &SwapTally) -> Result<SwapAudit, SwapAuditError> {
        let cx = Cx::enter(self);
        let mut audit = SwapAudit::default();
        let mut compressed_bytes = 0;
        for (number, &found) in tally.areas.iter().enumerate() {
            let mut recorded = Sum::default();
            if let Some(area) = cx.swap_area(number as u8) {
                self.audit_area(area, &mut recorded, &mut audit, &mut compressed_bytes)?;
            }
            if recorded != found {
                let (recorded, found) = (recorded.entries, found.entries);
                return Err(SwapAuditError::Entries { area: number as u8, recorded, found });
            }
            audit.entries += found.entries;
        }
        expect("entries with a slot that does not exist", 0, tally.unknown)?;
        let (pages, bytes) = self.swap().pool.size();
        expect("compressed pages", pages, audit.compressed)?;
        expect("compressed bytes", bytes, compressed_bytes)?;
        expect("frames in the swap cache", self.frames_in_swap_cache(), audit.cached)?;
        Ok(audit)
    }

    fn audit_area(
        &self,
        area: &Area<M>,
        sum: &mut Sum,
        audit: &mut SwapAudit,
        compressed_bytes: &mut u64,
    ) -> Result<(), SwapAuditError> {
        let before = *audit;
        let (mut in_cluster, mut bad) = (0, 0);
        for offset in 0..area.slots() {
            let Some(place) = area.place(self, offset) else { break };
            let slot = SwapSlot::new(area.id.number, offset);
            let word = place.load();
            self.audit_slot(slot, word, &place)?;
            sum.add(slot, word.count() as u64);
            audit.used += word.is_used() as u64;
            audit.cached += word.frame().is_some() as u64;
            audit.tagged += place.tags().is_some_and(|tags| tags.load(Relaxed) != 0) as u64;
            if let Contents::Compressed(_, bytes) = place.known_contents() {
                audit.compressed += 1;
                *compressed_bytes += bytes as u64;
            }
            bad += (!word.is_used() && word.is_bad()) as u64;
            in_cluster += (word != SlotWord::FREE) as u64;
            if (offset + 1).is_multiple_of(CLUSTER) || offset + 1 == area.slots() {
                expect("used slots of a cluster", area.used_in_cluster(self, offset / CLUSTER), in_cluster)?;
                in_cluster = 0;
            }
        }
        expect("used slots of an area", area.used.load(Relaxed), audit.used - before.used)?;
        expect("cached slots of an area", area.cached.load(Relaxed), audit.cached - before.cached)?;
        expect("bad slots of an area", area.bad.load(Relaxed), bad)
    }

    fn audit_slot(&self, slot: SwapSlot, word: SlotWord, place: &Place<'_, M>) -> Result<(), SwapAuditError> {
        let is_written = !matches!(place.known_contents(), Contents::None);
        if let Some(pfn) = word.frame() {
            let is_there = self.physical().get(pfn).is_some();
            let head = if is_there { self.physical().head(pfn) } else { pfn };
            let frame = self.physical().get(head).filter(|frame| matches!(frame.kind(), Kind::Anonymous | Kind::File));
            let first = frame.filter(|frame| frame.references() > 0).and_then(|frame| frame.swap_slot());
            let is_right = first.is_some_and(|first| first.further(pfn.0 - head.0) == slot);
            return is_right.then_some(()).ok_or(SwapAuditError::Cached { slot, frame: pfn });
        }
        if word.is_reserved() || (word.is_used() && word.count() == 0) {
            return Err(SwapAuditError::State { slot, word: word.0 });
        }
        if word.is_used() {
            return is_written.then_some(()).ok_or(SwapAuditError::NoContents { slot });
        }
        let is_set = |word: Option<&crate::sync::AtomicU64<M>>| word.is_some_and(|word| word.load(Relaxed) != 0);
        if is_written || is_set(place.owner()) || is_set(place.tags()) {
            return Err(SwapAuditError::Left { slot });
        }
        Ok(())
    }

    /// Pages that say they are in the swap cache.
    fn frames_in_swap_cache(&self) -> u64 {
        let mut count = 0;
        self.physical().for_each_frame(|_, frame| {
            let is_page = matches!(frame.kind(), Kind::Anonymous | Kind::File);
            count += ((is_page && frame.flags() & SWAP_CACHE != 0) as u64) << frame.order();
        });
        count
    }
}

fn expect(what: &'static str, recorded: u64, found: u64) -> Result<(), SwapAuditError> {
    if recorded == found { Ok(()) } else { Err(SwapAuditError::Count { what, recorded, found }) }
}
