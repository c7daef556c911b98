//! Jobs on memory of many runs of slots: as many as there are pages.
//!
//! *Guarded*: with a guard on every other page. *Striped*: with other rights on every other one. *Scattered*: each page a mapping of
//! its own, whose class has a record of its own. *Wide*: as many mappings that are as large as a leaf spans, without
//! pages.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, mapped, used_vm};
use super::large::{HUGE, Job, LENGTH, PAGES, to_the_other_side};
use super::window::Window;
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, MapFlags, MapRequest, Place, Sharing};
use vellum::{CommitLimit, Overcommit};

/// Private memory of [`PAGES`] pages, all stored to that may be: where it is.
type Shape = fn(&BenchSpace<'_, false>) -> u64;

/// The jobs that there are for each shape, whose name comes behind theirs.
macro_rules! shaped {
    ($($shape:literal $with:path, $length:expr;)*) => {
        &[$(
            (concat!("unmap-", $shape), |window| on($with, window, |space, at| space.unmap(at, $length))),
            (concat!("protect-", $shape), |window| on($with, window, |space, at| space.protect(at, $length, Prot::READ))),
            (concat!("discard-", $shape), |window| {
                on($with, window, |space, at| space.advise(at, $length, Advice::DontNeed))
            }),
            (concat!("make-cold-", $shape), |window| {
                on($with, window, |space, at| space.advise(at, $length, Advice::Cold))
            }),
            (concat!("no-fork-", $shape), |window| {
                on($with, window, |space, at| space.advise(at, $length, Advice::DontFork))
            }),
            (concat!("replace-", $shape), |window| {
                on($with, window, |space, at| {
                    let request = MapRequest::anonymous($length, Prot::READ).at(Place::Fixed(at));
                    space.map(&request).map(|_| ())
                })
            }),
            (concat!("remap-", $shape), |window| {
                on($with, window, |space, at| space.remap(&to_the_other_side(at, $length)).map(|_| ()))
            }),
            (concat!("fork-", $shape), |window| {
                on($with, window, |space, _| space.fork().map(std::mem::forget))
            }),
            (concat!("maps-", $shape), |window| on($with, window, |space, _| {
                space.maps(&mut |_| ());
                Ok(())
            })),
            (concat!("exit-", $shape), |window| exit($with, window)),
        )*]
    };
}

/// The jobs on memory of many runs.
pub const SHAPED: &[(&str, Job)] = shaped!(
    "guarded" guarded, LENGTH;
    "striped" striped, LENGTH;
    "scattered" scattered, LENGTH;
    "wide" wide, PAGES * HUGE;
);

/// By name, others that go by runs.
pub const OTHERS: &[(&str, Job)] = &[("protect-asked", protect_asked), ("grow-stack", grow_stack)];

type Call = fn(&BenchSpace<'_, false>, u64) -> Result<(), vellum::Error>;

/// One call on a space, loaded on the CPU, with memory of that shape.
fn on(shape: Shape, window: &mut Window, call: Call) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let address = shape(&space);
    vm.switch_to(Some(&space));
    window.whole(1, || call(&space, address).expect("it can be done"), || vm.quiesce());
}

/// Every other page of one mapping.
fn every_other(address: u64) -> impl Iterator<Item = u64> {
    (0..PAGES).step_by(2).map(move |page| address + page * PAGE_BYTES)
}

fn guarded(space: &BenchSpace<'_, false>) -> u64 {
    let address = mapped(space, PAGES, true);
    every_other(address).for_each(|page| space.advise(page, PAGE_BYTES, Advice::GuardInstall).expect("it is mapped"));
    address
}

fn striped(space: &BenchSpace<'_, false>) -> u64 {
    let address = mapped(space, PAGES, true);
    every_other(address).for_each(|page| space.protect(page, PAGE_BYTES, Prot::NONE).expect("it is mapped"));
    address
}

/// Each page of an object, in another order.
fn scattered(space: &BenchSpace<'_, false>) -> u64 {
    let address = scattered_by(space, PAGE_BYTES);
    space.populate(address, LENGTH, Access::Write).expect("there is memory");
    address
}

/// The same without pages, as far as a leaf each.
fn wide(space: &BenchSpace<'_, false>) -> u64 {
    scattered_by(space, HUGE)
}

fn scattered_by(space: &BenchSpace<'_, false>, bytes: u64) -> u64 {
    const AT: u64 = 1 << 40;
    let object = space.vm().shared_memory(PAGES * bytes / PAGE_BYTES).expect("there is memory");
    for number in 0..PAGES {
        let place = Place::Fixed(AT + number * bytes);
        let offset = (PAGES - 1 - number) * bytes;
        let request = MapRequest::object(&object, offset, Sharing::Private, bytes, Prot::READ_WRITE).at(place);
        space.map(&request).expect("there is room");
    }
    AT
}

/// Makes memory that must not be stored to such that may, where what is committed is limited.
fn protect_asked(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let address = space.map(&MapRequest::anonymous(LENGTH, Prot::READ)).expect("there is room");
    every_other(address).for_each(|page| space.advise(page, PAGE_BYTES, Advice::GuardInstall).expect("it is mapped"));
    vm.set_overcommit(Overcommit::Never(CommitLimit::Bytes(64 << 20)));
    let call = || space.protect(address, LENGTH, Prot::READ_WRITE).expect("there is as much");
    window.whole(1, call, || vm.quiesce());
}

/// A fault below a stack with a guard on every other page.
fn grow_stack(window: &mut Window) {
    const AT: u64 = 1 << 40;
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let stack = MapRequest::anonymous(LENGTH, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN).at(Place::Fixed(AT));
    space.map(&stack).expect("there is room");
    every_other(AT).for_each(|page| space.advise(page, PAGE_BYTES, Advice::GuardInstall).expect("it is mapped"));
    // In the gap below it, parts of stacks.
    for page in (2..200).step_by(2) {
        let part = MapRequest::anonymous(PAGE_BYTES, Prot::NONE).at(Place::Fixed(AT - (10 + page) * PAGE_BYTES));
        space.map(&part).expect("there is room");
    }
    vm.switch_to(Some(&space));
    let fault = || _ = space.fault(AT - 4 * PAGE_BYTES, Access::Write).expect("it may grow");
    window.whole(1, fault, || vm.quiesce());
}

fn exit(shape: Shape, window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let mut space = Some(vm.create_space().expect("there is memory"));
    shape(space.as_ref().expect("it was just made"));
    window.whole(1, || drop(space.take()), || vm.quiesce());
}
