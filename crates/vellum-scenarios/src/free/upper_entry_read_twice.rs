//! B20: a walker reads an entry twice, once to see whether it names a table and once to go there. In between the table
//! is given back, and the walker goes where the empty entry points.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B20",
    title: "an upper entry is read twice",
    guards: &[Guard::SingleRead],
    invariants: &["I-PTFREE"],
    ..programs::EMPTIED_BESIDE_FAULT
};
