//! G2H: two threads store to one place at once, and both have cleared a huge page for it. The second one finds under
//! the lock that there is one.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G2H",
    title: "two huge pages are installed at one place",
    thread: "S4",
    guards: &[Guard::Recheck],
    alike: true,
    invariants: &["I-LOST", "I-TLBPERM", "I-BBM", "I-REF", "I-COUNT"],
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("thread", |cpu| {
            cpu.store(X, 1);
            cpu.load(Y);
        }),
        actor("another", |cpu| {
            cpu.store(Y, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
        cpu.load(Y);
        cpu.expect_if_done(cpu.huge_pages() == 1, "I-COUNT", "there is not one huge page");
    },
    ..Scenario::DEFAULT
};
