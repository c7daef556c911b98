//! Huge pages of shared memory: added to the cache as wholes, shown by one entry or by many, cut and moved.

use super::{Count, Vmm, check, finish, frames, load, mark, sizes, store};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, Tiny, X86_64};
use crate::cpu::Cx;
use crate::object::{Object, Shows, await_page, begin_filling, end_filling};
use crate::ops::{Access, Advice, FaultError, FaultKind, HugePages, MapRequest, Place, Sharing};
use crate::ops::{RemapPlace, RemapRequest};
use crate::phys::{AllocFlags, Kind, Pfn};
use crate::stat::Event;
use crate::testing::{TestMachine, become_cpu};
use crate::{Error, Overcommit, Space, Vm};
use core::sync::atomic::Ordering::Relaxed;
use std::vec::Vec;

pub(super) type Memory<'vm, A> = Object<'vm, TestMachine<A>>;
pub(super) type Spc<'vm, A> = Space<'vm, TestMachine<A>>;

pub(super) fn vm<A: Arch>(frames: u64) -> Vmm<A> {
    of_machine(TestMachine::<A>::new(frames))
}

fn of_machine<A: Arch>(machine: TestMachine<A>) -> Vmm<A> {
    let vm = Vm::new(machine).expect("a machine");
    assert_eq!(vm.shared_huge_pages(), HugePages::Never);
    vm.set_shared_huge_pages(HugePages::Always);
    vm
}

/// Two nodes, of so many frames.
fn two_nodes<A: Arch>(second: u64) -> Vmm<A> {
    let pages = sizes::<A>().1 / sizes::<A>().0;
    let first = 0x100u64.next_multiple_of(pages);
    let after = (first + frames::<A>()).next_multiple_of(pages);
    of_machine(TestMachine::<A>::with(&[(first, frames::<A>(), 0), (after, second, 1)], &[0]))
}

/// Where mappings are made that lie as huge pages do.
pub(super) fn place<A: Arch>() -> u64 {
    (A::USER_END / 2) & !(4 * sizes::<A>().1 - 1)
}

pub(super) fn map<A: Arch>(space: &Spc<'_, A>, memory: &Memory<'_, A>, sharing: Sharing, at: u64) {
    let length = memory.length().next_multiple_of(sizes::<A>().0);
    let request = MapRequest::object(memory, 0, sharing, length, Prot::READ_WRITE);
    space.map(&request.at(Place::Fixed(at))).expect("a mapping");
}

/// Shared memory of `count` huge pages, the first byte of each page stored to by a mapping at [`place`].
pub(super) fn huge<'vm, A: Arch>(vm: &'vm Vmm<A>, count: u64) -> (Spc<'vm, A>, Memory<'vm, A>, u64) {
    let (page, huge) = sizes::<A>();
    let (space, memory) = (vm.create_space().expect("a space"), vm.shared_memory(count * huge / page).expect("memory"));
    let start = place::<A>();
    map(&space, &memory, Sharing::Shared, start);
    for number in 0..count {
        assert_eq!(space.fault(start + number * huge + page, Access::Write), Ok(FaultKind::File));
    }
    assert_eq!((vm.count(Event::SharedHugeAlloc), vm.count(Event::SharedHugeMapped)), (count, count));
    for address in (start..start + count * huge).step_by(page as usize) {
        store(&space, address, mark::<A>(address)).expect("a store");
    }
    (space, memory, start)
}

pub(super) fn shown_huge<A: Arch>(space: &Spc<'_, A>) -> u64 {
    let mut pages = 0;
    space.smaps(&mut |entry| pages += entry.shared_huge);
    pages
}

pub(super) fn order_of<A: Arch>(space: &Spc<'_, A>, address: u64) -> u8 {
    load(space, address).expect("a page");
    space.vm().physical().folio(space.translate(address).expect("a page").pfn).order()
}

pub(super) fn order<A: Arch>() -> u8 {
    (A::shift(1) - A::PAGE_SHIFT) as u8
}

