//! C14: a huge page is being moved, and its entry says so, while a part of it is stored to, and another unmapped, for
//! which a table comes in its place. Who cuts it must not take that entry for one of a page: it shows none. Here what
//! an entry says that shows no page is a value of its own (`Absent`), so that no frame can be made up of its bits; and
//! what can be forgotten is the other half: that there is a folio all the same. Its one mapping becomes as many as the
//! table has entries, each of which says that its page is being moved. If they are not counted, the first that gets its
//! page takes the only mapping that is known of, and the old frame is freed while the others name it.

use crate::programs::huge_page;
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C14",
    title: "a huge page that is being moved is cut",
    thread: "S4",
    guards: &[Guard::MovingCutCounted],
    invariants: &["I-COUNT"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: huge_page,
    actors: &[
        actor("munmap", |cpu| {
            cpu.store(X, 2);
            cpu.unmap(Y, 1);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 4, 1);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
