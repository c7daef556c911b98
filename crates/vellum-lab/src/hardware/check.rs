//! The checks an MMU makes when a translation is used.

use super::mmu::{Bus, Mmu, Translated};
use super::violation::{FrameKinds, Invariant, Violation, ViolationLog, is_user_frame};
use super::walk::walk_tables;
use vellum::RootLoad;
use vellum::arch::{Arch, PageBits};
use vellum::ops::Access;
use vellum::phys::Pfn;

impl<A: Arch> Mmu<A> {
    /// A use of a cached translation: checked, if that is asked for.
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
        let invariant = match tables {
            Some((now, allowed)) if now == pfn && allowed.has(PageBits::of(bits.prot())) => {
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

    pub(super) fn violation(&self, invariant: Invariant, load: RootLoad, address: u64, detail: String) -> Violation {
        Violation { invariant, cpu: self.cpu, asid: load.asid.0, address, detail }
    }
}