fn life<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 2);
    let end = start + 2 * huge_page;
    assert_eq!(
        (space.rss().shared_memory, memory.cached_pages(), shown_huge(&space)),
        (2 * pages, 2 * pages, 2 * pages)
    );
    vm.audited().expect("all is well");
    // Another shows it by one entry too, though it only loads.
    let other = vm.create_space().expect("a space");
    map(&other, &memory, Sharing::Shared, start);
    check(&other, start, end);
    assert_eq!((shown_huge(&other), vm.count(Event::SharedHugeAlloc)), (2 * pages, 2));
    store(&other, start + page, 99).expect("a store");
    assert_eq!(load(&space, start + page), Ok(99));
    store(&space, start + page, mark::<A>(start + page)).expect("a store");
    // Rights of all of it change in place, those of a part cut the entry alone.
    space.protect(start, huge_page, Prot::READ).expect("protect");
    assert!(store(&space, start, 0).is_err());
    space.protect(start, huge_page, Prot::READ_WRITE).expect("protect");
    assert_eq!(vm.count(Event::SplitMapping), 0);
    space.protect(start + page, page, Prot::READ).expect("protect");
    assert_eq!((vm.count(Event::SplitMapping), shown_huge(&space), shown_huge(&other)), (1, pages, 2 * pages));
    check(&space, start, end);
    vm.audited().expect("all is well");
    // What is discarded or unmapped stays in the cache, and is not to be split.
    space.advise(start + huge_page, page, Advice::DontNeed).expect("discard");
    space.unmap(start, huge_page / 2).expect("a part");
    assert_eq!(space.rss().shared_memory, 2 * pages - pages / 2 - 1);
    check(&space, start + huge_page / 2, end);
    assert_eq!((vm.count(Event::SplitDeferred), memory.cached_pages()), (0, 2 * pages));
    vm.audited().expect("all is well");
    space.advise(start + huge_page, huge_page, Advice::DontNeed).expect("discard");
    check(&space, start + huge_page, end);
    assert_eq!(shown_huge(&space), pages, "it is shown whole again");
    drop(space);
    let resident = |address: u64, so: bool| other.resident(address, 1, &mut |is| assert_eq!(is, so)).expect("mapped");
    other.advise(start, huge_page, Advice::DontNeed).expect("discard");
    resident(start + page, true);
    drop((other, memory));
    finish(&vm);
}

/// Who cannot show all of it by one entry shows its pages.
fn small<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 2);
    let other = vm.create_space().expect("a space");
    let misplaced = start + page;
    map(&other, &memory, Sharing::Shared, misplaced);
    for offset in (0..2 * huge_page).step_by(page as usize) {
        assert_eq!(load(&other, misplaced + offset), Ok(mark::<A>(start + offset)));
    }
    assert_eq!((other.rss().shared_memory, shown_huge(&other)), (2 * pages, 0));
    store(&other, misplaced + page, 99).expect("a store");
    assert_eq!(load(&space, start + page), Ok(99));
    // A private mapping copies page by page.
    let private = vm.create_space().expect("a space");
    map(&private, &memory, Sharing::Private, start);
    assert_eq!(load(&private, start + page), Ok(99));
    store(&private, start + page, 7).expect("a copy");
    store(&private, start, 8).expect("a copy of what was not mapped");
    let loaded = [&private, &space].map(|space| (load(space, start), load(space, start + page)));
    assert_eq!(loaded, [(Ok(8), Ok(7)), (Ok(mark::<A>(start)), Ok(99))]);
    assert_eq!((private.rss().anonymous, shown_huge(&private)), (2, 0));
    vm.audited().expect("all is well");
    let child = space.fork().expect("a child");
    assert_eq!((child.rss().shared_memory, load(&child, start + page)), (0, Ok(99)));
    assert_eq!(shown_huge(&child), pages);
    space.unmap(start, 2 * huge_page).expect("unmap");
    // Small pages that are there keep huge ones away.
    let second = vm.shared_memory(pages).expect("memory");
    map(&other, &second, Sharing::Shared, misplaced);
    store(&other, misplaced + page, 5).expect("a store");
    map(&space, &second, Sharing::Shared, start);
    assert_eq!((load(&space, start + page), load(&space, start)), (Ok(5), Ok(0)));
    assert_eq!((shown_huge(&space), vm.count(Event::SharedHugeAlloc), second.cached_pages()), (0, 2, 2));
    vm.audited().expect("all is well");
    drop((space, other, private, child, memory, second));
    finish(&vm);
}

#[test]
fn a_huge_page_of_shared_memory_is_shown_whole_and_in_parts() {
    everywhere!(life);
    life::<Tiny>();
}

