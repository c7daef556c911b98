//! J1: a CPU enters a space's set of targets with a plain store, which waits in its store buffer while the CPU reads
//! the generation. A flusher in between sees neither: the CPU keeps what it had cached of the space.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::{Mode, Scenario};

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "J1",
    title: "a switch becomes visible after it has read the generation",
    guards: &[Guard::TargetBarrier],
    alike: true,
    breaks: Mode::is_tso,
    invariants: &["I-GEN", "I-TLBFREE"],
    ..programs::SWITCH_BESIDE_FLUSH
};
