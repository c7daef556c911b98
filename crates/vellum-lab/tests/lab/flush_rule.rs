//! Which changes of rights need a flush (A15): mprotect flushes if an entry lost a right, and only then. Here that rule
//! meets every pair of an old entry and new rights.

use crate::toys::{self, Toy};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Arch, Entry, PageBits, Prot, Tiny, TinyAssist, TinyBlind, index};
use vellum::ops::{Access, MapRequest, Place};
use vellum::phys::{Kind, Pfn};
use vellum::{Asid, Event, RootLoad};
use vellum_lab::hardware::{Bus, Checks, FrameKinds, HostMemory, MachineConfig, Mmu, ViolationLog};
use vellum_lab::hosted::Hosted;

const PAGE: u64 = 4096;
const ADDRESS: u64 = 4 * PAGE;
const ACCESSES: [(Access, Prot); 3] =
    [(Access::Read, Prot::READ), (Access::Write, Prot::WRITE), (Access::Execute, Prot::EXECUTE)];

/// All rights that an entry of the toy can give: none can be written and not read.
fn rights() -> impl Iterator<Item = Prot> {
    let all = [false, true].map(|execute| {
        let execute = if execute { Prot::EXECUTE } else { Prot::NONE };
        [Prot::NONE, Prot::READ, Prot::READ_WRITE].map(|prot| prot | execute)
    });
    all.into_iter().flatten()
}

/// The core's rule.
fn flushes(old: Prot, new: Prot) -> bool {
    old.without(new) != Prot::NONE
}

/// Every frame below the last is a table.
struct Kinds(Pfn);

impl FrameKinds for Kinds {
    fn frame_kind(&self, pfn: Pfn) -> Option<Kind> {
        Some(if pfn < self.0 { Kind::Table } else { Kind::Anonymous })
    }
}

/// Tables for one page, and an MMU.
struct Board<A: Arch> {
    memory: HostMemory<A>,
    first: Pfn,
    page: Pfn,
    mmu: Mmu<A>,
}

impl<A: Arch> Board<A> {
    fn new() -> Board<A> {
        let config = MachineConfig::new(1, 16);
        let memory = HostMemory::<A>::new(&config.ranges).expect("16 pages");
        let first = config.ranges[0].start;
        let page = Pfn(first.0 + A::LEVELS as u64);
        let mut mmu = Mmu::new(0);
        mmu.load_root(RootLoad { root: first, asid: Asid(1), keep_entries: false });
        let board = Board { memory, first, page, mmu };
        for level in 1..A::LEVELS {
            board.slot(level).store(A::table(Pfn(board.table(level).0 + 1)), Relaxed);
        }
        board
    }

    fn table(&self, level: usize) -> Pfn {
        Pfn(self.first.0 + (A::LEVELS - 1 - level) as u64)
    }

    fn slot(&self, level: usize) -> &AtomicU64 {
        self.memory.word(self.table(level), index::<A>(ADDRESS, level)).expect("a table")
    }

    fn map(&self, bits: PageBits) {
        self.slot(0).store(A::page(self.page, bits), Relaxed);
    }

    fn reaches(&mut self, access: Access) -> bool {
        let bus = Bus { memory: &self.memory, kinds: &Kinds(self.page), checks: Checks::NONE };
        self.mmu.translate(&bus, ADDRESS, access, &mut ViolationLog::default()).is_ok()
    }

    /// What the entry says now.
    fn bits(&self) -> PageBits {
        match A::decode(self.slot(0).load(Relaxed), 0) {
            Entry::Page(_, bits) => bits,
            other => panic!("{other:?}"),
        }
    }
}

