//! What the simulated processors did.

/// What one MMU did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MmuCounters {
    /// Accesses answered by the TLB.
    pub hits: u64,
    /// Accesses for which it had no entry.
    pub misses: u64,
    /// Those of them that an entry for more than a page answered.
    pub huge_misses: u64,
    /// Walks of the tables: misses, stores through clean entries, and speculative fills.
    pub walks: u64,
    /// Valid entries that had to make room.
    pub evictions: u64,
    /// Faults.
    pub faults: u64,
    /// Invalidations of one page.
    pub page_invalidations: u64,
    /// Invalidations of an address-space identifier, those of root loads included.
    pub asid_invalidations: u64,
    /// Roots loaded.
    pub root_loads: u64,
}

impl MmuCounters {
    /// The sums of both.
    pub fn plus(self, other: MmuCounters) -> MmuCounters {
        MmuCounters {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            huge_misses: self.huge_misses + other.huge_misses,
            walks: self.walks + other.walks,
            evictions: self.evictions + other.evictions,
            faults: self.faults + other.faults,
            page_invalidations: self.page_invalidations + other.page_invalidations,
            asid_invalidations: self.asid_invalidations + other.asid_invalidations,
            root_loads: self.root_loads + other.root_loads,
        }
    }
}

/// What one simulated CPU did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuCounters {
    /// Its MMU.
    pub mmu: MmuCounters,
    /// Interrupts it sent, one a target.
    pub interrupts_sent: u64,
    /// Interrupts it received.
    pub interrupts_received: u64,
}

impl CpuCounters {
    /// The sums of both.
    pub fn plus(self, other: CpuCounters) -> CpuCounters {
        CpuCounters {
            mmu: self.mmu.plus(other.mmu),
            interrupts_sent: self.interrupts_sent + other.interrupts_sent,
            interrupts_received: self.interrupts_received + other.interrupts_received,
        }
    }
}
