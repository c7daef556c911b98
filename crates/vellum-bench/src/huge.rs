//! Huge pages: what one costs that has 512 small ones in its place.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, used_vm};
use super::window::Window;
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, FaultKind, HugePages, MapRequest, Place};
use vellum::{Event, IoError, SwapDevice, Vm};

/// Small pages of a huge one, and its bytes.
const SMALL: u64 = 512;
const BYTES: u64 = SMALL * PAGE_BYTES;
/// Huge pages of a space: a part of memory.
const PAGES: u64 = 96;
/// Repetitions of what needs one only.
const REPETITIONS: u64 = 8192;
const BASE: u64 = 1 << 40;

/// A space, loaded on the CPU, with a mapping of [`PAGES`] huge pages, which are there if it is to be `touched`.
fn space<const R: bool>(vm: &BenchVm<R>, touched: bool) -> BenchSpace<'_, R> {
    vm.set_huge_pages(HugePages::Always);
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::anonymous(PAGES * BYTES, Prot::READ_WRITE).at(Place::Fixed(BASE));
    space.map(&request).expect("there is room");
    vm.switch_to(Some(&space));
    if touched {
        (0..PAGES).for_each(|page| fault(&space, page));
        check(vm, 0);
    }
    space
}

fn fault<const R: bool>(space: &BenchSpace<'_, R>, page: u64) {
    let kind = space.fault(BASE + page * BYTES, Access::Write);
    assert!(kind == Ok(FaultKind::Anonymous), "the fault ends with {kind:?}");
}

/// There were as many huge pages as there are to be, of which so many are none any more.
fn check<const R: bool>(vm: &Vm<super::machine::BenchMachine<R>>, split: u64) {
    let totals = vm.totals();
    let found = (totals.get(Event::HugeFault), totals.get(Event::SplitMapping));
    assert!(found == (PAGES, split), "{found:?} huge pages, and split");
}

/// A store where a huge page comes.
pub fn first_touch<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = space(&vm, false);
    window.each(PAGES, |page| fault(&space, page), || vm.quiesce());
    check(&vm, 0);
}

/// Discarding a small page of each, which makes small ones of the rest; by small page.
pub fn split<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = space(&vm, true);
    let discard = || {
        (0..PAGES).for_each(|page| {
            let address = BASE + page * BYTES + 7 * PAGE_BYTES;
            space.advise(address, PAGE_BYTES, Advice::DontNeed).expect("it is mapped");
        });
    };
    window.whole(PAGES * SMALL, discard, || vm.quiesce());
    check(&vm, PAGES);
}

/// Taking the right to write from all of one, and giving it back.
pub fn protect_toggle<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = space(&vm, true);
    let toggle = |_| {
        for prot in [Prot::READ, Prot::READ_WRITE] {
            space.protect(BASE + 7 * BYTES, BYTES, prot).expect("it is mapped");
        }
    };
    (0..64).for_each(toggle);
    window.each(REPETITIONS, toggle, || vm.quiesce());
    check(&vm, 0);
}

/// Forking, by huge page.
pub fn fork<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = space(&vm, true);
    let mut child = None;
    window.whole(PAGES, || child = space.fork().ok(), || vm.quiesce());
    assert!(child.is_some(), "there is memory for a child");
    check(&vm, 0);
}

/// Ending a space that alone has its huge pages, by page of them.
pub fn teardown<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let mut space = Some(space(&vm, true));
    vm.switch_to(None);
    window.whole(PAGES, || drop(space.take()), || vm.quiesce());
    check(&vm, 0);
}

/// Unmapping them, by page.
pub fn unmap<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = space(&vm, true);
    window.whole(PAGES, || space.unmap(BASE, PAGES * BYTES).expect("it can be done"), || vm.quiesce());
    check(&vm, 0);
}

/// A swap device that does nothing: what is written is not read again.
struct Sink;

impl SwapDevice for Sink {
    fn pages(&self) -> u64 {
        PAGES * SMALL
    }

    fn read(&self, _page: u64, _into: &mut [u8]) -> Result<(), IoError> {
        Err(IoError)
    }

    fn write(&self, _page: u64, _from: &[u8]) -> Result<(), IoError> {
        Ok(())
    }

    fn write_run(&self, _first: u64, pages: &mut dyn Iterator<Item = &[u8]>) -> Result<(), IoError> {
        pages.for_each(|page| _ = std::hint::black_box(page));
        Ok(())
    }
}

/// Puts [`PAGES`] huge pages' worth of a space out to such a device.
fn put_out<const R: bool>(window: &mut Window, vm: &BenchVm<R>, space: &BenchSpace<'_, R>) {
    vm.swap_on(Sink, 0).expect("there is memory");
    let out = || space.advise(BASE, PAGES * BYTES, Advice::PageOut).expect("it is mapped");
    window.whole(PAGES, out, || vm.quiesce());
    assert_eq!(space.rss().swapped, PAGES * SMALL, "all of it is in swap");
}

/// Putting huge pages out to swap as wholes.
pub fn swap_out<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = space(&vm, true);
    put_out(window, &vm, &space);
    assert_eq!(vm.totals().get(Event::HugeSwapOut), PAGES, "all go as wholes");
}

/// The same with small pages, by as many as a huge one has.
pub fn swap_out_small<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::anonymous(PAGES * BYTES, Prot::READ_WRITE).at(Place::Fixed(BASE));
    space.map(&request).expect("there is room");
    space.populate(BASE, PAGES * BYTES, Access::Write).expect("there is memory");
    vm.switch_to(Some(&space));
    put_out(window, &vm, &space);
}
