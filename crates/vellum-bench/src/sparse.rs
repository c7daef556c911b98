//! Spaces with little in them, and much room between: what costs by its holes shows here.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, used_vm};
use super::window::Window;
use vellum::arch::Prot;
use vellum::ops::{Access, MapRequest, Place};

const GIB: u64 = 1 << 30;
/// Repetitions of each operation.
const REPETITIONS: u64 = 256;
/// The pages of a sparse space, one in each GiB.
const SPARSE_PAGES: u64 = 64;

fn map_at<const R: bool>(space: &BenchSpace<'_, R>, address: u64, pages: u64, touched: bool) {
    let request = MapRequest::anonymous(pages * PAGE_BYTES, Prot::READ_WRITE).at(Place::Fixed(address));
    space.map(&request).expect("there is room");
    if touched {
        space.populate(address, pages * PAGE_BYTES, Access::Write).expect("there is memory");
    }
}

/// A space such as a small program's, loaded on the CPU: text and data low, a heap, libraries and a stack high.
fn small<const R: bool>(vm: &BenchVm<R>) -> BenchSpace<'_, R> {
    let space = vm.create_space().expect("there is memory");
    for (address, pages) in [(0x40_0000, 4), (0x80_0000, 8), (0x7f00_0000_0000, 8), (0x7fff_ff00_0000, 5)] {
        map_at(&space, address, pages, true);
        space.protect(address, PAGE_BYTES, Prot::READ).expect("it is mapped");
    }
    vm.switch_to(Some(&space));
    space
}

/// A space with one page in each of many GiB, loaded on the CPU.
fn sparse<const R: bool>(vm: &BenchVm<R>) -> BenchSpace<'_, R> {
    let space = vm.create_space().expect("there is memory");
    (1..=SPARSE_PAGES).for_each(|number| map_at(&space, number * GIB, 1, true));
    vm.switch_to(Some(&space));
    space
}

/// Forking a small program, and the child's end.
pub fn fork_small<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = small(&vm);
    window.each(REPETITIONS, |_| drop(space.fork().expect("there is memory")), || vm.quiesce());
}

/// Forking a space with a page in each of 64 GiB.
pub fn fork_sparse<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = sparse(&vm);
    let mut child = None;
    window.whole(1, || child = space.fork().ok(), || vm.quiesce());
    assert!(child.is_some(), "there is memory for a child");
}

/// Ending such a space.
pub fn teardown_sparse<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let mut space = Some(sparse(&vm));
    vm.switch_to(None);
    window.whole(1, || drop(space.take()), || vm.quiesce());
}

/// Mapping a GiB and unmapping it, untouched.
pub fn map_unmap_gib<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = small(&vm);
    let operation = |_| {
        let address = space.map(&MapRequest::anonymous(GIB, Prot::READ_WRITE)).expect("there is room");
        space.unmap(address, GIB).expect("it is mapped");
    };
    window.each(REPETITIONS, operation, || vm.quiesce());
}

/// Mapping a page far from any other, and unmapping it.
pub fn map_unmap_lone<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = small(&vm);
    let operation = |_| {
        let address = space.map(&MapRequest::anonymous(PAGE_BYTES, Prot::READ_WRITE)).expect("there is room");
        space.unmap(address, PAGE_BYTES).expect("it is mapped");
    };
    window.each(REPETITIONS, operation, || vm.quiesce());
}

/// What is mapped in a small program.
pub fn maps<const R: bool>(window: &mut Window) {
    let vm = used_vm::<R>();
    let space = small(&vm);
    let look = |_| {
        let mut count = 0;
        space.maps(&mut |_| count += 1);
        assert_eq!(count, 8, "every mapping is seen");
    };
    window.each(REPETITIONS, look, || vm.quiesce());
}
