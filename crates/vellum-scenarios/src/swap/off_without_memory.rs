//! E20, with too little memory: swap is switched off, and memory does not take what is in it. To make room, reclaim
//! puts clean pages out to the area that is being emptied, as they have their slots there still; so pages go back and
//! forth. Swapoff says that memory is short, after it has read each page once or so.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, Y, actor};

/// Pages of swap.
const SLOTS: u64 = 8;
/// More pages than a world has free frames.
const MANY: u64 = 52;
const BEFORE: usize = 0;
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20M",
    title: "swapoff reads pages back and forth where memory is short",
    guards: &[Guard::NotPutWhereOff],
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 2);
        cpu.swap_on(SLOTS);
        cpu.page_out(X, 2);
        // As far as it goes: all memory is in use then, and all of swap.
        cpu.map(At(1, 0), MANY, Prot::ReadWrite);
        cpu.populate(At(1, 0), MANY);
        cpu.note(BEFORE, cpu.swap_reads());
    },
    actors: &[actor("swapoff", |cpu| {
        cpu.swap_off();
        let reads = cpu.swap_reads() - cpu.noted(BEFORE);
        cpu.expect(reads <= 2 * SLOTS, "I-PROG", &format!("{reads} reads to empty {SLOTS} slots"));
    })],
    end: |cpu| {
        cpu.load(X);
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