/// Where nobody has touched it yet, and the only mapping lies askew.
fn askew<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, memory) =
        (vm.create_space().expect("a space"), vm.shared_memory(2 * huge_page / page).expect("memory"));
    let start = place::<A>();
    map(&space, &memory, Sharing::Shared, start + page);
    store(&space, start + huge_page, 1).expect("a store");
    assert_eq!((vm.count(Event::SharedHugeAlloc), order_of(&space, start + huge_page)), (0, 0));
    assert_eq!(memory.cached_pages(), 1);
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

#[test]
fn who_cannot_show_it_whole_shows_its_pages() {
    everywhere!(small);
    everywhere!(askew);
}

#[test]
fn policy_and_advice_say_which_shared_memory_gets_them() {
    let vm = vm::<X86_64>(frames::<X86_64>());
    let (page, huge_page) = sizes::<X86_64>();
    let start = place::<X86_64>();
    let of = |policy, advice: Option<Advice>, limit, pages: u64| {
        vm.set_shared_huge_pages(policy);
        assert_eq!(vm.shared_huge_pages(), policy);
        let (space, memory) = (vm.create_space().expect("a space"), vm.shared_memory(pages).expect("memory"));
        space.set_huge_pages(limit);
        map(&space, &memory, Sharing::Shared, start);
        advice.inspect(|&advice| space.advise(start, pages * page, advice).expect("advice"));
        store(&space, start, 1).expect("a store");
        shown_huge(&space) > 0
    };
    let all = huge_page / page;
    assert!(!of(HugePages::Never, Some(Advice::HugePage), HugePages::Always, all));
    assert!(!of(HugePages::Advised, None, HugePages::Always, all));
    assert!(of(HugePages::Advised, Some(Advice::HugePage), HugePages::Always, all));
    assert!(of(HugePages::Always, None, HugePages::Always, all));
    assert!(!of(HugePages::Always, Some(Advice::NoHugePage), HugePages::Always, all));
    assert!(!of(HugePages::Always, None, HugePages::Never, all));
    assert!(!of(HugePages::Always, None, HugePages::Advised, all));
    assert!(!of(HugePages::Always, None, HugePages::Always, all - 1), "it would reach behind the end");
    // Not asked for, one that is there is shown whole, but to who wants none.
    let (space, memory, _) = {
        vm.set_shared_huge_pages(HugePages::Always);
        let memory = vm.shared_memory(all).expect("memory");
        let space = vm.create_space().expect("a space");
        map(&space, &memory, Sharing::Shared, start);
        store(&space, start, 1).expect("a store");
        (space, memory, start)
    };
    vm.set_shared_huge_pages(HugePages::Never);
    space.advise(start, huge_page, Advice::DontNeed).expect("discard");
    assert_eq!((load(&space, start), shown_huge(&space)), (Ok(1), all));
    space.advise(start, huge_page, Advice::NoHugePage).expect("advice");
    space.advise(start, huge_page, Advice::DontNeed).expect("discard");
    assert_eq!((load(&space, start), shown_huge(&space), space.rss().shared_memory), (Ok(1), 0, 1));
    drop((space, memory));
    finish(&vm);
}

fn none_free<A: Arch>() {
    let vm = vm::<A>(700);
    vm.set_overcommit(Overcommit::Always);
    let (space, memory) = (vm.create_space().expect("a space"), vm.shared_memory(4096).expect("memory"));
    map(&space, &memory, Sharing::Shared, place::<A>());
    store(&space, place::<A>(), 1).expect("a store");
    assert_eq!((vm.count(Event::SharedHugeFallback), vm.count(Event::HugeFallback)), (1, 0));
    assert_eq!((memory.cached_pages(), shown_huge(&space)), (1, 0));
    drop((space, memory));
    finish(&vm);
}

#[test]
fn small_pages_come_where_no_huge_one_is_free() {
    none_free::<X86_64>();
    none_free::<Sparc64>();
}

