//! Checking a scenario.

use super::{Mode, Scenario, diagram};
use crate::explore::{Bound, Broken, Detail, Happening, Outcome, Plan, Schedule, Way, minimise, search};
use std::cmp::Reverse;
use std::time::{Duration, Instant};
use vellum::Guard;

/// What to check.
#[derive(Clone)]
pub struct Check {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// On what.
    pub mode: Mode,
    /// Protections switched off.
    pub guards_off: Vec<Guard>,
    /// The bound.
    pub bound: Bound,
    /// Another one, which is searched to after that.
    pub further: Option<Bound>,
    /// The search is cut off after this time.
    pub time: Option<Duration>,
    /// Allocations may fail, too.
    pub allocations_fail: bool,
    /// Host threads to search on; what is found does not depend on it.
    pub threads: usize,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Executions run.
    pub schedules: u64,
    /// Every execution within the bound was run.
    pub exhaustive: bool,
    /// What broke, and the schedule that leads to it, without what is not needed for that.
    pub violation: Option<(Broken, Schedule)>,
    /// How long it took.
    pub seconds: f64,
}

impl Check {
    /// A check of `scenario` in `mode` with every protection on, to the scenario's bound.
    pub fn new(scenario: &'static Scenario, mode: Mode) -> Check {
        let Scenario { bound, further, .. } = *scenario;
        let allocations_fail = scenario.failures;
        Check { scenario, mode, guards_off: Vec::new(), bound, further, time: None, allocations_fail, threads: 1 }
    }

    /// Whether something is to be found, by what the scenario says.
    fn should_break(&self) -> bool {
        let Check { scenario, mode, guards_off, .. } = self;
        let is_spare = |guard: &Guard| scenario.guards_redundant.contains(guard);
        let are_needed = match &guards_off[..] {
            [] => false,
            [guard] if is_spare(guard) => false,
            _ => (scenario.breaks)(*mode),
        };
        are_needed || scenario.is_known_to_break(*mode)
    }

    /// The bounds searched to, one after another.
    fn bounds(&self) -> Vec<Bound> {
        let bounds = std::iter::once(self.bound).chain(self.further);
        match self.should_break() {
            true => bounds.flat_map(bounds_to).collect(),
            false => bounds.collect(),
        }
    }

    /// The same without `guards`.
    pub fn without(mut self, guards: &[Guard]) -> Check {
        self.guards_off = guards.to_vec();
        self
    }
}

/// The plan of a search.
pub fn plan_of(check: &Check, way: Way) -> Plan {
    let mut plan = Plan::new(way, check.mode.order);
    plan.guards_off = check.guards_off.clone();
    plan.time = check.time;
    plan.allocations_fail = check.allocations_fail;
    plan.threads = check.threads;
    plan
}

/// Searches exhaustively to the bound; where something is expected to break by way of smaller bounds, which finds short
/// schedules, and soon.
/// An `Err` says that the search itself failed.
pub fn check(check: &Check) -> Result<Finding, String> {
    let begun = Instant::now();
    let mut finding = Finding { schedules: 0, exhaustive: false, violation: None, seconds: 0.0 };
    for bound in check.bounds() {
        let mut plan = plan_of(check, Way::Exhaustive { bound, reduce: true });
        plan.time = check.time.map(|time| time.saturating_sub(begun.elapsed()));
        let outcome = run(check, &plan)?;
        finding.schedules += outcome.schedules;
        finding.exhaustive = outcome.exhaustive;
        finding.violation = outcome.broken.map(|found| shorten(check, &plan, found)).transpose()?;
        if finding.violation.is_some() || !finding.exhaustive {
            break;
        }
    }
    finding.seconds = begun.elapsed().as_secs_f64();
    Ok(finding)
}

/// The bounds within `bound`, which comes last: (0,0), (1,0), (0,1), (1,1), (2,0), …
fn bounds_to(bound: Bound) -> Vec<Bound> {
    /// What a search comes to in reasonable time; beyond that, steps on the way would only cost more.
    const MOST: u8 = 4;
    let surprises = 0..=bound.surprises.min(MOST);
    let mut bounds: Vec<Bound> = (0..=bound.preemptions.min(MOST))
        .flat_map(|preemptions| surprises.clone().map(move |surprises| Bound { preemptions, surprises }))
        .filter(|&smaller| smaller != bound)
        .collect();
    bounds.sort_by_key(|&Bound { preemptions, surprises }| {
        (preemptions.max(surprises), preemptions + surprises, Reverse(preemptions))
    });
    bounds.push(bound);
    bounds
}

/// An execution that was run again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What broke.
    pub broken: Option<Broken>,
    heads: Vec<&'static str>,
    happenings: Vec<Happening>,
}

impl Replayed {
    /// The diagram.
    pub fn draw(&self, detail: Detail) -> String {
        diagram::draw(&self.heads, &self.happenings, self.broken.as_ref(), detail)
    }
}

/// Runs one schedule again.
pub fn replay(check: &Check, schedule: &Schedule) -> Result<Replayed, String> {
    let outcome = run(check, &plan_of(check, Way::Replay(schedule.clone())))?;
    let broken = outcome.broken.map(|(broken, _)| broken);
    let heads = check.scenario.actors.iter().map(|actor| actor.name).collect();
    Ok(Replayed { broken, heads, happenings: outcome.happenings })
}

/// What was found, with a schedule of what is needed for it.
fn shorten(check: &Check, plan: &Plan, found: (Broken, Schedule)) -> Result<(Broken, Schedule), String> {
    let (broken, schedule) = found;
    minimise(check.mode.program(check.scenario), plan, &schedule, &broken.invariant)
}

/// Searches as `plan` says.
pub(crate) fn run(check: &Check, plan: &Plan) -> Result<Outcome, String> {
    search(check.mode.program(check.scenario), plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow() {
        let bounds = |preemptions, surprises| {
            let bounds = bounds_to(Bound { preemptions, surprises });
            bounds.iter().map(|bound| (bound.preemptions, bound.surprises)).collect::<Vec<_>>()
        };
        assert_eq!(bounds(0, 0), [(0, 0)]);
        assert_eq!(bounds(2, 1), [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)]);
        assert_eq!(bounds(1, 2), [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
        assert_eq!(bounds(u8::MAX, 0).len(), 6);
        assert_eq!(bounds_to(Bound::NONE).last(), Some(&Bound::NONE));
    }
}
