//! E20, beside a page-out: it has counted a slot of the area as used before the area went off, and has not unmapped the
//! page yet. (Did it count only after it has asked whether the area is on, swapoff would take the area apart
//! meanwhile.)

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20P",
    title: "swapoff beside a page-out gives up",
    guards: &[Guard::SlotChangeWakes],
    invariants: &["I-PROG", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.swap_off();
            // In the place of the first: what is left of that would be taken for this one's.
            cpu.swap_on(1);
        }),
        actor("page-out", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
