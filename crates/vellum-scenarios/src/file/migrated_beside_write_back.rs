//! B22, beside migration: a page of a file is replaced in the cache, as one whose contents are not there yet, and then
//! copied. A write-back that takes it for a page that is just being read passes it by, and returns before the file has
//! what was stored.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22N",
    title: "write-back does not wait for what is being moved",
    thread: "S1",
    guards: &[Guard::TransitAwaited],
    alike: true,
    invariants: &["I-DIRTY"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 2, Prot::ReadWrite, 0);
        cpu.store(X, 7);
        cpu.store(Y, 8);
    },
    actors: &[
        actor("move_pages", |cpu| {
            cpu.migrate(X, 2, 1);
        }),
        actor("fsync", |cpu| {
            // May wait until the first page is there; then the second is on its way.
            cpu.load(X);
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
