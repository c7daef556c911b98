//! F17, of an entry on the move: who makes the hole goes through the places where the file is shown, and before it
//! comes to one, its pages move to a place that it has passed by. Hence a move leaves behind what a hole is made of.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F17R",
    title: "a moved mapping keeps a page in a hole",
    guards: &[Guard::HoleLeftBehind],
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        cpu.map_file(Z, 1, Prot::ReadWrite, 0);
        cpu.store(Z, 1);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(Z, 1, X);
        }),
        actor("hole", |cpu| {
            // The move's flush is not to interrupt it: less to search.
            cpu.switch_away();
            cpu.punch(0, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(0), "I-GONE", "what was stored before the hole was made"),
    ..Scenario::DEFAULT
};