fn truncated<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 3);
    let other = vm.create_space().expect("a space");
    map(&other, &memory, Sharing::Shared, start);
    check(&other, start, start + 3 * huge_page);
    // One goes whole, and one in part.
    let kept = pages + pages / 2;
    memory.truncate(kept * page).expect("shorter");
    assert_eq!((memory.cached_pages(), vm.count(Event::SplitFolio)), (kept, 1));
    vm.audited().expect("all is well");
    for space in [&space, &other] {
        check(space, start, start + kept * page);
        let beyond = FaultError::Bus { address: start + kept * page, index: kept };
        assert_eq!(load(space, start + kept * page), Err(beyond));
        assert_eq!((order_of(space, start), order_of(space, start + huge_page)), (order::<A>(), 0));
    }
    assert_eq!((shown_huge(&space), space.rss().shared_memory), (pages, kept));
    vm.audited().expect("all is well");
    // It grows by zeroes, and by small pages where there are some.
    memory.extend(3 * huge_page).expect("longer");
    assert_eq!(load(&space, start + kept * page), Ok(0));
    assert_eq!((load(&space, start + 2 * huge_page), shown_huge(&space)), (Ok(0), 2 * pages));
    check(&space, start, start + kept * page);
    memory.truncate(0).expect("shorter");
    assert_eq!((memory.cached_pages(), space.rss().shared_memory, other.rss().shared_memory), (0, 0, 0));
    drop((space, other, memory));
    finish(&vm);
}

fn punched<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 4);
    let private = vm.create_space().expect("a space");
    map(&private, &memory, Sharing::Private, start);
    store(&private, start + huge_page, 99).expect("a copy");
    load(&private, start + 2 * huge_page - page).expect("a page");
    // The second goes whole, with an end of the first and the beginning of the third.
    let hole = start + huge_page - page..start + 2 * huge_page + page;
    space.advise(hole.start, hole.end - hole.start, Advice::Remove).expect("a hole");
    assert_eq!((memory.cached_pages(), vm.count(Event::SplitFolio)), (3 * pages - 2, 2));
    vm.audited().expect("all is well");
    check(&space, start, hole.start);
    check(&space, hole.end, start + 4 * huge_page);
    assert_eq!(shown_huge(&space), pages);
    for address in hole.clone().step_by(page as usize) {
        assert_eq!(load(&space, address), Ok(0), "{:#x}", address - start);
    }
    assert_eq!((load(&private, start + huge_page), load(&private, start + 2 * huge_page - page)), (Ok(99), Ok(0)));
    assert_eq!((shown_huge(&space), memory.cached_pages()), (2 * pages, 4 * pages));
    // Within one, and bytes of a page.
    let inside = 3 * huge_page + page;
    memory.punch(inside + 1, page).expect("a hole");
    assert_eq!(vm.count(Event::SplitFolio), 2, "of no page all goes");
    memory.punch(inside, page).expect("a hole");
    assert_eq!((vm.count(Event::SplitFolio), load(&space, start + inside)), (3, Ok(0)));
    check(&space, start + 3 * huge_page, start + inside);
    check(&space, start + inside + 2 * page, start + 4 * huge_page);
    vm.audited().expect("all is well");
    drop((space, private, memory));
    finish(&vm);
}

/// Somebody has a reference, so that it cannot be split: what goes is gone all the same.
fn held<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 1);
    let hold = space.hold(start).expect("a page");
    memory.truncate(page).expect("shorter");
    assert_eq!((memory.cached_pages(), vm.count(Event::SplitFolio), vm.count(Event::SplitFolioFail)), (1, 0, 1));
    vm.audited().expect_err("a reference");
    check(&space, start, start + page);
    assert!(load(&space, start + page).is_err());
    memory.extend(huge_page).expect("longer");
    assert_eq!((load(&space, start + page), order_of(&space, start)), (Ok(0), order::<A>()));
    space.advise(start, huge_page, Advice::DontNeed).expect("discard");
    check(&space, start, start + page);
    assert_eq!((shown_huge(&space), memory.cached_pages()), (0, 2));
    held_in_part(&space, &memory, start);
    drop(hold);
    vm.audited().expect("all is well");
    // The hand makes single pages of it; what has left the cache is free then.
    let free = vm.free_frames();
    vm.reclaim(0, 1000);
    assert_eq!((vm.free_frames() - free, vm.count(Event::SplitFolio)), (pages - 1, 1));
    assert_eq!((order_of(&space, start), load(&space, start)), (0, Ok(mark::<A>(start))));
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

