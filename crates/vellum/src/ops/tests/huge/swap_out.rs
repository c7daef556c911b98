//! Folios of several pages that go to swap as wholes, and what becomes of them where they cannot.

use super::{Count, Vmm, check, finish, frames, huge, load, mark, sizes, store};
use crate::arch::{Aarch64, Arch, Prot, Sparc64, SwapSlot, Tiny, X86_64};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::ops::{Access, Advice, HugePages, MapFlags, MapRequest, Place};
use crate::phys::{Pfn, folio};
use crate::stat::Event;
use crate::swap::{leave_cache_locked, save_folio_tags, write_folio};
use crate::testing::{TestMachine, become_cpu};
use crate::{Error, IoError, Space, SwapDevice, Vm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::vec::Vec;

/// A device in the host's memory that takes runs, and refuses writes when it was told to.
struct Device {
    pages: u64,
    contents: Mutex<BTreeMap<u64, Vec<u8>>>,
    runs: AtomicU64,
    /// Writes that do not fail before one does.
    left: AtomicU64,
    /// Told when a run comes, and waited for before it is written.
    gate: Mutex<Option<Gate>>,
}

type Gate = (Sender<()>, Receiver<()>);

impl Device {
    fn new(pages: u64) -> Arc<Device> {
        Arc::new(Device {
            pages,
            contents: Mutex::default(),
            runs: AtomicU64::new(0),
            left: AtomicU64::new(u64::MAX),
            gate: Mutex::new(None),
        })
    }
}

impl SwapDevice for Device {
    fn pages(&self) -> u64 {
        self.pages
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        into.copy_from_slice(self.contents.lock().expect("nobody panics").get(&page).ok_or(IoError)?);
        Ok(())
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        let left = self.left.load(Relaxed);
        if left != u64::MAX {
            self.left.store(left.wrapping_sub(1), Relaxed);
        }
        if left == 0 {
            return Err(IoError);
        }
        self.contents.lock().expect("nobody panics").insert(page, from.into());
        Ok(())
    }

    fn write_run(&self, first: u64, pages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), IoError> {
        self.runs.fetch_add(1, Relaxed);
        if let Some((begun, go_on)) = &*self.gate.lock().expect("nobody panics") {
            begun.send(()).and(go_on.recv().map_err(|_| SendError(()))).expect("who waits for it");
        }
        (first..).zip(pages).try_for_each(|(page, from)| self.write(page, from))
    }
}

/// With two CPUs, a device of so many pages, and no compressed tier.
fn with_device<A: Arch>(pages: u64) -> (Vmm<A>, Arc<Device>) {
    become_cpu(0);
    let vm = Vm::new(TestMachine::<A>::with(&[(0x100, frames::<A>(), 0)], &[0, 0])).expect("a machine");
    vm.set_huge_pages(HugePages::Always);
    let device = Device::new(pages);
    vm.swap_on(device.clone(), 0).expect("an area");
    (vm, device)
}

fn pages<A: Arch>() -> u64 {
    sizes::<A>().1 / sizes::<A>().0
}

/// Huge pages put out as wholes, and by a split, so far.
fn put_out<A: Arch>(vm: &Vmm<A>) -> (u64, u64) {
    (vm.count(Event::HugeSwapOut), vm.count(Event::HugeSwapOutFallback))
}

fn page_out<A: Arch>(space: &Space<'_, TestMachine<A>>, start: u64) {
    space.advise(start, sizes::<A>().1, Advice::PageOut).expect("advice");
    space.vm().audited().expect("all is well");
}

fn in_one_go<A: Arch>() {
    let (vm, device) = with_device::<A>(4 * pages::<A>());
    let (space, start) = huge(&vm, 2);
    let end = start + 2 * sizes::<A>().1;
    let (walks, free) = (vm.count(Event::RmapWalk), vm.free_frames());
    page_out(&space, start);
    assert_eq!((put_out(&vm), device.runs.load(Relaxed)), ((1, 0), 1));
    assert_eq!(vm.count(Event::RmapWalk) - walks, 1, "one walk");
    assert_eq!(vm.count(Event::SwapOut), pages::<A>());
    assert_eq!((space.rss().anonymous, space.rss().swapped), (pages::<A>(), pages::<A>()));
    vm.quiesce();
    assert_eq!(vm.free_frames() - free, pages::<A>() - 1, "all of it but a table is free");
    check(&space, start, end);
    vm.audited().expect("all is well");
    // What came back goes page by page, and the other as before.
    space.advise(start, end - start, Advice::PageOut).expect("advice");
    assert_eq!((put_out(&vm), device.runs.load(Relaxed)), ((2, 0), 2));
    space.unmap(start, end - start).expect("unmap");
    assert_eq!(vm.swap_usage().used, 0);
    drop(space);
    finish(&vm);
}

/// The entries are the program's own still, so that a store to what comes back makes no copy.
fn stays_its_own<A: Arch>() {
    let (vm, _) = with_device::<A>(2 * pages::<A>());
    let (space, start) = huge(&vm, 1);
    page_out(&space, start);
    let copies = vm.count(Event::CopyFault);
    for address in (start..start + sizes::<A>().1).step_by(sizes::<A>().0 as usize) {
        space.fault(address, Access::Read).expect("a page");
        store(&space, address, mark::<A>(address)).expect("a store");
    }
    assert_eq!(vm.count(Event::CopyFault), copies);
    check(&space, start, start + sizes::<A>().1);
    drop(space);
    finish(&vm);
}

fn shared<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let (vm, device) = with_device::<A>(4 * pages::<A>());
    let (space, start) = huge(&vm, 1);
    let child = space.fork().expect("a child");
    while vm.count(Event::HugeSwapOut) == 0 {
        assert!(vm.reclaim(0, 1) > 0);
    }
    vm.audited().expect("all is well");
    assert_eq!((space.rss().swapped, child.rss().swapped), (pages::<A>(), pages::<A>()));
    assert_eq!((device.runs.load(Relaxed), vm.swap_usage().used), (1, pages::<A>()));
    store(&child, start + page, 99).expect("a store");
    check(&space, start, start + huge_page);
    assert_eq!(load(&child, start + page), Ok(99));
    drop(space);
    check(&child, start + 2 * page, start + huge_page);
    vm.audited().expect("all is well");
    drop(child);
    finish(&vm);
}

