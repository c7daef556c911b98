//! F15: the last page of a file is read, which it fills in part; what comes behind the end means nothing. The file
//! grows. If the core asks for the length only after the read, it finds the page full, and shows what came.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "F15",
    title: "a file grows while its last page is read",
    guards: &[Guard::LengthBeforeRead],
    invariants: &["I-GONE"],
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
            cpu.grow_untold(1);
        }),
    ],
    ..Scenario::DEFAULT
};
