//! One CPU's memory management unit: look up, walk, set accessed and dirty bits, check.

use super::counters::MmuCounters;
use super::memory::HostMemory;
use super::tlb::{Epochs, Tlb, TlbEntry, WalkCache};
use super::violation::{FrameKinds, Invariant, ViolationLog, is_table};
use super::walk::{Leaf, bits_to_set, commit, dirty_blindly, permits};
use std::marker::PhantomData;
use std::sync::atomic::Ordering::Acquire;
use vellum::arch::{Arch, Entry, PageBits, index};
use vellum::ops::Access;
use vellum::phys::Pfn;
use vellum::{Asid, RootLoad};

/// Which checks are made at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Frames and tables reached are what they must be (I-TLBFREE, I-PTFREE).
    pub frames: bool,
    /// Cached translations agree with the tables (I-TLBPERM, I-DIRTY). Only sound where no operation can be half done
    /// during an access.
    pub tables: bool,
}

impl Checks {
    /// No check.
    pub const NONE: Checks = Checks { frames: false, tables: false };
    /// Every check.
    pub const ALL: Checks = Checks { frames: true, tables: true };
}

/// What an MMU is connected to.
pub struct Bus<'a, A, K: ?Sized> {
    /// Physical memory.
    pub memory: &'a HostMemory<A>,
    /// What its frames are used for.
    pub kinds: &'a K,
    /// Which checks to make.
    pub checks: Checks,
}

/// A translated address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The frame.
    pub pfn: Pfn,
    /// What the translation allows.
    pub bits: PageBits,
    /// Whether the frame is user memory; if not, a violation was reported and a store must not be carried out, lest it
    /// destroy what the frame is used for now.
    pub usable: bool,
}

/// Why an access faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultReason {
    /// No root is loaded, or the address is not canonical.
    NoTranslation,
    /// A table entry is empty, or allows nothing.
    NotPresent,
    /// The entry does not allow this access.
    Protection,
    /// The processor leaves the accessed bit to software, and it is clear.
    NotAccessed,
    /// The processor leaves the dirty bit to software, and it is clear.
    NotDirty,
    /// The access bears another tag than the memory.
    Tag {
        /// The access's.
        expected: u8,
        /// The memory's.
        found: u8,
    },
}

/// An access the tables do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The address.
    pub address: u64,
    /// What was tried.
    pub access: Access,
    /// Why it faulted.
    pub reason: FaultReason,
}

/// Pages beyond which a broadcast drops a whole address space.
const BROADCAST_PAGES_MAX: u64 = 64;

/// One CPU's MMU.
pub struct Mmu<A> {
    pub(super) cpu: usize,
    pub(super) loaded: Option<RootLoad>,
    pub(super) epochs: Epochs,
    pub(super) tlb: Tlb,
    pub(super) walk_cache: WalkCache,
    counters: MmuCounters,
    _arch: PhantomData<fn(A)>,
}

impl<A: Arch> Mmu<A> {
    /// The MMU of `cpu`, with nothing loaded and nothing cached; its TLB has 1,024 entries.
    pub fn new(cpu: usize) -> Mmu<A> {
        Self::with_sets(cpu, 256)
    }

    /// The same with a TLB of `sets` times four entries.
    pub fn with_sets(cpu: usize, sets: usize) -> Mmu<A> {
        Mmu {
            cpu,
            loaded: None,
            epochs: Epochs::default(),
            tlb: Tlb::new(sets),
            walk_cache: WalkCache::new(),
            counters: MmuCounters::default(),
            _arch: PhantomData,
        }
    }

    /// What it did so far.
    pub fn counters(&self) -> MmuCounters {
        self.counters
    }

    /// The root loaded last.
    pub fn loaded(&self) -> Option<RootLoad> {
        self.loaded
    }

    /// Loads a root.
    pub fn load_root(&mut self, load: RootLoad) {
        self.counters.root_loads += 1;
        if !load.keep_entries {
            self.invalidate_asid(load.asid);
        }
        self.loaded = Some(load);
    }

    /// Loads a root that translates nothing. What is cached stays, and is not used.
    pub fn unload_root(&mut self) {
        self.counters.root_loads += 1;
        self.loaded = None;
    }

