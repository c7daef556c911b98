//! Shared memory that has small pages gets huge ones: on advice, and by policy.

use super::shared::{Memory, Spc, huge, map, order, order_of, place, shown_huge, vm};
use super::{Count, Vmm, finish, frames, lasting, load, mark, sizes, store};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, X86_64};
use crate::cpu::Cx;
use crate::object::gather;
use crate::ops::{Advice, CollapseLimits, HugePages, MapRequest, Place, Sharing};
use crate::phys::{Folio, release};
use crate::space::Runs;
use crate::space::collapse::Kept;
use crate::stat::Event;
use crate::testing::hooks::{Event as Happening, before};
use crate::{Error, Overcommit, Policy};
use std::rc::Rc;

/// Memory of two huge pages, of which all pages but the last were stored to while none came.
fn small<'vm, A: Arch>(vm: &'vm Vmm<A>) -> (Spc<'vm, A>, Memory<'vm, A>, u64) {
    let (page, huge_page) = sizes::<A>();
    let (space, memory) =
        (vm.create_space().expect("a space"), vm.shared_memory(2 * huge_page / page).expect("memory"));
    let start = place::<A>();
    map(&space, &memory, Sharing::Shared, start);
    vm.set_shared_huge_pages(HugePages::Never);
    for address in (start..start + 2 * huge_page - page).step_by(page as usize) {
        store(&space, address, mark::<A>(address)).expect("a store");
    }
    (space, memory, start)
}

/// What [`small`] has stored, as a mapping at `at` shows it.
fn check<A: Arch>(space: &Spc<'_, A>, at: u64, start: u64) {
    let (page, huge_page) = sizes::<A>();
    for offset in (0..2 * huge_page - page).step_by(page as usize) {
        assert_eq!(load(space, at + offset), Ok(mark::<A>(start + offset)), "{}: {offset:#x}", A::NAME);
    }
    assert_eq!(load(space, at + 2 * huge_page - page), Ok(0));
}

fn advised<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(2 * frames::<A>());
    let (space, memory, start) = small(&vm);
    let (other, private) = (vm.create_space().expect("a space"), vm.create_space().expect("a space"));
    map(&other, &memory, Sharing::Shared, start + page);
    map(&private, &memory, Sharing::Private, start);
    store(&private, start, 99).expect("a copy");
    load(&private, start + page).expect("a page");
    load(&other, start + page).expect("a page");
    let free = vm.free_frames();
    space.advise(start, 2 * huge_page, Advice::Collapse).expect("collapsed");
    vm.audited().expect("all is well");
    vm.quiesce();
    // One page more, and a table less for each; the others' pages were taken out of theirs.
    assert_eq!((memory.cached_pages(), vm.count(Event::Collapse)), (2 * pages, 2));
    assert!(vm.free_frames() + 1 >= free, "{}: the old pages are free", A::NAME);
    check(&space, start, start);
    assert_eq!((shown_huge(&space), order_of(&space, start)), (2 * pages, order::<A>()));
    check(&other, start + page, start);
    assert_eq!((load(&private, start), load(&private, start + page)), (Ok(99), Ok(mark::<A>(start + page))));
    store(&other, start + 3 * page, 98).expect("a store");
    assert_eq!(load(&space, start + 2 * page), Ok(98));
    vm.audited().expect("all is well");
    // It is one, for who has asked and for who has not; what was cut is put together, or shown anew.
    space.advise(start, 2 * huge_page, Advice::Collapse).expect("they are");
    store(&space, start, mark::<A>(start)).expect("a store");
    space.protect(start, page, Prot::READ).expect("protect");
    space.protect(start, page, Prot::READ_WRITE).expect("protect");
    store(&space, start, mark::<A>(start)).expect("a store");
    space.advise(start + huge_page, page, Advice::DontNeed).expect("discard");
    let allocated = vm.count(Event::CollapseAlloc);
    space.advise(start, 2 * huge_page, Advice::Collapse).expect("again");
    assert_eq!((shown_huge(&space), vm.count(Event::CollapseAlloc)), (2 * pages, allocated), "{}", A::NAME);
    memory.truncate(page).expect("shorter");
    assert_eq!((memory.cached_pages(), load(&space, start)), (1, Ok(mark::<A>(start))));
    vm.audited().expect("all is well");
    drop((space, other, private, memory));
    finish(&vm);
}

