//! Folios of several pages under reclaim, reverse mapping and migration: split where something forces it, whole
//! elsewhere.

use super::{Count, Vmm, check, finish, frames, huge, lasting, load, mark, sizes, store, vm};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, Tiny, X86_64};
use crate::cpu::Cx;
use crate::ops::{Advice, HugePages, MapRequest, RemapPlace, RemapRequest, Sharing};
use crate::phys::{AllocFlags, Kind, Pfn};
use crate::rmap::{PART, split_folio};
use crate::stat::Event;
use crate::testing::TestMachine;
use crate::testing::hooks::{self, Event as Happening, before};
use crate::{Space, Vm};
use core::cell::{Cell, RefCell};
use core::iter;
use std::rc::Rc;
use std::vec::Vec;

/// With room in swap for so many pages.
fn with_swap<A: Arch>(frames: u64, slots: u64) -> Vmm<A> {
    let vm = Vm::new(TestMachine::<A>::new(frames).with_compressor()).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    if slots > 0 {
        vm.set_compressed_limit(slots);
        vm.swap_on_memory(slots, 0).expect("an area");
    }
    vm
}

/// The head of the folio at `address`, and its order.
fn folio<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64) -> (Pfn, u8) {
    let physical = space.vm().physical();
    let head = physical.head(space.translate(address).expect("a page").pfn);
    (head, physical.frame(head).order())
}

fn order<A: Arch>() -> u8 {
    (A::shift(1) - A::PAGE_SHIFT) as u8
}

/// Splits the folio at `address`, as somebody who works on it; how many pages that has freed.
fn split<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64) -> Option<u64> {
    let vm = space.vm();
    let (head, _) = folio(space, address);
    let frame = vm.physical().frame(head);
    assert!(frame.try_get() && frame.folio_lock().try_acquire());
    let freed = split_folio(vm, head);
    frame.folio_lock().release(vm);
    crate::object::release(&Cx::enter(vm), head);
    freed
}

fn anonymous_huge<A: Arch>(space: &Space<'_, TestMachine<A>>) -> u64 {
    let mut pages = 0;
    space.smaps(&mut |entry| pages += entry.anonymous_huge);
    pages
}

fn paged_out<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 4 * pages);
    let (space, start) = huge(&vm, 2);
    space.advise(start, huge_page, Advice::PageOut).expect("advice");
    assert_eq!((space.rss().anonymous, space.rss().swapped), (pages, pages));
    assert_eq!((vm.count(Event::SplitFolio), vm.count(Event::HugeSwapOut)), (0, 1));
    vm.audited().expect("all is well");
    // Of a part only that goes, and the folio is split for it.
    space.advise(start + huge_page + page, page, Advice::PageOut).expect("advice");
    assert_eq!((space.rss().anonymous, space.rss().swapped), (pages - 1, pages + 1));
    vm.audited().expect("all is well");
    check(&space, start, start + 2 * huge_page);
    assert_eq!((vm.count(Event::SplitFolio), vm.count(Event::HugeSwapOut)), (1, 1));
    drop(space);
    finish(&vm);
}

fn reclaimed<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 4 * pages);
    let (space, start) = huge(&vm, 2);
    let mut freed = 0;
    while freed < 2 * pages {
        let now = vm.reclaim(0, pages);
        assert!(now > 0, "{freed} of {} pages", 2 * pages);
        freed += now;
        vm.audited().expect("all is well");
    }
    assert_eq!((space.rss().anonymous, vm.count(Event::SplitFolio), vm.count(Event::HugeSwapOut)), (0, 0, 2));
    check(&space, start, start + 2 * huge_page);
    drop(space);
    finish(&vm);
}

fn used_stay_whole<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 8 * pages);
    let (space, start) = huge(&vm, 2);
    // One of its pages is used, and the other folio was not for some time.
    space.advise(start, 2 * huge_page, Advice::Cold).expect("advice");
    space.fault(start + page, crate::ops::Access::Read).expect("a page");
    assert!(vm.reclaim(0, pages) >= pages);
    assert_eq!((folio(&space, start).1, space.rss().anonymous), (order::<A>(), pages));
    check(&space, start, start + 2 * huge_page);
    drop(space);
    finish(&vm);
}

