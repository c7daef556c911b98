//! Interrupts: sent, taken at the target's next step, or put off.
//!
//! A CPU that puts an interrupt off (a surprise) runs on, and takes it before any later step of its own that shows, for
//! nothing; at the latest where it has nothing else to do: at a wait that does not go on, and at its end. Who goes on
//! there is free. An interrupt is lost in no execution.

use super::access;
use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Doing, Held, Parked, Sim, SimCpu};
use super::visible::WordId;
use super::wait::{self, stop_if_broken};

/// An interrupt that has been sent to a CPU, if one has. Further ones until it is taken are the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// None.
    Nothing,
    /// Its target has not taken a step since it could have taken it.
    New,
    /// Its target has put it off.
    PutOff {
        /// Another one has come since its target last went on without it.
        again: bool,
    },
}

impl Pending {
    /// Another interrupt is sent.
    fn sent(self) -> Pending {
        match self {
            Pending::Nothing | Pending::New => Pending::New,
            Pending::PutOff { .. } => Pending::PutOff { again: true },
        }
    }

    /// Whether it has been put off.
    pub(crate) fn is_put_off(self) -> bool {
        matches!(self, Pending::PutOff { .. })
    }
}

/// Takes an interrupt at the step that the current CPU has begun, if one has come, or puts it off; one that was put
/// off earlier only if the step `shows`. Whether one was taken: then a step begins anew.
pub(super) fn is_taken(shows: impl Fn() -> bool) -> bool {
    if !sim::with(|sim| sim.cpus[sim::current_cpu()].takes_interrupt()) {
        return false;
    }
    let shows = shows();
    let taken = sim::with(|sim| sim.takes_interrupt(shows));
    if taken {
        take();
        begin_again();
    }
    taken
}

/// The same for a CPU that was blocked and can go on without taking it.
pub(super) fn is_taken_after_block() -> bool {
    // Choices of the CPU that ran last may have been made at the step under way.
    begin_again();
    is_taken(|| true)
}

/// The same for a CPU that goes on after a pre-emption.
///
/// After a pre-emption in which nothing happened that is `disturbing` to the CPU's next step, to put off an interrupt
/// that has come meanwhile is redundant; and to take one that was put off before, if no other has come, is what was
/// possible before the pre-emption.
pub(super) fn is_taken_on_return(disturbing: bool) -> bool {
    let cpu = sim::current_cpu();
    if !sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
        return false;
    }
    begin_again();
    let taken = sim::with(|sim| match sim.cpus[cpu].pending {
        Pending::New if sim.prunes && !disturbing => true,
        Pending::PutOff { again: false } if sim.prunes => false,
        _ => sim.takes_interrupt(true),
    });
    if taken {
        take();
        // Between the interrupt and the access there is a scheduling point again.
        begin_again();
    }
    taken
}

fn begin_again() {
    sim::with(|sim| sim.next_step(1));
    stop_if_broken();
}

/// Takes the interrupt that has come, and those that come until its handler returns, unless they are put off.
///
/// If it was put off, and nothing that the CPU has done since it could have taken it last matters until then, nor until
/// the handler returns, it is redundant to take it only now.
pub(super) fn take() {
    let cpu = sim::current_cpu();
    // It has been watched since it was held.
    sim::with(|sim| sim.cpus[cpu].taking = sim.cpus[cpu].held.take().map(|held| held.done));
    loop {
        handle();
        if !sim::with(|sim| sim.takes_interrupt(true)) {
            break;
        }
    }
    sim::with(|sim| {
        if let Some(before) = sim.cpus[cpu].taking.take() {
            sim.prune_unless(before.disturbed);
        }
    });
}

fn handle() {
    let cpu = sim::current_cpu();
    let before = sim::with(|sim| {
        let sim_cpu = &mut sim.cpus[cpu];
        (sim_cpu.pending, sim_cpu.interrupt_noticed, sim_cpu.in_handler) = (Pending::Nothing, true, true);
        // An idle CPU has something to do again.
        std::mem::replace(&mut sim_cpu.doing, Doing::Running)
    });
    if let Some(execution) = sim::execution() {
        execution.interrupt(cpu);
    }
    // The return from an interrupt serialises.
    access::drain_own();
    sim::with(|sim| (sim.cpus[cpu].in_handler, sim.cpus[cpu].doing) = (false, before));
    point_if_interrupted();
}

