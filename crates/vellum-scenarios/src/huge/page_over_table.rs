//! G2HT: a store has cleared a huge page, and another has made a table in the place, for a small one. That the entry is
//! as planned is not that there is no page: the table would be lost, with what it shows.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2HT",
    title: "a huge page is installed over a table",
    thread: "S4",
    guards: &[Guard::Recheck],
    invariants: &["I-LOST", "I-TLBPERM", "I-BBM", "I-REF", "I-COUNT", "I-PTFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("store", |cpu| {
            cpu.store(X, 1);
            cpu.load(Y);
        }),
        actor("another", |cpu| {
            cpu.use_small_pages();
            cpu.store(Y, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
