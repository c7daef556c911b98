//! Huge pages: made by faults, cut where an operation wants a part of one.

use super::{load, store};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, Tiny, X86_64};
use crate::cpu::Cx;
use crate::ops::{Access, Advice, FaultKind, HugePages, MapFlags, MapRequest, Place, RemapPlace, RemapRequest};
use crate::space::ClassId;
use crate::space::apply::PageChange;
use crate::space::claim::Claim;
use crate::space::leaf::{Short, Simple};
use crate::stat::Event;
use crate::testing::TestMachine;
use crate::{Error, NodeSet, Overcommit, Policy, Space, Vm};
use std::boxed::Box;
use std::vec::Vec;

/// Runs a check on an architecture of each kind that the core tells apart: a huge page is cut in place, is broken first
/// with what is in it, or is broken first for its size alone; and on one whose tables have other sizes. The core is
/// compiled for each.
macro_rules! everywhere {
    ($check:ident) => {
        $check::<X86_64>();
        $check::<Aarch64>();
        $check::<Sparc64>();
        $check::<crate::arch::Ppc64>();
    };
}

mod folios;
mod gather;
mod moved;
mod shared;
mod swap_out;
mod undone;

type Vmm<A> = Vm<TestMachine<A>>;

/// Bytes of a page, and of a huge one.
fn sizes<A: Arch>() -> (u64, u64) {
    (1 << A::PAGE_SHIFT, 1 << A::shift(1))
}

fn vm<A: Arch>(frames: u64) -> Vmm<A> {
    let vm = Vm::new(TestMachine::<A>::new(frames)).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    vm
}

/// A mapping of `count` huge pages, each at its place, the first bytes of all pages stored to.
fn huge<'vm, A: Arch>(vm: &'vm Vmm<A>, count: u64) -> (Space<'vm, TestMachine<A>>, u64) {
    let (page, huge) = sizes::<A>();
    let space = vm.create_space().expect("a space");
    let start = (A::USER_END / 2) & !(huge * 4 - 1);
    space.map(&MapRequest::anonymous(count * huge, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    for number in 0..count {
        let kind = space.fault(start + number * huge + page, Access::Write).expect("a huge page");
        assert_eq!(kind, FaultKind::Anonymous);
    }
    assert_eq!(vm.count(Event::HugeFault), count);
    for address in (start..start + count * huge).step_by(page as usize) {
        store(&space, address, mark::<A>(address)).expect("a store");
    }
    (space, start)
}

fn mark<A: Arch>(address: u64) -> u8 {
    (address >> A::PAGE_SHIFT) as u8 | 1
}

fn check<A: Arch>(space: &Space<'_, TestMachine<A>>, start: u64, end: u64) {
    for address in (start..end).step_by(1 << A::PAGE_SHIFT) {
        assert_eq!(load(space, address), Ok(mark::<A>(address)), "{address:#x}");
    }
}

fn finish<A: Arch>(vm: &Vmm<A>) {
    vm.quiesce();
    let audit = vm.audited().expect("all is well");
    assert_eq!(audit.mapped_pages, 0);
}

trait Count {
    fn count(&self, event: Event) -> u64;
}

impl<A: Arch> Count for Vmm<A> {
    fn count(&self, event: Event) -> u64 {
        self.totals().get(event)
    }
}

/// For a test with hooks: what these know must last as long as they may.
fn lasting<A: Arch>(vm: Vmm<A>) -> &'static Vmm<A> {
    Box::leak(Box::new(vm))
}

fn frames<A: Arch>() -> u64 {
    16 * (sizes::<A>().1 / sizes::<A>().0) + 1024
}

fn life<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 2);
    let end = start + 2 * huge_page;
    assert_eq!(space.rss().anonymous, 2 * pages);
    let (tables, mut smaps) = (space.table_pages(), None);
    space.smaps(&mut |entry| smaps = Some(*entry));
    assert_eq!(
        smaps.map(|entry| (entry.anonymous, entry.anonymous_huge, entry.dirty)),
        Some((2 * pages, 2 * pages, 2 * pages))
    );
    check(&space, start, end);
    vm.audited().expect("all is well");
    // Rights of all of it change in place, those of a part cut it.
    space.protect(start, 2 * huge_page, Prot::READ).expect("protect");
    assert!(store(&space, start, 0).is_err());
    space.protect(start, 2 * huge_page, Prot::READ_WRITE).expect("protect");
    assert_eq!((space.table_pages(), vm.count(Event::SplitMapping)), (tables, 0));
    space.protect(start + page, page, Prot::READ).expect("protect");
    assert_eq!((space.table_pages(), vm.count(Event::SplitMapping)), (tables + 1, 1));
    check(&space, start, end);
    assert!(store(&space, start + page, 0).is_err());
    store(&space, start, mark::<A>(start)).expect("its neighbour can be stored to");
    vm.audited().expect("all is well");
    // What is discarded reads as zero, the rest stays.
    space.advise(start + huge_page + page, page, Advice::DontNeed).expect("discard");
    assert_eq!(load(&space, start + huge_page + page), Ok(0));
    check(&space, start, start + huge_page + page);
    check(&space, start + huge_page + 2 * page, end);
    space.unmap(start, huge_page / 2).expect("a part");
    check(&space, start + huge_page / 2, start + huge_page);
    vm.audited().expect("all is well");
    space.unmap(start, 2 * huge_page).expect("all");
    assert_eq!(space.rss().anonymous, 0);
    drop(space);
    finish(&vm);
}

