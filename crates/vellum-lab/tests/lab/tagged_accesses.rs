//! Accesses of programs to memory with tags.

use crate::toys::{self, Toy};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use vellum::arch::{Aarch64, Arch, PageBits, Prot, Sparc64, TinyAssist, X86_64, index};
use vellum::ops::{Access, MapRequest};
use vellum::phys::Pfn;
use vellum::{Machine, Space, Vm};
use vellum_lab::AccessError;
use vellum_lab::hardware::{Invariant, MachineConfig};
use vellum_lab::hosted::Hosted;
use vellum_lab::threads::{Mmus, ThreadHost};

const PAGES: u64 = 3;

/// Memory of `PAGES` pages that is faulted in, and whose entries then say that it has tags.
fn tagged_memory<'vm, M: Machine>(vm: &'vm Vm<M>) -> (Space<'vm, M>, u64) {
    let page = 1u64 << M::Arch::PAGE_SHIFT;
    let space = vm.create_space().unwrap();
    let address = space.map(&MapRequest::anonymous(PAGES * page, Prot::READ_WRITE)).unwrap();
    for number in 0..PAGES {
        let at = address + number * page;
        space.fault(at, Access::Write).unwrap();
        let word = leaf_word(vm.machine(), space.root(), at);
        let old = word.load(SeqCst);
        word.store(M::Arch::page(M::Arch::pfn(old), M::Arch::page_bits(old) | PageBits::TAGGED), SeqCst);
    }
    (space, address)
}

/// The entry of the page at `at`.
fn leaf_word<M: Machine>(machine: &M, root: Pfn, at: u64) -> &AtomicU64 {
    let word = |table: Pfn, level| {
        let entries = machine.frame(table).cast::<u64>();
        // SAFETY: an entry of a table of the machine, which outlives the reference; entries are atomic.
        unsafe { AtomicU64::from_ptr(entries.add(index::<M::Arch>(at, level))) }
    };
    let table = (1..M::Arch::LEVELS)
        .rev()
        .fold(root, |table, level| M::Arch::table_of(word(table, level).load(SeqCst)).expect("the page is there"));
    word(table, 0)
}

fn tags_are_compared<A: Arch>() {
    let hosted = Hosted::<A>::new(&MachineConfig::new(2, 4096)).unwrap();
    let (space, address) = tagged_memory(hosted.vm());
    let granule = 1u64 << A::semantics().tags.unwrap().granule_shift;
    let wrong = |at, expected, found| Err(AccessError::Tag { address: at, expected, found });
    let refused = |address, expected, found| Err(AccessError::Tag { address, expected, found });
    hosted.store(0, &space, address, b"no tag yet").unwrap();
    hosted.set_tag(0, &space, address + granule, 2 * granule as usize, 5).unwrap();
    // The bytes stay, the granules on both sides too; both CPUs see it.
    assert_eq!(hosted.load(1, &space, address, 10).unwrap(), b"no tag yet");
    assert_eq!(hosted.load(1, &space, address + 3 * granule, 1).unwrap(), [0]);
    assert_eq!(hosted.load(1, &space, address + granule, 1), wrong(address + granule, 0, 5));
    assert_eq!(hosted.store(0, &space, address + granule, &[1]), refused(address + granule, 0, 5));
    hosted.store_tagged(0, &space, address + 2 * granule, b"word", 5).unwrap();
    assert_eq!(hosted.load_tagged(1, &space, address + 2 * granule, 4, 5).unwrap(), b"word");
    assert_eq!(hosted.load_tagged(1, &space, address + 2 * granule, 4, 4), wrong(address + 2 * granule, 4, 5));
    // An access that only reaches into the granule.
    assert_eq!(hosted.load(0, &space, address + granule - 1, 2), wrong(address + granule, 0, 5));
    assert_eq!(hosted.load_tagged(0, &space, address + 3 * granule - 4, 8, 5), wrong(address + 3 * granule, 5, 0));
    // A store that traps stores nothing.
    assert_eq!(hosted.store_tagged(0, &space, address, b"gone", 7), refused(address, 7, 0));
    assert_eq!(hosted.load(0, &space, address, 4).unwrap(), b"no t");
    // Bits which tags do not have mean nothing.
    assert_eq!(hosted.load_tagged(0, &space, address + granule, 1, 0xf5).unwrap(), [0]);
    assert_eq!(hosted.take_violations(), []);
}

#[test]
fn tags_are_compared_on_every_architecture_that_has_them() {
    tags_are_compared::<Aarch64>();
    tags_are_compared::<Sparc64>();
    tags_are_compared::<Toy>();
    toys::like::<TinyAssist>(tags_are_compared::<Toy>);
}

