//! The explorer tests itself: litmus tests with their known outcomes, exact numbers of interleavings, reduced searches
//! against unreduced ones, seeded bugs, replays, hidden nondeterminism.

mod bugs;
mod closures;
mod counts;
mod divided;
mod interrupts;
mod litmus;
mod minimal;
mod mmu;
mod nondeterminism;
mod reference;
mod regressions;
mod replays;
mod soundness;
mod text;
mod turns;
