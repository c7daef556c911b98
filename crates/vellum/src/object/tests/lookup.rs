//! A lookup that is overtaken between loading a slot and taking the reference (F3), at the exact place.

use crate::cpu::Cx;
use crate::object::page::get_page;
use crate::object::release;
use crate::phys::Pfn;
use crate::testing::hooks::before_modification;
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use std::boxed::Box;
use std::thread;

fn boot() -> &'static Vm<TestMachine> {
    become_cpu(0);
    let machine: TestMachine = TestMachine::with(&[(0x100, 256, 0)], &[0, 0]);
    Box::leak(Box::new(Vm::new(machine).expect("a machine that boots")))
}

/// Runs `act` as CPU 1 just before this CPU modifies the counts of `pfn`.
fn before_reference(vm: &'static Vm<TestMachine>, pfn: Pfn, act: impl FnOnce() + Send + 'static) {
    let counts = core::ptr::from_ref(vm.physical().frame(pfn).counts()).addr();
    let act = move || {
        let other = thread::spawn(|| {
            become_cpu(1);
            act();
        });
        other.join().expect("no panic");
    };
    before_modification(counts, act);
}

#[test]
fn a_frame_reused_by_another_object_is_not_returned() {
    let vm = boot();
    let object = vm.shared_memory(8).expect("an object");
    let (pfn, _) = get_page(vm, object.inner_pointer(), 3).expect("a page");
    release(&Cx::enter(vm), pfn);
    let other = vm.shared_memory(8).expect("an object");
    let other_pointer = other.inner_pointer();
    let cx = Cx::enter(vm);
    // SAFETY: the object is freed after the section.
    let inner = unsafe { object.inner_pointer().as_ref() };
    let reuser = other.clone();
    before_reference(vm, pfn, move || {
        drop(object);
        let (reused, _) = get_page(vm, reuser.inner_pointer(), 3).expect("a page");
        assert_eq!(reused, pfn, "the test wants the same frame");
        release(&Cx::enter(vm), reused);
    });
    assert_eq!(inner.lookup(&cx, 3), None);
    assert_eq!(vm.physical().frame(pfn).references(), 1);
    // SAFETY: `other` keeps it.
    assert_eq!(unsafe { other_pointer.as_ref() }.lookup(&cx, 3), Some(pfn));
    release(&cx, pfn);
}

#[test]
fn a_frame_that_was_freed_gets_no_reference() {
    let vm = boot();
    let object = vm.shared_memory(8).expect("an object");
    let (pfn, _) = get_page(vm, object.inner_pointer(), 3).expect("a page");
    release(&Cx::enter(vm), pfn);
    let cx = Cx::enter(vm);
    // SAFETY: the object is freed after the section.
    let inner = unsafe { object.inner_pointer().as_ref() };
    before_reference(vm, pfn, move || drop(object));
    assert_eq!(inner.lookup(&cx, 3), None);
    assert_eq!(vm.physical().frame(pfn).references(), 0);
}
