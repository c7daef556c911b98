//! B9F: fork copies table by table. It has passed the place to which a huge page moves before that, and comes to where
//! it was after: the child has it at neither. So fork excludes moves, as it does all range operations.

use crate::programs::{CHILD, fork_noted};
use vellum::Guard;
use vellum_lab::explore::Bound;
use vellum_lab::scenario::{At, LEAF, Mode, Process, Prot, Scenario, X, actor};

/// In the place of another upper table, which fork copies later.
const OLD: At = At(11, 0);

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B9F",
    title: "fork passes by a huge page that moves",
    thread: "S4",
    guards: &[Guard::ForkUnderClaim],
    // Elsewhere both places are in one table, which is copied at one moment.
    runs: |mode| Mode::TOYS.contains(&mode),
    alike: true,
    invariants: &["I-COW", "I-LOST", "I-COUNT", "I-REF", "I-VMA"],
    bound: Bound { preemptions: 1, surprises: 1 },
    start: |cpu| {
        cpu.use_huge_pages();
        cpu.map(OLD, LEAF, Prot::ReadWrite);
        cpu.store(OLD, 1);
    },
    actors: &[
        actor("mremap", |cpu| {
            cpu.remap(OLD, LEAF, X);
        }),
        actor("fork", fork_noted),
    ],
    end: |cpu| {
        if cpu.noted(CHILD) == 0 {
            return;
        }
        cpu.switch_to(Process(cpu.noted(CHILD) as usize));
        let loaded = [X, OLD].map(|at| cpu.load(at));
        let has_it = loaded.iter().filter(|&&word| word == Some(1)).count() == 1;
        cpu.expect_if_done(has_it, "I-COW", "the child has what was moved at neither place, or at both");
    },
    ..Scenario::DEFAULT
};