fn fork<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 2);
    let end = start + 2 * huge_page;
    let child = space.fork().expect("a child");
    assert_eq!((child.rss().anonymous, vm.count(Event::SplitMapping)), (2 * pages, 0));
    vm.audited().expect("all is well");
    check(&child, start, end);
    // A store copies a page, of a huge one that is cut for it.
    store(&child, start + page, 99).expect("a store");
    assert_eq!(vm.count(Event::SplitMapping), 1);
    assert_eq!(load(&child, start + page), Ok(99));
    check(&space, start, end);
    vm.audited().expect("all is well");
    let grandchild = child.fork().expect("a grandchild");
    drop(child);
    assert_eq!(load(&grandchild, start + page), Ok(99));
    drop(grandchild);
    // Whoever is alone has it whole again.
    let splits = vm.count(Event::SplitMapping);
    store(&space, start + huge_page, 7).expect("a store");
    assert_eq!((vm.count(Event::SplitMapping), vm.count(Event::ReuseFault)), (splits, 1));
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

fn moves<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 2);
    let to = start + 2 * huge_page + page;
    let request = RemapRequest {
        old: start,
        old_length: huge_page + page,
        new_length: huge_page + page,
        place: RemapPlace::Fixed(to),
        keep_old: false,
    };
    space.remap(&request).expect("a move");
    for offset in (0..huge_page + page).step_by(page as usize) {
        assert_eq!(load(&space, to + offset), Ok(mark::<A>(start + offset)));
    }
    check(&space, start + huge_page + page, start + 2 * huge_page);
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

#[test]
fn a_huge_page_is_cut_where_a_part_of_it_is_wanted() {
    everywhere!(life);
}

#[test]
fn fork_shares_huge_pages() {
    everywhere!(fork);
    fork::<Tiny>();
}

#[test]
fn huge_pages_move() {
    everywhere!(moves);
}

/// A child gets nothing of one page: that stays the parent's alone, and the others are shared.
fn partly_shared<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 1);
    space.advise(start, page, Advice::WipeOnFork).expect("advice");
    let child = space.fork().expect("a child");
    vm.audited().expect("all is well");
    assert_eq!(load(&child, start), Ok(0));
    check(&child, start + page, start + huge_page);
    store(&space, start, 99).expect("a store");
    store(&space, start + page, 98).expect("a store");
    assert_eq!((load(&space, start), load(&child, start)), (Ok(99), Ok(0)));
    check(&child, start + page, start + huge_page);
    vm.audited().expect("all is well");
    drop((space, child));
    finish(&vm);
}

#[test]
fn pages_of_a_huge_one_are_shared_or_not() {
    everywhere!(partly_shared);
}