/// What is mapped nowhere goes first, also where there is no swap.
fn partly<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 0);
    let (space, start) = huge(&vm, 2);
    space.advise(start + page, huge_page - 2 * page, Advice::DontNeed).expect("advice");
    assert_eq!(vm.count(Event::SplitDeferred), 1);
    let free = vm.free_frames();
    assert_eq!(vm.reclaim(0, 1000), pages - 2);
    assert_eq!((vm.free_frames() - free, vm.count(Event::SplitFolio)), (pages - 2, 1));
    vm.audited().expect("all is well");
    assert_eq!((folio(&space, start).1, folio(&space, start + huge_page).1), (0, order::<A>()));
    check(&space, start, start + page);
    check(&space, start + huge_page - page, start + 2 * huge_page);
    assert_eq!(vm.reclaim(0, 1000), 0, "there is nowhere to go for the rest");
    drop(space);
    finish(&vm);
}

fn shared<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 8 * pages);
    let (space, start) = huge(&vm, 1);
    let child = space.fork().expect("a child");
    store(&child, start + page, 99).expect("a store");
    child.unmap(start + 2 * page, page).expect("unmap");
    assert_eq!(split(&space, start), Some(0));
    assert_eq!((folio(&space, start).1, folio(&child, start).1), (0, 0));
    assert_eq!(folio(&child, start), folio(&space, start));
    vm.audited().expect("all is well");
    check(&space, start, start + huge_page);
    check(&child, start + 3 * page, start + huge_page);
    assert_eq!((load(&child, start), load(&child, start + page)), (Ok(mark::<A>(start)), Ok(99)));
    drop(space);
    // What the child alone has is its own again.
    store(&child, start, mark::<A>(start)).expect("a store");
    child.advise(start, huge_page, Advice::PageOut).expect_err("there is a hole");
    child.advise(start + 3 * page, huge_page - 3 * page, Advice::PageOut).expect("advice");
    check(&child, start + 3 * page, start + huge_page);
    vm.audited().expect("all is well");
    drop(child);
    finish(&vm);
}

fn shared_whole<A: Arch>() {
    let (_, huge_page) = sizes::<A>();
    let vm = with_swap::<A>(frames::<A>(), 0);
    let (space, start) = huge(&vm, 1);
    // More than are cut in one section.
    let children = [(); 9].map(|()| space.fork().expect("a child"));
    assert_eq!((split(&space, start), vm.count(Event::SplitMapping)), (Some(0), 10));
    vm.audited().expect("all is well");
    children.iter().chain([&space]).for_each(|space| check(space, start, start + huge_page));
    drop((children, space));
    finish(&vm);
}

fn move_to<A: Arch>(space: &Space<'_, TestMachine<A>>, from: u64, to: u64, length: u64) {
    let place = RemapPlace::Fixed(to);
    let request = RemapRequest { old: from, old_length: length, new_length: length, place, keep_old: false };
    space.remap(&request).expect("a move");
}

fn moved_apart<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 4 * pages);
    let (space, start) = huge(&vm, 1);
    // All but the first page, to where it lies across two tables, the head's place in neither mapping.
    let to = start + 3 * huge_page - page;
    let length = huge_page - page;
    move_to(&space, start + page, to, length);
    let frame = vm.physical().frame(folio(&space, start).0);
    assert_eq!((frame.mappings() as u64, frame.order()), (pages, order::<A>()));
    {
        let cx = Cx::enter(&vm);
        let head = folio(&space, start).0;
        assert!(frame.try_get() && frame.folio_lock().try_acquire());
        crate::rmap::take_accessed(&cx, head);
        assert_eq!(crate::rmap::take_accessed(&cx, head), 0);
        frame.folio_lock().release(&vm);
        crate::object::release(&cx, head);
    }
    for page_of in [start, to] {
        space.fault(page_of, crate::ops::Access::Read).expect("a page");
    }
    assert_eq!(split(&space, to), Some(0));
    vm.audited().expect("all is well");
    let contents = || {
        check(&space, start, start + page);
        for offset in (0..length).step_by(page as usize) {
            assert_eq!(load(&space, to + offset), Ok(mark::<A>(start + page + offset)));
        }
    };
    contents();
    assert_eq!(split(&space, start), Some(0), "a page by itself");
    space.advise(to, length, Advice::PageOut).expect("advice");
    assert_eq!(space.rss().swapped, pages - 1);
    contents();
    drop(space);
    finish(&vm);
}

