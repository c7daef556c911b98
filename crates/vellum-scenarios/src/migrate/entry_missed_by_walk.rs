//! F4: the walk that ends a migration looks at a page's first place, where it is not; mremap moves the entry there
//! from the second place; the walk looks at that. The entry says for ever that the page is being moved, from a frame
//! that is free.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Z, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F4",
    title: "a reverse-mapping walk misses an entry that is being moved",
    guards: &[Guard::MoveSeen],
    alike: true,
    invariants: &["I-RMAP", "I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        // The walk looks at where a page was made, then at where such pages were moved to.
        cpu.remap(X, 1, Z);
    },
    actors: &[
        actor("mremap back", |cpu| {
            cpu.remap(Z, 1, X);
        }),
        // The recount at the end finds entries that say a page is being moved.
        actor("move_pages", |cpu| {
            cpu.migrate(Z, 1, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