/// Somebody has come to hold a page since it was looked at.
fn held_since<A: Arch>(vm: &Vmm<A>, memory: &Memory<'_, A>) {
    let head = {
        let cx = Cx::enter(vm);
        let head = cx.alloc_folio_by(order::<A>(), Policy::Local, 0).expect("a folio");
        vm.physical().frame(head).begin_locked();
        head
    };
    assert!(matches!(gather(vm, memory.inner(), 0, Folio { head, order: order::<A>() }), Err(Kept::Busy)));
    vm.physical().frame(head).folio_lock().release(vm);
    release(&Cx::enter(vm), head);
}

/// Collapses the place at `start`, whose pages are all marked, with ever more memory, until that is enough: before,
/// nothing has changed.
fn collapse_with_less<A: Arch>(vm: &Vmm<A>, space: &Spc<'_, A>, start: u64) {
    let (page, huge_page) = sizes::<A>();
    vm.set_overcommit(Overcommit::Always);
    let before = vm.count(Event::Collapse);
    for allowed in 0.. {
        vm.machine().allow_allocations(allowed);
        let result = space.advise(start, huge_page, Advice::Collapse);
        vm.machine().allow_allocations(u64::MAX);
        vm.audited().expect("all is well");
        if result.is_ok() {
            break;
        }
        assert_eq!((result, vm.count(Event::Collapse)), (Err(Error::OutOfMemory), before), "{}", A::NAME);
        for address in (start..start + huge_page).step_by(page as usize) {
            assert_eq!(load(space, address), Ok(mark::<A>(address)));
        }
    }
}

fn refused<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(2 * frames::<A>());
    let (space, memory, start) = small(&vm);
    let held = space.hold(start + 3 * page).expect("a page");
    let cached = memory.cached_pages();
    assert_eq!(space.advise(start, huge_page, Advice::Collapse), Err(Error::Busy { address: start }));
    // Nothing goes for that.
    assert!(space.translate(start).is_some());
    held_since(&vm, &memory);
    assert_eq!((memory.cached_pages(), load(&space, start)), (cached, Ok(mark::<A>(start))));
    drop(held);
    vm.audited().expect("all is well");
    memory.truncate(huge_page + page).expect("shorter");
    let reached = space.advise(start + huge_page, huge_page, Advice::Collapse);
    assert!(matches!(reached, Err(Error::Invalid { .. })), "it would reach behind the end");
    assert_eq!(memory.cached_pages(), cached - huge_page / page + 2);
    collapse_with_less(&vm, &space, start);
    assert_eq!(order_of(&space, start + page), order::<A>());
    // A private view is none's to collapse, nor what lies askew.
    let other = vm.create_space().expect("a space");
    map(&other, &memory, Sharing::Private, start);
    assert!(matches!(other.advise(start, huge_page, Advice::Collapse), Err(Error::Invalid { .. })));
    map(&other, &memory, Sharing::Shared, start + page);
    load(&other, start + huge_page).expect("a page");
    let askew = vm.shared_memory(4 * huge_page / page).expect("memory");
    map(&other, &askew, Sharing::Shared, start + page);
    store(&other, start + huge_page, 1).expect("a store");
    assert!(matches!(other.advise(start + huge_page, huge_page, Advice::Collapse), Err(Error::Invalid { .. })));
    vm.audited().expect("all is well");
    drop((space, other, memory, askew));
    finish(&vm);
}

fn by_policy<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let pages = huge_page / page;
    let vm = vm::<A>(2 * frames::<A>());
    let (space, memory, start) = small(&vm);
    vm.set_huge_pages(HugePages::Never);
    let limits = CollapseLimits { none_max: 0, ..CollapseLimits::default() };
    assert_eq!(vm.collapse(u64::MAX, &limits), 0, "nobody wants them");
    vm.set_shared_huge_pages(HugePages::Always);
    assert_eq!(vm.collapse(u64::MAX, &limits), 1, "of the other a page is missing");
    assert_eq!(vm.collapse(u64::MAX, &CollapseLimits::default()), 1);
    check(&space, start, start);
    assert_eq!((shown_huge(&space), vm.count(Event::Collapse)), (2 * pages, 2));
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

