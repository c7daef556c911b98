//! F15: a file is truncated within a page, and grows again without a word to the core. What was cut off
//! is zero from then on.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F15C",
    title: "what truncation cut within a page comes back",
    guards: &[Guard::TailCut],
    alike: true,
    invariants: &["I-GONE"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store_last(X, 7);
    },
    actors: &[actor("ftruncate", |cpu| {
        cpu.truncate_within(0);
        cpu.grow_untold(1);
        let last = cpu.load_last(X);
        cpu.expect(last == Some(0), "I-GONE", "what was cut off is there again");
    }), actor("move_pages, pageout", |cpu| {
        cpu.migrate(X, 1, 1);
        cpu.page_out(X, 1);
    })],
    ..Scenario::DEFAULT
};