/// Whether a CPU that has cached `old` gets by `access`, without a flush, what the entry with the rights `new` does not
/// allow.
fn harms<A: Arch>(old: PageBits, new: Prot, (access, right): (Access, Prot)) -> bool {
    let mut board = Board::<A>::new();
    board.map(old);
    let any = ACCESSES.into_iter().find(|(access, right)| {
        let is_clean_store = *access == Access::Write && !old.has(PageBits::DIRTY);
        old.prot().has_any(*right) && !is_clean_store
    });
    let Some((filling, _)) = any else { return false };
    assert!(board.reaches(filling), "the cache is filled");
    let noted = board.bits().without(PageBits::of(Prot::READ_WRITE | Prot::EXECUTE));
    board.map(noted | PageBits::of(new));
    board.reaches(access) && !new.has_any(right)
}

fn rule_is_right<A: Arch>() {
    for old_rights in rights() {
        for dirty in [PageBits::NONE, PageBits::DIRTY] {
            let old = PageBits::of(old_rights) | PageBits::ACCESSED | dirty;
            for new in rights() {
                for access in ACCESSES {
                    let harms = harms::<A>(old, new, access);
                    let lost = old_rights.has_any(access.1) && !new.has_any(access.1);
                    assert!(!harms || flushes(old_rights, new), "{}: {old:?} to {new:?}: {:?}", A::NAME, access.0);
                    // The rule could leave out a flush in one case: stores through clean entries look again.
                    let looks_again = access.0 == Access::Write
                        && !old.has(PageBits::DIRTY)
                        && (A::SEMANTICS.clean_store_rewalks || !A::SEMANTICS.hardware_dirty);
                    assert_eq!(harms, lost && !looks_again, "{}: {old:?} to {new:?}: {:?}", A::NAME, access.0);
                }
            }
        }
    }
}

#[test]
fn every_pair_of_an_entry_and_new_rights_is_judged_rightly() {
    rule_is_right::<Tiny>();
    rule_is_right::<TinyAssist>();
    rule_is_right::<TinyBlind>();
}

/// Changes rights from `old` to `new` of a page that was stored to, or only loaded: whether other CPUs were asked to
/// flush.
fn core_flushes(old: Prot, new: Prot, stored: bool) -> bool {
    let hosted = Hosted::<Toy>::new(&MachineConfig::new(2, 256)).expect("a machine");
    let space = hosted.vm().create_space().expect("a space");
    let request = MapRequest::anonymous(PAGE, Prot::READ_WRITE).at(Place::Fixed(ADDRESS));
    hosted.on(0, || space.map(&request)).expect("room");
    if stored {
        hosted.store(0, &space, ADDRESS, &[1]).expect("mapped");
    }
    for cpu in 0..2 {
        hosted.load(cpu, &space, ADDRESS, 1).expect("mapped");
    }
    hosted.on(0, || space.protect(ADDRESS, PAGE, old)).expect("mapped");
    for cpu in 0..2 {
        // As far as the rights allow it.
        let _ = (hosted.load(cpu, &space, ADDRESS, 1), hosted.execute(cpu, &space, ADDRESS, 1));
        let _ = stored && hosted.store(cpu, &space, ADDRESS, &[2]).is_ok();
    }
    let before = hosted.vm().totals().get(Event::RemoteFlush);
    hosted.on(0, || space.protect(ADDRESS, PAGE, new)).expect("mapped");
    hosted.audit_tlbs();
    assert_eq!(hosted.take_violations(), [], "{old:?} to {new:?}");
    hosted.vm().totals().get(Event::RemoteFlush) > before
}

fn core_follows_the_rule() {
    for (old, stored) in rights().flat_map(|old| [(old, false), (old, true)]) {
        for new in rights() {
            // Without a store there is only the page of zeros, which nobody may store to.
            let entry = |prot: Prot| if stored { prot } else { prot.without(Prot::WRITE) };
            let expected = flushes(entry(old), entry(new));
            assert_eq!(core_flushes(old, new, stored), expected, "{old:?} to {new:?} {stored}");
        }
    }
}

#[test]
fn the_core_flushes_for_lost_rights_only() {
    toys::like::<TinyAssist>(core_follows_the_rule);
    toys::like::<TinyBlind>(core_follows_the_rule);
}
