//! E20, beside the end of a process: it is not looked for any more, and its entries still name slots.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20E",
    title: "swapoff beside the end of a process gives up",
    guards: &[Guard::SlotChangeWakes],
    invariants: &["I-PROG", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        cpu.switch_away();
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.switch_away();
            cpu.swap_off();
        }),
        actor("exit", |cpu| {
            cpu.switch_away();
            cpu.exit(Process(0));
        }),
    ],
    ..Scenario::DEFAULT
};
