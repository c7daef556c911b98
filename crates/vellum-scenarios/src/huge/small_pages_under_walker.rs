//! C12, the case of source thread 003: somebody without a lock has a pointer to the slot where a huge page is; the page
//! is discarded, and small pages are faulted in. What he reads there now is a table. On a processor that broadcasts its
//! flushes no interrupt holds the discard up until he is through; here none has to, on any: he looks at what he reads,
//! and when he has a reference, once more from the root on.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C12",
    title: "small pages come where a huge one was, under a lookup",
    thread: "S4",
    guards: &[Guard::TranslateRecheck],
    alike: true,
    invariants: &["I-REF", "I-TLBFREE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    further: Some(Bound { preemptions: 2, surprises: 0 }),
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.use_small_pages();
    },
    actors: &[
        actor("DONTNEED, faults", |cpu| {
            cpu.dont_need(X, LEAF);
            cpu.store(X, 8);
            cpu.store(Y, 9);
        }),
        actor("device", |cpu| {
            let read = cpu.read_by_device(Y);
            cpu.expect(matches!(read, None | Some(0 | 9)), "I-REF", "what is held is not the page");
        }),
    ],
    ..Scenario::DEFAULT
};