/// Which ranges of an upper table go the short way: whole slots without lower tables, where nobody has claimed
/// anything.
fn short_way<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, start) = huge(&vm, 3);
    let inner = space.inner();
    let goes = |from: u64, bytes: u64, prot| {
        let cx = Cx::enter(&vm);
        let decide = |class: ClassId| {
            Ok(Some(Simple { class: class.plain_with_prot(prot), pages: PageChange::Reprotect(prot) }))
        };
        inner.change_in_leaf(&cx, start + from, start + from + bytes, decide) == Ok(Short::Done)
    };
    assert!(goes(0, huge_page, Prot::READ) && goes(0, huge_page, Prot::READ_WRITE));
    assert!(goes(huge_page, 2 * huge_page, Prot::READ));
    assert!(store(&space, start + 2 * huge_page, 0).is_err() && store(&space, start, mark::<A>(start)).is_ok());
    assert!(goes(huge_page, 2 * huge_page, Prot::READ_WRITE));
    vm.audited().expect("all is well");
    for (from, to) in [(2 * huge_page, 3 * huge_page), (0, 4 << A::shift(2).min(60))] {
        let claim = Claim::acquire(&vm, inner, start + from, start + to.min(A::USER_END - start));
        assert!(!goes(0, huge_page, Prot::READ), "there is a claim");
        claim.release();
    }
    assert!(!goes(page, huge_page - page, Prot::READ) && !goes(0, huge_page + page, Prot::READ));
    space.protect(start + huge_page, page, Prot::READ).expect("a part");
    assert!(!goes(0, 2 * huge_page, Prot::READ), "there is a lower table");
    assert!(goes(2 * huge_page, huge_page, Prot::READ));
    vm.audited().expect("all is well");
    space.unmap(start + 2 * huge_page, huge_page).expect("all of it");
    assert_eq!(load(&space, start + 3 * huge_page - 1).ok(), None);
    check(&space, start, start + 2 * huge_page);
    drop(space);
    finish(&vm);
}

#[test]
fn whole_slots_go_the_short_way() {
    everywhere!(short_way);
}

