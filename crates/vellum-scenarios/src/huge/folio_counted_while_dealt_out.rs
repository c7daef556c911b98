//! C16: a folio's counts are dealt out to its pages while a device takes a reference to it. The counts that the head
//! gets then know nothing of the reference: the page is freed while the device has it. So nobody can take one
//! meanwhile.

use vellum::Guard;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C16",
    title: "a reference is taken while a folio's counts are dealt out",
    thread: "S4",
    guards: &[Guard::SplitFrozen],
    invariants: &["I-COUNT", "I-REF", "I-LOST", "I-UAF"],
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.swap_on(8);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.write_by_device(X, 2);
        }),
        actor("reclaim", |cpu| {
            // A part of it, so that it is split.
            cpu.page_out(X, 3);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