    /// Drops what is cached for one page of `asid`.
    pub fn invalidate_page(&mut self, asid: Asid, address: u64) {
        self.counters.page_invalidations += 1;
        self.forget(asid.0, address);
    }

    /// Drops everything cached for `asid`.
    pub fn invalidate_asid(&mut self, asid: Asid) {
        self.counters.asid_invalidations += 1;
        self.epochs.advance(asid.0);
    }

    /// Drops everything cached.
    pub fn invalidate_all(&mut self) {
        self.counters.asid_invalidations += 1;
        self.tlb.clear();
        self.walk_cache = WalkCache::new();
    }

    /// Drops what is cached for `pages` pages of `asid`, or all of it if they are many: what a broadcast does here.
    pub fn invalidate_range(&mut self, asid: Asid, start: u64, pages: u64) {
        if pages > BROADCAST_PAGES_MAX {
            return self.invalidate_asid(asid);
        }
        for page in 0..pages {
            self.invalidate_page(asid, start + (page << A::PAGE_SHIFT));
        }
    }

    /// Translates one access, as the processor would carry it out.
    #[inline]
    pub fn translate<K: FrameKinds + ?Sized>(
        &mut self,
        bus: &Bus<'_, A, K>,
        address: u64,
        access: Access,
        log: &mut ViolationLog,
    ) -> Result<Translated, Fault> {
        let result = match self.loaded {
            Some(load) if A::is_canonical(address) => self.translate_in(bus, load, address, access, log),
            _ => Err(FaultReason::NoTranslation),
        };
        result.map_err(|reason| {
            self.counters.faults += 1;
            if let Some(load) = self.loaded.filter(|_| A::semantics().fault_drops_entry) {
                self.forget(load.asid.0, address);
            }
            Fault { address, access, reason }
        })
    }

    /// Fills the TLB for `address` if the tables allow it, as a processor that walks them may at any time: whether it
    /// did.
    pub fn speculate<K: FrameKinds + ?Sized>(
        &mut self,
        bus: &Bus<'_, A, K>,
        address: u64,
        log: &mut ViolationLog,
    ) -> bool {
        match self.loaded {
            Some(load) if A::is_canonical(address) && !A::semantics().software_tlb => {
                self.fill(bus, load, address, Access::Read, log).is_ok()
            }
            _ => false,
        }
    }

    /// Compares every cached translation of the loaded address space with the tables.
    pub fn audit<K: FrameKinds + ?Sized>(&self, bus: &Bus<'_, A, K>, log: &mut ViolationLog) {
        let Some(load) = self.loaded else { return };
        for entry in self.tlb.of_tag(self.epochs.tag(load.asid.0)) {
            for page in entry.page..entry.page + (1 << entry.order) {
                let (address, pfn) = (page << A::PAGE_SHIFT, entry.frame(page));
                self.check_frame(bus, load, address, pfn, log);
                self.check_against_tables(bus, load, address, (pfn, entry.bits), Access::Read, log);
            }
        }
    }

    fn forget(&mut self, asid: u16, address: u64) {
        let tag = self.epochs.tag(asid);
        self.tlb.remove(tag, address >> A::PAGE_SHIFT);
        self.walk_cache.remove::<A>(tag, address);
    }

    #[inline]
    fn translate_in<K: FrameKinds + ?Sized>(
        &mut self,
        bus: &Bus<'_, A, K>,
        load: RootLoad,
        address: u64,
        access: Access,
        log: &mut ViolationLog,
    ) -> Result<Translated, FaultReason> {
        let (tag, page) = (self.epochs.tag(load.asid.0), address >> A::PAGE_SHIFT);
        let Some(entry) = self.tlb.lookup(tag, page) else {
            self.counters.misses += 1;
            let filled = self.fill(bus, load, address, access, log);
            let is_huge = self.tlb.lookup(tag, page).is_some_and(|entry| entry.order > 0);
            self.counters.huge_misses += u64::from(is_huge);
            return filled;
        };
        self.counters.hits += 1;
        if !permits(entry.bits, access) {
            return Err(FaultReason::Protection);
        }
        if access == Access::Write && !entry.bits.has(PageBits::DIRTY) {
            if !A::semantics().hardware_dirty {
                return Err(FaultReason::NotDirty);
            }
            if A::semantics().clean_store_rewalks {
                return self.fill(bus, load, address, access, log);
            }
            entry.bits = entry.bits | PageBits::DIRTY;
            let (pfn, bits) = (entry.frame(page), entry.bits);
            dirty_blindly(bus.memory, load.root, address, pfn);
            return Ok(self.checked(bus, load, address, (pfn, bits), access, log));
        }
        let hit = (entry.frame(page), entry.bits);
        Ok(self.checked(bus, load, address, hit, access, log))
    }