/// A page of a folio may be moved to where another one of it was: there it is found by its own difference, and by that
/// alone.
fn in_anothers_place<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = two_nodes::<A>(frames::<A>());
    let (space, start) = huge(&vm, 1);
    let (from, to) = (start + huge_page - 2 * page, start + huge_page / 2);
    move_to(&space, from, to, page);
    let contents = || {
        vm.audited().expect("all is well");
        assert_eq!(load(&space, to), Ok(mark::<A>(from)));
        check(&space, start, to);
        check(&space, to + page, from);
        check(&space, from + page, start + huge_page);
    };
    assert_eq!(space.move_pages(start, huge_page, 1).map(|(_, failed)| failed), Ok(0));
    assert_eq!(node_of(&space, to), 1);
    contents();
    if folio(&space, start).1 > 0 {
        assert!(split(&space, start).is_some(), "it can be split");
        contents();
    }
    drop(space);
    finish(&vm);
}

fn split_in_anothers_place<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = two_nodes::<A>(frames::<A>());
    let (space, start) = huge(&vm, 1);
    let (from, to) = (start + huge_page - 2 * page, start + huge_page / 2);
    move_to(&space, from, to, page);
    assert!(split(&space, start).is_some(), "it can be split");
    vm.audited().expect("all is well");
    assert_eq!(load(&space, to), Ok(mark::<A>(from)));
    drop(space);
    finish(&vm);
}

fn held<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 4 * pages);
    let (space, start) = huge(&vm, 1);
    let held = space.hold(start + page).expect("a page");
    space.advise(start, huge_page, Advice::PageOut).expect("advice");
    assert_eq!((space.rss().swapped, vm.count(Event::SplitFolio)), (0, 0));
    assert!(vm.count(Event::SplitFolioFail) > 0);
    assert_eq!(folio(&space, start).1, order::<A>());
    drop(held);
    // A reference taken to a page of it is one to a page of its own, afterwards.
    assert_eq!(split(&space, start), Some(0));
    let held = space.hold(start + page).expect("a page");
    space.unmap(start, huge_page).expect("unmap");
    assert_eq!(vm.physical().frame(held.translation().pfn).references(), 1);
    drop(held);
    drop(space);
    finish(&vm);
}

fn given_up<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 0);
    let (space, start) = huge(&vm, 2);
    space.advise(start, huge_page, Advice::Free).expect("advice");
    // A part of one may stay as it is.
    space.advise(start + huge_page, page, Advice::Free).expect("advice");
    assert_eq!((vm.count(Event::LazyFree), anonymous_huge(&space)), (pages, pages));
    check(&space, start, start + 2 * huge_page);
    store(&space, start + page, mark::<A>(start + page)).expect("a store");
    let whole = vm.count(Event::SplitFolio);
    (0..4).for_each(|_| _ = vm.reclaim(0, 1000));
    assert_eq!(vm.count(Event::SplitFolio), whole + 1);
    vm.audited().expect("all is well");
    // All of it was stored to, as far as its one entry says.
    assert_eq!(load(&space, start + page), Ok(mark::<A>(start + page)));
    check(&space, start + huge_page, start + 2 * huge_page);
    space.advise(start, huge_page, Advice::Free).expect("advice");
    (0..4).for_each(|_| _ = vm.reclaim(0, 1000));
    assert_eq!((load(&space, start), load(&space, start + page)), (Ok(0), Ok(0)));
    drop(space);
    finish(&vm);
}

