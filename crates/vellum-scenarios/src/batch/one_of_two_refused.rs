//! A18: two dirty pages are put out with one flush, and the device refuses one of them. What is written before the
//! flush lacks what a CPU stores through a translation that it still has; and the refused page is put back, where it
//! must count as stored to as it did before, or the next round drops it.

use vellum_lab::scenario::{Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A18",
    title: "of two dirty pages one is refused by the device",
    thread: "S1",
    guards: &[Guard::FlushBeforeWrite, Guard::RefusedStaysDirty],
    alike: true,
    invariants: &["I-LOST", "I-SLOT"],
    start: |cpu| {
        cpu.swap_on(4);
        cpu.map(X, 2, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.store(Y, 1);
        cpu.refuse_write_after(1);
    },
    actors: &[
        actor("user", |cpu| {
            cpu.store(X, 2);
        }),
        actor("pageout", |cpu| {
            cpu.page_out(X, 2);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
