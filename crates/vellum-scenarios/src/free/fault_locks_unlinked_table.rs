//! B16: a fault finds a table, waits for its lock, and gets it when the table has been unlinked. The table is still
//! readable, as it waits for its grace period; but a page put there is lost.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B16",
    title: "a fault locks a table that has been unlinked",
    guards: &[Guard::StaleCheck],
    invariants: &["I-COUNT"],
    ..programs::EMPTIED_BESIDE_FAULT
};
