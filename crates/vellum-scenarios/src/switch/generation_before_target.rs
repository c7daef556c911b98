//! J2: a CPU reads the generation from which it starts before it is a target. A flush in between skips it, and the CPU
//! takes what it has cached for as new as that generation.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J2",
    title: "a switch reads the generation before it is a target",
    guards: &[Guard::TargetFirst],
    alike: true,
    invariants: &["I-GEN", "I-TLBFREE"],
    ..programs::SWITCH_BESIDE_FLUSH
};
