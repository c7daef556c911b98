//! Small pages become huge ones.

use super::{load, store};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, Tiny, X86_64};
use crate::ops::{Advice, CollapseLimits, HugePages, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use crate::stat::Event;
use crate::testing::TestMachine;
use crate::{Error, Space, Vm};

type Vmm<A> = Vm<TestMachine<A>>;

/// Bytes of a page, and of a huge one.
fn sizes<A: Arch>() -> (u64, u64) {
    (1 << A::PAGE_SHIFT, 1 << A::shift(1))
}

fn vm<A: Arch>() -> Vmm<A> {
    let (page, huge) = sizes::<A>();
    let vm = Vm::new(TestMachine::<A>::new(16 * (huge / page) + 1024)).expect("a machine");
    vm.set_huge_pages(HugePages::Never);
    vm
}

fn place<A: Arch>(number: u64) -> u64 {
    let huge = sizes::<A>().1;
    ((A::USER_END / 2) & !(huge * 4 - 1)) + number * huge
}

fn count<A: Arch>(vm: &Vmm<A>, event: Event) -> u64 {
    vm.totals().get(event)
}

/// A mapping of `places` huge pages' length, at its place.
fn mapped<'vm, A: Arch>(vm: &'vm Vmm<A>, places: u64) -> (Space<'vm, TestMachine<A>>, u64) {
    let space = vm.create_space().expect("a space");
    let start = place::<A>(0);
    let request = MapRequest::anonymous(places * sizes::<A>().1, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&request).expect("a mapping");
    (space, start)
}

fn mark<A: Arch>(address: u64) -> u8 {
    (address >> A::PAGE_SHIFT) as u8 | 1
}

fn fill<A: Arch>(space: &Space<'_, TestMachine<A>>, start: u64, end: u64) {
    for address in (start..end).step_by(1 << A::PAGE_SHIFT) {
        store(space, address, mark::<A>(address)).expect("a store");
    }
}

fn check<A: Arch>(space: &Space<'_, TestMachine<A>>, start: u64, end: u64) {
    for address in (start..end).step_by(1 << A::PAGE_SHIFT) {
        assert_eq!(load(space, address), Ok(mark::<A>(address)), "{address:#x}");
    }
}

/// Pages of huge ones.
fn huge_pages<A: Arch>(space: &Space<'_, TestMachine<A>>) -> u64 {
    let mut pages = 0;
    space.smaps(&mut |entry| pages += entry.anonymous_huge);
    pages
}

fn finish<A: Arch>(vm: &Vmm<A>) {
    vm.quiesce();
    assert_eq!(vm.audited().expect("all is well").mapped_pages, 0);
}

