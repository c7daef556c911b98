//! I11: a page of a file is evicted, and leaves a stamp in its place. If it leaves first, and the stamp comes later,
//! without the cache's lock, it may come to where a fault has put the page again.

use vellum_lab::scenario::{Process, Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "I11",
    title: "the stamp of an evicted page replaces the page read again",
    thread: "S5",
    guards: &[Guard::ShadowUnderLock],
    alike: true,
    invariants: &["I-LOST", "I-REF"],
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.load(X);
        // No flush goes to the child, which has no page yet.
        cpu.fork();
        cpu.switch_to(Process(1));
    },
    actors: &[
        actor("user", |cpu| {
            cpu.load(X);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(X, 1);
        }),
    ],
    end: |cpu| {
        // The parent must get the child's page.
        cpu.store(X, 7);
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
