//! Schedules without what they do not need.
//!
//! What a search finds has decisions that do not matter to what breaks: who went first, a CPU that others overtook in
//! vain. They are left out, one after the other, as long as the same invariant breaks. A decision's step is counted
//! over all CPUs and moves when another is left out; so they are tried by the steps of the CPU that takes them.

use super::choice::{Choice, ChoiceKind, Strategy};
use super::replay::Replay;
use super::schedule::{OwnDecision, OwnPlace, Schedule};
use super::search::{self, Plan};
use super::sim::Sim;
use super::{Broken, Program};
use std::sync::Arc;

/// Executions that are run for one schedule, at most.
const REPLAYS_MAX: u32 = 400;

/// The schedule that is left of `schedule` when decisions that are not needed to break `invariant` are left out, or
/// taken in favour of a smaller alternative, and delays that are not needed; and what it breaks. `plan` says under what
/// the schedule was found, whichever way. An `Err` says that `schedule` itself does not break it.
pub fn minimise(
    program: Arc<dyn Program>,
    plan: &Plan,
    schedule: &Schedule,
    invariant: &str,
) -> Result<(Broken, Schedule), String> {
    let mut search = Search { program, plan, invariant, replays: 0 };
    let mut best = search.replay(schedule)?.ok_or_else(|| format!("{schedule} does not break {invariant}"))?;
    loop {
        let before = best.size();
        search.leave_delays_out(&mut best);
        search.leave_decisions_out(&mut best);
        search.take_smaller(&mut best);
        if best.size() == before {
            return Ok((best.broken, best.schedule));
        }
    }
}

struct Search<'a> {
    program: Arc<dyn Program>,
    plan: &'a Plan,
    invariant: &'a str,
    replays: u32,
}

/// An execution that breaks the invariant.
struct Found {
    broken: Broken,
    schedule: Schedule,
    /// The decisions of the schedule, by the places of their CPUs.
    decisions: Vec<OwnDecision>,
}

impl Found {
    /// What is made smaller: decisions, what they decide, delayed words.
    fn size(&self) -> (usize, u32, usize) {
        let options = self.schedule.decisions.iter().map(|decision| u32::from(decision.option)).sum();
        (self.schedule.decisions.len(), options, self.schedule.delayed.len())
    }
}

impl Search<'_> {
    /// Without all delays, or without one.
    fn leave_delays_out(&mut self, best: &mut Found) {
        let without_all = Schedule { delayed: Vec::new(), ..best.schedule.clone() };
        if best.schedule.delayed.is_empty() || self.accept(best, &without_all) {
            return;
        }
        for index in (0..best.schedule.delayed.len()).rev() {
            let mut fewer = best.schedule.clone();
            // Words are left out of what was accepted last.
            if index < fewer.delayed.len() {
                fewer.delayed.remove(index);
                self.accept(best, &fewer);
            }
        }
    }

    /// Without many decisions at first, in the end without one: the last ones first, which are the most likely to be
    /// about what happened after the damage was done.
    fn leave_decisions_out(&mut self, best: &mut Found) {
        let mut count = best.decisions.len().div_ceil(2);
        while count > 0 {
            let mut end = best.decisions.len();
            while end > 0 {
                let mut fewer = best.decisions.clone();
                fewer.drain(end.saturating_sub(count)..end);
                self.attempt(best, fewer);
                end = end.saturating_sub(count).min(best.decisions.len());
            }
            count /= 2;
        }
    }

    /// With another alternative, which comes before the one taken.
    fn take_smaller(&mut self, best: &mut Found) {
        for index in 0..best.decisions.len() {
            for option in 1..best.decisions.get(index).map_or(0, |decision| decision.option) {
                let mut smaller = best.decisions.clone();
                (smaller[index].option, smaller[index].goes_on) = (option, None);
                if self.attempt(best, smaller) {
                    break;
                }
            }
        }
    }

    /// Tries `decisions`, as far as there are such choices.
    fn attempt(&mut self, best: &mut Found, decisions: Vec<OwnDecision>) -> bool {
        let strategy = Box::new(Similar { decisions, begun: false });
        match self.run(strategy, &best.schedule.delayed) {
            Ok(Some(found)) => self.accept(best, &found.schedule),
            _ => false,
        }
    }

    /// Takes `schedule` for the best if it leads to a violation again, and is smaller.
    fn accept(&mut self, best: &mut Found, schedule: &Schedule) -> bool {
        match self.replay(schedule) {
            Ok(Some(found)) if found.size() < best.size() => *best = found,
            _ => return false,
        }
        true
    }

    /// What `schedule` leads to, if it breaks the invariant.
    fn replay(&mut self, schedule: &Schedule) -> Result<Option<Found>, String> {
        self.run(Box::new(Replay::new(schedule)), &schedule.delayed)
    }

    fn run(&mut self, strategy: Box<dyn Strategy>, delayed: &[u64]) -> Result<Option<Found>, String> {
        self.replays += 1;
        if self.replays > REPLAYS_MAX {
            return Ok(None);
        }
        let mut sim: Box<Sim> = search::sim_of(&Plan { time: None, twice: false, ..self.plan.clone() }, strategy);
        sim.replay_delayed = Some(delayed.to_vec());
        let state = search::run(self.program.clone(), self.plan, sim)?;
        let broken = state.broken.clone().filter(|broken| broken.invariant == self.invariant);
        let (schedule, decisions) = (state.schedule.clone(), state.own_decisions.clone());
        Ok(broken.map(|broken| Found { broken, schedule, decisions }))
    }
}

/// Takes decisions at the places of their CPUs, where there are such choices.
struct Similar {
    decisions: Vec<OwnDecision>,
    begun: bool,
}

impl Strategy for Similar {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    fn choose(&mut self, choice: &Choice<'_>) -> u8 {
        let (place, ordinal) = choice.own;
        let is_this = |decision: &&OwnDecision| {
            (decision.place, decision.kind, decision.ordinal) == (place, choice.place.kind, ordinal)
        };
        let Some(decision) = self.decisions.iter().find(is_this) else { return 0 };
        let option = match decision.goes_on.filter(|_| decision.kind == ChoiceKind::Cpu) {
            Some(cpu) => choice.cpus.iter().position(|&other| other == cpu).map(|option| option as u8),
            None => Some(decision.option),
        };
        option.filter(|&option| option < choice.options).unwrap_or(0)
    }

    fn has_wishes(&self) -> bool {
        true
    }

    fn wants(&self, _step: u32, own: OwnPlace) -> bool {
        self.decisions.iter().any(|decision| decision.place == own)
    }
}