    /// Walks the tables for `access` and caches what it finds.
    fn fill<K: FrameKinds + ?Sized>(
        &mut self,
        bus: &Bus<'_, A, K>,
        load: RootLoad,
        address: u64,
        access: Access,
        log: &mut ViolationLog,
    ) -> Result<Translated, FaultReason> {
        self.counters.walks += 1;
        loop {
            let leaf = self.walk(bus, load, address, log).ok_or(FaultReason::NotPresent)?;
            if leaf.bits.prot().raw() == 0 {
                return Err(FaultReason::NotPresent);
            }
            if !permits(leaf.bits, access) {
                return Err(FaultReason::Protection);
            }
            let bits = leaf.bits | bits_to_set::<A>(leaf.bits, access)?;
            if !commit(bus.memory, &leaf, address, bits) {
                continue;
            }
            let pfn = leaf.frame::<A>(address);
            self.check_replaced(load, address, pfn, log);
            self.check_sizes(load, address, &leaf, log);
            self.cache(load, address, &leaf, bits);
            if leaf.shortened {
                return Ok(self.checked(bus, load, address, (pfn, bits), access, log));
            }
            return Ok(Translated { pfn, bits, usable: self.check_frame(bus, load, address, pfn, log) });
        }
    }

    /// Caches a translation: for all the pages that the entry found may stand for.
    #[inline]
    fn cache(&mut self, load: RootLoad, address: u64, leaf: &Leaf, bits: PageBits) {
        let (tag, page) = (self.epochs.tag(load.asid.0), address >> A::PAGE_SHIFT);
        if leaf.level > 0 {
            let order = leaf.order::<A>();
            let entry = TlbEntry { tag, page: page >> order << order, pfn: leaf.pfn, order: order as u8, bits };
            self.counters.evictions += self.tlb.insert(entry, &self.epochs) as u64;
            return;
        }
        let last = (1u64 << A::cached_order(leaf.word)) - 1;
        for distance in 0..=last {
            // The page itself comes last, so that it stays.
            let place = (page + 1 + distance) & last;
            let (page, pfn) = (page & !last | place, Pfn(leaf.pfn.0 & !last | place));
            let entry = TlbEntry { tag, page, pfn: if last == 0 { leaf.pfn } else { pfn }, order: 0, bits };
            self.counters.evictions += self.tlb.insert(entry, &self.epochs) as u64;
        }
    }

    /// Walks from the lowest cached table, caching the tables it passes; the software's walk neither finds nor leaves
    /// any.
    #[inline]
    fn walk<K: FrameKinds + ?Sized>(
        &mut self,
        bus: &Bus<'_, A, K>,
        load: RootLoad,
        address: u64,
        log: &mut ViolationLog,
    ) -> Option<Leaf> {
        let tag = self.epochs.tag(load.asid.0);
        let cached = if A::semantics().software_tlb { None } else { self.walk_cache.lookup::<A>(tag, address) };
        let (mut level, mut table) = cached.unwrap_or((A::LEVELS - 1, load.root));
        loop {
            if bus.checks.frames
                && let Err(kind) = is_table(bus.kinds, table)
            {
                let how = if cached.is_some() { ", reached by a cached upper entry" } else { "" };
                let detail = format!("table of level {level} in frame {:#x} is {kind:?}{how}", table.0);
                log.report(self.violation(Invariant::PtFree, load, address, detail));
                return None;
            }
            let word = bus.memory.word(table, index::<A>(address, level))?.load(Acquire);
            match A::decode(word, level) {
                Entry::Table(next) => {
                    if !A::semantics().software_tlb {
                        self.walk_cache.insert::<A>(tag, address, level, next);
                    }
                    table = next;
                    level -= 1;
                }
                Entry::Page(pfn, bits) => {
                    return Some(Leaf { table, level, word, pfn, bits, shortened: cached.is_some() });
                }
                _ => return None,
            }
        }
    }
}
