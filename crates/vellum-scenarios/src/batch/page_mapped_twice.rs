//! A17, of one page in two places: a page of a file is moved, which is mapped twice in one leaf. Its entries are found
//! in the order in which the mappings were made, the later first; what is owed must cover the lower place, too.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A17M",
    title: "a batch flushes one of a page's two places",
    thread: "S1",
    guards: &[Guard::BatchWidened],
    invariants: &["I-TLBFREE"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::Read, 0);
        cpu.map_file(Y, 1, Prot::Read, 0);
        cpu.load(X);
        cpu.load(Y);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
            cpu.load(Y);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(Y, 1, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