/// What has left the folio and is there again goes with what is cut off, and into holes.
fn held_in_part<A: Arch>(space: &Space<'_, TestMachine<A>>, memory: &Object<'_, TestMachine<A>>, start: u64) {
    let (page, huge_page) = sizes::<A>();
    let vm = space.vm();
    let again = start + page;
    let ways: [&dyn Fn(); 2] = [&|| memory.punch(page, huge_page - page).expect("a hole"), &|| {
        memory.truncate(page).expect("shorter");
        memory.extend(huge_page).expect("longer");
    }];
    for way in ways {
        store(space, again, 99).expect("a store");
        assert_eq!(memory.cached_pages(), 2);
        way();
        assert_eq!((memory.cached_pages(), load(space, again)), (1, Ok(0)), "{}", A::NAME);
    }
    assert_eq!(vm.count(Event::SplitFolio), 0, "it is held");
}

/// As that, but what is left goes, too, before anybody has split it: the first page first.
fn held_to_the_end<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 1);
    let hold = space.hold(start + page).expect("a page");
    memory.punch(0, page).expect("a hole");
    assert_eq!(load(&space, start), Ok(0));
    check(&space, start + page, start + huge_page);
    drop((space, memory));
    vm.quiesce();
    let frame = vm.physical().folio(hold.translation().pfn);
    assert_eq!((frame.kind(), frame.references(), frame.words[0].load(Relaxed)), (Kind::File, 1, 0));
    drop(hold);
    finish(&vm);
}

#[test]
fn what_is_cut_off_goes_whole_or_in_part() {
    everywhere!(truncated);
}

#[test]
fn a_hole_takes_huge_pages_whole_or_in_part() {
    everywhere!(punched);
}

#[test]
fn what_cannot_be_split_goes_in_part() {
    everywhere!(held);
    everywhere!(held_to_the_end);
}

fn moved_whole<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = two_nodes::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 2);
    let other = vm.create_space().expect("a space");
    map(&other, &memory, Sharing::Shared, start + page);
    load(&other, start + page).expect("a page");
    // Of this one the first page is mapped nowhere.
    let rest = MapRequest::object(&memory, page, Sharing::Shared, huge_page - page, Prot::READ_WRITE);
    other.map(&rest.at(Place::Fixed(start + 4 * huge_page))).expect("a mapping");
    load(&other, start + 4 * huge_page).expect("a page");
    let node_of = |space: &Spc<'_, A>, address| {
        load(space, address).expect("a page");
        vm.physical().frame(space.translate(address).expect("a page").pfn).node()
    };
    assert_eq!(space.move_pages(start, 2 * huge_page, 1), Ok((2 * pages, 0)));
    vm.audited().expect("all is well");
    assert_eq!((node_of(&space, start), node_of(&other, start + 2 * page)), (1, 1));
    check(&space, start, start + 2 * huge_page);
    assert_eq!((vm.count(Event::SplitFolio), shown_huge(&space), memory.cached_pages()), (0, 2 * pages, 2 * pages));
    // So many entries that they are taken in several sections.
    let many = [(); 15].map(|()| vm.create_space().expect("a space"));
    many.iter().for_each(|space| {
        map(space, &memory, Sharing::Shared, start);
        check(space, start, start + page);
    });
    assert_eq!(space.move_pages(start, huge_page, 0), Ok((pages, 0)));
    assert!(many.iter().all(|space| node_of(space, start) == 0 && shown_huge(space) == pages));
    // Its entry went with the others.
    check(&space, start, start + page);
    assert_eq!(space.move_pages(start, huge_page, 1), Ok((pages, 0)));
    check(&space, start, start + 2 * huge_page);
    vm.audited().expect("all is well");
    drop(many);
    // What somebody holds stays.
    let hold = space.hold(start).expect("a page");
    assert_eq!(space.move_pages(start, 2 * huge_page, 0), Ok((pages, pages)));
    drop(hold);
    check(&space, start, start + 2 * huge_page);
    assert_eq!((node_of(&space, start), node_of(&space, start + huge_page)), (1, 0));
    vm.audited().expect("all is well");
    drop((space, other, memory));
    finish(&vm);
}