/// Folios that are smaller than a huge page, mapped page by page.
fn smaller<A: Arch>() {
    let (page, _) = sizes::<A>();
    let (vm, device) = with_device::<A>(64);
    vm.set_folio_orders(1 << 3);
    let space = vm.create_space().expect("a space");
    let start = (A::USER_END / 2) & !(sizes::<A>().1 - 1);
    space.map(&MapRequest::anonymous(24 * page, Prot::READ_WRITE).at(Place::Fixed(start))).expect("a mapping");
    for address in (start..start + 24 * page).step_by(page as usize) {
        store(&space, address, mark::<A>(address)).expect("a store");
    }
    assert_eq!(vm.count(Event::FolioFault), 3);
    // One of them in part: that is split.
    space.advise(start + page, 17 * page, Advice::PageOut).expect("advice");
    vm.audited().expect("all is well");
    assert_eq!((space.rss().swapped, device.runs.load(Relaxed), vm.count(Event::SplitFolio)), (17, 1, 2));
    assert_eq!(put_out(&vm), (0, 0), "these are not counted as huge pages");
    check(&space, start, start + 24 * page);
    drop(space);
    finish(&vm);
}

/// No slots side by side: then it is split.
fn no_run<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let (vm, device) = with_device::<A>(2 * pages::<A>() - 1);
    let (space, start) = huge(&vm, 2);
    // One page in the middle of the only run there is.
    space.advise(start + huge_page, page, Advice::PageOut).expect("advice");
    page_out(&space, start);
    assert_eq!((put_out(&vm), device.runs.load(Relaxed)), ((0, 1), 0));
    assert_eq!(space.rss().swapped, pages::<A>() + 1);
    check(&space, start, start + 2 * huge_page);
    drop(space);
    finish(&vm);
}

fn no_run_for_the_hand<A: Arch>() {
    let (vm, _) = with_device::<A>(pages::<A>() - 1);
    let (space, start) = huge(&vm, 1);
    let mut freed = 0;
    while freed < pages::<A>() - 1 {
        freed += vm.reclaim(0, pages::<A>() - 1 - freed);
        vm.audited().expect("all is well");
    }
    assert_eq!((put_out(&vm), space.rss().anonymous), ((0, 1), 1));
    check(&space, start, start + sizes::<A>().1);
    drop(space);
    finish(&vm);
}