/// What was given up whole is so page by page when it is split, and is not put out.
fn given_up_and_split<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 2 * pages);
    let (space, start) = huge(&vm, 1);
    space.advise(start, huge_page, Advice::Free).expect("advice");
    assert_eq!(split(&space, start), Some(0));
    (0..4).for_each(|_| _ = vm.reclaim(0, 1000));
    assert_eq!((vm.count(Event::LazyFreed), space.rss().swapped, space.rss().anonymous), (pages, 0, 0));
    assert_eq!(load(&space, start), Ok(0));
    drop(space);
    finish(&vm);
}

/// Two nodes, as large as in other tests the one.
fn two_nodes<A: Arch>(second: u64) -> Vmm<A> {
    let pages = sizes::<A>().1 / sizes::<A>().0;
    let first = 0x100u64.next_multiple_of(pages);
    let after = (first + frames::<A>()).next_multiple_of(pages);
    let machine = TestMachine::<A>::with(&[(first, frames::<A>(), 0), (after, second, 1)], &[0]).with_demotion();
    let vm = Vm::new(machine).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    vm
}

fn node_of<A: Arch>(space: &Space<'_, TestMachine<A>>, address: u64) -> u8 {
    space.vm().physical().frame(space.translate(address).expect("a page").pfn).node()
}

/// A program and its children, for hooks.
#[derive(Clone)]
struct Programs {
    parent: Rc<Space<'static, TestMachine<X86_64>>>,
    children: Rc<RefCell<Vec<Space<'static, TestMachine<X86_64>>>>>,
    /// Of which it is asked whether it is being moved.
    page: u64,
}

impl Programs {
    /// How many of them show the page no more.
    fn taken(&self) -> usize {
        let children = self.children.borrow();
        iter::once(&*self.parent).chain(&*children).filter(|space| space.translate(self.page).is_none()).count()
    }

    fn count(&self) -> usize {
        1 + self.children.borrow().len()
    }

    /// One that shows the page still has so many children.
    fn fork_untaken(&self, births: usize) {
        let born: Vec<_> = {
            let children = self.children.borrow();
            let mut programs = iter::once(&*self.parent).chain(&*children);
            let forked = programs.find(|space| space.translate(self.page).is_some());
            forked.into_iter().flat_map(|space| (0..births).map(|_| space.fork().expect("a child"))).collect()
        };
        self.children.borrow_mut().extend(born);
    }
}

/// A folio that is mapped page by page by several programs, of which some begin and others end while it is moved: of
/// one part of it as many entries may have been taken as it has in all, and more, while those of another are still to
/// come.
///
/// So many are born after the first section, and all children end when so many are left that have not been dealt with;
/// whether that lets the folio be moved.
fn moved_while_programs_come_and_go(births: usize, left: usize) -> bool {
    type A = X86_64;
    let (page, huge_page) = sizes::<A>();
    let vm = lasting(two_nodes::<A>(frames::<A>()));
    let (space, start) = huge(vm, 1);
    let [(first, first_end), (second, second_end)] =
        [(0, 40), (100, 110)].map(|(low, end)| (start + low * page, start + end * page));
    space.advise(first_end, second - first_end, Advice::DontNeed).expect("advice");
    space.advise(second_end, start + huge_page - second_end, Advice::DontNeed).expect("advice");
    let children = [(); 2].map(|()| space.fork().expect("a child"));
    children.iter().for_each(|child| child.advise(second, second_end - second, Advice::DontNeed).expect("advice"));
    let mappings = vm.physical().frame(folio(&space, start).0).mappings();
    assert!(mappings == 130 && PART < 120, "{mappings} entries, those of the first part in two sections");
    let programs =
        Programs { parent: Rc::new(space), children: Rc::new(RefCell::new(children.into())), page: first_end - page };
    let (seen, born) = (programs.clone(), programs.clone());
    before(move |event| event == Happening::Leave && seen.taken() > 0, move || born.fork_untaken(births));
    let (seen, ended) = (programs.clone(), Rc::clone(&programs.children));
    let is_time = move || seen.count() == 3 + births && seen.taken() + left >= seen.count();
    before(move |event| event == Happening::Leave && is_time(), move || drop(ended.take()));
    let space = &programs.parent;
    let moved = space.move_pages(start, huge_page, 1).expect("a range");
    assert_eq!(programs.count(), 1, "they have come and gone");
    vm.audited().expect("all is well");
    check(space, first, first_end);
    check(space, second, second_end);
    let nodes = [first, second].map(|address| node_of(space, address));
    assert_eq!(nodes, [u8::from(moved.1 == 0); 2]);
    drop(programs);
    finish(vm);
    moved.1 == 0
}