fn moved_in_parts<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = two_nodes::<A>(4 * pages);
    let (space, memory, start) = huge(&vm, 1);
    // Each block on the node has a frame in use.
    let mut taken = Vec::new();
    {
        let cx = Cx::enter(&vm);
        while let Ok(pfn) = cx.alloc_block_on(1, 0, AllocFlags::NONE) {
            taken.push(pfn);
        }
        let (freed, kept): (Vec<_>, Vec<_>) = taken.into_iter().partition(|pfn| pfn.0 % pages.min(8) != 0);
        freed.into_iter().for_each(|pfn| cx.free_frame(pfn));
        taken = kept;
    }
    // What somebody holds is not taken out of its entries for nothing.
    let hold = space.hold(start).expect("a page");
    assert_eq!(space.move_pages(start, huge_page, 1), Ok((0, pages)));
    assert_eq!((vm.count(Event::SplitFolioFail), shown_huge(&space)), (1, pages), "{}", A::NAME);
    drop(hold);
    assert_eq!(space.move_pages(start, huge_page, 1), Ok((pages, 0)));
    assert_eq!((vm.count(Event::SplitFolio), memory.cached_pages()), (1, pages));
    vm.audited().expect("all is well");
    check(&space, start, start + huge_page);
    assert_eq!((order_of(&space, start), shown_huge(&space)), (0, 0));
    taken.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    drop((space, memory));
    finish(&vm);
}

fn compacted<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(8 * pages);
    let (space, memory, start) = huge(&vm, 2);
    // Half of each block that is twice as large is free, at most.
    let mut taken = Vec::new();
    {
        let cx = Cx::enter(&vm);
        while let Ok(pfn) = cx.alloc_block_on(0, order::<A>(), AllocFlags::NONE) {
            taken.push(pfn);
        }
        let mut freed = Vec::new();
        taken.retain(|&pfn| {
            let stays = freed.contains(&Pfn(pfn.0 ^ pages));
            if !stays {
                cx.free_frame(pfn);
                freed.push(pfn);
            }
            stays
        });
    }
    let is_done = (0..8).any(|_| vm.compact(0, order::<A>() + 1));
    assert!(is_done, "{}: there is room", A::NAME);
    vm.audited().expect("all is well");
    check(&space, start, start + 2 * huge_page);
    assert!(vm.count(Event::MigrateSuccess) >= pages, "one of them has moved");
    taken.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    drop((space, memory));
    finish(&vm);
}

#[test]
fn shared_huge_pages_are_moved_as_wholes_or_in_parts() {
    everywhere!(moved_whole);
    everywhere!(moved_in_parts);
}

#[test]
fn blocks_with_shared_huge_pages_are_compacted() {
    // Where a block may have two of them.
    compacted::<X86_64>();
    compacted::<Aarch64>();
}

/// Reclaim and advice leave it as it is: it has nowhere to go.
fn stays<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let machine = TestMachine::<A>::new(frames::<A>()).with_compressor();
    let vm = of_machine(machine);
    vm.set_compressed_limit(4 * pages);
    vm.swap_on_memory(4 * pages, 0).expect("an area");
    let (space, memory, start) = huge(&vm, 2);
    assert_eq!(vm.reclaim(0, pages), 0);
    for advice in [Advice::PageOut, Advice::Cold] {
        space.advise(start, 2 * huge_page, advice).expect("advice");
        space.advise(start + page, page, advice).expect("advice");
    }
    assert_eq!((vm.reclaim(0, pages), vm.count(Event::SplitFolio), shown_huge(&space)), (0, 0, 2 * pages));
    vm.audited().expect("all is well");
    check(&space, start, start + 2 * huge_page);
    drop((space, memory));
    finish(&vm);
}

#[test]
fn reclaim_leaves_shared_huge_pages_alone() {
    everywhere!(stays);
}

/// To where it could be shown as wholes, too; then its parts go, which the move has not left behind.
fn remapped_alike<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 2);
    let (to, length) = (start + 4 * huge_page, 2 * huge_page);
    let place = RemapPlace::Fixed(to);
    let request = RemapRequest { old: start, old_length: length, new_length: length, place, keep_old: false };
    space.remap(&request).expect("a move");
    vm.audited().expect("all is well");
    let pages = length / page;
    assert_eq!((shown_huge(&space), vm.count(Event::MovedPage), vm.count(Event::SplitMapping)), (pages, pages, 0));
    for offset in (0..length).step_by(page as usize) {
        assert_eq!(load(&space, to + offset), Ok(mark::<A>(start + offset)));
    }
    // It may have them as before.
    space.advise(to, length, Advice::DontNeed).expect("discard");
    assert_eq!((shown_huge(&space), order_of(&space, to)), (0, order::<A>()));
    assert_eq!((order_of(&space, to + huge_page), shown_huge(&space)), (order::<A>(), pages));
    memory.punch(0, huge_page).expect("a hole");
    assert_eq!((load(&space, to), load(&space, to + huge_page - page)), (Ok(0), Ok(0)));
    memory.truncate(huge_page + page).expect("shorter");
    assert_eq!(load(&space, to + huge_page), Ok(mark::<A>(start + huge_page)));
    assert!(load(&space, to + huge_page + page).is_err());
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