/// Each write fails in turn: nothing is lost, and what can go goes when it is tried again.
fn writes_fail<A: Arch>() {
    let last = pages::<A>() - 1;
    for failing in [0, 1, last / 2, last] {
        let (vm, device) = with_device::<A>(4 * pages::<A>());
        let (space, start) = huge(&vm, 1);
        device.left.store(failing, Relaxed);
        let free = vm.free_frames();
        space.advise(start, sizes::<A>().1, Advice::PageOut).expect("advice");
        vm.audited().expect("all is well");
        assert_eq!((put_out(&vm), vm.count(Event::SwapOutError)), ((0, 1), 1));
        assert_eq!(space.rss().anonymous + space.rss().swapped, pages::<A>());
        assert!(vm.free_frames() + 1 >= free, "but for a table");
        check(&space, start, start + sizes::<A>().1);
        device.left.store(u64::MAX, Relaxed);
        page_out(&space, start);
        assert_eq!(space.rss().anonymous, 0);
        check(&space, start, start + sizes::<A>().1);
        drop(space);
        finish(&vm);
    }
}

/// Each allocation, and each count of slots, fails in turn.
fn allocations_fail<A: Arch>() {
    for allowed in 0.. {
        let (vm, _) = with_device::<A>(4 * pages::<A>());
        let (space, start) = huge(&vm, 1);
        vm.machine().allow_allocations(allowed);
        space.advise(start, sizes::<A>().1, Advice::PageOut).expect("advice needs no memory");
        vm.machine().allow_allocations(u64::MAX);
        vm.audited().expect("all is well");
        assert_eq!(space.rss().anonymous + space.rss().swapped, pages::<A>());
        let is_whole = put_out(&vm).0 == 1;
        check(&space, start, start + sizes::<A>().1);
        drop(space);
        finish(&vm);
        if is_whole {
            assert!(allowed > 0, "the slots' counts are asked for");
            return;
        }
    }
}

/// A huge page of tagged memory.
fn tagged<A: Arch>(vm: &Vmm<A>) -> (Space<'_, TestMachine<A>>, u64) {
    let (page, huge_page) = sizes::<A>();
    let space = vm.create_space().expect("a space");
    let start = (A::USER_END / 2) & !(huge_page * 4 - 1);
    let request = MapRequest::anonymous(huge_page, Prot::READ_WRITE).at(Place::Fixed(start));
    space.map(&MapRequest { flags: MapFlags::TAGGED, ..request }).expect("a mapping");
    for address in (start..start + huge_page).step_by(page as usize) {
        store(&space, address, mark::<A>(address)).expect("a store");
        let tags = tags_of::<A>((address - start) / page);
        vm.machine().write_tags(space.translate(address).expect("a page").pfn, &tags);
    }
    assert_eq!(vm.count(Event::HugeFault), 1);
    (space, start)
}

/// The tags of so many a page of it.
fn tags_of<A: Arch>(number: u64) -> Vec<u8> {
    let format = A::SEMANTICS.tags.expect("an architecture with tags");
    std::vec![number as u8 & 7 | 1; format.bytes(A::PAGE_SHIFT)]
}

/// Each page of a tagged huge page has its own tags; saving them fails at each page in turn (E10).
fn tags<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    // The slots' counts are asked for once; then the tags of a page each.
    for allowed in [1, 2, pages::<A>() / 2, pages::<A>(), u64::MAX] {
        let (vm, _) = with_device::<A>(4 * pages::<A>());
        let (space, start) = tagged(&vm);
        vm.machine().allow_allocations(allowed);
        space.advise(start, huge_page, Advice::PageOut).expect("advice");
        vm.machine().allow_allocations(u64::MAX);
        let audit = vm.audited().expect("all is well");
        assert_eq!(audit.swap.tagged, space.rss().swapped);
        assert_eq!(put_out(&vm).0, u64::from(allowed == u64::MAX));
        for number in 0..pages::<A>() {
            let address = start + number * page;
            assert_eq!(load(&space, address), Ok(mark::<A>(address)));
            let mut found = tags_of::<A>(0);
            vm.machine().read_tags(space.translate(address).expect("a page").pfn, &mut found);
            assert_eq!(found, tags_of::<A>(number), "page {number}");
        }
        drop(space);
        finish(&vm);
    }
}

/// The saved tags of all pages go with the slots, of which no entry names one.
fn tags_go_with_slots<A: Arch>() {
    let (vm, _) = with_device::<A>(4 * pages::<A>());
    let (space, start) = tagged(&vm);
    let (head, slot) = cached(&vm, &space, start);
    let saved = || vm.audited().expect("all is well").swap.tagged;
    locked(&vm, head, || save_folio_tags(&vm, slot, vm.physical().whole(head)).expect("memory"));
    assert_eq!(saved(), pages::<A>());
    assert!(locked(&vm, head, || leave_cache_locked(&Cx::enter(&vm), head)));
    assert_eq!(saved(), 0);
    drop(space);
    finish(&vm);
}