/// A folio is split while a program ends that shows its pages, as nobody finds any more, and others come and go: before
/// this the end has let others in so many times. Whether it has so often.
///
/// The children bring as many entries as are not found, and take them with them.
fn split_while_a_program_ends(times: usize) -> bool {
    type A = X86_64;
    let (page, huge_page) = sizes::<A>();
    let vm = lasting(vm::<A>(frames::<A>()));
    let (ending, start) = huge(vm, 1);
    // Each has small pages.
    ending.advise(start + huge_page / 2, page, Advice::DontNeed).expect("advice");
    let children = Rc::new(RefCell::new(Vec::new()));
    let parent = Rc::new(ending.fork().expect("a child"));
    let programs = Programs { parent, children, page: start + huge_page - page };
    let (first, last) = (Programs { page: start, ..programs.clone() }, programs.clone());
    let (born, ended, space) = (programs.clone(), Rc::clone(&programs.children), Rc::clone(&programs.parent));
    let act = move || {
        before(move |event| event == Happening::Leave && first.taken() > 0, move || born.fork_untaken(2));
        before(move |event| event == Happening::Leave && last.taken() == 3, move || drop(ended.take()));
        split(&space, start);
    };
    let left = Rc::new(Cell::new(times));
    let leaves = Rc::clone(&left);
    let is_time = move |event| {
        leaves.set(leaves.get() - usize::from(event == Happening::Leave));
        leaves.get() == 0
    };
    before(is_time, act);
    drop(ending);
    hooks::clear();
    vm.audited().expect("all is well");
    check(&programs.parent, start, start + huge_page / 2);
    check(&programs.parent, start + huge_page / 2 + page, start + huge_page);
    drop(programs);
    finish(vm);
    left.get() == 0
}

#[test]
fn a_folio_that_not_all_entries_are_found_of_stays_one() {
    let times = (1..).take_while(|&times| split_while_a_program_ends(times)).count();
    assert!(times > 3, "{times}");
}

fn moved_whole<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = two_nodes::<A>(frames::<A>());
    let (space, start) = huge(&vm, 2);
    let child = space.fork().expect("a child");
    // One is shown page by page, here, and the other whole.
    store(&child, start, 99).expect("a store");
    assert_eq!(space.move_pages(start, 2 * huge_page, 1), Ok((2 * pages, 0)));
    assert_eq!((node_of(&space, start), node_of(&space, start + huge_page + page)), (1, 1));
    assert_eq!((vm.count(Event::SplitFolio), anonymous_huge(&space), anonymous_huge(&child)), (0, 2 * pages, pages));
    assert_eq!(vm.count(Event::MigrateSuccess), 2 * pages);
    vm.audited().expect("all is well");
    check(&space, start, start + 2 * huge_page);
    check(&child, start + page, start + 2 * huge_page);
    assert_eq!(space.move_pages(start, 2 * huge_page, 1), Ok((0, 0)), "all are there");
    drop(child);
    store(&space, start + huge_page, mark::<A>(start + huge_page)).expect("a store");
    assert_eq!(anonymous_huge(&space), 2 * pages, "it is its own again");
    drop(space);
    finish(&vm);
}

fn moved_in_parts<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = two_nodes::<A>(4 * pages);
    let (space, start) = huge(&vm, 1);
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
    let (moved, failed) = space.move_pages(start, huge_page, 1).expect("a range");
    assert_eq!((moved, failed, vm.count(Event::SplitFolio)), (pages, 0, 1));
    vm.audited().expect("all is well");
    check(&space, start, start + huge_page);
    assert_eq!(node_of(&space, start + huge_page - page), 1);
    taken.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    drop(space);
    finish(&vm);
}