fn remapped<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 2);
    let to = start + 2 * huge_page + page;
    let length = huge_page + page;
    let request = RemapRequest {
        old: start,
        old_length: length,
        new_length: length,
        place: RemapPlace::Fixed(to),
        keep_old: false,
    };
    space.remap(&request).expect("a move");
    vm.audited().expect("all is well");
    for offset in (0..length).step_by(page as usize) {
        assert_eq!(load(&space, to + offset), Ok(mark::<A>(start + offset)));
    }
    check(&space, start + length, start + 2 * huge_page);
    memory.truncate(2 * page).expect("shorter");
    vm.audited().expect("all is well");
    assert_eq!((load(&space, to + page), space.rss().shared_memory), (Ok(mark::<A>(start + page)), 1));
    drop((space, memory));
    finish(&vm);
}

/// A huge page of which a part is being cut out, or all, is left behind.
fn remapped_beside_hole<A: Arch>(hole: impl FnOnce(u64) -> u64) {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 4);
    // The first one has small pages, and its last page alone moves.
    space.protect(start + page, page, Prot::READ).expect("protect");
    let (old, to, length) = (start + huge_page - page, start + 9 * huge_page - page, 3 * huge_page + page);
    let place = RemapPlace::Fixed(to);
    let request = RemapRequest { old, old_length: length, new_length: length, place, keep_old: false };
    let hole = hole(pages);
    memory.inner().while_hole(hole..hole + 1, || space.remap(&request).expect("a move"));
    vm.audited().expect("all is well");
    assert_eq!((shown_huge(&space), space.rss().shared_memory), (2 * pages, 3 * pages), "{}", A::NAME);
    for offset in (0..length).step_by(page as usize) {
        let is_there = !(page + huge_page..page + 2 * huge_page).contains(&offset);
        assert_eq!(space.translate(to + offset).is_some(), is_there, "{}: {offset:#x}", A::NAME);
    }
    for offset in (0..length).step_by(page as usize) {
        assert_eq!(load(&space, to + offset), Ok(mark::<A>(old + offset)));
    }
    drop((space, memory));
    finish(&vm);
}

#[test]
fn a_move_leaves_behind_what_is_being_cut_out() {
    fn first_page<A: Arch>() {
        remapped_beside_hole::<A>(|pages| 2 * pages);
    }
    fn last_page<A: Arch>() {
        remapped_beside_hole::<A>(|pages| 3 * pages - 1);
    }
    everywhere!(first_page);
    everywhere!(last_page);
}

/// A fault comes while the contents are being put there, by who moves it: it waits for all of it.
fn awaited<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let first = 0x100u64.next_multiple_of(pages);
    let vm = of_machine(TestMachine::<A>::with(&[(first, frames::<A>(), 0)], &[0, 0]));
    let (space, memory, start) = huge(&vm, 1);
    let frame = vm.physical().folio(space.translate(start).expect("a page").pfn);
    space.advise(start, huge_page, Advice::DontNeed).expect("discard");
    begin_filling(frame);
    let state = || frame.halves[0].load(Relaxed);
    let filled = state();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            become_cpu(1);
            load(&space, start + page)
        });
        while state() == filled && !waits.is_finished() {
            std::thread::yield_now();
        }
        end_filling(&Cx::enter(&vm), frame);
        assert_eq!(waits.join().expect("a load"), Ok(mark::<A>(start + page)));
    });
    assert_eq!((shown_huge(&space), memory.cached_pages()), (pages, pages), "{}", A::NAME);
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

#[test]
fn a_fault_waits_for_a_huge_page_on_its_way() {
    everywhere!(awaited);
}

