//! What is measured: each job prepares a space and does one operation again and again.
//!
//! Before the window each job has had frames allocated and freed, so that it starts from used memory; the window ends
//! with the grace periods that the operations left behind.

use super::machine::{BenchMachine, PAGE};
use super::window::Window;
use vellum::arch::{PageBits, Prot};
use vellum::ops::{Access, FaultKind, MapRequest};
use vellum::{Overcommit, Space, Vm};

/// Frames of the machine: 512 MiB.
const FRAMES: usize = 1 << 17;
/// Pages of the spaces that are forked and torn down: 64 MiB.
const SPACE_PAGES: u64 = 16_384;
/// Pages that were used and freed before.
const USED_PAGES: u64 = 4096;
/// Repetitions of the other operations.
const REPETITIONS: u64 = 8192;
pub(super) const PAGE_BYTES: u64 = PAGE as u64;

pub(super) type BenchVm<const R: bool> = Vm<BenchMachine<R>>;
pub(super) type BenchSpace<'vm, const R: bool> = Space<'vm, BenchMachine<R>>;

/// A `Vm` on memory that was used before.
pub(super) fn used_vm<const R: bool>() -> BenchVm<R> {
    let vm = Vm::new(BenchMachine::new(FRAMES)).expect("the machine is large enough");
    // What is mapped and not touched may be larger than it.
    vm.set_overcommit(Overcommit::Always);
    let space = vm.create_space().expect("there is memory");
    mapped(&space, USED_PAGES, true);
    drop(space);
    vm.quiesce();
    vm
}

/// Maps `pages` pages of private memory, and stores to each if they are to be `touched`.
pub(super) fn mapped<const R: bool>(space: &BenchSpace<'_, R>, pages: u64, touched: bool) -> u64 {
    let address = space.map(&request(pages)).expect("there is room");
    if touched {
        space.populate(address, pages * PAGE_BYTES, Access::Write).expect("there is memory");
    }
    address
}

fn request<'a, 'vm, const R: bool>(pages: u64) -> MapRequest<'a, 'vm, BenchMachine<R>> {
    MapRequest::anonymous(pages * PAGE_BYTES, Prot::READ_WRITE)
}

/// A space, loaded on the CPU, with a dozen mappings in which pages were touched.
fn inhabited<const R: bool>(vm: &BenchVm<R>) -> BenchSpace<'_, R> {
    let space = vm.create_space().expect("there is memory");
    for number in 0..12 {
        let address = mapped(&space, 4, true);
        if number % 2 == 1 {
            space.protect(address, 4 * PAGE_BYTES, Prot::READ).expect("it is mapped");
        }
    }
    vm.switch_to(Some(&space));
    space
}

fn fault<const R: bool>(space: &BenchSpace<'_, R>, address: u64, access: Access, expected: FaultKind) {
    let kind = space.fault(address, access);
    assert!(kind == Ok(expected), "a fault at {address:#x} ends with {kind:?}, not {expected:?}");
}

/// A store to a page of private memory that nothing was stored to.
pub fn fault_anon<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, REPETITIONS, false);
    let store = |page| fault(&space, address + page * PAGE_BYTES, Access::Write, FaultKind::Anonymous);
    window.each(REPETITIONS, store, || vm.quiesce());
}

/// A load from such a page.
pub fn zero_fault<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, REPETITIONS, false);
    let load = |page| fault(&space, address + page * PAGE_BYTES, Access::Read, FaultKind::Zero);
    window.each(REPETITIONS, load, || vm.quiesce());
}

/// A store to a page shared with a child, which copies it.
pub fn cow_fault<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, REPETITIONS, true);
    let _child = space.fork().expect("there is memory");
    let store = |page| fault(&space, address + page * PAGE_BYTES, Access::Write, FaultKind::Copied);
    window.each(REPETITIONS, store, || vm.quiesce());
}

/// Mapping a page and unmapping it.
pub fn map_unmap<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let pair = |_| {
        let address = space.map(&request(1)).expect("there is room");
        space.unmap(address, PAGE_BYTES).expect("it is mapped");
    };
    (0..64).for_each(pair);
    window.each(REPETITIONS, pair, || vm.quiesce());
}

/// The same with a store to the page in between.
pub fn map_touch_unmap<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let round = |_| {
        let address = space.map(&request(1)).expect("there is room");
        fault(&space, address, Access::Write, FaultKind::Anonymous);
        space.unmap(address, PAGE_BYTES).expect("it is mapped");
    };
    (0..64).for_each(round);
    window.each(REPETITIONS, round, || vm.quiesce());
}

/// Taking the right to write from a touched page in the middle of a mapping, and giving it back.
pub fn protect_toggle<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, 16, true) + 7 * PAGE_BYTES;
    let toggle = |_| {
        for prot in [Prot::READ, Prot::READ_WRITE] {
            space.protect(address, PAGE_BYTES, prot).expect("it is mapped");
        }
    };
    (0..64).for_each(toggle);
    window.each(REPETITIONS, toggle, || vm.quiesce());
}

/// Looking a touched page up.
pub fn translate<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, REPETITIONS, true);
    let mut seen = 0;
    let look_up = |page| {
        let translation = space.translate(address + page * PAGE_BYTES).expect("the page is there");
        seen ^= translation.pfn.0 ^ translation.bits.has(PageBits::WRITE) as u64;
    };
    window.each(REPETITIONS, look_up, || ());
    std::hint::black_box(seen);
}

/// Faulting a range in, by page.
pub fn populate<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, SPACE_PAGES, false);
    let populate = || space.populate(address, SPACE_PAGES * PAGE_BYTES, Access::Write).expect("there is memory");
    window.whole(SPACE_PAGES, populate, || vm.quiesce());
}

/// A space with [`SPACE_PAGES`] touched pages.
fn large<const R: bool>(vm: &BenchVm<R>) -> BenchSpace<'_, R> {
    let space = vm.create_space().expect("there is memory");
    mapped(&space, SPACE_PAGES, true);
    space
}

/// Forking, by page; the space is loaded, and none of its pages was shared before.
pub fn fork<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = large(&vm);
    vm.switch_to(Some(&space));
    let mut child = None;
    window.whole(SPACE_PAGES, || child = space.fork().ok(), || vm.quiesce());
    assert!(child.is_some(), "there is memory for a child");
}

/// Ending a space that alone has its pages, by page.
pub fn teardown<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let mut space = Some(large(&vm));
    window.whole(SPACE_PAGES, || drop(space.take()), || vm.quiesce());
}

/// Unmapping what a loaded space with other memory alone has, by page.
pub fn unmap<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = inhabited(&vm);
    let address = mapped(&space, SPACE_PAGES, true);
    let unmap = || space.unmap(address, SPACE_PAGES * PAGE_BYTES).expect("it can be done");
    window.whole(SPACE_PAGES, unmap, || vm.quiesce());
}

/// Ending a child that shares its pages with its parent, by page.
pub fn teardown_shared<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let parent = large(&vm);
    let mut child = parent.fork().ok();
    assert!(child.is_some(), "there is memory for a child");
    window.whole(SPACE_PAGES, || drop(child.take()), || vm.quiesce());
}
