//! Page tables made by hand in bare memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Arch, Entry, PageBits, index};
use vellum::ops::Access;
use vellum::phys::{Kind, Pfn};
use vellum::{Asid, RootLoad};
use vellum_lab::hardware::{
    Bus, Checks, Fault, FaultReason, FrameKinds, HostMemory, MachineConfig, Mmu, Translated, ViolationLog,
};

pub const ASID: Asid = Asid(1);
/// Two pages under one leaf table of every architecture.
pub const FIRST: u64 = 0x1_0000;
pub const SECOND: u64 = 0x1_2000;

pub fn full() -> PageBits {
    PageBits::READ | PageBits::WRITE | PageBits::ACCESSED | PageBits::DIRTY
}

pub fn read_only() -> PageBits {
    PageBits::READ | PageBits::ACCESSED
}

/// Memory with a root table, an MMU which has it loaded, and the kinds a core would know.
pub struct Board<A: Arch> {
    pub memory: HostMemory<A>,
    kinds: RefCell<HashMap<Pfn, Kind>>,
    next: Cell<u64>,
    pub root: Pfn,
    pub mmu: Mmu<A>,
    pub log: ViolationLog,
    pub checks: Checks,
}

struct Kinds<'a>(&'a RefCell<HashMap<Pfn, Kind>>);

impl FrameKinds for Kinds<'_> {
    fn frame_kind(&self, pfn: Pfn) -> Option<Kind> {
        self.0.borrow().get(&pfn).copied()
    }
}

impl<A: Arch> Board<A> {
    pub fn new(checks: Checks) -> Board<A> {
        let config = MachineConfig::new(1, 64);
        let mut board = Board {
            memory: HostMemory::new(&config.ranges).expect("64 pages"),
            kinds: RefCell::default(),
            next: Cell::new(config.ranges[0].start.0),
            root: Pfn(0),
            mmu: Mmu::new(0),
            log: ViolationLog::default(),
            checks,
        };
        board.root = board.frame(Kind::Table);
        board.mmu.load_root(RootLoad { root: board.root, asid: ASID, keep_entries: false });
        board
    }

    /// A fresh frame.
    pub fn frame(&self, kind: Kind) -> Pfn {
        let pfn = Pfn(self.next.get());
        self.next.set(pfn.0 + 1);
        self.set_kind(pfn, kind);
        pfn
    }

    pub fn set_kind(&self, pfn: Pfn, kind: Kind) {
        self.kinds.borrow_mut().insert(pfn, kind);
    }

    /// The slot of `level` on the way to `address`; missing tables are made.
    pub fn slot(&self, address: u64, level: usize) -> &AtomicU64 {
        let mut table = self.root;
        for upper in (level + 1..A::LEVELS).rev() {
            let slot = self.memory.word(table, index::<A>(address, upper)).expect("a table");
            if slot.load(Relaxed) == 0 {
                slot.store(A::table(self.frame(Kind::Table)), Relaxed);
            }
            let Entry::Table(next) = A::decode(slot.load(Relaxed), upper) else { panic!("no table") };
            table = next;
        }
        self.memory.word(table, index::<A>(address, level)).expect("a table")
    }

    /// The leaf table of `address`.
    pub fn leaf_table(&self, address: u64) -> Pfn {
        match A::decode(self.slot(address, 1).load(Relaxed), 1) {
            Entry::Table(table) => table,
            other => panic!("{other:?}"),
        }
    }

    /// Lets the tables say `pfn` with `bits` at `address`.
    pub fn map(&self, address: u64, pfn: Pfn, bits: PageBits) {
        self.slot(address, 0).store(A::page(pfn, bits), Relaxed);
    }

    /// Lets the tables say a huge page at `address`, of level 1, with `bits`: fresh anonymous frames, of which this is
    /// the first.
    pub fn map_huge(&self, address: u64, bits: PageBits) -> Pfn {
        let first = Pfn(1 << (A::shift(1) - A::PAGE_SHIFT) << 4);
        (0..16).for_each(|page| self.set_kind(Pfn(first.0 + page), Kind::Anonymous));
        self.slot(address, 1).store(A::huge(A::page(first, bits), 1), Relaxed);
        first
    }

    /// Maps a fresh anonymous frame.
    pub fn map_fresh(&self, address: u64, bits: PageBits) -> Pfn {
        let pfn = self.frame(Kind::Anonymous);
        self.map(address, pfn, bits);
        pfn
    }

    pub fn bits(&self, address: u64) -> PageBits {
        A::page_bits(self.slot(address, 0).load(Relaxed))
    }

    pub fn access(&mut self, address: u64, access: Access) -> Result<Translated, Fault> {
        let kinds = Kinds(&self.kinds);
        let bus = Bus { memory: &self.memory, kinds: &kinds, checks: self.checks };
        self.mmu.translate(&bus, address, access, &mut self.log)
    }

    /// The frame that an access reaches, or why it faults.
    pub fn reach(&mut self, address: u64, access: Access) -> Result<Pfn, FaultReason> {
        self.access(address, access).map(|to| to.pfn).map_err(|fault| fault.reason)
    }

    pub fn speculate(&mut self, address: u64) -> bool {
        let kinds = Kinds(&self.kinds);
        let bus = Bus { memory: &self.memory, kinds: &kinds, checks: self.checks };
        self.mmu.speculate(&bus, address, &mut self.log)
    }

    pub fn audit(&mut self) {
        let kinds = Kinds(&self.kinds);
        let bus = Bus { memory: &self.memory, kinds: &kinds, checks: self.checks };
        self.mmu.audit(&bus, &mut self.log);
    }

    /// The ids of the violations found since the last call.
    pub fn violations(&mut self) -> Vec<&'static str> {
        self.log.take().iter().map(|violation| violation.invariant.id()).collect()
    }
}
