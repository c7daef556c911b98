//! E20D, as E20U: the only entry that says that a page is in swap is in a leaf that munmap has taken out of the tree.
//! The slot is in use until that is emptied, which who switches the area off waits for.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, TWO_LEAVES, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20D",
    title: "swapoff gives up what a detached leaf says is in swap",
    guards: &[Guard::SlotChangeWakes],
    alike: true,
    invariants: &["I-PROG", "I-ACCESS"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, TWO_LEAVES, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
        actor("munmap", |cpu| {
            cpu.unmap(X, TWO_LEAVES);
        }),
    ],
    ..Scenario::DEFAULT
};