/// Where a space lets only what was advised have huge pages, advice to collapse is enough, and is taken once.
fn in_advised_space<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(2 * frames::<A>());
    let (space, memory, start) = small(&vm);
    space.set_huge_pages(HugePages::Advised);
    for _ in 0..2 {
        space.advise(start, 2 * huge_page, Advice::Collapse).expect("collapsed");
        assert_eq!((shown_huge(&space), vm.count(Event::Collapse)), (2 * huge_page / page, 2), "{}", A::NAME);
        vm.audited().expect("all is well");
        check(&space, start, start);
    }
    store(&space, start, mark::<A>(start)).expect("a store");
    assert_eq!(shown_huge(&space), 2 * huge_page / page);
    space.set_huge_pages(HugePages::Never);
    assert!(matches!(space.advise(start, huge_page, Advice::Collapse), Err(Error::Invalid { .. })));
    drop((space, memory));
    finish(&vm);
}

/// The table above a place has no room to say what its leaf says: it gets some.
fn full_above_of<A: Arch>(is_shared: bool) {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(2 * frames::<A>());
    let space = vm.create_space().expect("a space");
    let memory = vm.shared_memory(3 * huge_page / page).expect("memory");
    vm.set_huge_pages(HugePages::Never);
    vm.set_shared_huge_pages(HugePages::Never);
    let start = place::<A>() - 8 * huge_page;
    // Before, between and behind these there is nothing: as many runs as there is room for. The leaf of one place then
    // comes to be all of another mapping, half by half, of which nothing is said above.
    let object = MapRequest::object(&memory, 0, Sharing::Shared, 3 * huge_page, Prot::READ);
    let anonymous = || MapRequest::anonymous(3 * huge_page, Prot::READ);
    for (at, request) in [
        (start - huge_page, if is_shared { object } else { anonymous() }),
        (start + 2 * huge_page, MapRequest::anonymous(huge_page, Prot::READ_WRITE)),
    ] {
        space.map(&request.at(Place::Fixed(at))).expect("a mapping");
    }
    load(&space, start).expect("a page");
    for half in [start, start + huge_page / 2] {
        space.protect(half, huge_page / 2, Prot::READ_WRITE).expect("protect");
    }
    {
        let cx = Cx::enter(&vm);
        let above = space.inner().table_at(&cx, start, 1);
        let index = above.index(start);
        assert!(Runs::needs_spare(&cx, above.frame, above.len(), index, index), "{}", A::NAME);
    }
    let pages = || (start..start + huge_page).step_by(page as usize);
    pages().for_each(|at| store(&space, at, mark::<A>(at)).expect("a store"));
    collapse_with_less(&vm, &space, start);
    assert_eq!((order_of(&space, start), vm.count(Event::Collapse)), (order::<A>(), 1), "{}", A::NAME);
    assert_eq!(shown_huge(&space), if is_shared { huge_page / page } else { 0 });
    pages().for_each(|at| assert_eq!(load(&space, at), Ok(mark::<A>(at))));
    space.unmap(start + page, page).expect("a part");
    vm.audited().expect("all is well");
    drop((space, memory));
    finish(&vm);
}

fn full_above<A: Arch>() {
    full_above_of::<A>(true);
    full_above_of::<A>(false);
}

#[test]
fn shared_memory_is_collapsed_where_what_is_advised_may_be_huge() {
    everywhere!(in_advised_space);
}

/// Of a huge page that is in use a part has gone: what is left is none, and no other comes.
fn gone_in_part<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let vm = vm::<A>(2 * frames::<A>());
    let (space, memory, start) = huge(&vm, 1);
    let hold = space.hold(start + page).expect("a page");
    memory.punch(0, page).expect("a hole");
    load(&space, start + page).expect("a page");
    for _ in 0..2 {
        assert!(matches!(space.advise(start, huge_page, Advice::Collapse), Err(Error::Invalid { .. })), "{}", A::NAME);
        assert_eq!((memory.cached_pages(), vm.count(Event::Collapse)), (huge_page / page - 1, 0));
    }
    drop((hold, space, memory));
    finish(&vm);
}

