//! B24: the kernel adds to a futex's word while the page is moved to another node: the sum must be at the new place.

use vellum_lab::scenario::{Prot, Scenario, X, actor};
use vellum::Guard;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B24A",
    title: "an atomic change of a word is left behind by a move",
    guards: &[Guard::ReachedUnderLock],
    alike: true,
    invariants: &["I-LOST"],
    nodes: 2,
    start: |cpu| {
        cpu.map(X, 1, Prot::ReadWrite);
        cpu.store(X, 1);
    },
    actors: &[
        actor("futex(2)", |cpu| {
            cpu.add_to_word(X, 1);
        }),
        actor("move_pages", |cpu| {
            cpu.migrate(X, 1, 1);
        }),
    ],
    end: |cpu| {
        let word = cpu.load(X);
        cpu.expect_if_done(word == Some(2), "I-LOST", "the word lacks what was added");
    },
    ..Scenario::DEFAULT
};