/// Does something to a folio with its lock and a reference.
fn locked<A: Arch, T>(vm: &Vmm<A>, head: Pfn, what: impl FnOnce() -> T) -> T {
    let frame = vm.physical().frame(head);
    assert!(frame.try_get() && frame.folio_lock().try_acquire());
    let done = what();
    frame.folio_lock().release(vm);
    crate::object::release(&Cx::enter(vm), head);
    done
}

/// A folio that is in the swap cache, written, and mapped, as after a putting out that somebody's reference has
/// stopped.
fn cached<A: Arch>(vm: &Vmm<A>, space: &Space<'_, TestMachine<A>>, at: u64) -> (Pfn, SwapSlot) {
    let head = vm.physical().head(space.translate(at).expect("a page").pfn);
    let (frame, whole) = (vm.physical().frame(head), vm.physical().whole(head));
    let slot = locked(vm, head, || {
        let slot = {
            let cx = Cx::enter(vm);
            let slot = cx.swap_reserve_run(whole.order).expect("slots");
            cx.swap_attach(slot, head);
            frame.set_flags(folio::UP_TO_DATE);
            slot
        };
        write_folio(vm, slot, whole).expect("a device");
        slot
    });
    vm.audited().expect("all is well");
    (head, slot)
}

fn in_the_cache<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let (vm, device) = with_device::<A>(8 * pages::<A>());
    let (space, start) = huge(&vm, 2);
    let (head, slot) = cached(&vm, &space, start);
    assert_eq!(vm.swap_usage().cached, pages::<A>());
    let found = Cx::enter(&vm).swap_lookup(slot.further(1)).map(|cached| (cached.page, cached.head));
    assert_eq!(found, Some((head.offset(1), head)));
    crate::object::release(&Cx::enter(&vm), head);
    // It goes with the slots it has, and with what was stored since.
    assert_eq!(load(&space, start + page), Ok(mark::<A>(start + page)));
    store(&space, start + page, 77).expect("a store");
    page_out(&space, start);
    assert_eq!((put_out(&vm), device.runs.load(Relaxed)), ((1, 0), 2));
    assert_eq!(vm.swap_usage().used, pages::<A>());
    assert_eq!(load(&space, start + page), Ok(77));
    store(&space, start + page, mark::<A>(start + page)).expect("a store");
    check(&space, start, start + huge_page);
    // The other leaves the cache when nobody maps it, or when it is to be split.
    cached(&vm, &space, start + huge_page);
    space.advise(start + huge_page, page, Advice::PageOut).expect("advice");
    vm.audited().expect("all is well");
    check(&space, start, start + 2 * huge_page);
    space.unmap(start, 2 * huge_page).expect("unmap");
    assert_eq!(vm.swap_usage().used, 0);
    drop(space);
    finish(&vm);
}

/// A child's store to a page of a cached folio; fork and the end of the parent.
fn cached_and_shared<A: Arch>() {
    let (page, huge_page) = sizes::<A>();
    let (vm, _) = with_device::<A>(8 * pages::<A>());
    let (space, start) = huge(&vm, 1);
    cached(&vm, &space, start);
    let child = space.fork().expect("a child");
    store(&child, start + page, 99).expect("a store");
    vm.audited().expect("all is well");
    drop(space);
    store(&child, start + 2 * page, mark::<A>(start + 2 * page)).expect("a store");
    check(&child, start + 2 * page, start + huge_page);
    vm.audited().expect("all is well");
    drop(child);
    assert_eq!(vm.swap_usage().used, 0);
    finish(&vm);
}

/// Somebody finds the folio in the cache while it is written, and has a reference when it is to be freed: it stays, in
/// its entries, and leaves the cache, though it is clean.
fn found_while_written<A: Arch>() {
    let (_, huge_page) = sizes::<A>();
    let (vm, device) = with_device::<A>(4 * pages::<A>());
    let (space, start) = huge(&vm, 1);
    let head = vm.physical().head(space.translate(start).expect("a page").pfn);
    let frame = vm.physical().frame(head);
    let (begun, when_begun) = channel();
    let (go_on, when_told) = channel();
    *device.gate.lock().expect("nobody panics") = Some((begun, when_told));
    std::thread::scope(|scope| {
        let vm = &vm;
        scope.spawn(move || {
            become_cpu(1);
            when_begun.recv_timeout(Duration::from_secs(60)).expect("a run");
            let slot = frame.swap_slot().expect("it is cached");
            assert!(Cx::enter(vm).swap_lookup(slot).is_some_and(|found| found.head == head));
            go_on.send(()).expect("the device waits");
        });
        space.advise(start, huge_page, Advice::PageOut).expect("advice");
    });
    *device.gate.lock().expect("nobody panics") = None;
    assert_eq!((device.runs.load(Relaxed), put_out(&vm)), (1, (0, 0)), "written, and neither freed nor split");
    assert_eq!((frame.swap_slot(), vm.swap_usage().used, space.rss().swapped), (None, 0, 0));
    assert!(frame.folio_lock().try_acquire());
    frame.folio_lock().release(&vm);
    crate::object::release(&Cx::enter(&vm), head);
    check(&space, start, start + huge_page);
    drop(space);
    finish(&vm);
}