/// Who waits for a page that is gone by then adds none.
fn awaited_in_vain<A: Arch>() {
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 1);
    let seen =
        |space: &Spc<'_, A>| (memory.cached_pages(), space.rss().shared_memory, vm.count(Event::SharedHugeMapped));
    let before = seen(&space);
    await_page(&vm, memory.inner(), 0);
    assert_eq!(seen(&space), before);
    memory.punch(0, sizes::<A>().1).expect("a hole");
    await_page(&vm, memory.inner(), 0);
    assert_eq!((memory.cached_pages(), load(&space, start)), (0, Ok(0)), "{}", A::NAME);
    assert_eq!(shown_huge(&space), sizes::<A>().1 / sizes::<A>().0);
    drop((space, memory));
    finish(&vm);
}

#[test]
fn who_waits_for_a_page_adds_none() {
    everywhere!(awaited_in_vain);
}

/// Who has found a folio that is gone by then looks anew; one of which a part is gone has small pages.
fn gone<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(frames::<A>());
    let (space, memory, start) = huge(&vm, 2);
    let shows = |frame, number: u64| memory.inner().shows_whole(frame, number * pages, pages);
    let [whole, in_part] = [0, 1].map(|number| {
        let hold = space.hold(start + number * huge_page).expect("a page");
        let frame = vm.physical().folio(hold.translation().pfn);
        assert!(shows(frame, number) == Shows::Whole);
        memory.inner().while_hole(2 * pages - 1..2 * pages, || {
            assert!(shows(frame, number) == if number == 0 { Shows::Whole } else { Shows::Parts });
        });
        (hold, frame)
    });
    memory.punch(0, huge_page + page).expect("a hole");
    assert!(shows(whole.1, 0) == Shows::Another && shows(in_part.1, 1) == Shows::Parts);
    assert_eq!((order_of(&space, start), load(&space, start)), (order::<A>(), Ok(0)));
    assert!(shows(whole.1, 0) == Shows::Another);
    drop((whole, in_part, space, memory));
    finish(&vm);
}

#[test]
fn what_an_object_shows_is_whole_in_parts_or_another() {
    everywhere!(gone);
}

#[test]
fn mappings_of_shared_huge_pages_move() {
    everywhere!(remapped);
    everywhere!(remapped_alike);
}

/// Each allocation fails in turn, alone and with all that follow: small pages come, or nothing has changed.
fn failing<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(frames::<A>());
    let mut outcomes = Vec::new();
    for allowed in 0..20 {
        let (space, memory) =
            (vm.create_space().expect("a space"), vm.shared_memory(4 * huge_page / page).expect("memory"));
        map(&space, &memory, Sharing::Shared, place::<A>());
        vm.machine().allow_allocations(allowed);
        let at = place::<A>() + 2 * huge_page + page;
        let result = store(&space, at, 7);
        vm.audited().expect("all is well");
        let expected = if result.is_ok() { Ok(()) } else { Err(FaultError::OutOfMemory { address: at }) };
        assert_eq!(result, expected);
        // Of a part it takes a table, and without it nothing changes; a hole takes none.
        if shown_huge(&space) > 0 {
            vm.machine().allow_allocations(0);
            assert_eq!(space.unmap(at, page), Err(Error::OutOfMemory));
            assert_eq!(space.advise(at, page, Advice::DontNeed), Err(Error::OutOfMemory));
            assert_eq!(load(&space, at), Ok(7));
            space.advise(at, page, Advice::Remove).expect("a hole");
            vm.audited().expect("all is well");
        }
        vm.machine().allow_allocations(u64::MAX);
        outcomes.push((result.is_ok(), shown_huge(&space)));
        let left = if shown_huge(&space) > 0 { Ok(0) } else { load(&space, at) };
        store(&space, at, 9).expect("a store");
        assert_eq!((load(&space, at), left.is_ok()), (Ok(9), true));
        drop((space, memory));
    }
    assert_eq!(outcomes.first().map(|outcome| outcome.0), Some(false));
    assert!(outcomes.iter().all(|outcome| outcome.0 || outcome.1 == 0));
    assert!(vm.count(Event::SharedHugeMapped) > 0);
    finish(&vm);
}

#[test]
fn failing_allocations_leave_all_as_it_was() {
    everywhere!(failing);
}
