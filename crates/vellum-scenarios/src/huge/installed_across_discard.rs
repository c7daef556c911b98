//! C11U: a discard of one page has claimed it, and found no huge page to split. A fault beside it installs one that
//! lies across the edge: the discard takes all of it, with what was stored to other pages. So none comes where a part
//! is claimed.

use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C11U",
    title: "a huge page comes across the edge of a discard",
    thread: "S4",
    guards: &[Guard::HugeUnclaimed],
    invariants: &["I-LOST"],
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
    },
    actors: &[
        actor("DONTNEED", |cpu| {
            cpu.dont_need(Y, 1);
        }),
        actor("fault", |cpu| {
            cpu.store(X, 1);
            cpu.load(X);
        }),
    ],
    end: |cpu| {
        cpu.load(X);
    },
    ..Scenario::DEFAULT
};