/// The space ends while its folio is written, and the write fails: what named it may be gone, and nothing is sought by
/// that.
fn ended_while_written<A: Arch>() {
    let (vm, device) = with_device::<A>(4 * pages::<A>());
    let (space, _) = huge(&vm, 1);
    let (begun, when_begun) = channel();
    let (go_on, when_told) = channel();
    *device.gate.lock().expect("nobody panics") = Some((begun, when_told));
    device.left.store(0, Relaxed);
    let walks = std::thread::scope(|scope| {
        let vm = &vm;
        let ends = scope.spawn(move || {
            become_cpu(1);
            when_begun.recv_timeout(Duration::from_secs(60)).expect("a run");
            drop(space);
            let walks = vm.count(Event::RmapWalk);
            go_on.send(()).expect("the device waits");
            walks
        });
        while device.runs.load(Relaxed) == 0 {
            vm.reclaim(0, 1);
        }
        ends.join().expect("the space has ended")
    });
    *device.gate.lock().expect("nobody panics") = None;
    assert_eq!(vm.count(Event::RmapWalk), walks, "nobody is sought by a name that nobody has");
    assert_eq!(vm.swap_usage().used, 0);
    finish(&vm);
}

/// One of the slots has as many entries as can be counted: of those before it nothing stays counted.
fn one_slot_full<A: Arch>() {
    let (vm, _) = with_device::<A>(4 * pages::<A>());
    let (space, start) = huge(&vm, 1);
    let (_, first) = cached(&vm, &space, start);
    let cx = Cx::enter(&vm);
    let full = first.further(2);
    let mut entries = 0;
    while cx.swap_dup(full).is_ok() {
        entries += 1;
    }
    assert_eq!(cx.swap_dup_run(first, pages::<A>()), Err(Error::OutOfMemory));
    let counts = (0..pages::<A>()).map(|page| cx.swap_count(first.further(page)));
    assert!(counts.enumerate().all(|(page, count)| count == if page == 2 { entries } else { 0 }));
    (0..entries).for_each(|_| _ = cx.swap_put(full));
    drop(cx);
    check(&space, start, start + sizes::<A>().1);
    drop(space);
    finish(&vm);
}

#[test]
fn who_finds_a_folio_while_it_is_written_keeps_it_in_memory() {
    everywhere!(found_while_written);
}

#[test]
fn what_ends_while_it_is_written_is_not_sought() {
    everywhere!(ended_while_written);
}

#[test]
fn a_slot_that_counts_no_more_entries_leaves_the_others_uncounted() {
    one_slot_full::<X86_64>();
}

#[test]
fn a_huge_page_is_written_in_one_go() {
    everywhere!(in_one_go);
    in_one_go::<Tiny>();
}

#[test]
fn what_comes_back_is_the_programs_own() {
    everywhere!(stays_its_own);
}

#[test]
fn a_shared_folio_goes_for_all() {
    everywhere!(shared);
}

#[test]
fn smaller_folios_go_as_wholes() {
    everywhere!(smaller);
}

#[test]
fn without_slots_side_by_side_a_folio_is_split() {
    everywhere!(no_run);
    everywhere!(no_run_for_the_hand);
}

#[test]
fn a_write_that_fails_loses_nothing() {
    everywhere!(writes_fail);
    writes_fail::<Tiny>();
}

#[test]
fn an_allocation_that_fails_loses_nothing() {
    everywhere!(allocations_fail);
    allocations_fail::<Tiny>();
}

#[test]
fn each_page_has_its_own_tags() {
    tags::<Aarch64>();
    tags::<Sparc64>();
    tags::<Tiny>();
}

#[test]
fn the_tags_of_all_pages_go_with_their_slots() {
    tags_go_with_slots::<Aarch64>();
    tags_go_with_slots::<Sparc64>();
    tags_go_with_slots::<Tiny>();
}

#[test]
fn a_folio_in_the_swap_cache_is_one_there() {
    everywhere!(in_the_cache);
    everywhere!(cached_and_shared);
}
