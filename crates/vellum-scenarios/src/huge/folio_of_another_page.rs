//! C16, of a page that is not the first: a device has found of which folio the page is, the folio is split, and then it
//! takes a reference: to the first page. The page's entry shows the same as before. So whoever has a reference asks
//! again of which folio the page is.

use vellum::Guard;
use vellum_lab::scenario::{At, LEAF, Process, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C16H",
    title: "a reference to a folio is one to another page",
    thread: "S4",
    guards: &[Guard::FolioAskedAgain],
    invariants: &["I-COUNT", "I-REF", "I-LOST", "I-UAF"],
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(Y, 1);
        cpu.swap_on(8);
        // No flush goes to the device.
        cpu.switch_away();
    },
    actors: &[
        actor("device", |cpu| {
            cpu.write_by_device(Y, 2);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(At(0, 2), 1);
        }),
    ],
    end: |cpu| {
        cpu.switch_to(Process(0));
        cpu.load(Y);
    },
    ..Scenario::DEFAULT
};