/// So many entries that they are taken, and get their pages back, in several sections.
fn moved_with_many_entries<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = two_nodes::<A>(frames::<A>());
    let (space, start) = huge(&vm, 1);
    space.protect(start, page, Prot::READ).expect("rights");
    let children = [(); 2].map(|()| space.fork().expect("a child"));
    assert_eq!(vm.physical().frame(folio(&space, start).0).mappings() as u64, 3 * pages);
    assert_eq!(space.move_pages(start, huge_page, 1), Ok((pages, 0)));
    assert_eq!((vm.count(Event::SplitFolio), vm.count(Event::MigrateSuccess)), (0, pages));
    vm.audited().expect("all is well");
    children.iter().chain([&space]).for_each(|space| check(space, start, start + huge_page));
    children
        .iter()
        .for_each(|child| assert_eq!((folio(child, start), node_of(child, start)), (folio(&space, start), 1)));
    drop((children, space));
    finish(&vm);
}

/// A page that many show, which is then the only one that is moved with its flush.
fn moved_page_of_many<A: Arch>() {
    let (page, _) = sizes::<A>();
    let machine = TestMachine::<A>::with(&[(0x100, 4000, 0), (0x2000, 100, 1)], &[0]);
    let vm = Vm::new(machine).expect("a machine");
    let space = vm.create_space().expect("memory");
    let start = space.map(&MapRequest::anonymous(2 * page, Prot::READ_WRITE)).expect("room");
    [start, start + page].into_iter().for_each(|at| store(&space, at, mark::<A>(at)).expect("a store"));
    let children: Vec<_> = (0..PART + 4).map(|_| space.fork().expect("a child")).collect();
    assert_eq!(space.move_pages(start, 2 * page, 1), Ok((2, 0)));
    vm.audited().expect("all is well");
    children.iter().chain([&space]).for_each(|space| check(space, start, start + 2 * page));
    children.iter().for_each(|child| assert_eq!(node_of(child, start), 1));
    let is_held = space.hold(start).expect("a page");
    assert_eq!(space.move_pages(start, 2 * page, 0), Ok((1, 1)), "one is held, and stays");
    drop(is_held);
    vm.audited().expect("all is well");
    children.iter().chain([&space]).for_each(|space| check(space, start, start + 2 * page));
    drop((children, space));
    finish(&vm);
}

/// As [`moved_page_of_many`], of shared memory.
fn moved_page_of_an_object<A: Arch>() {
    let (page, _) = sizes::<A>();
    let machine = TestMachine::<A>::with(&[(0x100, 4000, 0), (0x2000, 100, 1)], &[0]);
    let vm = Vm::new(machine).expect("a machine");
    let object = vm.shared_memory(1).expect("memory");
    let spaces: Vec<_> = (0..PART + 4).map(|_| vm.create_space().expect("memory")).collect();
    let show = |space: &Space<'_, TestMachine<A>>| {
        let request = MapRequest::object(&object, 0, Sharing::Shared, page, Prot::READ_WRITE);
        let at = space.map(&request).expect("room");
        store(space, at, 7).expect("a store");
        at
    };
    let places: Vec<_> = spaces.iter().map(show).collect();
    assert_eq!(vm.physical().frame(folio(&spaces[0], places[0]).0).mappings(), PART + 4);
    assert_eq!(spaces[0].move_pages(places[0], page, 1), Ok((1, 0)));
    vm.audited().expect("all is well");
    for (space, &at) in spaces.iter().zip(&places) {
        assert_eq!((load(space, at), node_of(space, at)), (Ok(7), 1));
    }
    drop((spaces, object));
    finish(&vm);
}

fn demoted<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = two_nodes::<A>(frames::<A>());
    let (space, start) = huge(&vm, 1);
    space.advise(start, huge_page, Advice::Cold).expect("advice");
    let moved = (0..4).map(|_| vm.demote(0, pages)).sum::<u64>();
    assert_eq!((moved, node_of(&space, start), anonymous_huge(&space)), (pages, 1, pages));
    check(&space, start, start + huge_page);
    vm.audited().expect("all is well");
    drop(space);
    finish(&vm);
}

