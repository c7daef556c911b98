//! G1: the fault handler descends without a lock, as a speculative fault does, and the table it has reached is freed.
//! Its lock and its classes are in the table's descriptor, so even to find out that the table is gone it must be there.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "G1",
    title: "a fault reads a table that has been freed",
    thread: "S2",
    guards: &[Guard::GracePeriod],
    invariants: &["I-PTFREE"],
    ..programs::EMPTIED_BESIDE_FAULT
};
