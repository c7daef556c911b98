//! C4S: the same where the entry says for a while that the page is being split: what the processor has noted up to that moment
//! comes back from the exchange.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C4S",
    title: "a huge page's dirty bit is lost when its entry becomes none",
    thread: "S4",
    guards: &[Guard::ChangeRepeated],
    invariants: &["I-DIRTY"],
    breaks: |mode| mode.semantics.hardware_dirty && mode.semantics.mixed_sizes_fault,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.forget_use(X);
    },
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(At(0, 2), 1, Prot::Read);
        }),
        actor("user", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    end: |cpu| cpu.expect_dirty(Y),
    ..Scenario::DEFAULT
};