/// Folios in a block twice their size go elsewhere, whole.
fn compacted<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = with_swap::<A>(frames::<A>(), 0);
    let (space, start) = huge(&vm, 3);
    // No two free blocks are neighbours.
    let mut taken = Vec::new();
    while let Ok(pfn) = Cx::enter(&vm).alloc_frame(order::<A>(), AllocFlags::NONE) {
        taken.push(pfn);
    }
    let (freed, taken): (Vec<_>, Vec<_>) = taken.into_iter().partition(|pfn| pfn.0 / pages % 2 == 1);
    freed.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    assert!(vm.compact(0, order::<A>() + 1));
    assert_eq!(vm.count(Event::MigrateSuccess), 2 * pages);
    vm.audited().expect("all is well");
    check(&space, start, start + 3 * huge_page);
    assert_eq!((vm.count(Event::SplitFolio), anonymous_huge(&space)), (0, 3 * pages));
    taken.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    drop(space);
    finish(&vm);
}

fn without_memory<A: Arch>() {
    let (_, huge_page) = sizes::<A>();
    let vm = with_swap::<A>(frames::<A>(), 0);
    let (space, start) = huge(&vm, 1);
    let mut taken = Vec::new();
    while let Ok(pfn) = Cx::enter(&vm).alloc_frame(0, AllocFlags::RESERVE) {
        taken.push(pfn);
    }
    while let Ok(pfn) = Cx::enter(&vm).alloc_table_frame(AllocFlags::RESERVE) {
        taken.push(pfn);
    }
    assert_eq!(split(&space, start), None);
    assert_eq!((folio(&space, start).1, anonymous_huge(&space)), (order::<A>(), space.rss().anonymous));
    check(&space, start, start + huge_page);
    taken.into_iter().for_each(|pfn| Cx::enter(&vm).free_frame(pfn));
    vm.audited().expect("all is well");
    assert_eq!(split(&space, start), Some(0));
    assert!(vm.physical().frame(folio(&space, start).0).is_single(Kind::Anonymous));
    check(&space, start, start + huge_page);
    drop(space);
    finish(&vm);
}

#[test]
fn what_goes_to_swap_goes_as_a_whole_if_it_can() {
    everywhere!(paged_out);
    everywhere!(reclaimed);
}

#[test]
fn a_folio_in_use_stays_whole() {
    everywhere!(used_stay_whole);
}

#[test]
fn what_is_mapped_nowhere_is_free_when_memory_is_short() {
    everywhere!(partly);
}

#[test]
fn a_shared_folio_is_split_for_all() {
    everywhere!(shared);
    everywhere!(shared_whole);
    shared_whole::<Tiny>();
}

#[test]
fn a_folio_is_found_where_it_was_moved_in_parts() {
    everywhere!(moved_apart);
}

#[test]
fn a_page_of_a_folio_that_lies_in_anothers_place_stays_itself() {
    everywhere!(in_anothers_place);
    everywhere!(split_in_anothers_place);
}

#[test]
fn who_holds_a_page_keeps_its_folio_whole() {
    everywhere!(held);
}

#[test]
fn a_folio_is_given_up_as_a_whole() {
    everywhere!(given_up);
    everywhere!(given_up_and_split);
}

#[test]
fn folios_are_moved_whole() {
    everywhere!(moved_whole);
    assert!(moved_while_programs_come_and_go(1, 0), "all are dealt with");
    assert!(!moved_while_programs_come_and_go(12, 1), "more have come than are dealt with");
    everywhere!(demoted);
    compacted::<X86_64>();
    compacted::<Aarch64>();
}

#[test]
fn many_entries_are_moved_in_several_sections() {
    everywhere!(moved_with_many_entries);
    everywhere!(moved_page_of_many);
    everywhere!(moved_page_of_an_object);
}

#[test]
fn a_folio_is_moved_in_parts_where_there_is_no_room_for_it() {
    everywhere!(moved_in_parts);
}

#[test]
fn without_memory_for_a_table_a_folio_stays() {
    everywhere!(without_memory);
}
