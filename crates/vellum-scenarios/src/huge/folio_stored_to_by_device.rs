//! C5, of the mark that a folio itself has: a device has stored to a folio that its owner had given up, and has said
//! so. When the folio is split each of its pages is as good as stored to. One that is not goes, with what the device
//! has stored.

use vellum::Guard;
use vellum_lab::scenario::{LEAF, Process, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C5F",
    title: "a folio is split and forgets that it was stored to",
    thread: "S4",
    guards: &[Guard::SplitDirtyDealt],
    breaks: |mode| mode.semantics.clean_store_rewalks,
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.give_up(X, 4);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.transfer_to(X, 5);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(X, 4);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
