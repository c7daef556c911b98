//! A page that is taken away as soon as a fault has mapped it, at the exact place.

use crate::arch::Prot;
use crate::cpu::Cx;
use crate::object::page::get_page;
use crate::object::release;
use crate::ops::{Access, MapRequest, Place, Sharing};
use crate::space::Space;
use crate::testing::hooks::after_store;
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use std::boxed::Box;
use std::thread;

const PAGE: u64 = 4096;
const AT: u64 = 16 * PAGE;

/// The frame is anonymous memory of somebody else before the fault has counted the page.
#[test]
fn a_page_counts_as_what_it_was_when_it_was_mapped() {
    become_cpu(0);
    let machine: TestMachine = TestMachine::with(&[(0x100, 256, 0)], &[0, 0]);
    let vm: &'static Vm<TestMachine> = Box::leak(Box::new(Vm::new(machine).expect("a machine that boots")));
    let object = vm.shared_memory(8).expect("an object");
    let space: &'static Space<'_, TestMachine> = Box::leak(Box::new(vm.create_space().expect("memory")));
    let request = MapRequest::object(&object, 0, Sharing::Shared, 2 * PAGE, Prot::READ_WRITE);
    space.map(&request.at(Place::Fixed(AT))).expect("room");
    space.fault(AT, Access::Read).expect("a page");
    // With all tables that it wants.
    let other: &'static Space<'_, TestMachine> = Box::leak(Box::new(vm.create_space().expect("memory")));
    other.map(&MapRequest::anonymous(2 * PAGE, Prot::READ_WRITE).at(Place::Fixed(AT))).expect("room");
    other.fault(AT, Access::Write).expect("a page");
    let (pfn, _) = get_page(vm, object.inner_pointer(), 1).expect("a page");
    release(&Cx::enter(vm), pfn);

    let leaf = core::ptr::from_ref(space.inner().lowest(&Cx::enter(vm), AT).frame.lock.word()).addr();
    let reuse = move || {
        become_cpu(1);
        object.punch(PAGE, PAGE).expect("shared memory has holes");
        other.fault(AT + PAGE, Access::Write).expect("a page");
        assert_eq!(other.translate(AT + PAGE).map(|found| found.pfn), Some(pfn), "the test wants the same frame");
    };
    after_store(leaf, move || thread::spawn(reuse).join().expect("no panic"));
    space.fault(AT + PAGE, Access::Read).expect("a page");
    let rss = space.rss();
    assert_eq!((rss.anonymous, rss.file, rss.shared_memory), (0, 0, 1), "the first page");
}
