//! C11: who looks an address up without a lock has found that the entry is no table, and reads it once more to use it:
//! by then it is one, and names the table, not the page. (Who takes a reference looks again, and finds out.)

use crate::programs::protect_part;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C11",
    title: "a lookup takes the table of a split for a page",
    thread: "S4",
    guards: &[Guard::TableSeen],
    invariants: &["I-REF"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.note(0, cpu.translate(X).unwrap_or(0));
    },
    actors: &[
        actor("mprotect", protect_part),
        actor("lookup", |cpu| {
            let frame = cpu.translate(X);
            cpu.expect(frame == Some(cpu.noted(0)), "I-REF", "another frame is found than that of the page");
        }),
    ],
    ..Scenario::DEFAULT
};
