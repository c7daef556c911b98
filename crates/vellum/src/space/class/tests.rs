//! Tests of the registry of classes on a host-backed machine.

use super::{Attributes, ClassFlags};
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::object::Object;
use crate::ops::{MapRequest, Place, Sharing};
use crate::space::{ClassId, Extent, Space};
use crate::stat::Event;
use crate::testing::{TestMachine, become_cpu};
use crate::vm::Vm;
use core::ops::ControlFlow;
use std::vec::Vec;

const PAGE: u64 = 4096;

fn boot() -> Vm<TestMachine> {
    become_cpu(0);
    Vm::new(TestMachine::with(&[(0x100, 500, 0)], &[0])).expect("a machine that boots")
}

/// Maps page 0 of the object on.
fn map<'vm>(space: &Space<'vm, TestMachine>, object: &Object<'vm, TestMachine>, at: u64, pages: u64) {
    let request = MapRequest::object(object, 0, Sharing::Shared, pages * PAGE, Prot::READ_WRITE);
    space.map(&request.at(Place::Fixed(at * PAGE))).expect("room");
}

/// Places and rights of the classes of an object, in the order in which they are met. `meanwhile` is called with each.
fn met(
    cx: &Cx<'_, TestMachine>,
    object: &Object<'_, TestMachine>,
    mut meanwhile: impl FnMut(&Attributes<TestMachine>),
) -> Vec<(u64, Prot)> {
    let mut met = Vec::new();
    let _ = cx.each_class_of(object.inner(), &mut |class, _| {
        met.push((class.delta, class.prot));
        assert!(met.len() < 100, "no end");
        meanwhile(class);
        ControlFlow::Continue(())
    });
    met
}

/// A mapping as `protect` leaves it: the new class is held, then the old one is let go of.
fn protect(cx: &Cx<'_, TestMachine>, held: &mut ClassId, prot: Prot) {
    let new = cx.intern(&cx.attributes(*held).with_prot(prot), cx.extent_of(*held)).expect("memory");
    cx.release_class(*held, 1);
    *held = new;
}

/// The class of a mapping that is to be, held.
fn hold(cx: &Cx<'_, TestMachine>, like: &Attributes<TestMachine>, delta: u64) -> ClassId {
    cx.intern(&Attributes { delta, ..*like }, Extent::NONE).expect("memory")
}

#[test]
fn classes_of_one_place_stand_side_by_side() {
    let vm = boot();
    let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
    map(&space, &object, 16, 3);
    map(&space, &object, 32, 1);
    space.protect(17 * PAGE, PAGE, Prot::READ).expect("rights");
    // A mapping of its own that leads to the place of the first.
    let request = MapRequest::object(&object, 3 * PAGE, Sharing::Shared, PAGE, Prot::NONE);
    space.map(&request.at(Place::Fixed(19 * PAGE))).expect("room");
    let cx = Cx::enter(&vm);
    let expected = [(32, Prot::READ_WRITE), (16, Prot::NONE), (16, Prot::READ), (16, Prot::READ_WRITE)];
    assert_eq!(met(&cx, &object, |_| {}), expected);
    let mut in_space = Vec::new();
    let _ = cx.each_class_within(space.inner(), &mut |class, _| {
        in_space.push((class.delta, class.prot));
        ControlFlow::Continue(())
    });
    assert_eq!(in_space, expected);
    drop(cx);
    space.unmap(18 * PAGE, PAGE).expect("a mapping");
    space.unmap(17 * PAGE, PAGE).expect("a mapping");
    vm.audited().expect("a sound machine");
    space.protect(16 * PAGE, PAGE, Prot::READ).expect("rights");
    let expected = [(32, Prot::READ_WRITE), (16, Prot::READ), (16, Prot::NONE)];
    assert_eq!(met(&Cx::enter(&vm), &object, |_| {}), expected);
}

/// Wherever the reader is: a place whose class is another each time is met once, and does not keep him.
#[test]
fn a_place_that_changes_its_class_is_met_and_keeps_nobody() {
    let vm = boot();
    let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
    map(&space, &object, 32, 1);
    let cx = Cx::enter(&vm);
    let mut like = None;
    met(&cx, &object, |class| like = Some(*class));
    let like = like.expect("a class");
    let mut held = [16, 24, 40].map(|delta| hold(&cx, &like, delta));
    for changed in [0, 1, 2] {
        let mut turn = 0;
        let found = met(&cx, &object, |_| {
            for _ in 0..2 {
                turn += 1;
                let prot = [Prot::READ, Prot::NONE, Prot::READ_WRITE][turn % 3];
                protect(&cx, &mut held[changed], prot);
            }
        });
        assert_eq!(found.iter().map(|(delta, _)| *delta).collect::<Vec<_>>(), [40, 24, 16, 32]);
    }
    held.iter().for_each(|class| cx.release_class(*class, 1));
}

/// Shared and private mappings of an object are not looked for together, so they are two places, though at the same
/// difference: who passes by the classes of one does not miss the other.
#[test]
fn a_private_place_is_not_hidden_by_a_shared_one() {
    let vm = boot();
    let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
    map(&space, &object, 32, 1);
    let cx = Cx::enter(&vm);
    let mut like = None;
    met(&cx, &object, |class| like = Some(*class));
    let shared = like.expect("a class");
    let private = Attributes { flags: ClassFlags::NONE, ..shared };
    for first in [shared, private] {
        let mut other = hold(&cx, if first.is_private() { &shared } else { &private }, 40);
        let held = hold(&cx, &first, 40);
        let mut has_met = false;
        let _ = cx.each_class_of(object.inner(), &mut |class, _| {
            if class.delta == 40 && class.is_private() == first.is_private() {
                protect(&cx, &mut other, Prot::READ);
            } else if class.delta == 40 {
                has_met = true;
            }
            ControlFlow::Continue(())
        });
        assert!(has_met);
        [other, held].iter().for_each(|class| cx.release_class(*class, 1));
    }
}

