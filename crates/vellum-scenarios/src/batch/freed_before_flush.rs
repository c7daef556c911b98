//! A3: reclaim frees a clean page that it has unmapped, and flushes afterwards. Until then a CPU reads the frame by the
//! old translation, whosever it is by then.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A3",
    title: "a reclaimed page is freed before its batch is flushed",
    thread: "S1",
    guards: &[Guard::BatchFlushBeforeFree],
    alike: true,
    invariants: &["I-TLBFREE"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.page_out(X, 1);
        // For loads alone, so that it is clean in every mode.
        cpu.protect(X, 1, Prot::Read);
        cpu.load(X);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
