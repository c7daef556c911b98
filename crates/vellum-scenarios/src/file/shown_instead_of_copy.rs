//! F14: a file is truncated, and private copies beyond its end are taken away with it. The page of the file leaves the
//! cache only after that; so a load in between finds it there, and shows the file's byte where the program's own was.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F14",
    title: "the file shows through where truncation took a private copy",
    guards: &[Guard::CutUnderLock],
    invariants: &["I-LOST", "I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_private_file(X, 2, Prot::ReadWrite, 0);
        cpu.store(Y, 5);
    },
    actors: &[
        actor("ftruncate", |cpu| {
            cpu.truncate(1);
        }),
        actor("user", |cpu| {
            cpu.load(Y);
        }),
    ],
    ..Scenario::DEFAULT
};