/// As many classes as a mapping may have come and go; some slots say one, some another.
#[test]
fn a_place_of_several_classes_keeps_nobody() {
    let vm = boot();
    let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
    map(&space, &object, 32, 1);
    let cx = Cx::enter(&vm);
    let mut like = None;
    met(&cx, &object, |class| like = Some(*class));
    let like = like.expect("a class");
    let mut slots = [Prot::NONE, Prot::READ].map(|prot| {
        let mut held = hold(&cx, &like, 32);
        protect(&cx, &mut held, prot);
        held
    });
    let mut turn = 0;
    // Back to the oldest class of the place, and to another: one of the two always lies before it.
    let found = met(&cx, &object, |_| {
        let (slot, prot) = (turn % 2, [Prot::NONE, Prot::READ][turn % 2]);
        protect(&cx, &mut slots[slot], Prot::READ_WRITE);
        protect(&cx, &mut slots[slot], prot);
        turn += 1;
    });
    assert!(found.len() <= 3, "{found:?}");
    slots.iter().for_each(|class| cx.release_class(*class, 1));
}

/// Records that were looked at so far.
fn steps(vm: &Vm<TestMachine>) -> u64 {
    vm.totals().get(Event::ClassStep)
}

/// However many classes there are, finding one, making one and giving one up looks at a few records.
#[test]
fn a_class_is_found_among_any_number() {
    become_cpu(0);
    let vm = Vm::<TestMachine>::new(TestMachine::with(&[(0x100, 3000, 0)], &[0])).expect("a machine that boots");
    let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
    map(&space, &object, 32, 1);
    let cx = Cx::enter(&vm);
    let mut like = None;
    met_first(&cx, &object, &mut like);
    let like = like.expect("a class");
    let mut held = Vec::new();
    for power in 4..15 {
        while held.len() < 1 << power {
            held.push(hold(&cx, &like, 1000 + held.len() as u64));
        }
        let before = steps(&vm);
        for number in 0..100u64 {
            // One that is there, and one that is not.
            let known = hold(&cx, &like, 1000 + number * held.len() as u64 / 100);
            cx.release_class(known, 1);
            cx.release_class(hold(&cx, &like, number), 1);
        }
        let mean = (steps(&vm) - before) as f64 / 300.0;
        assert!(mean < 3.0, "{mean} records looked at among {}", held.len());
    }
    assert!(cx.buckets_for(&like) as usize >= held.len() / 2);
    held.iter().for_each(|&class| cx.release_class(class, 1));
    drop(cx);
    vm.audited().expect("a sound machine");
}

/// The first class of an object.
fn met_first(cx: &Cx<'_, TestMachine>, object: &Object<'_, TestMachine>, like: &mut Option<Attributes<TestMachine>>) {
    met(cx, object, |class| *like = Some(*class));
}

/// Without memory for more buckets all classes are found all the same, as they are when there is memory again.
#[test]
fn a_table_that_cannot_grow_stays_as_it_is() {
    let vm = boot();
    let (object, space) = (vm.shared_memory(8).expect("memory"), vm.create_space().expect("memory"));
    map(&space, &object, 32, 1);
    let cx = Cx::enter(&vm);
    let mut like = None;
    met_first(&cx, &object, &mut like);
    let like = like.expect("a class");
    let first = cx.buckets_for(&like);
    vm.machine().allow_allocations(0);
    // As many as there is room for in the frame of records that there is.
    let mut held: Vec<_> = (0..20).map(|number| hold(&cx, &like, 1000 + number)).collect();
    assert_eq!(cx.buckets_for(&like), first);
    vm.machine().allow_allocations(u64::MAX);
    held.extend((20..200).map(|number| hold(&cx, &like, 1000 + number)));
    assert!(cx.buckets_for(&like) > 100);
    for (number, &class) in held.iter().enumerate() {
        let again = hold(&cx, &like, 1000 + number as u64);
        assert_eq!(again, class);
        cx.release_class(again, 1);
    }
    held.iter().for_each(|&class| cx.release_class(class, 1));
    drop(cx);
    vm.audited().expect("a sound machine");
}

/// Wherever slots come to say a class of a place, each class of it leads there: a reader may come by any of them.
#[test]
fn classes_of_one_place_reach_equally_far() {
    let vm = boot();
    let (object, space) = (vm.shared_memory(64).expect("memory"), vm.create_space().expect("memory"));
    let extents = || {
        let mut met = Vec::new();
        let _ = Cx::enter(&vm).each_class_of(object.inner(), &mut |class, extent| {
            assert_eq!(class.delta, 16);
            met.push(extent);
            ControlFlow::Continue(())
        });
        met
    };
    map(&space, &object, 16, 4);
    space.protect(17 * PAGE, PAGE, Prot::READ).expect("rights");
    let of = |low, high| Extent::of::<X86_64>(low * PAGE, high * PAGE);
    assert_eq!(extents(), [of(16, 20); 2]);
    // A mapping of its own, of the class that is last on the chain; then one with rights that there were not.
    for (page, prot, classes, end) in [(24, Prot::READ_WRITE, 2, 26), (32, Prot::NONE, 3, 34)] {
        let request = MapRequest::object(&object, (page - 16) * PAGE, Sharing::Shared, 2 * PAGE, prot);
        space.map(&request.at(Place::Fixed(page * PAGE))).expect("room");
        assert_eq!(extents(), std::vec![of(16, end); classes]);
    }
    vm.audited().expect("a sound machine");
}
