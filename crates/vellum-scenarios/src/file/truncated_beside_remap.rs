//! F11, of an entry on the move: truncation goes through the places where the file is shown, and before it comes to
//! one, its pages move to a place that truncation has passed by. Hence a move leaves behind what is being cut off.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11R",
    title: "a moved mapping keeps a page that was truncated",
    guards: &[Guard::CutLeftBehind],
    alike: true,
    invariants: &["I-GONE", "I-LOST", "I-RMAP"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(Z, 1, Prot::ReadWrite, 0);
        cpu.load(Z);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(Z, 1, X);
        }),
        actor("ftruncate", |cpu| {
            // The move's flush is not to interrupt it: less to search.
            cpu.switch_away();
            cpu.truncate(0);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X).is_none(), "I-GONE", "a load beyond the end of the file"),
    ..Scenario::DEFAULT
};