#[test]
fn ranges_of_tags_may_cross_pages() {
    let hosted = Hosted::<Aarch64>::new(&MachineConfig::new(1, 4096)).unwrap();
    let (space, address) = tagged_memory(hosted.vm());
    hosted.set_tag(0, &space, address + 0xff8, 0x1010, 9).unwrap();
    for at in [0xff0, 0x1000, 0x1ff0, 0x2000] {
        assert!(hosted.load_tagged(0, &space, address + at, 16, 9).is_ok(), "{at:#x}");
    }
    for at in [0xfe0, 0x2010] {
        assert!(hosted.load_tagged(0, &space, address + at, 16, 9).is_err(), "{at:#x}");
    }
    assert!(hosted.load_tagged(0, &space, address + 0xff0, 0x1020, 9).is_ok());
}

#[test]
fn memory_without_tags_is_not_checked() {
    fn check<A: Arch>() {
        let hosted = Hosted::<A>::new(&MachineConfig::new(1, 4096)).unwrap();
        let space = hosted.vm().create_space().unwrap();
        let page = 1 << A::PAGE_SHIFT;
        let address = space.map(&MapRequest::anonymous(page, Prot::READ_WRITE)).unwrap();
        // It is faulted in as by a store, and then refused.
        let refused = Err(AccessError::Untagged { address });
        assert_eq!(hosted.set_tag(0, &space, address, page as usize, 5), refused);
        assert!(space.translate(address).is_some());
        hosted.store_tagged(0, &space, address, b"any", 3).unwrap();
        assert_eq!(hosted.load_tagged(0, &space, address, 3, 9).unwrap(), b"any");
        space.protect(address, page, Prot::READ).unwrap();
        assert!(hosted.set_tag(0, &space, address, 1, 5).unwrap_err().is_segv());
    }
    check::<Aarch64>();
    check::<Toy>();
    check::<X86_64>();
    // Neither has an architecture without tags any entry that says so.
    let hosted = Hosted::<X86_64>::new(&MachineConfig::new(1, 4096)).unwrap();
    let (space, address) = tagged_memory(hosted.vm());
    assert_eq!(hosted.load_tagged(0, &space, address, 1, 9).unwrap(), [0]);
}

#[test]
fn a_cached_translation_knows_whether_it_has_tags() {
    toys::like::<TinyAssist>(cached_translation);
}

fn cached_translation() {
    let hosted = Hosted::<Toy>::new(&MachineConfig::new(1, 4096)).unwrap();
    let (space, address) = tagged_memory(hosted.vm());
    hosted.set_tag(0, &space, address, 16, 5).unwrap();
    let word = leaf_word(hosted.machine(), space.root(), address);
    let old = word.load(SeqCst);
    let untagged = Toy::page_bits(old).without(PageBits::TAGGED);
    word.store(Toy::page(Toy::pfn(old), untagged), SeqCst);
    // Still checked, and the machine finds that the tables say otherwise.
    assert!(matches!(hosted.load(0, &space, address, 1), Err(AccessError::Tag { expected: 0, found: 5, .. })));
    assert_eq!(hosted.take_violations().first().map(|found| found.invariant), Some(Invariant::TlbPerm));
    hosted.idle(0);
    hosted.machine().invalidate_all();
    assert_eq!(hosted.load(0, &space, address, 1).unwrap(), [0]);
    assert_eq!(hosted.take_violations(), []);
}

#[test]
fn threads_have_tags_too() {
    let host = ThreadHost::<Aarch64>::new(&MachineConfig::new(2, 4096), Mmus::Simulated).unwrap();
    let (space, address) = {
        let _seat = host.enter(0);
        tagged_memory(host.vm())
    };
    std::thread::scope(|scope| {
        for cpu in 0..2u64 {
            let (host, space) = (&host, &space);
            scope.spawn(move || {
                let seat = host.enter(cpu as usize);
                let (at, tag) = (address + cpu * 16, cpu as u8 + 1);
                // An odd number of them: each makes one access that traps.
                for _ in 0..101 {
                    seat.set_tag(space, at, 16, tag).unwrap();
                    seat.store_tagged(space, at, &[tag], tag).unwrap();
                    assert_eq!(seat.load_tagged(space, at, 1, tag).unwrap(), [tag]);
                    assert!(matches!(seat.load(space, at, 1), Err(AccessError::Tag { expected: 0, .. })));
                    seat.set_tag(space, at, 16, 0).unwrap();
                    assert_eq!(seat.load(space, at, 1).unwrap(), [tag]);
                }
            });
        }
    });
    let _seat = host.enter(0);
    drop(space);
    // Broadcasts wait for accesses that are under way: none is, although some trapped.
    host.machine().broadcast_wait();
}
