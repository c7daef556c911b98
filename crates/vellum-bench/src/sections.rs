//! `vellum bench sections`: for how long pre-emption is off in operations on large memory, and how much stack they take.
//!
//! The memory is one mapping with its pages. What grows with the number of mappings, or of their classes, does not show here.

use super::jobs::{BenchSpace, BenchVm, PAGE_BYTES, mapped, used_vm};
use super::machine::BenchMachine;
use super::pressure::{MemorySwap, with_swap};
use super::step::{self, Stepped};
use super::window::Window;
use super::{BenchError, print};
use serde::Serialize;
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{Object, Vm};

/// Pages that are worked on: enough that what is not bounded by pages shows.
const PAGES: u64 = 1024;
const LENGTH: u64 = PAGES * PAGE_BYTES;

/// The most instructions with pre-emption off.
pub const LONGEST: u64 = 50_000;
/// The most stack, in bytes.
pub const DEEPEST: u64 = 8 << 10;

type Job = fn(&mut Window);

/// By name. Each is one call on a space with [`PAGES`] pages, but where the name says otherwise.
const JOBS: &[(&str, Job)] = &[
    ("boot", boot),
    ("map-gib", map_gib),
    ("populate", |window| on_pages(window, false, |space, at| space.populate(at, LENGTH, Access::Write))),
    ("protect", |window| on_pages(window, true, |space, at| space.protect(at, LENGTH, Prot::READ))),
    ("discard", |window| on_pages(window, true, |space, at| space.advise(at, LENGTH, Advice::DontNeed))),
    ("give-up", |window| on_pages(window, true, |space, at| space.advise(at, LENGTH, Advice::Free))),
    ("make-cold", |window| on_pages(window, true, |space, at| space.advise(at, LENGTH, Advice::Cold))),
    ("unmap", |window| on_pages(window, true, |space, at| space.unmap(at, LENGTH))),
    ("remap", |window| on_pages(window, true, |space, at| space.remap(&to_the_other_side(at)).map(|_| ()))),
    ("fork", |window| on_pages(window, true, |space, _| space.fork().map(std::mem::forget))),
    ("move-pages", |window| on_pages(window, true, |space, at| space.move_pages(at, LENGTH, 1).map(|_| ()))),
    ("maps", |window| looking(window, |space| space.maps(&mut |_| ()))),
    ("smaps", |window| looking(window, |space| space.smaps(&mut |_| ()))),
    ("resident", |window| on_pages(window, true, |space, at| space.resident(at, PAGES, &mut |_| ()))),
    ("exit", exit),
    ("page-out", page_out),
    ("swap-off", swap_off),
    ("fault-with-reclaim", fault_with_reclaim),
    ("truncate", |window| on_object(window, |object| object.truncate(0))),
    ("write-back", |window| on_object(window, |object| object.write_back().map(|_| ()))),
    ("usage", |window| {
        on_pages(window, true, |space, _| Ok(std::hint::black_box(space.vm().usage()).free).map(|_| ()))
    }),
];