fn advice<A: Arch>() {
    let (page, huge) = sizes::<A>();
    let pages = huge / page;
    let vm = vm::<A>();
    let (space, start) = mapped(&vm, 2);
    let tables = space.table_pages();
    // One page reads as zero, one was never accessed.
    fill(&space, start, start + huge - 2 * page);
    assert_eq!(load(&space, start + huge - 2 * page), Ok(0));
    assert_eq!((space.table_pages(), space.rss().anonymous), (tables + 1, pages - 2));
    space.advise(start, huge, Advice::Collapse).expect("collapsed");
    assert_eq!((space.table_pages(), space.rss().anonymous, huge_pages(&space)), (tables, pages, pages));
    assert_eq!((count(&vm, Event::CollapseAlloc), count(&vm, Event::CollapseAllocFailed)), (1, 0));
    vm.audited().expect("all is well");
    check(&space, start, start + huge - 2 * page);
    assert_eq!((load(&space, start + huge - 2 * page), load(&space, start + huge - page)), (Ok(0), Ok(0)));
    let faults = count(&vm, Event::Fault);
    fill(&space, start, start + huge);
    assert!(count(&vm, Event::Fault) <= faults + 1);
    // Again it is what it is.
    space.advise(start, huge, Advice::Collapse).expect("it is one");
    assert_eq!(count(&vm, Event::CollapseAlloc), 1);
    // It can be cut, and discarded, and given back.
    space.advise(start + page, page, Advice::DontNeed).expect("discard");
    assert_eq!((load(&space, start + page), count(&vm, Event::SplitMapping)), (Ok(0), 1));
    check(&space, start + 2 * page, start + huge);
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

/// What was cut for something that is over is one again, without a copy.
fn rejoined<A: Arch>() {
    let (page, huge) = sizes::<A>();
    let vm = vm::<A>();
    let (space, start) = mapped(&vm, 2);
    fill(&space, start, start + huge);
    space.advise(start, huge, Advice::Collapse).expect("collapsed");
    let (frame, tables) = (space.translate(start + page).map(|found| found.pfn), space.table_pages());
    space.protect(start + page, page, Prot::READ).expect("protect");
    assert_eq!((space.table_pages(), count(&vm, Event::SplitMapping)), (tables + 1, 1));
    // As long as it is of two mappings, it stays cut.
    space.advise(start, huge, Advice::Collapse).expect("passed by");
    assert_eq!(space.table_pages(), tables + 1);
    space.protect(start + page, page, Prot::READ_WRITE).expect("protect");
    store(&space, start + page, mark::<A>(start + page)).expect("a store");
    space.advise(start, huge, Advice::Collapse).expect("one again");
    assert_eq!((space.table_pages(), count(&vm, Event::CollapseAlloc)), (tables, 1));
    assert_eq!(space.translate(start + page).map(|found| found.pfn), frame);
    vm.audited().expect("all is well");
    check(&space, start, start + huge);
    drop(space);
    finish(&vm);
}

fn shared<A: Arch>() {
    let (page, huge) = sizes::<A>();
    let vm = vm::<A>();
    let (space, start) = mapped(&vm, 1);
    fill(&space, start, start + huge);
    let child = space.fork().expect("a child");
    store(&child, start, 99).expect("a store");
    space.advise(start, huge, Advice::Collapse).expect("collapsed");
    vm.audited().expect("all is well");
    check(&space, start, start + huge);
    check(&child, start + page, start + huge);
    store(&space, start + page, 98).expect("a store");
    assert_eq!((load(&child, start), load(&child, start + page)), (Ok(99), Ok(mark::<A>(start + page))));
    child.advise(start, huge, Advice::Collapse).expect("collapsed");
    assert_eq!((huge_pages(&space), huge_pages(&child)), (huge / page, huge / page));
    drop(space);
    vm.audited().expect("all is well");
    assert_eq!((load(&child, start), load(&child, start + page)), (Ok(99), Ok(mark::<A>(start + page))));
    drop(child);
    finish(&vm);
}

/// A page that is held stays where it is, and all others with it.
fn held<A: Arch>() {
    let (page, huge) = sizes::<A>();
    let vm = vm::<A>();
    let (space, start) = mapped(&vm, 1);
    fill(&space, start, start + huge);
    let tables = space.table_pages();
    let held = space.hold(start + 3 * page).expect("a page");
    let busy = Err(Error::Busy { address: start });
    assert_eq!(space.advise(start, huge, Advice::Collapse), busy);
    assert_eq!((space.table_pages(), huge_pages(&space)), (tables, 0));
    vm.machine().check_held(&space, start + 3 * page, held.translation().pfn);
    drop(held);
    vm.audited().expect("all is well");
    space.advise(start, huge, Advice::Collapse).expect("collapsed");
    // So it is with one that lies in a huge page, but that goes on in its place.
    let held = space.hold(start + 3 * page).expect("a page");
    space.protect(start, page, Prot::READ).expect("protect");
    space.protect(start, page, Prot::READ_WRITE).expect("protect");
    store(&space, start, mark::<A>(start)).expect("a store");
    space.advise(start, huge, Advice::Collapse).expect("one again");
    assert_eq!(huge_pages(&space), huge / page);
    drop(held);
    check(&space, start, start + huge);
    drop(space);
    finish(&vm);
}

impl<A: Arch> TestMachine<A> {
    fn check_held(&self, space: &Space<'_, TestMachine<A>>, address: u64, pfn: crate::phys::Pfn) {
        assert_eq!(space.translate(address).map(|found| found.pfn), Some(pfn));
    }
}

/// What was moved and partly unmapped keeps its names.
fn moved<A: Arch>() {
    let (page, huge) = sizes::<A>();
    let vm = vm::<A>();
    let (space, start) = mapped(&vm, 1);
    fill(&space, start, start + huge);
    let to = start + 3 * huge;
    let place = RemapPlace::Fixed(to);
    let request = RemapRequest { old: start, old_length: huge, new_length: huge, place, keep_old: false };
    space.remap(&request).expect("a move");
    space.advise(to, huge, Advice::Collapse).expect("collapsed");
    let child = space.fork().expect("a child");
    store(&child, to + page, 1).expect("a store");
    for offset in (2 * page..huge).step_by(page as usize) {
        assert_eq!(load(&child, to + offset), Ok(mark::<A>(start + offset)));
    }
    vm.audited().expect("all is well");
    drop(space);
    child.unmap(to + page, huge - page).expect("unmap");
    drop(child);
    finish(&vm);
}

/// Runs a check on an architecture of each kind that the core tells apart, as for other huge pages, and on the toy.
macro_rules! everywhere {
    ($check:ident) => {
        $check::<X86_64>();
        $check::<Aarch64>();
        $check::<Sparc64>();
        $check::<Tiny>();
    };
}

#[test]
fn advice_collapses_now() {
    everywhere!(advice);
}

#[test]
fn what_was_cut_is_one_again() {
    everywhere!(rejoined);
}

#[test]
fn what_others_have_is_copied() {
    everywhere!(shared);
}

#[test]
fn a_held_page_stays() {
    everywhere!(held);
}

#[test]
fn what_was_moved_is_collapsed() {
    everywhere!(moved);
}

const HUGE: u64 = 2 << 20;

#[test]
fn what_cannot_be_collapsed_says_so() {
    let vm = vm::<X86_64>();
    let (space, start) = mapped(&vm, 4);
    let invalid = |address, advice: &str| {
        let error = space.advise(address, HUGE, Advice::Collapse);
        assert!(matches!(error, Err(Error::Invalid { what }) if what.contains(advice)), "{error:?}");
    };
    invalid(start, "no page is there");
    // A place is whole or none.
    space.advise(start + 4096, HUGE, Advice::Collapse).expect("nothing to do");
    fill(&space, start, start + 4 * HUGE);
    space.advise(start, HUGE, Advice::NoHugePage).expect("advice");
    invalid(start, "no huge pages");
    space.advise(start + HUGE + 4096, 4096, Advice::GuardInstall).expect("a guard");
    invalid(start + HUGE, "guard");
    space.unmap(start + 2 * HUGE, 4096).expect("unmap");
    assert_eq!(
        space.advise(start + 2 * HUGE, 2 * HUGE, Advice::Collapse),
        Err(Error::NotMapped { address: start + 2 * HUGE })
    );
    assert_eq!(huge_pages(&space), 0);
    assert_eq!(
        space.advise_partly(start + 2 * HUGE, 2 * HUGE, Advice::Collapse),
        Err(Error::NotMapped { address: start + 2 * HUGE })
    );
    assert_eq!(huge_pages(&space), 512);
    let memory = vm.shared_memory(512).expect("shared memory");
    let copied = MapRequest::object(&memory, 0, Sharing::Private, HUGE, Prot::READ_WRITE);
    space.map(&copied.at(Place::Fixed(start + 8 * HUGE))).expect("a mapping");
    invalid(start + 8 * HUGE, "only anonymous");
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

#[test]
fn without_memory_all_stays_as_it_was() {
    let vm = vm::<X86_64>();
    let (space, start) = mapped(&vm, 4);
    fill(&space, start, start + HUGE);
    // So many mappings in the table above that it needs room to say one more.
    for number in [5, 7, 9, 11] {
        let request = MapRequest::anonymous(HUGE, Prot::READ).at(Place::Fixed(start + number * HUGE));
        space.map(&request).expect("a mapping");
    }
    space.protect(start, HUGE, Prot::READ).expect("protect");
    let tables = space.table_pages();
    let mut allowed = 0;
    loop {
        vm.machine().allow_allocations(allowed);
        let result = space.advise(start, HUGE, Advice::Collapse);
        vm.machine().allow_allocations(u64::MAX);
        vm.audited().expect("all is well");
        check(&space, start, start + HUGE);
        if result.is_ok() {
            break;
        }
        assert_eq!(result, Err(Error::OutOfMemory));
        assert_eq!((space.table_pages(), huge_pages(&space)), (tables, 0));
        allowed += 1;
    }
    assert!(allowed > 0);
    assert!(count(&vm, Event::CollapseAllocFailed) > 0);
    assert_eq!(huge_pages(&space), 512);
    drop(space);
    finish(&vm);
}

#[test]
fn the_policy_collapses_within_limits() {
    let vm = vm::<X86_64>();
    let (first, start) = mapped(&vm, 2);
    let (second, _) = mapped(&vm, 1);
    let limits = CollapseLimits::default();
    fill(&first, start, start + 2 * HUGE);
    store(&second, start, mark::<X86_64>(start)).expect("a store");
    assert_eq!(vm.collapse(100, &limits), 0, "by no policy");
    vm.set_huge_pages(HugePages::Advised);
    assert_eq!(vm.collapse(100, &limits), 0, "not advised");
    first.advise(start + HUGE, HUGE, Advice::HugePage).expect("advice");
    assert_eq!(vm.collapse(100, &limits), 1);
    assert_eq!((huge_pages(&first), huge_pages(&second)), (512, 0));
    vm.set_huge_pages(HugePages::Always);
    assert_eq!(vm.collapse(100, &CollapseLimits { none_max: 510, ..limits }), 1);
    assert_eq!((huge_pages(&first), huge_pages(&second)), (1024, 0));
    assert_eq!(vm.collapse(100, &limits), 1);
    assert_eq!(huge_pages(&second), 512);
    check(&first, start, start + 2 * HUGE);
    // What others have, too.
    second.advise(start, 4096, Advice::DontNeed).expect("cut");
    let child = second.fork().expect("a child");
    assert_eq!(vm.collapse(100, &limits), 0);
    assert_eq!(vm.collapse(100, &CollapseLimits { shared_max: 511, ..limits }), 2);
    vm.audited().expect("all is well");
    drop((first, second, child));
    finish(&vm);
}

#[test]
fn it_goes_round_a_few_at_a_time() {
    let vm = vm::<X86_64>();
    let spaces = [mapped(&vm, 2), mapped(&vm, 2), mapped(&vm, 2)];
    for (space, start) in &spaces {
        store(space, *start, 1).expect("a store");
        store(space, *start + HUGE, 1).expect("a store");
    }
    vm.set_huge_pages(HugePages::Always);
    let limits = CollapseLimits::default();
    let mut calls = 0;
    let mut made = 0;
    while made < 6 {
        let some = vm.collapse(2, &limits);
        assert!(some <= 2);
        (made, calls) = (made + some, calls + 1);
        assert!(calls < 20, "{made} in {calls} calls");
    }
    assert_eq!(vm.collapse(100, &limits), 0);
    assert!(spaces.iter().all(|(space, _)| huge_pages(space) == 1024));
    vm.audited().expect("all is well");
    drop(spaces);
    finish(&vm);
}

#[test]
fn what_is_in_swap_comes_back() {
    let machine = TestMachine::<X86_64>::new(8192).with_compressor();
    let vm = Vm::new(machine).expect("a machine");
    vm.set_compressed_limit(1000);
    vm.swap_on_memory(1000, 0).expect("an area");
    vm.set_huge_pages(HugePages::Never);
    let (space, start) = mapped(&vm, 2);
    fill(&space, start, start + 2 * HUGE);
    space.advise(start + HUGE / 2, 100 * 4096, Advice::PageOut).expect("put out");
    space.advise(start + HUGE, 4096, Advice::PageOut).expect("put out");
    assert_eq!(space.rss().swapped, 101);
    vm.set_huge_pages(HugePages::Always);
    let limits = CollapseLimits::default();
    assert_eq!(vm.collapse(10, &limits), 1);
    assert_eq!((huge_pages(&space), space.rss().swapped), (512, 100));
    space.advise(start, HUGE, Advice::Collapse).expect("whatever is in swap");
    assert_eq!((huge_pages(&space), space.rss().swapped), (1024, 0));
    vm.audited().expect("all is well");
    check(&space, start, start + 2 * HUGE);
    drop(space);
    finish(&vm);
}

#[test]
fn a_group_at_its_limit_gets_none() {
    let vm = vm::<X86_64>();
    let group = vm.create_group(300).expect("a group");
    let space = group.create_space().expect("a space");
    let start = place::<X86_64>(0);
    space.map(&MapRequest::anonymous(HUGE, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    store(&space, start, 1).expect("a store");
    let full = Err(Error::GroupLimit { pages: 511 });
    assert_eq!(space.advise(start, HUGE, Advice::Collapse), full);
    assert_eq!((huge_pages(&space), group.pages()), (0, 1));
    group.set_limit(511);
    assert_eq!(space.advise(start, HUGE, Advice::Collapse), full);
    group.set_limit(512);
    space.advise(start, HUGE, Advice::Collapse).expect("the limit itself is reached");
    assert_eq!((huge_pages(&space), group.pages()), (512, 512));
    // No page comes: where they were all there, also beyond the limit.
    space.protect(start, 4096, Prot::READ).expect("protect");
    space.protect(start, 4096, Prot::READ_WRITE).expect("protect");
    space.advise(start + 4096, 4096, Advice::DontNeed).expect("discard");
    store(&space, start, 1).expect("a store");
    store(&space, start + 4096, 1).expect("a store");
    group.set_limit(100);
    space.advise(start, HUGE, Advice::Collapse).expect("collapsed");
    assert_eq!((huge_pages(&space), group.pages()), (512, 512));
    drop((space, group));
    finish(&vm);
}

/// What a space lets have huge pages holds for faults, folios of several pages, the background and advice, and for
/// children.
#[test]
fn a_space_may_have_none() {
    let vm = vm::<X86_64>();
    vm.set_huge_pages(HugePages::Always);
    vm.set_folio_orders(1 << 4);
    let (space, start) = mapped(&vm, 4);
    assert_eq!(space.huge_pages(), HugePages::Always);
    space.advise(start, HUGE, Advice::HugePage).expect("advice");
    space.set_huge_pages(HugePages::Never);
    store(&space, start, 1).expect("a store");
    assert_eq!(load(&space, start + HUGE), Ok(0));
    assert_eq!((space.rss().anonymous, vm.collapse(100, &CollapseLimits::default())), (1, 0));
    let refused = Err(Error::Invalid { what: "the space is to have no huge pages" });
    assert_eq!(space.advise(start, HUGE, Advice::Collapse), refused);
    let child = space.fork().expect("a child");
    assert_eq!(child.huge_pages(), HugePages::Never);
    assert_eq!(child.advise(start, HUGE, Advice::Collapse), refused);
    // What was advised, and what is being collapsed on advice.
    space.set_huge_pages(HugePages::Advised);
    store(&space, start + 2 * HUGE, 1).expect("a store");
    assert_eq!((huge_pages(&space), space.rss().anonymous), (0, 2));
    assert_eq!((vm.collapse(100, &CollapseLimits::default()), huge_pages(&space)), (1, 512));
    space.advise(start + 2 * HUGE, HUGE, Advice::Collapse).expect("collapsed");
    assert_eq!((huge_pages(&space), huge_pages(&child)), (1024, 0));
    // What there is stays.
    space.set_huge_pages(HugePages::Never);
    assert_eq!(huge_pages(&space), 1024);
    space.set_huge_pages(HugePages::Always);
    store(&space, start + 3 * HUGE, 1).expect("a store");
    assert_eq!(huge_pages(&space), 1536);
    vm.audited().expect("all is well");
    drop((space, child));
    finish(&vm);
}
