//! E3: swap is switched off, and its pages are brought back without a fault. They need their tags all the same: here
//! every way back from swap is the same.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E3",
    title: "swapoff maps a page without its tags",
    thread: "S3",
    guards: &[Guard::TagsRestored],
    alike: true,
    invariants: &["I-TAG"],
    start: |cpu| {
        cpu.map_tagged(X, 1, Prot::ReadWrite);
        cpu.set_tag(X, 5);
        cpu.swap_on(1);
        cpu.page_out(X, 1);
    },
    actors: &[
        actor("swapoff", |cpu| {
            cpu.swap_off();
        }),
        actor("user", |cpu| {
            cpu.load_tagged(X, 5);
        }),
    ],
    ..Scenario::DEFAULT
};
