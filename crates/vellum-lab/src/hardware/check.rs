//! The checks an MMU makes when a translation is used.

use super::mmu::{Bus, Mmu, Translated};
use super::violation::{FrameKinds, Invariant, Violation, ViolationLog, is_user_frame};
use super::walk::{Leaf, walk_tables};
use vellum::RootLoad;
use vellum::arch::{Arch, PageBits, Shootdown};
use vellum::ops::Access;
use vellum::phys::Pfn;

impl<A: Arch> Mmu<A> {
    /// A use of a cached translation: checked, if that is asked for.
    #[inline]
    pub(super) fn checked<K: FrameKinds + ?Sized>(
        &self,
        bus: &Bus<'_, A, K>,
        load: RootLoad,
        address: u64,
        (pfn, bits): (Pfn, PageBits),
        access: Access,
        log: &mut ViolationLog,
    ) -> Translated {
        if bus.checks.tables {
            self.check_against_tables(bus, load, address, (pfn, bits), access, log);
        }
        Translated { pfn, bits, usable: self.check_frame(bus, load, address, pfn, log) }
    }

    /// I-TLBFREE: whether `pfn` is user memory.
    #[inline]
    pub(super) fn check_frame<K: FrameKinds + ?Sized>(
        &self,
        bus: &Bus<'_, A, K>,
        load: RootLoad,
        address: u64,
        pfn: Pfn,
        log: &mut ViolationLog,
    ) -> bool {
        if !bus.checks.frames {
            return true;
        }
        let found = is_user_frame(bus.kinds, pfn);
        if let Err(kind) = found {
            let detail = match kind {
                Some(kind) => format!("the translation names frame {:#x}, which is {kind:?}", pfn.0),
                None => format!("the translation names frame {:#x}, which does not exist", pfn.0),
            };
            log.report(self.violation(Invariant::TlbFree, load, address, detail));
        }
        found.is_ok()
    }

    /// I-TLBPERM and I-DIRTY: what is cached says nothing that the tables do not say.
    #[inline]
    pub(super) fn check_against_tables<K: FrameKinds + ?Sized>(
        &self,
        bus: &Bus<'_, A, K>,
        load: RootLoad,
        address: u64,
        (pfn, bits): (Pfn, PageBits),
        access: Access,
        log: &mut ViolationLog,
    ) {
        let tables = walk_tables(bus.memory, load.root, address);
        // Tags are checked, or not, as the tables say.
        let is_tagged = |now: PageBits| now.has(PageBits::TAGGED) == bits.has(PageBits::TAGGED);
        let invariant = match tables {
            Some((now, allowed)) if now == pfn && allowed.has(PageBits::of(bits.prot())) && is_tagged(allowed) => {
                if access != Access::Write || allowed.has(PageBits::DIRTY) {
                    return;
                }
                Invariant::Dirty
            }
            _ => Invariant::TlbPerm,
        };
        let tables = tables.map_or("nothing".into(), |(now, allowed)| format!("frame {:#x} {allowed:?}", now.0));
        let detail = format!("cached: frame {:#x} {bits:?}; in the tables: {tables}", pfn.0);
        log.report(self.violation(invariant, load, address, detail));
    }

    /// I-BBM within this MMU: a walk finds another frame than the one still cached.
    pub(super) fn check_replaced(&self, load: RootLoad, address: u64, now: Pfn, log: &mut ViolationLog) {
        if !A::semantics().break_before_make {
            return;
        }
        let cached = self.tlb.frame_of(self.epochs.tag(load.asid.0), address >> A::PAGE_SHIFT);
        if let Some(old) = cached.filter(|&old| old != now) {
            let detail = format!("a walk finds frame {:#x} while frame {:#x} is cached", now.0, old.0);
            log.report(self.violation(Invariant::BreakBeforeMake, load, address, detail));
        }
    }

    /// I-BBM, of sizes: a walk finds a page of one size while some of it is cached as one of another, where that is an
    /// error.
    pub(super) fn check_sizes(&self, load: RootLoad, address: u64, leaf: &Leaf, log: &mut ViolationLog) {
        if !A::semantics().mixed_sizes_fault {
            return;
        }
        let order = leaf.order::<A>() as u8;
        let (tag, page) = (self.epochs.tag(load.asid.0), address >> A::PAGE_SHIFT);
        if let Some(old) = self.tlb.of_other_size(tag, page, order) {
            let (now, cached) = (1u64 << order, 1u64 << old.order);
            let detail = format!("a walk finds an entry of {now} pages while one of {cached} is cached");
            log.report(self.violation(Invariant::BreakBeforeMake, load, address, detail));
        }
    }

    /// I-BBM between two MMUs: whether they cache different frames, or different tables, for `address` of the address
    /// space that both have loaded. What a CPU caches of a space it has not loaded is not compared: identifiers may
    /// have been given to others since.
    pub fn check_conflict(&self, other: &Mmu<A>, address: u64, log: &mut ViolationLog) {
        let (Some(own), Some(others)) = (self.loaded(), other.loaded()) else { return };
        let is_global = A::semantics().shootdown == Shootdown::Broadcast;
        if !A::semantics().break_before_make || own.root != others.root || (is_global && own.asid != others.asid) {
            return;
        }
        let (tag, other_tag) = (self.epochs.tag(own.asid.0), other.epochs.tag(others.asid.0));
        let page = address >> A::PAGE_SHIFT;
        let mut compare = |what: &str, own_frame: Option<Pfn>, other_frame: Option<Pfn>| {
            if let (Some(here), Some(there)) = (own_frame, other_frame)
                && here != there
            {
                let detail = format!("{what} {:#x} is cached, and {:#x} on CPU {}", here.0, there.0, other.cpu);
                log.report(self.violation(Invariant::BreakBeforeMake, own, address, detail));
            }
        };
        compare("frame", self.tlb.frame_of(tag, page), other.tlb.frame_of(other_tag, page));
        for level in 1..A::LEVELS {
            let table = self.walk_cache.table_of::<A>(tag, address, level);
            compare("table", table, other.walk_cache.table_of::<A>(other_tag, address, level));
        }
    }

    pub(super) fn violation(&self, invariant: Invariant, load: RootLoad, address: u64, detail: String) -> Violation {
        Violation { invariant, cpu: self.cpu, asid: load.asid.0, address, detail }
    }
}