#[test]
fn what_is_a_part_of_a_huge_page_is_not_collapsed() {
    everywhere!(gone_in_part);
}

#[test]
fn a_table_above_without_room_gets_some() {
    everywhere!(full_above);
}

#[test]
fn shared_memory_is_collapsed_for_all() {
    everywhere!(advised);
}

#[test]
fn shared_memory_that_is_in_use_is_not_collapsed() {
    everywhere!(refused);
}

#[test]
fn shared_memory_is_collapsed_by_policy() {
    everywhere!(by_policy);
}

/// Does `act` in the space once a folio was allocated for a collapse, which has no claim yet.
fn while_collapsed(space: &Rc<Spc<'static, X86_64>>, act: impl FnOnce(&Spc<'static, X86_64>) + 'static) {
    let (seen, space) = (Rc::clone(space), Rc::clone(space));
    let before_that = seen.vm().count(Event::CollapseAlloc);
    let has_folio = move |event| event == Happening::Leave && seen.vm().count(Event::CollapseAlloc) > before_that;
    before(has_folio, move || act(&space));
}

/// What is mapped in the place meanwhile is not what was to be collapsed.
#[test]
fn memory_that_comes_while_private_pages_are_collapsed_stays_shared() {
    let (page, huge_page) = sizes::<X86_64>();
    let vm = lasting(vm(2 * frames::<X86_64>()));
    vm.set_huge_pages(HugePages::Never);
    vm.set_shared_huge_pages(HugePages::Never);
    let (space, other) = (Rc::new(vm.create_space().expect("a space")), vm.create_space().expect("a space"));
    let (start, memory) = (place::<X86_64>(), vm.shared_memory(2 * huge_page / page).expect("memory"));
    map(&other, &memory, Sharing::Shared, start);
    let request = MapRequest::anonymous(huge_page, Prot::READ_WRITE).at(Place::Fixed(start));
    for keeps_page in [false, true] {
        space.map(&request).expect("a mapping");
        store(&space, start, 1).expect("a store");
        let shown = memory.clone();
        while_collapsed(&space, move |space| {
            map(space, &shown, Sharing::Shared, start);
            store(space, start + page, 2).expect("a store");
            if !keeps_page {
                shown.punch(0, huge_page).expect("a hole");
            }
        });
        assert!(space.advise(start, huge_page, Advice::Collapse).is_err(), "it is mapped otherwise now");
        vm.audited().expect("all is well");
        assert_eq!(load(&space, start + page), Ok(if keeps_page { 2 } else { 0 }));
        store(&space, start + page, 3).expect("a store");
        assert_eq!((load(&other, start + page), vm.count(Event::Collapse)), (Ok(3), 0));
    }
    drop((space, other, memory));
    finish(vm);
}

/// What is advised of the place meanwhile is heeded.
#[test]
fn advice_that_comes_while_shared_memory_is_collapsed_is_heeded() {
    let (page, huge_page) = sizes::<X86_64>();
    let vm = lasting(vm(2 * frames::<X86_64>()));
    let (space, memory, start) = small(vm);
    let space = Rc::new(space);
    // So the leaf that guards empty a second time is kept.
    space.advise(start, huge_page, Advice::GuardInstall).expect("a guard");
    space.advise(start, huge_page, Advice::GuardRemove).expect("none");
    for advice in [Advice::NoHugePage, Advice::GuardInstall] {
        space.advise(start, huge_page, Advice::HugePage).expect("advice");
        load(&space, start + page).expect("a page");
        while_collapsed(&space, move |space| space.advise(start, huge_page, advice).expect("advice"));
        _ = space.advise(start, huge_page, Advice::Collapse);
        assert_eq!(shown_huge(&space), 0, "{advice:?}");
        assert_eq!(load(&space, start + page).is_err(), advice == Advice::GuardInstall);
        vm.audited().expect("all is well");
        memory.truncate(0).expect("shorter");
        memory.extend(2 * huge_page).expect("longer");
        store(&space, start, 1).ok();
    }
    drop((space, memory));
    finish(vm);
}
