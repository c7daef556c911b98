//! E15: a page is being written to its slot, whose checksum was taken just before. If a fault maps it from the swap
//! cache meanwhile, the user stores to it; and a slot may be freed that is still being written.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E15",
    title: "a page is mapped while it is being written to swap",
    guards: &[Guard::StableWhileWritten],
    alike: true,
    invariants: &["I-SLOT", "I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(1);
    },
    actors: &[
        actor("page-out", |cpu| {
            cpu.page_out(X, 1);
        }),
        actor("user", |cpu| {
            cpu.store(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.expect_if_done(cpu.load(X) == Some(2), "I-LOST", "the store is lost");
    },
    ..Scenario::DEFAULT
};
