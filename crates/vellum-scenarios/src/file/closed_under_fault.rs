//! G7: a fault finds in a mapping which file it shows, without a reference to the file. The mapping goes, and with it
//! the last reference; the fault then looks for the page in a file that is no more. The file's memory waits for a
//! grace period.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G7",
    title: "a file is freed under a fault in its mapping",
    thread: "S2",
    guards: &[Guard::GracePeriod],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    invariants: &["I-PTFREE"],
    start: |cpu| {
        cpu.map_file(X, 1, Prot::Read, 0);
        cpu.close_file();
    },
    actors: &[
        actor("munmap", |cpu| {
            cpu.unmap(X, 1);
        }),
        actor("fault", |cpu| {
            cpu.load(X);
        }),
    ],
    ..Scenario::DEFAULT
};
