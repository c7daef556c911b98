//! I6: a user has given a page up. Reclaim takes it out of its entry, finds it clean, and drops it; a device has got a
//! reference to it before, and stores to it. The store is the user's. So the entry goes first, then the references are
//! counted, against the device, which takes a reference first and then looks at the entry again.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I6",
    title: "a page is dropped that a device stores to",
    thread: "S5",
    guards: &[Guard::LazyFreeCounted],
    // Else a page that could be stored to without a walk counts as stored to, and is not dropped.
    breaks: |mode| mode.semantics.clean_store_rewalks,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.give_up(X, 1);
    },
    actors: &[
        actor("reclaim", |cpu| {
            cpu.page_out(X, 1);
        }),
        actor("device", |cpu| {
            cpu.transfer_to(X, 5);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
