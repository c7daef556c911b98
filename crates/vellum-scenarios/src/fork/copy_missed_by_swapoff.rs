//! E16: swapoff looks for entries in one process after the other. A fork copies an entry to a child where it has been
//! already: it must look again, until no slot is in use.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E16",
    title: "swapoff misses an entry that fork copies",
    guards: &[Guard::SwapOffRepeats],
    alike: true,
    invariants: &["I-ACCESS", "I-SLOT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("fork", |cpu| {
            cpu.fork();
        }),
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
    ],
    ..Scenario::DEFAULT
};
