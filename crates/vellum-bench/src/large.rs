//! Jobs on large memory, each one call, of which is measured for how long pre-emption is off and how much stack they
//! take.
//!
//! The memory is one mapping with its pages, but where the name says otherwise.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, mapped, used_vm};
use super::machine::BenchMachine;
use super::pressure::{MemorySwap, Zeroes, with_swap};
use super::window::Window;
use super::{BenchError, shaped, unknown_among};
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, HugePages, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{Error, NodeSet, Object, Policy, Vm};

/// Pages that are worked on: enough that what is not bounded by pages shows.
pub const PAGES: u64 = 1024;
pub const LENGTH: u64 = PAGES * PAGE_BYTES;
/// What a leaf spans.
pub const HUGE: u64 = 2 << 20;

/// What is done to a window.
pub type Job = fn(&mut Window);

/// By name. Each is one call on a space with [`PAGES`] pages, but where the name says otherwise.
const JOBS: &[(&str, Job)] = &[
    ("boot", boot),
    ("map-gib", map_gib),
    ("map-behind", map_behind),
    ("populate", |window| on_pages(window, false, |space, at| space.populate(at, LENGTH, Access::Write))),
    ("protect", |window| on_pages(window, true, |space, at| space.protect(at, LENGTH, Prot::READ))),
    ("discard", |window| on_pages(window, true, |space, at| space.advise(at, LENGTH, Advice::DontNeed))),
    ("give-up", |window| on_pages(window, true, |space, at| space.advise(at, LENGTH, Advice::Free))),
    ("make-cold", |window| on_pages(window, true, |space, at| space.advise(at, LENGTH, Advice::Cold))),
    ("unmap", |window| on_pages(window, true, |space, at| space.unmap(at, LENGTH))),
    ("remap", |window| on_pages(window, true, |space, at| space.remap(&to_the_other_side(at, LENGTH)).map(|_| ()))),
    ("fork", |window| on_pages(window, true, |space, _| space.fork().map(std::mem::forget))),
    ("move-pages", |window| on_pages(window, true, |space, at| space.move_pages(at, LENGTH, 1).map(|_| ()))),
    ("move-pages-huge", |window| move_folios(window, 0, false)),
    ("move-pages-folios", |window| move_folios(window, 1 << 7, false)),
    ("move-pages-cut", |window| move_folios(window, 0, true)),
    ("move-pages-full", move_folios_nowhere),
    ("maps", |window| looking(window, |space| space.maps(&mut |_| ()))),
    ("smaps", |window| looking(window, |space| space.smaps(&mut |_| ()))),
    ("resident", |window| on_pages(window, true, |space, at| space.resident(at, PAGES, &mut |_| ()))),
    ("exit", |window| exit(window, |_, _| ())),
    ("exit-files", |window| exit(window, |space, _| drop(show(space)))),
    ("page-out", |window| page_out(window, 0)),
    ("page-out-compressed", |window| page_out(window, PAGES)),
    ("page-out-huge", |window| page_out_folios(window, 0)),
    ("page-out-folios", |window| page_out_folios(window, 1 << 7)),
    ("page-out-huge-refused", page_out_refused),
    ("swap-in", |window| swap_in(window, 0)),
    ("swap-in-compressed", |window| swap_in(window, PAGES)),
    ("swap-off", |window| swap_off(window, 0)),
    ("swap-off-compressed", |window| swap_off(window, PAGES)),
    ("fault-with-reclaim", |window| fault_with_reclaim(window, 0)),
    ("fault-with-compression", |window| fault_with_reclaim(window, 256)),
    ("fault-in-full-group", fault_in_full_group),
    ("fault-copying", fault_copying),
    ("compact", |window| {
        on_pages(window, true, |space, _| Ok(std::hint::black_box(space.vm().compact(0, 9))).map(|_| ()))
    }),
    ("collapse", collapse),
    ("collapse-shared", collapse_shared),
    ("rejoin", rejoin),
    ("truncate", truncate),
    ("punch", |window| on_object(window, |object| object.punch(0, LENGTH))),
    ("write-back", |window| on_object(window, |object| object.write_back().map(|_| ()))),
    ("usage", |window| {
        on_pages(window, true, |space, _| Ok(std::hint::black_box(space.vm().usage()).free).map(|_| ()))
    }),
];

/// A move of `length` bytes far away.
pub fn to_the_other_side(old: u64, length: u64) -> RemapRequest {
    let place = RemapPlace::Fixed(old + (1 << 40));
    RemapRequest { old, old_length: length, new_length: length, place, keep_old: false }
}

