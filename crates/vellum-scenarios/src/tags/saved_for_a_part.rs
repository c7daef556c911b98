//! E10: a huge page goes to swap, with a slot for each of its pages. The tags of the first ones are saved, and then
//! there is no memory for those of the next: all pages come back, and the slots are given up. The tags that were saved
//! go with their slots; if they stayed, memory would be lost, and whoever gets such a slot would inherit them.

use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Prot, Scenario, X, actor};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "E10",
    title: "tags of a folio are saved for a part of it",
    thread: "S3",
    guards: &[Guard::FolioTagsFreed],
    invariants: &["I-SLOT", "I-TAG"],
    failures: true,
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map_tagged(X, LEAF, Prot::ReadWrite);
        for page in 0..4 {
            cpu.set_tag(At(0, page), 5 + page);
        }
        cpu.swap_on(8);
    },
    actors: &[
        actor("page-out", |cpu| {
            cpu.page_out(X, 4);
        }),
        actor("user", |cpu| {
            cpu.load_tagged(At(0, 2), 7);
        }),
    ],
    end: |cpu| {
        for page in 0..4 {
            cpu.load_tagged(At(0, page), 5 + page);
        }
    },
    ..Scenario::DEFAULT
};
