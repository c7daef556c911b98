//! A whole search.

use super::choice::{Bound, Strategy};
use super::exhaustive::Exhaustive;
use super::random::{Pct, Random};
use super::replay::Replay;
use super::schedule::Schedule;
use super::sim::{self, Phase, Sim};
use super::visible::Known;
use super::{Broken, Happening, MemoryOrder, Program, divided, tasks};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vellum::Guard;

/// How executions are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// All within a bound. With `reduce`, only at words that several CPUs touch, one of them writing.
    Exhaustive {
        /// The bound.
        bound: Bound,
        /// Whether choices are made at visible words only.
        reduce: bool,
    },
    /// Every choice by chance.
    Random {
        /// Where the chance begins.
        seed: u64,
        /// How many executions.
        executions: u64,
    },
    /// Probabilistic concurrency testing.
    Pct {
        /// Where the chance begins.
        seed: u64,
        /// How many executions.
        executions: u64,
        /// Depth of the bugs looked for.
        depth: u32,
    },
    /// One schedule again, with a record of what happens.
    Replay(Schedule),
}

/// What to do with a program.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How executions are chosen.
    pub way: Way,
    /// The order of memory.
    pub order: MemoryOrder,
    /// Protections switched off.
    pub guards_off: Vec<Guard>,
    /// The search gives up after this time.
    pub time: Option<Duration>,
    /// Steps after which an execution counts as making no progress.
    pub steps_max: u32,
    /// Runs each execution twice and compares what it touched: finds hidden nondeterminism. Exhaustive searches only.
    pub twice: bool,
    /// Allocations may fail, each failure being a surprise.
    pub allocations_fail: bool,
    /// Host threads among which an exhaustive search is divided. What it finds does not depend on it.
    pub threads: usize,
}

