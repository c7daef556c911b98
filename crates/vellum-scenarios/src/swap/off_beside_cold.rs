//! E20, beside `MADV_COLD`: somebody has the lock of a page that is in the swap cache for nobody, and changes nothing
//! of its slot. Swapoff has to wait for that lock.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E20C",
    title: "swapoff finds a page locked, and waits for another thing",
    guards: &[Guard::CachedPageAwaited],
    invariants: &["I-PROG"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
        cpu.load(X);
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
        actor("madvise", |cpu| {
            cpu.cold(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