fn boot(window: &mut Window) {
    let mut machine = Some(BenchMachine::<false>::new(1 << 11));
    let mut vm = None;
    window.whole(1, || vm = machine.take().and_then(|machine| Vm::new(machine).ok()), || ());
    assert!(vm.is_some(), "the machine is large enough");
}

fn map_gib(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::anonymous(1 << 30, Prot::READ_WRITE);
    window.whole(1, || _ = space.map(&request).expect("there is room"), || ());
}

/// Mapping more than fits into a hole below 10,000 mappings, all of which are passed by.
fn map_behind(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let map = |pages, prot| space.map(&MapRequest::anonymous(pages * PAGE_BYTES, prot)).expect("there is room");
    let low = map(1, Prot::READ);
    (1..10_000).for_each(|number| _ = map(1, if number % 2 == 0 { Prot::READ } else { Prot::READ_WRITE }));
    space.unmap(low, PAGE_BYTES).expect("it is mapped");
    window.whole(1, || _ = map(2, Prot::READ), || ());
}

/// One call on a space, loaded on the CPU, with private memory.
fn on_pages(window: &mut Window, touched: bool, call: fn(&BenchSpace<'_, false>, u64) -> Result<(), Error>) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, PAGES, touched);
    vm.switch_to(Some(&space));
    window.whole(1, || call(&space, address).expect("it can be done"), || vm.quiesce());
}

/// A space with a huge page's worth of small pages at its place.
fn with_place<'vm>(vm: &'vm BenchVm<false>) -> (BenchSpace<'vm, false>, u64) {
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::anonymous(LENGTH, Prot::READ_WRITE).at(Place::Fixed(1 << 40));
    let at = space.map(&request).expect("there is room");
    space.populate(at, LENGTH, Access::Write).expect("there is memory");
    vm.switch_to(Some(&space));
    (space, at)
}

fn collapse(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let (space, at) = with_place(&vm);
    window.whole(1, || space.advise(at, LENGTH, Advice::Collapse).expect("it can be done"), || vm.quiesce());
}

/// Shared memory of small pages, which eight programs show.
fn collapse_shared(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let object = vm.shared_memory(PAGES).expect("there is memory");
    let at = 1 << 40;
    let spaces = [(); 8].map(|()| {
        let space = vm.create_space().expect("there is memory");
        let request = MapRequest::object(&object, 0, Sharing::Shared, LENGTH, Prot::READ_WRITE).at(Place::Fixed(at));
        space.map(&request).expect("there is room");
        space.populate(at, LENGTH, Access::Write).expect("there is memory");
        space
    });
    vm.switch_to(Some(&spaces[0]));
    let collapse = || spaces[0].advise(at, LENGTH, Advice::Collapse).expect("it can be done");
    window.whole(1, collapse, || vm.quiesce());
    assert_eq!(vm.totals().get(vellum::Event::Collapse), LENGTH / HUGE, "they are put together");
}

/// Putting huge pages together that were cut.
fn rejoin(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let (space, at) = with_place(&vm);
    space.advise(at, LENGTH, Advice::Collapse).expect("it can be done");
    space.protect(at, PAGE_BYTES, Prot::READ).expect("it is mapped");
    space.protect(at, PAGE_BYTES, Prot::READ_WRITE).expect("it is mapped");
    space.fault(at, Access::Write).expect("it can be stored to");
    window.whole(1, || space.advise(at, LENGTH, Advice::Collapse).expect("it can be done"), || vm.quiesce());
}

/// A look at such a space.
fn looking(window: &mut Window, look: fn(&BenchSpace<'_, false>)) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    mapped(&space, PAGES, true);
    window.whole(1, || look(&space), || vm.quiesce());
}

/// Shared memory and a file, both shown by the space and stored to.
fn show<'vm>(space: &BenchSpace<'vm, false>) -> [Object<'vm, BenchMachine<false>>; 2] {
    let vm = space.vm();
    let objects = [vm.shared_memory(PAGES), vm.file(Zeroes)].map(|object| object.expect("there is memory"));
    for (number, object) in objects.iter().enumerate() {
        let at = (1 + number as u64) << 40;
        let request = MapRequest::object(object, 0, Sharing::Shared, LENGTH, Prot::READ_WRITE).at(Place::Fixed(at));
        space.map(&request).expect("there is room");
        space.populate(at, LENGTH, Access::Write).expect("there is memory");
    }
    objects
}

