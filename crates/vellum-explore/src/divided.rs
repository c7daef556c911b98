//! An exhaustive search divided among host threads.
//!
//! A thread searches a part of the executions: a stretch of them in the order of the search. When another has nothing
//! to do, it gives the later part of its stretch away. What ends a search, or begins it anew because words have become
//! visible, counts only if nothing before it in the order of the search does; the stretches before it are searched to
//! their end, and those after it are dropped. So the result is that of one thread, to the number of executions.

use super::Program;
use super::choice::{Bound, Choice, Cost, Strategy};
use super::exhaustive::{Exhaustive, Order, Part};
use super::search::{self, Outcome, Plan};
use super::sim::Sim;
use super::visible::Known;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Searches the executions of `program` within `bound` on as many threads as `plan` says, until `deadline`.
/// What is `known` of it counts from the start.
pub(super) fn search(
    program: Arc<dyn Program>,
    plan: &Plan,
    bound: Bound,
    reduce: bool,
    known: Known,
    deadline: Option<Instant>,
) -> Result<Outcome, String> {
    let division = Arc::new(Division::default());
    division.begin(known);
    thread::scope(|scope| {
        for _ in 0..plan.threads {
            scope.spawn(|| {
                while let Some(work) = division.take() {
                    let order = work.part.order();
                    let exhaustive = Exhaustive::of_part(bound, work.part);
                    let strategy = Member { exhaustive, first: order.clone(), division: division.clone() };
                    let mut sim = search::exhaustive_sim(plan, strategy, reduce);
                    (sim.is_part, sim.deadline) = (true, deadline);
                    sim.visible.know((*work.known).clone());
                    division.done(order, search::run(program.clone(), plan, sim));
                }
            });
        }
    });
    let mut state = lock(&division.state);
    state.result.take().unwrap_or_else(|| Err("the threads of the search are gone".into()))
}

/// What the threads share.
#[derive(Default)]
struct Division {
    state: Mutex<State>,
    /// There is work, or there will be none.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is known in this pass.
    known: Arc<Known>,
    /// Parts that nobody searches yet.
    left: BTreeMap<Order, Part>,
    /// Threads that search, and that wait for a part.
    busy: usize,
    idle: usize,
    /// What came of the parts searched, by the order of their first executions; and what was found out
    /// in the last one.
    done: BTreeMap<Order, (Outcome, Option<Known>)>,
    /// The first part that ended early: its first execution, and why it itself failed if it did.
    stop: Option<(Order, Option<String>)>,
    /// Time is up.
    out_of_time: bool,
    result: Option<Result<Outcome, String>>,
}

/// A part of the search, and what is known in it.
struct Work {
    part: Part,
    known: Arc<Known>,
}

impl Division {
    fn begin(&self, known: Known) {
        let mut state = lock(&self.state);
        state.known = Arc::new(known);
        self.begin_pass(&mut state);
    }

    fn begin_pass(&self, state: &mut State) {
        (state.stop, state.done) = (None, BTreeMap::new());
        state.left = BTreeMap::from([(Order::default(), Part::default())]);
    }

    /// The next part for this thread; `None` when the search has ended.
    fn take(&self) -> Option<Work> {
        let mut state = lock(&self.state);
        loop {
            if state.result.is_some() {
                return None;
            }
            if let Some((order, part)) = state.left.pop_first() {
                if !state.out_of_time && !state.is_dropped(&order) {
                    state.busy += 1;
                    return Some(Work { part, known: state.known.clone() });
                }
            } else if state.busy == 0 {
                self.end_pass(&mut state);
                self.changed.notify_all();
            } else {
                state.idle += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// A part has been searched as far as it will be.
    fn done(&self, order: Order, ended: Result<Box<Sim>, String>) {
        let mut state = lock(&self.state);
        state.busy -= 1;
        self.changed.notify_all();
        if state.is_dropped(&order) {
            return;
        }
        match ended {
            Err(failure) => state.stop = Some((order, Some(failure))),
            Ok(sim) => {
                let found = sim.visible.has_grown().then(|| sim.visible.found().clone());
                if sim.broken.is_some() || found.is_some() {
                    state.stop = Some((order.clone(), None));
                }
                state.out_of_time |= sim.out_of_time;
                state.done.insert(order, (search::outcome(&sim), found));
            }
        }
    }

    /// Every part has been searched, or dropped: there is a result, or words have become visible.
    fn end_pass(&self, state: &mut State) {
        let stop = state.stop.take();
        if let Some((_, Some(failure))) = stop {
            state.result = Some(Err(failure));
            return;
        }
        if let Some((first, _)) = stop {
            state.done.retain(|order, _| *order <= first);
        }
        let schedules = state.done.values().map(|(outcome, _)| outcome.schedules).sum();
        let Some((_, (last, found))) = state.done.pop_last() else {
            state.result = Some(Err("no part of the search was searched".into()));
            return;
        };
        if let Some(found) = found.filter(|_| last.broken.is_none() && !state.out_of_time) {
            Arc::make_mut(&mut state.known).extend(found);
            return self.begin_pass(state);
        }
        let exhaustive = last.broken.is_none() && !state.out_of_time;
        state.result = Some(Ok(Outcome { schedules, exhaustive, ..last }));
    }
}

impl State {
    /// Whether the part that begins at `order` comes after one that ended early.
    fn is_dropped(&self, order: &Order) -> bool {
        self.stop.as_ref().is_some_and(|(stop, _)| stop < order)
    }
}

/// Searches a part, and gives of it to others.
struct Member {
    exhaustive: Exhaustive,
    first: Order,
    division: Arc<Division>,
}

impl Strategy for Member {
    fn begin(&mut self) -> bool {
        let mut state = lock(&self.division.state);
        if state.is_dropped(&self.first) {
            return false;
        }
        if state.idle > state.left.len()
            && let Some(part) = self.exhaustive.split()
        {
            state.left.insert(part.order(), part);
            self.division.changed.notify_one();
        }
        drop(state);
        self.exhaustive.begin()
    }

    fn choose(&mut self, choice: &Choice<'_>) -> u8 {
        self.exhaustive.choose(choice)
    }

    fn allows(&self, cost: Cost) -> bool {
        self.exhaustive.allows(cost)
    }

    fn again(&mut self) -> bool {
        self.exhaustive.again()
    }

    fn failure(&self) -> Option<String> {
        self.exhaustive.failure()
    }
}

/// Locks, also after a panic elsewhere: what is behind these locks is valid at all times.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
