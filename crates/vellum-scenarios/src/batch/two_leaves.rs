//! A17, of two leaves: the batch notes what it owes in the first of them alone. mprotect of the page in the second
//! finds the entry gone and no note, and returns without a flush: the program can still store to it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, Prot, Scenario, Z, actor};
use vellum::Guard;

/// The page before `Z`, the last of the other leaf.
const LAST: At = At(0, 3);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A17L",
    title: "a batch notes what it owes in its first leaf only",
    thread: "S1",
    guards: &[Guard::EachLeafNoted],
    alike: true,
    invariants: &["I-TLBPERM"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(LAST, 2, Prot::ReadWrite);
        cpu.store(LAST, 1);
        cpu.store(Z, 1);
    },
    actors: &[
        actor("mprotect, user", |cpu| {
            cpu.protect(Z, 1, Prot::Read);
            let is_stored = cpu.store(Z, 2);
            cpu.expect_if_done(!is_stored, "I-TLBPERM", "a store after mprotect has taken the right to it");
        }),
        actor("pageout", |cpu| {
            cpu.page_out(LAST, 2);
        }),
    ],
    ..Scenario::DEFAULT
};
