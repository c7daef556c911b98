//! C1: mprotect of a huge page beside somebody who looks it up without a lock, where once a discard was: if the entry
//! is taken out to be changed, and put back, he finds that nothing is there, and goes away. Here it is changed where it
//! stands.

use crate::programs::huge_page;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C1",
    title: "a huge page is nowhere while its rights change",
    thread: "S4",
    guards: &[Guard::ChangedInPlace],
    alike: true,
    invariants: &["I-ACCESS"],
    start: huge_page,
    actors: &[
        actor("mprotect", |cpu| {
            cpu.protect(X, LEAF, Prot::Read);
        }),
        actor("device", |cpu| {
            let read = cpu.read_by_device(X);
            cpu.expect(read == Some(1), "I-ACCESS", "nothing is found where a page is all the time");
        }),
    ],
    end: |cpu| cpu.expect(cpu.huge_pages() == 1, "I-COUNT", "the huge page was split"),
    ..Scenario::DEFAULT
};