fn exit(window: &mut Window, prepare: fn(&BenchSpace<'_, false>, u64)) {
    let vm: BenchVm<false> = used_vm();
    let mut space = Some(vm.create_space().expect("there is memory"));
    space.iter().for_each(|space| prepare(space, mapped(space, PAGES, true)));
    window.whole(1, || drop(space.take()), || vm.quiesce());
}

/// Of what is put out, `compressed` pages of memory may be filled by.
fn page_out(window: &mut Window, compressed: u64) {
    let vm: BenchVm<false> = used_vm();
    vm.set_compressed_limit(compressed);
    let (space, address) = with_swap(&vm);
    window.whole(1, || space.advise(address, LENGTH, Advice::PageOut).expect("it is mapped"), || vm.quiesce());
}

/// Not all of a leaf's span, if there are to be folios smaller than huge pages.
fn folios_length(orders: u32) -> u64 {
    if orders == 0 { LENGTH } else { 1 << 20 }
}

/// A space with huge pages, or folios of the `orders`.
fn with_folios<'vm>(vm: &'vm BenchVm<false>, orders: u32) -> (BenchSpace<'vm, false>, u64) {
    vm.set_huge_pages(HugePages::Always);
    vm.set_folio_orders(orders);
    let space = vm.create_space().expect("there is memory");
    let length = folios_length(orders);
    let request = MapRequest::anonymous(length, Prot::READ_WRITE).at(Place::Fixed(1 << 40));
    let at = space.map(&request).expect("there is room");
    (0..length / PAGE_BYTES).for_each(|page| _ = space.fault(at + page * PAGE_BYTES, Access::Write));
    vm.switch_to(Some(&space));
    (space, at)
}

/// Huge pages of which one page has other rights: mapped page by page.
fn cut(space: &BenchSpace<'_, false>, at: u64, length: u64) {
    for place in (at..at + length).step_by(HUGE as usize) {
        space.protect(place, PAGE_BYTES, Prot::READ).expect("it is mapped");
    }
}

fn move_folios(window: &mut Window, orders: u32, are_cut: bool) {
    let vm: BenchVm<false> = used_vm();
    let (space, at) = with_folios(&vm, orders);
    let length = folios_length(orders);
    if are_cut {
        cut(&space, at, length);
    }
    let mut moved = (0, 0);
    window.whole(1, || moved = space.move_pages(at, length, 1).expect("the node has memory"), || vm.quiesce());
    assert_eq!(moved, (length / PAGE_BYTES, 0), "all pages are moved");
    assert_eq!(vm.totals().get(vellum::Event::SplitFolio), 0, "they go as wholes");
}

/// Huge pages, shared by so many programs and mapped page by page, to a node that has no place for a whole one.
fn move_folios_nowhere(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let (space, at) = with_folios(&vm, 0);
    cut(&space, at, LENGTH);
    let children = [(); 7].map(|()| space.fork().expect("there is memory"));
    let filler = vm.create_space().expect("there is memory");
    let all = vm.usage().free;
    let from = mapped(&filler, all, false);
    filler.set_policy(from, all * PAGE_BYTES, Policy::Bind(NodeSet::EMPTY.with(1))).expect("it is mapped");
    let touch = |page: &u64| filler.fault(from + page * PAGE_BYTES, Access::Write).is_ok();
    let touched = (0..all).take_while(touch).count() as u64;
    for page in (0..touched).step_by(8) {
        filler.advise(from + page * PAGE_BYTES, PAGE_BYTES, Advice::DontNeed).expect("it is mapped");
    }
    window.whole(1, || _ = space.move_pages(at, LENGTH, 1).expect("the node has memory"), || vm.quiesce());
    assert_eq!(vm.totals().get(vellum::Event::SplitFolio), LENGTH / HUGE, "they are split");
    drop(children);
}

fn page_out_folios(window: &mut Window, orders: u32) {
    let vm: BenchVm<false> = used_vm();
    vm.swap_on(MemorySwap::new(), 0).expect("there is memory");
    let (space, at) = with_folios(&vm, orders);
    let length = folios_length(orders);
    window.whole(1, || space.advise(at, length, Advice::PageOut).expect("it is mapped"), || vm.quiesce());
    assert_eq!(vm.totals().get(vellum::Event::SplitFolio), 0, "they go as wholes");
}

