//! F15: a store goes to the file's last page, behind its end, where it belongs to nothing. Then the
//! file grows, and has it: zero is what a file grows by.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F15S",
    title: "a store behind the end becomes the file's when it grows",
    guards: &[Guard::TailClearedBeforeGrowth],
    invariants: &["I-GONE"],
    nodes: 2,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.end_file_within(0);
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
    },
    actors: &[actor("user", |cpu| {
        cpu.store_last(X, 9);
        cpu.grow(1);
        let last = cpu.load_last(X);
        cpu.expect(last == Some(0), "I-GONE", "a file grows by something else than zeroes");
    }), actor("move_pages, pageout", |cpu| {
        cpu.migrate(X, 1, 1);
        cpu.page_out(X, 1);
    })],
    ..Scenario::DEFAULT
};