fn to_the_other_side(old: u64) -> RemapRequest {
    let place = RemapPlace::Fixed(old + (1 << 40));
    RemapRequest { old, old_length: LENGTH, new_length: LENGTH, place, keep_old: false }
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

/// One call on a space, loaded on the CPU, with private memory.
fn on_pages(window: &mut Window, touched: bool, call: fn(&BenchSpace<'_, false>, u64) -> Result<(), vellum::Error>) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, PAGES, touched);
    vm.switch_to(Some(&space));
    window.whole(1, || call(&space, address).expect("it can be done"), || vm.quiesce());
}

/// A look at such a space.
fn looking(window: &mut Window, look: fn(&BenchSpace<'_, false>)) {
    let vm: BenchVm<false> = used_vm();
    let space = vm.create_space().expect("there is memory");
    mapped(&space, PAGES, true);
    window.whole(1, || look(&space), || vm.quiesce());
}

fn exit(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let mut space = Some(vm.create_space().expect("there is memory"));
    mapped(space.as_ref().expect("it was just made"), PAGES, true);
    window.whole(1, || drop(space.take()), || vm.quiesce());
}

fn page_out(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let (space, address) = with_swap(&vm);
    window.whole(1, || space.advise(address, LENGTH, Advice::PageOut).expect("it is mapped"), || vm.quiesce());
}

fn swap_off(window: &mut Window) {
    let vm: BenchVm<false> = used_vm();
    let area = vm.swap_on(MemorySwap::new(), 0).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    let address = mapped(&space, PAGES, true);
    space.advise(address, LENGTH, Advice::PageOut).expect("it is mapped");
    window.whole(1, || vm.swap_off(area).expect("there is memory"), || vm.quiesce());
}

/// A fault that finds no memory, beside swap.
fn fault_with_reclaim(window: &mut Window) {
    let vm: BenchVm<false> = Vm::new(BenchMachine::new(4096)).expect("the machine is large enough");
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

/// One call on shared memory that a space shows, all of it stored to.
fn on_object(window: &mut Window, call: fn(&Object<'_, BenchMachine<false>>) -> Result<(), vellum::Error>) {
    let vm: BenchVm<false> = used_vm();
    let object = vm.shared_memory(PAGES).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::object(&object, 0, Sharing::Shared, LENGTH, Prot::READ_WRITE).at(Place::Fixed(1 << 40));
    space.map(&request).expect("there is room");
    space.populate(1 << 40, LENGTH, Access::Write).expect("there is memory");
    vm.switch_to(Some(&space));
    window.whole(1, || call(&object).expect("it can be done"), || vm.quiesce());
}

/// What was seen of an operation.
#[derive(Serialize)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Instructions in all.
    pub instructions: u64,
    /// Times that pre-emption was switched off.
    pub sections: u64,
    /// The most instructions with it off.
    pub longest: u64,
    /// Bytes of stack.
    pub stack: u64,
}

/// The job called `name`.
pub fn find(name: &str) -> Option<Job> {
    JOBS.iter().find(|job| job.0 == name).map(|job| job.1)
}

/// Steps through the job called `name`.
fn measure(name: &'static str) -> Result<Section, BenchError> {
    let Stepped { longest, sections, instructions, stack } = step::step(&format!("{}{name}", super::STEPPED))?;
    Ok(Section { name, instructions, sections, longest, stack })
}

/// Steps through the jobs called `names`, or all, and prints a table, or a document.
pub fn run(names: &[String], json: bool) -> Result<(), BenchError> {
    let all: Vec<_> = JOBS.iter().map(|job| job.0).collect();
    let known = |name: &String| {
        let found = all.iter().find(|known| *known == name);
        found.copied().ok_or_else(|| BenchError::UnknownName(name.clone(), all.clone()))
    };
    let mut chosen = names.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    if chosen.is_empty() {
        chosen = all.clone();
    }
    if !json {
        print(&format!(
            "instructions with pre-emption off, {LONGEST} at most, and bytes of stack, {DEEPEST} at most; {PAGES} pages each\n\
             {:<20}{:>14}{:>10}{:>10}{:>10}\n",
            "operation", "instructions", "sections", "longest", "stack"
        ));
    }
    let mut seen_of_all = Vec::new();
    for name in chosen {
        let seen = measure(name)?;
        let Section { instructions, sections, longest, stack, .. } = seen;
        if !json {
            let over = |is_over| if is_over { "!" } else { " " };
            print(&format!(
                "{name:<20}{instructions:>14}{sections:>10}{longest:>10}{}{stack:>9}{}\n",
                over(longest > LONGEST),
                over(stack > DEEPEST)
            ));
        }
        seen_of_all.push(seen);
    }
    if json {
        print(&super::report::document(&seen_of_all));
    }
    Ok(())
}
