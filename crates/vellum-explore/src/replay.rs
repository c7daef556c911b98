//! One execution again.

use super::choice::{Choice, Strategy};
use super::schedule::{Decision, OwnPlace, Schedule};

/// Takes the decisions of a schedule, once.
pub(crate) struct Replay {
    decisions: Vec<Decision>,
    next: usize,
    begun: bool,
    failure: Option<String>,
}

impl Replay {
    pub(crate) fn new(schedule: &Schedule) -> Replay {
        Replay { decisions: schedule.decisions.clone(), next: 0, begun: false, failure: None }
    }
}

impl Strategy for Replay {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn choose(&mut self, choice: &Choice<'_>) -> u8 {
        let Some(&Decision { place, option }) = self.decisions.get(self.next) else { return 0 };
        if place != choice.place && place.step >= choice.place.step {
            return 0;
        }
        self.next += 1;
        if place != choice.place || option >= choice.options {
            self.failure
                .get_or_insert(format!("the schedule does not fit: there is no such choice as {place}>{option}"));
            return 0;
        }
        option
    }

    fn has_wishes(&self) -> bool {
        true
    }

    fn wants(&self, step: u32, _own: OwnPlace) -> bool {
        self.decisions.get(self.next).is_some_and(|decision| decision.place.step == step)
    }

    fn failure(&self) -> Option<String> {
        let left = self.next < self.decisions.len();
        self.failure.clone().or_else(|| left.then(|| "the schedule goes on after the execution's end".into()))
    }
}