/// A point before the current CPU takes an interrupt that it could not take before: another that is sent until then is
/// not taken on its own.
fn point_if_interrupted() {
    let cpu = sim::current_cpu();
    if !sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
        return;
    }
    begin_again();
    let parked = || Parked { words: vec![(WordId::of_interrupts(cpu), true)], ..Parked::default() };
    if let Some(disturbed) = wait::is_preempted(parked) {
        sim::with(|sim| sim.prune_unless(disturbed));
        begin_again();
    }
    stop_if_broken();
}

/// Interrupts `cpus`.
pub fn send_interrupt(cpus: impl Iterator<Item = usize>) {
    if !sim::is_exploring() {
        return;
    }
    let targets: Vec<usize> = cpus.collect();
    let cpus = targets.iter().fold(0, |cpus, &cpu| cpus | 1 << cpu);
    let current = sim::current_cpu();
    wait::step(6, || !targets.is_empty(), || Parked { cpus, ..Parked::default() });
    sim::with(|sim| {
        for cpu in targets {
            sim.touch(WordId::of_interrupts(cpu), true);
            sim.cpus[current].held.iter_mut().for_each(|held| held.done.cpus |= 1 << cpu);
            // Taken earlier, the interrupts would be two.
            sim.disturb_order(cpu);
            let target = &mut sim.cpus[cpu];
            (target.pending, target.interrupt_noticed) = (target.pending.sent(), false);
        }
    });
}

/// Runs `body` with interrupts off on the current CPU.
pub fn with_interrupts_off<R>(body: impl FnOnce() -> R) -> R {
    if !sim::is_exploring() {
        return body();
    }
    let cpu = sim::current_cpu();
    if sim::with(|sim| sim.cpus[cpu].interrupts_off == 0 && !sim.cpus[cpu].in_handler) {
        access::touch(&[(WordId::of_interrupts(cpu), true)]);
    }
    sim::with(|sim| sim.cpus[cpu].interrupts_off += 1);
    let result = body();
    sim::with(|sim| sim.cpus[cpu].interrupts_off -= 1);
    // What came meanwhile is delivered at the next instruction, or later.
    point_if_interrupted();
    if sim::with(|sim| sim.takes_interrupt(true)) {
        take();
    }
    result
}

impl Sim {
    /// Whether the current CPU takes an interrupt now: usually one that has just come, and not one that was put off,
    /// which may be taken if `shows`.
    fn takes_interrupt(&mut self, shows: bool) -> bool {
        let cpu = sim::current_cpu();
        if !self.cpus[cpu].takes_interrupt() {
            return false;
        }
        let taken = match self.cpus[cpu].pending {
            Pending::Nothing => return false,
            Pending::New => self.choose(ChoiceKind::Interrupt, 2, Cost::Surprise, &[]) == 0,
            Pending::PutOff { .. } if !shows || !self.may_matter_now(cpu) => return false,
            Pending::PutOff { .. } => self.choose(ChoiceKind::Interrupt, 2, Cost::Free, &[]) > 0,
        };
        if !taken {
            if self.cpus[cpu].pending == Pending::New {
                self.record_put_off();
            }
            self.cpus[cpu].pending = Pending::PutOff { again: false };
            self.cpus[cpu].held = self.prunes.then(Held::default);
            self.is_watched = true;
        }
        taken
    }

    /// Whether it may matter that `cpu` has not taken its interrupt until now: if something that it has done meanwhile
    /// may conflict with the handler, or with what others did, or do while the handler runs.
    fn may_matter_now(&self, cpu: usize) -> bool {
        let Some(held) = &self.cpus[cpu].held else { return true };
        let others_may_run = self.strategy.allows(Cost::Preemption) || self.visible.has_waiting_handler(cpu);
        // Stores that wait arrive with others that the handler looks for.
        let may_arrive = |&(word, _): &(WordId, bool)| self.is_awaited(word);
        others_may_run || held.concerns_handler || held.done.disturbed || held.done.words.iter().any(may_arrive)
    }

    /// When `cpu` takes an interrupt that it has put off matters, whatever it has touched.
    pub(super) fn disturb_order(&mut self, cpu: usize) {
        let SimCpu { held, taking, .. } = &mut self.cpus[cpu];
        let held = held.as_mut().map(|held| &mut held.done);
        held.into_iter().chain(taking).for_each(|done| done.disturbed = true);
    }
}
