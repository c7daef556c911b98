//! A4, with a leaf that is given back: DONTNEED of one page finds that the leaf is empty, since reclaim has taken the
//! other out of it, and unlinks it. Who unmaps the other page now does not see this leaf, which says that a flush is
//! owed. So whoever unlinks a leaf pays what is owed to all of it.

use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "A4T",
    title: "a leaf is unlinked which a batch still owes a flush",
    thread: "S1",
    guards: &[Guard::SettledByFold],
    alike: true,
    invariants: &["I-GONE"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.map_file(X, LEAF, Prot::Read, 0);
        cpu.load(X);
    },
    actors: &[
        actor("DONTNEED, munmap, user", |cpu| {
            cpu.dont_need(Y, 1);
            let is_done = cpu.unmap(X, 1);
            cpu.expect(!is_done || cpu.load(X).is_none(), "I-GONE", "the page is still there after munmap");
        }),
        actor("pageout", |cpu| {
            // So that DONTNEED's own flush is not waited for here.
            cpu.switch_away();
            cpu.page_out(X, 1);
        }),
    ],
    ..Scenario::DEFAULT
};
