//! C4: the processor notes in a huge page's entry that it was stored to, when mprotect has read the entry and not
//! written it. A plain store of the new entry forgets the note.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C4",
    title: "a huge page's dirty bit is lost by a change of rights",
    thread: "S4",
    guards: &[Guard::ChangeRepeated],
    invariants: &["I-DIRTY"],
    breaks: |mode| mode.semantics.hardware_dirty,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.forget_use(X);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, LEAF, Prot::Read);
        }),
        actor("user", |cpu| {
            if cpu.store(Y, 2) {
                cpu.note(0, 1);
            }
        }),
    ],
    end: |cpu| {
        if cpu.noted(0) == 1 {
            cpu.expect_dirty(Y);
        }
    },
    ..Scenario::DEFAULT
};
