//! Broken invariants, as the hardware sees them.

use std::fmt;
use vellum::phys::{Kind, Pfn};
use vellum::{Machine, Vm};

/// What the simulated hardware checks; [`Invariant::id`] is the name the race catalogue uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// A translation was used whose frame is free, or is no longer user memory.
    TlbFree,
    /// A cached translation names another frame than the tables, or allows more.
    TlbPerm,
    /// A walk touched a frame that is no page table.
    PtFree,
    /// A store left no dirty bit in the tables, because the cached translation was dirty and the table's is clean.
    Dirty,
    /// What is cached for an address names two frames or two tables at once, where entries must be broken before they
    /// are made anew.
    BreakBeforeMake,
    /// An access makes no progress: its fault is resolved again and again.
    Progress,
}

impl Invariant {
    /// The name in the catalogue.
    pub const fn id(self) -> &'static str {
        match self {
            Invariant::TlbFree => "I-TLBFREE",
            Invariant::TlbPerm => "I-TLBPERM",
            Invariant::PtFree => "I-PTFREE",
            Invariant::Dirty => "I-DIRTY",
            Invariant::BreakBeforeMake => "I-BBM",
            Invariant::Progress => "I-PROG",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The CPU that used the translation.
    pub cpu: usize,
    /// The address-space identifier it used.
    pub asid: u16,
    /// The virtual address.
    pub address: u64,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { invariant, cpu, asid, address, detail } = self;
        write!(f, "{invariant}: CPU {cpu}, ASID {asid}, address {address:#x}: {detail}")
    }
}

/// Violations in the order found: all are counted, the first [`ViolationLog::KEPT`] are kept.
#[derive(Debug, Default)]
pub struct ViolationLog {
    kept: Vec<Violation>,
    count: u64,
}

impl ViolationLog {
    /// How many violations are kept.
    pub const KEPT: usize = 256;

    /// Adds one.
    pub fn report(&mut self, violation: Violation) {
        self.count += 1;
        if self.kept.len() < Self::KEPT {
            self.kept.push(violation);
        }
    }

    /// How many were found, those not kept included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The kept ones, leaving the log empty.
    pub fn take(&mut self) -> Vec<Violation> {
        self.count = 0;
        std::mem::take(&mut self.kept)
    }
}

/// Says what frames are used for: the core does, or a test.
pub trait FrameKinds {
    /// The kind of `pfn`; `None` if there is no such frame.
    fn frame_kind(&self, pfn: Pfn) -> Option<Kind>;

    /// The kind of the block `pfn` lies in, which its first frame says; `None` if there is no such frame.
    #[inline]
    fn block_kind(&self, pfn: Pfn) -> Option<Kind> {
        (0..=pfn.0).rev().map(|number| self.frame_kind(Pfn(number))).find(|&kind| kind != Some(Kind::Tail)).flatten()
    }
}

impl<M: Machine> FrameKinds for Vm<M> {
    #[inline]
    fn frame_kind(&self, pfn: Pfn) -> Option<Kind> {
        Vm::frame_kind(self, pfn)
    }

    /// Of a folio its head says it, also while another thread makes single pages of it, the first ones of which may be
    /// free by then.
    #[inline]
    fn block_kind(&self, pfn: Pfn) -> Option<Kind> {
        Vm::block_kind(self, pfn)
    }
}

/// Whether a user translation may name `pfn` now. Reserved frames may be named: the zero page is one.
#[inline]
pub(crate) fn is_user_frame<K: FrameKinds + ?Sized>(kinds: &K, pfn: Pfn) -> Result<(), Option<Kind>> {
    match kinds.block_kind(pfn) {
        Some(Kind::Anonymous | Kind::File | Kind::Reserved) => Ok(()),
        other => Err(other),
    }
}

/// Whether `pfn` is part of a page table now.
#[inline]
pub(super) fn is_table<K: FrameKinds + ?Sized>(kinds: &K, pfn: Pfn) -> Result<(), Option<Kind>> {
    match kinds.block_kind(pfn) {
        Some(Kind::Table) => Ok(()),
        other => Err(other),
    }
}
