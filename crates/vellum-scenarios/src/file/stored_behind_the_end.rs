//! F15, in one sequence: a store goes to the file's last page, behind its end, where it belongs to nothing. Then the
//! file grows, and has it: zero is what a file grows by.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F15S",
    title: "a store behind the end becomes the file's when it grows",
    known: Some(Known { fault: "D6: nothing tells the core that a file has grown", breaks: |_| true }),
    invariants: &["I-GONE"],
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
    })],
    ..Scenario::DEFAULT
};