/// Huge pages that are to go as wholes, and no device takes: all is put back, and split.
fn page_out_refused(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    vm.swap_on_memory(2 * PAGES, 0).expect("there is memory");
    let (space, at) = with_folios(&vm, 0);
    window.whole(1, || space.advise(at, LENGTH, Advice::PageOut).expect("it is mapped"), || vm.quiesce());
    assert_eq!(vm.totals().get(vellum::Event::HugeSwapOutFallback), LENGTH / HUGE, "none goes as a whole");
}

fn swap_in(window: &mut Window, compressed: u64) {
    let vm: BenchVm<false> = used_vm();
    vm.set_compressed_limit(compressed);
    let (space, address) = with_swap(&vm);
    space.advise(address, LENGTH, Advice::PageOut).expect("it is mapped");
    window.whole(1, || space.populate(address, LENGTH, Access::Write).expect("there is memory"), || vm.quiesce());
}

fn swap_off(window: &mut Window, compressed: u64) {
    let vm: BenchVm<false> = used_vm();
    vm.set_compressed_limit(compressed);
    let area = vm.swap_on(MemorySwap::new(), 0).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, PAGES, true);
    space.advise(address, LENGTH, Advice::PageOut).expect("it is mapped");
    window.whole(1, || vm.swap_off(area).expect("there is memory"), || vm.quiesce());
}

/// A store to a page that a child shares.
fn fault_copying(window: &mut Window) {
    on_pages(window, true, |space, at| {
        let child = space.fork()?;
        space.fault(at, Access::Write).expect("there is memory");
        drop(child);
        Ok(())
    });
}

/// A fault in a group that shows as many pages as it may, beside swap.
fn fault_in_full_group(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    vm.swap_on(MemorySwap::new(), 0).expect("there is memory");
    let group = vm.create_group(PAGES).expect("there is memory");
    let space = group.create_space().expect("there is memory");
    let address = mapped(&space, 2 * PAGES, false);
    space.populate(address, LENGTH, Access::Write).expect("there is memory");
    vm.switch_to(Some(&space));
    window.whole(1, || _ = space.fault(address + LENGTH, Access::Write).expect("there is swap"), || vm.quiesce());
    assert!(vm.totals().get(vellum::Event::GroupLimit) > 0, "the group was not full");
}

/// A fault that finds no memory, beside swap.
fn fault_with_reclaim(window: &mut Window, compressed: u64) {
    let vm: BenchVm<false> = Vm::new(BenchMachine::new(4096)).expect("the machine is large enough");
    vm.set_compressed_limit(compressed);
    vm.swap_on(MemorySwap::new(), 0).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, 2 * 4096, false);
    vm.switch_to(Some(&space));
    let mut page = address;
    while vm.totals().get(vellum::Event::AllocationStall) == 0 {
        space.fault(page, Access::Write).expect("there is swap");
        page += PAGE_BYTES;
    }
    let stalls = || vm.totals().get(vellum::Event::AllocationStall);
    let (before, last) = (stalls(), page + 256 * PAGE_BYTES);
    let faults = || {
        while page < last && stalls() == before {
            space.fault(page, Access::Write).expect("there is swap");
            page += PAGE_BYTES;
        }
    };
    window.whole(1, faults, || ());
    assert!(stalls() > before, "no fault had to reclaim");
}

/// Making shared memory that a space shows shorter.
fn truncate(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let [object, _] = show(&space);
    vm.switch_to(Some(&space));
    window.whole(1, || object.truncate(0).expect("it is shared memory"), || vm.quiesce());
}

/// A call on shared memory, and on a file, that a space shows, all of it stored to.
fn on_object(window: &mut Window, call: fn(&Object<'_, BenchMachine<false>>) -> Result<(), Error>) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let objects = show(&space);
    vm.switch_to(Some(&space));
    let calls = || objects.iter().for_each(|object| call(object).expect("it can be done"));
    window.whole(1, calls, || vm.quiesce());
}

/// All jobs.
pub fn all() -> impl Iterator<Item = &'static (&'static str, Job)> + Clone {
    JOBS.iter().chain(shaped::OTHERS).chain(shaped::SHAPED)
}

/// The job called `name`.
pub fn find(name: &str) -> Option<Job> {
    all().find(|job| job.0 == name).map(|job| job.1)
}

/// The names that are asked for, or all.
pub fn chosen(names: &[String]) -> Result<Vec<&'static str>, BenchError> {
    let all = all().map(|job| job.0);
    if names.is_empty() {
        return Ok(all.collect());
    }
    let known = |name: &String| all.clone().find(|known| known == name).ok_or_else(|| unknown_among(name, all.clone()));
    names.iter().map(known).collect()
}
