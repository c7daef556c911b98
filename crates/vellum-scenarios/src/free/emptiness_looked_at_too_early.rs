//! B15: whether a table is empty is looked up before its lock is taken, and a fault puts a page there in between. The
//! page goes with the table: its contents are lost, and its frame leaks.

use crate::programs;
use vellum::Guard;
use vellum_lab::scenario::Scenario;

pub(crate) static SCENARIO: Scenario = Scenario {
    id: "B15",
    title: "a table found empty is not when it is unlinked",
    guards: &[Guard::EmptyUnderLock],
    invariants: &["I-TLBPERM", "I-COUNT"],
    ..programs::EMPTIED_BESIDE_FAULT
};
