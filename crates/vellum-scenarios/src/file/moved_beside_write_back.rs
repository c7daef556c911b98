//! B22, beside mremap: a page of a file is moved to a place which a walk for write-back has looked at before, and the
//! class that would have led the walk to the old place goes with it. The move notes with the page that it was stored
//! to; else a write-back that finds its other entry, and that clean, returns before the file has what was stored.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, X, actor};

/// A place of the page after X, and the place before it: as far from the page's own as that.
const NEXT: At = At(1, 1);
const BEFORE_NEXT: At = At(1, 0);
/// Another place of the page, in a mapping that a walk comes to first, as it is the youngest.
const SECOND: At = At(0, 2);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B22M",
    title: "write-back misses what moves to where it has looked",
    thread: "S1",
    guards: &[Guard::MovedDirtyNoted],
    alike: true,
    invariants: &["I-DIRTY"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.map_file(NEXT, 1, Prot::ReadWrite, 1);
        cpu.map_file(SECOND, 1, Prot::ReadWrite, 0);
        cpu.load(SECOND);
        cpu.store(X, 7);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(X, 1, BEFORE_NEXT);
        }),
        actor("fsync", |cpu| {
            cpu.switch_away();
            cpu.write_back();
        }),
    ],
    ..Scenario::DEFAULT
};
