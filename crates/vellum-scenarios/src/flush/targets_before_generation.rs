//! J8: a flusher looks who the targets are before it increments the generation. A CPU that switches in between is not
//! among them, and still finds the old generation.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J8",
    title: "a flusher reads the targets before the generation is new",
    guards: &[Guard::GenerationFirst],
    alike: true,
    invariants: &["I-GEN", "I-TLBFREE"],
    ..programs::SWITCH_BESIDE_FLUSH
};
