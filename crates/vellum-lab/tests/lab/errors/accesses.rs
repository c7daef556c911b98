//! Mistakes of programs, and of those who access their memory for them.

use super::world::*;
use super::{Row, provoke};
use std::fmt::Debug;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, FaultError, MapRequest, Place, WordError};
use vellum::sync::Modify;
use vellum_lab::det::FailurePlan;
use vellum_lab::swap_device::{Handle, MemoryDevice};

pub(super) fn add(rows: &mut Vec<Row>) {
    faults(rows, "Space::fault", |space, address| space.fault(address, Access::Write).map(|_| ()));
    faulting(rows);
    faults(rows, "Space::copy_in", |space, address| space.copy_in(address, &mut [0]));
    pieces(rows, "Space::copy_in", "what lies before it has been copied", |space, start, length| {
        space.copy_in(start, &mut vec![0; length as usize])
    });
    faults(rows, "Space::copy_out", |space, address| space.copy_out(address, &[1]));
    pieces(rows, "Space::copy_out", "what lies before it has been copied", |space, start, length| {
        space.copy_out(start, &vec![1; length as usize])
    });
    faults(rows, "Space::clear", |space, address| space.clear(address, 1));
    pieces(rows, "Space::clear", "what lies before it has been cleared", |space, start, length| {
        space.clear(start, length)
    });
    words(rows);
}

/// Whether `call` is an access that only loads.
fn loads(call: &str) -> bool {
    call == "Space::copy_in" || call == "Space::load_word"
}

/// What keeps an access of a byte from being made.
fn faults<E: Mistake + Debug + 'static>(
    rows: &mut Vec<Row>,
    call: &'static str,
    access: fn(&Space<'_, M>, u64) -> Result<(), E>,
) {
    let is_load = loads(call);
    provoke! { rows, call,
        "nothing is mapped there" => |w| w.fails(|| access(&w.space, B + 4 * P));
        "the address is beyond the address space" => |w| w.fails(|| access(&w.space, 0u64.wrapping_sub(8)));
        "the mapping does not allow it" => |w| {
            w.put(FAR, MapRequest::anonymous(P, if is_load { Prot::NONE } else { R }));
            w.fails(|| access(&w.space, FAR))
        };
        "a guard lies there" => |w| {
            w.space.advise(B, P, Advice::GuardInstall).expect("mapped");
            w.fails(|| access(&w.space, B))
        };
        "beyond the end of the file" => |w| {
            let (_file, _) = w.put_bad_file(2, u64::MAX);
            w.fails(|| access(&w.space, B + 10 * P))
        };
        "the page cannot be read" => |w| {
            let (_file, _) = w.put_bad_file(4, 1);
            w.fails(|| access(&w.space, B + 9 * P))
        };
        "memory is short" => |w| w.starves_in_fault(|| access(&w.space, LARGE));
    }
}

fn faulting(rows: &mut Vec<Row>) {
    provoke! { rows, "Space::fault",
        "the page cannot be read from swap" => |w| {
            let device = std::sync::Arc::new(MemoryDevice::new(64, P as usize));
            w.vm.swap_on(Handle(device.clone()), 0).expect("an area");
            w.space.advise(B, P, Advice::PageOut).expect("mapped");
            device.fail_reads(FailurePlan::From(0));
            w.fails(|| w.space.fault(B, Access::Read))
        };
        "a stack grows there, and does not allow it" => |w| {
            w.put_stack(FAR, P, R);
            w.partly("the stack has grown", || w.space.fault(FAR - 1, Access::Write))
        };
        "the space's group is at its limit" => |w| {
            let group = w.vm.create_group(0).expect("memory");
            let space = group.create_space().expect("memory");
            space.map(&MapRequest::anonymous(P, RW).at(Place::Fixed(FAR))).expect("memory");
            w.fails_in(&[&space], || space.fault(FAR, Access::Write))
        };
    }
}

/// A range that ends where nothing is mapped.
fn pieces(
    rows: &mut Vec<Row>,
    call: &'static str,
    done: &'static str,
    access: fn(&Space<'_, M>, u64, u64) -> Result<(), FaultError>,
) {
    provoke! { rows, call,
        "nothing is mapped at the end of the range" => |w| {
            w.space.unmap(B + 2 * P, 2 * P).expect("mapped");
            w.partly(done, || access(&w.space, B + P, P + 1))
        };
    }
}

fn words(rows: &mut Vec<Row>) {
    let load: fn(&Space<'_, M>, u64) -> Result<(), WordError> =
        |space, address| space.load_word::<u64>(address).map(|_| ());
    let add: fn(&Space<'_, M>, u64) -> Result<(), WordError> =
        |space, address| space.update_word(address, Modify::Add(1u64)).map(|_| ());
    provoke! { rows, "Space::load_word",
        "the address is not aligned to the word's size" => |w| w.fails(|| load(&w.space, B + 4));
    }
    faults(rows, "Space::load_word", load);
    provoke! { rows, "Space::update_word",
        "the address is not aligned to the word's size" => |w| w.fails(|| add(&w.space, B + 4));
    }
    faults(rows, "Space::update_word", add);
}