#[test]
fn small_pages_come_where_there_is_no_huge_one() {
    let vm = vm::<X86_64>(768);
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("a space");
    let start = 1 << 30;
    space.map(&MapRequest::anonymous(4 << 20, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    assert_eq!(store(&space, start, 1), Ok(()));
    assert_eq!((vm.count(Event::HugeFault), vm.count(Event::HugeFallback)), (0, 1));
    drop(space);
    finish(&vm);
}

#[test]
fn advice_and_policy_say_where_they_come() {
    let vm = Vm::new(TestMachine::<X86_64>::new(4096)).expect("a machine");
    let space = vm.create_space().expect("a space");
    let huge = 2 << 20;
    let of = |policy, advice: Option<Advice>, address: u64| {
        vm.set_huge_pages(policy);
        assert_eq!(vm.huge_pages(), policy);
        space.map(&MapRequest::anonymous(huge, Prot::READ_WRITE).at(Place::Fixed(address))).expect("a mapping");
        advice.inspect(|&advice| space.advise(address, huge, advice).expect("advice"));
        let before = vm.count(Event::HugeFault);
        store(&space, address, 1).expect("a store");
        space.unmap(address, huge).expect("unmap");
        vm.count(Event::HugeFault) > before
    };
    let start = 1 << 30;
    assert!(!of(HugePages::Advised, None, start));
    assert!(of(HugePages::Advised, Some(Advice::HugePage), start));
    assert!(of(HugePages::Always, None, start));
    assert!(!of(HugePages::Always, Some(Advice::NoHugePage), start));
    assert!(!of(HugePages::Never, Some(Advice::HugePage), start));
    // Whatever is at the edges of a mapping, only whole places get one.
    vm.set_huge_pages(HugePages::Always);
    space.map(&MapRequest::anonymous(huge, Prot::READ_WRITE).at(Place::Fixed(start + 4096))).expect("a mapping");
    let before = vm.count(Event::HugeFault);
    store(&space, start + 4096, 1).expect("a store");
    assert_eq!(vm.count(Event::HugeFault), before);
    drop(space);
    finish(&vm);
}

#[test]
fn cutting_one_needs_memory_and_changes_nothing_without() {
    let vm = vm::<X86_64>(4096);
    let (space, start) = huge(&vm, 1);
    let page = 4096;
    vm.machine().allow_allocations(0);
    assert_eq!(space.advise(start, page, Advice::DontNeed), Err(Error::OutOfMemory));
    assert_eq!(space.unmap(start, page), Err(Error::OutOfMemory));
    assert_eq!(space.protect(start, page, Prot::READ), Err(Error::OutOfMemory));
    space.protect(start, 2 << 20, Prot::READ).expect("all of it needs none");
    space.protect(start, 2 << 20, Prot::READ_WRITE).expect("all of it needs none");
    vm.machine().allow_allocations(u64::MAX);
    check(&space, start, start + (2 << 20));
    assert_eq!(vm.count(Event::SplitMapping), 0);
    drop(space);
    finish(&vm);
}

/// Folios of 4 and of 16 pages, where there is room for them.
fn small_folios<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    vm.set_folio_orders(1 << 2 | 1 << 4 | 1);
    assert_eq!(vm.folio_orders(), 1 << 2 | 1 << 4);
    let space = vm.create_space().expect("a space");
    let start = (A::USER_END / 2) & !(huge_page - 1);
    // At both ends of what one leaf shows there is no whole folio.
    let (low, high) = (start + 5 * page, start + 62 * page);
    space.map(&MapRequest::anonymous(high - low, Prot::READ_WRITE).at(Place::Fixed(low))).expect("a mapping");
    let mut faults = 0;
    for address in (low..high).step_by(page as usize) {
        if space.translate(address).is_none() {
            space.fault(address, Access::Write).expect("a page");
            faults += 1;
        }
        store(&space, address, mark::<A>(address)).expect("a store");
    }
    // 5 6 7, 8-11, 12-15, 16-31, 32-47, 48-51, 52-55, 56-59, 60, 61.
    assert_eq!((faults, vm.count(Event::FolioFault)), (12, 7));
    assert_eq!(space.rss().anonymous, 57);
    check(&space, low, high);
    vm.audited().expect("all is well");
    let child = space.fork().expect("a child");
    store(&child, start + 20 * page, 99).expect("a store");
    assert_eq!(load(&child, start + 20 * page), Ok(99));
    space.protect(start + 17 * page, page, Prot::READ).expect("a part");
    space.unmap(start + 33 * page, 3 * page).expect("a part");
    check(&space, low, start + 33 * page);
    check(&space, start + 36 * page, high);
    vm.audited().expect("all is well");
    space.advise(start + 36 * page, 4 * page, Advice::DontNeed).expect("a part");
    assert_eq!(load(&space, start + 37 * page), Ok(0));
    drop((space, child));
    finish(&vm);
}

#[test]
fn one_fault_brings_several_pages() {
    everywhere!(small_folios);
}

#[test]
fn smaller_folios_come_where_there_is_no_larger_one() {
    let vm = vm::<X86_64>(768);
    vm.set_overcommit(Overcommit::Always);
    vm.set_folio_orders(1 << 3);
    let space = vm.create_space().expect("a space");
    let start = 1 << 30;
    space.map(&MapRequest::anonymous(4 << 20, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    assert_eq!(store(&space, start, 1), Ok(()));
    let counted = || (vm.count(Event::HugeFallback), vm.count(Event::FolioFault), space.rss().anonymous);
    assert_eq!(counted(), (1, 1, 8));
    // Where there is none of that size either, no huge page was wanted for that.
    vm.machine().allow_allocations(0);
    assert!(space.fault(start + 8 * 4096, Access::Write).is_err());
    assert_eq!(counted(), (1, 1, 8));
    vm.machine().allow_allocations(u64::MAX);
    drop(space);
    finish(&vm);
}

/// Loads of untouched memory, then stores.
fn zeroes<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let space = vm.create_space().expect("a space");
    let start = (A::USER_END / 2) & !(huge_page * 4 - 1);
    space.map(&MapRequest::anonymous(3 * huge_page, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    for number in 0..3 {
        assert_eq!(space.fault(start + number * huge_page + page, Access::Read), Ok(FaultKind::Zero));
    }
    let tables = space.table_pages();
    assert_eq!((vm.count(Event::HugeZeroPage), vm.count(Event::HugeFault), space.rss().anonymous), (1, 0, 0));
    assert_eq!(load(&space, start + huge_page - 1), Ok(0));
    vm.audited().expect("all is well");
    let child = space.fork().expect("a child");
    assert_eq!(child.translate(start), None);
    // A store brings a huge page; one where a part was cut off, a small one.
    assert_eq!(space.fault(start + page, Access::Write), Ok(FaultKind::Anonymous));
    assert_eq!((vm.count(Event::HugeFault), space.rss().anonymous, space.table_pages()), (1, pages, tables));
    store(&space, start + page, 5).expect("a store");
    space.protect(start + huge_page, page, Prot::READ).expect("a part");
    assert_eq!(space.fault(start + huge_page + page, Access::Write), Ok(FaultKind::Anonymous));
    assert_eq!((vm.count(Event::HugeFault), space.rss().anonymous), (1, pages + 1));
    assert_eq!(load(&space, start + huge_page), Ok(0));
    space.advise(start + 2 * huge_page, huge_page, Advice::DontNeed).expect("discard");
    assert_eq!(space.translate(start + 2 * huge_page), None);
    assert_eq!(load(&space, start + page), Ok(5));
    assert_eq!(load(&child, start + page), Ok(0));
    vm.audited().expect("all is well");
    drop((space, child));
    finish(&vm);
}

#[test]
fn one_huge_page_of_zeroes_is_shown_to_all() {
    everywhere!(zeroes);
}

#[test]
fn huge_pages_come_from_the_node_that_is_wanted() {
    let frames = 4096;
    let vm =
        Vm::new(TestMachine::<X86_64>::with(&[(0x1000, frames, 0), (0x8000, frames, 1)], &[0])).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    let space = vm.create_space().expect("a space");
    let (start, length) = (1 << 30, 2 << 20);
    space.map(&MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    space.set_policy(start, length, Policy::Bind(NodeSet::EMPTY.with(1))).expect("a policy");
    store(&space, start, 1).expect("a store");
    let head = space.translate(start).expect("a page").pfn;
    assert_eq!((vm.count(Event::HugeFault), vm.physical().frame(head).node()), (1, 1));
    drop(space);
    finish(&vm);
}

/// A stack that was moved up grows down past what corresponds to page 0 of where it was. No folio has pages on both
/// sides of that, whose offsets do not follow each other.
#[test]
fn no_folio_goes_round_below_page_0() {
    let page = 4096;
    let limits = [(1 << 2, 10, 40), (1 << 4, 10, 100), (0, 10, 1600), (0, 700, 1600)];
    for (orders, above, grown) in limits {
        let vm = vm::<X86_64>(8192);
        vm.set_folio_orders(orders);
        let space = vm.create_space().expect("a space");
        let (old, new) = (20 * page, ((1 << 20) + above) * page);
        let stack = MapRequest { flags: MapFlags::GROWS_DOWN, ..MapRequest::anonymous(page, Prot::READ_WRITE) };
        space.map(&stack.at(Place::Fixed(old))).expect("a stack");
        store(&space, old, 1).expect("a store");
        let place = RemapPlace::Fixed(new);
        let request = RemapRequest { old, old_length: page, new_length: page, place, keep_old: false };
        space.remap(&request).expect("a move");
        let low = new - grown * page;
        space.fault(low, Access::Read).expect("it grows");
        let stack = || (low..new).step_by(page as usize);
        // Downwards, so that a folio is not begun with its first page.
        for address in stack().collect::<Vec<_>>().into_iter().rev() {
            store(&space, address, mark::<X86_64>(address)).expect("a store");
        }
        assert_eq!((vm.count(Event::FolioFault) > 0, vm.count(Event::HugeFault) > 0), (orders != 0, grown > 1000));
        let folio_of = |number: u64| vm.physical().head(space.translate(number * page).expect("a page").pfn);
        let zero = (1 << 20) + above - 20;
        assert_ne!(folio_of(zero - 1), folio_of(zero));
        check(&space, low, new);
        vm.audited().expect("all is well");
        drop(space);
        finish(&vm);
    }
}
