//! F15, in one sequence: a file is truncated within a page, and grows again. What was cut off is zero from then on;
//! here it is back, as the core knows of whole pages only.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F15C",
    title: "what truncation cut within a page comes back",
    known: Some(Known { fault: "D6: the end of a file is known in pages only", breaks: |_| true }),
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, 1, Prot::ReadWrite, 0);
        cpu.store_last(X, 7);
    },
    actors: &[actor("ftruncate", |cpu| {
        cpu.truncate_within(0);
        cpu.grow(1);
        let last = cpu.load_last(X);
        cpu.expect(last == Some(0), "I-GONE", "what was cut off is there again");
    })],
    ..Scenario::DEFAULT
};
