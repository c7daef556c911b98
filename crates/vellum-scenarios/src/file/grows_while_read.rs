//! F15: the last page of a file is read, which it fills in part; what comes behind the end means nothing. The file
//! grows. The core asks for the length only after the read, finds the page full, and shows what came.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Known, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F15",
    title: "a file grows while its last page is read",
    known: Some(Known { fault: "D6: the length is asked after the read", breaks: |_| true }),
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.end_file_within(0);
        cpu.map_file(X, 1, Prot::Read, 0);
    },
    actors: &[
        actor("reader", |cpu| {
            let last = cpu.load_last(X);
            cpu.expect(last == Some(0), "I-GONE", "what lay behind the end of the file shows");
        }),
        actor("grower", |cpu| {
            cpu.grow(1);
        }),
    ],
    ..Scenario::DEFAULT
};
