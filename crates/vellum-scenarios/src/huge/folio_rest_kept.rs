//! C18F: a part of a huge page is discarded, and the rest is put out, for which its folio is split. Nothing shows the
//! pages of that part any more: whoever deals the counts out frees them, beside who discards more of it.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{LEAF, Prot, Scenario, X, Y, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "C18F",
    title: "pages that nothing shows are kept when their folio is split",
    thread: "S4",
    guards: &[Guard::SplitRestFreed],
    alike: true,
    invariants: &["I-REF", "I-COUNT"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(X, LEAF, Prot::ReadWrite);
        cpu.store(X, 1);
        cpu.dont_need(Y, 1);
        cpu.swap_on(8);
    },
    actors: &[
        actor("madvise DONTNEED", |cpu| {
            cpu.dont_need(X, 1);
        }),
        actor("reclaim", |cpu| {
            cpu.page_out(X, 4);
        }),
    ],
    ..Scenario::DEFAULT
};
