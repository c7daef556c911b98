//! F4, of a huge page: the walk that ends a migration looks at the page's first place, where it is not; mremap moves
//! the entry of the upper table there, as a whole; the walk looks at where it was. The entry says for ever that the
//! page is being moved.

use crate::programs::huge_page;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Scenario, X, actor};

const SECOND: At = At(2, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F4H",
    title: "a reverse-mapping walk misses a huge page that is being moved",
    thread: "S4",
    guards: &[Guard::MoveSeen],
    invariants: &["I-RMAP", "I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 0 },
    start: |cpu| {
        huge_page(cpu);
        cpu.remap(X, LEAF, SECOND);
    },
    actors: &[
        actor("mremap back", |cpu| {
            cpu.remap(SECOND, LEAF, X);
        }),
        // The recount at the end finds entries that say a page is being moved.
        actor("move_pages", |cpu| {
            cpu.migrate(SECOND, 4, 1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.load(X) == Some(1), "I-LOST", "what was moved is not what was stored"),
    ..Scenario::DEFAULT
};
