//! F11, of write-back: it has a page in its hands that truncation takes out of the file. The file grows again, with
//! zeroes; then the page is written, and what was cut off is back.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F11W",
    title: "a page is written after it was truncated",
    guards: &[Guard::WrittenWhileOwned, Guard::TruncateAwaitsLock],
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store(X, 7);
        cpu.unmap(X, 1);
    },
    actors: &[
        actor("fsync", |cpu| {
            cpu.write_back();
        }),
        actor("ftruncate, twice", |cpu| {
            cpu.truncate(0);
            cpu.grow(1);
        }),
    ],
    end: |cpu| cpu.expect_if_done(cpu.in_backing(0) == 0, "I-GONE", "what was cut off is in the file again"),
    ..Scenario::DEFAULT
};