impl Plan {
    /// A plan with every protection on and no limit of time.
    pub fn new(way: Way, order: MemoryOrder) -> Plan {
        Plan {
            way,
            order,
            guards_off: Vec::new(),
            time: None,
            steps_max: 100_000,
            twice: false,
            allocations_fail: false,
            threads: 1,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Executions run; of an exhaustive search, those since the last word became visible.
    pub schedules: u64,
    /// Every execution within the bound was run.
    pub exhaustive: bool,
    /// The first broken invariant, with the schedule that leads to it.
    pub broken: Option<(Broken, Schedule)>,
    /// What happened in the last execution, if it was a replay.
    pub happenings: Vec<Happening>,
    /// How many shared words were visible.
    pub visible: usize,
    /// Digest of the last execution's accesses.
    pub digest: u64,
}

/// Searches the executions of `program`. An `Err` says that the search itself failed: an execution did not repeat
/// itself (hidden nondeterminism), or a schedule does not fit the program.
pub fn search(program: Arc<dyn Program>, plan: &Plan) -> Result<Outcome, String> {
    let deadline = plan.time.map(|time| Instant::now() + time);
    let mut sim = match &plan.way {
        &Way::Exhaustive { bound, reduce } => {
            let known = if reduce { known_before(&program, plan, bound, deadline)? } else { Known::default() };
            if plan.threads > 1 {
                return divided::search(program, plan, bound, reduce, known, deadline);
            }
            let mut sim = exhaustive_sim(plan, Exhaustive::new(bound), reduce);
            sim.visible.know(known);
            sim
        }
        Way::Random { seed, executions } => sim_of(plan, Box::new(Random::new(*seed, *executions))),
        Way::Pct { seed, executions, depth } => {
            sim_of(plan, Box::new(Pct::new(*seed, *executions, *depth, program.cpus())))
        }
        Way::Replay(schedule) => {
            let mut sim = sim_of(plan, Box::new(Replay::new(schedule)));
            sim.replay_delayed = Some(schedule.delayed.clone());
            sim.happenings = Some(Vec::new());
            sim
        }
    };
    sim.deadline = deadline;
    let found = outcome(&*run(program, plan, sim)?);
    let is_exhaustive = matches!(plan.way, Way::Exhaustive { .. });
    Ok(Outcome { exhaustive: is_exhaustive && found.exhaustive, ..found })
}

/// What there is to know of `program` before a search to `bound`: whenever words become visible, a search begins anew,
/// which costs less in small ones.
fn known_before(
    program: &Arc<dyn Program>,
    plan: &Plan,
    bound: Bound,
    deadline: Option<Instant>,
) -> Result<Known, String> {
    let mut known = Known::default();
    for (preemptions, surprises) in [(1, 0), (0, 1)] {
        let within = Bound { preemptions, surprises };
        if preemptions > bound.preemptions || surprises > bound.surprises || within == bound {
            continue;
        }
        let mut sim = exhaustive_sim(plan, Exhaustive::new(within), true);
        sim.deadline = deadline;
        sim.visible.know(known);
        let sim = run(program.clone(), plan, sim)?;
        known = sim.visible.into_known();
        if sim.broken.is_some() || sim.out_of_time {
            break;
        }
    }
    Ok(known)
}

/// What the executions came to that a simulation has run.
pub(super) fn outcome(sim: &Sim) -> Outcome {
    Outcome {
        schedules: sim.executions,
        exhaustive: !sim.out_of_time && sim.broken.is_none(),
        visible: sim.visible.len(),
        digest: sim.digest,
        happenings: sim.happenings.clone().unwrap_or_default(),
        broken: sim.broken.clone().map(|broken| (broken, sim.schedule.clone())),
    }
}

/// A simulation as `plan` says in an exhaustive search.
pub(super) fn exhaustive_sim(plan: &Plan, strategy: impl Strategy + 'static, reduce: bool) -> Box<Sim> {
    let mut sim = sim_of(plan, Box::new(strategy));
    (sim.visible.all, sim.visible.with_handlers, sim.prunes) = (!reduce, reduce, reduce);
    sim
}

/// A simulation as `plan` says, whose choices `strategy` makes.
pub(super) fn sim_of(plan: &Plan, strategy: Box<dyn Strategy>) -> Box<Sim> {
    let mut sim = Box::new(Sim::new(strategy, plan.order, plan.steps_max));
    sim.twice = plan.twice.then_some(None);
    sim.allocations_fail = plan.allocations_fail;
    sim
}

/// Runs the executions of `program` that the strategy of `sim` chooses; what the simulation is in the end.
pub(super) fn run(program: Arc<dyn Program>, plan: &Plan, sim: Box<Sim>) -> Result<Box<Sim>, String> {
    sim::install(Some(sim));
    sim::set_guards_off(&plan.guards_off);
    let ended = catch_unwind(AssertUnwindSafe(|| tasks::run(program)));
    sim::set_guards_off(&[]);
    let Some(mut state) = sim::install(None) else { return Err("the search's state is gone".into()) };
    // What a broken core comes to when its world ends is no failure of the laboratory.
    if let Err(panic) = ended
        && state.broken.is_none()
    {
        let text = tasks::panic_text(&*panic);
        return Err(format!("a panic in the laboratory, at schedule {}: {text}", state.schedule));
    }
    if !state.delays_matter {
        state.schedule.delayed.clear();
    }
    match state.failure.clone().or_else(|| state.strategy.failure()) {
        Some(failure) => Err(failure),
        None => Ok(state),
    }
}

impl Sim {
    /// Whether there is another execution, which then begins.
    pub(super) fn next_execution(&mut self) -> bool {
        if self.broken.is_some() || self.failure.is_some() {
            return false;
        }
        self.phase = Phase::Alone;
        if self.visible.has_grown() && self.is_part {
            // What has been run is no good to anybody, and neither is the rest.
            return false;
        }
        if self.visible.has_grown() {
            // Choices were missing in what has been run: begin anew with what is known now.
            if self.strategy.restart() {
                self.executions = 0;
            }
            self.twice = self.twice.map(|_| None);
        } else if self.executions > 0 && self.is_to_be_repeated() {
            return self.failure.is_none() && self.strategy.again();
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.out_of_time = true;
            return false;
        }
        let more = self.strategy.begin();
        self.executions += more as u64;
        more
    }

    /// Where executions are run twice: whether the last one is to be run again. Compares it with its first run if not.
    fn is_to_be_repeated(&mut self) -> bool {
        match &mut self.twice {
            None => false,
            Some(first @ None) => {
                *first = Some(self.digest);
                true
            }
            Some(first) => {
                if first.take() != Some(self.digest) {
                    let schedule = &self.schedule;
                    self.failure = Some(format!("hidden nondeterminism: the execution {schedule} touched other words"));
                }
                false
            }
        }
    }
}
