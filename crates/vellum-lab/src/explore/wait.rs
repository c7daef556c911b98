//! Who runs: scheduling points, blocking, interrupts, the end.
//!
//! An interrupt is taken at the next step of its target, unless that has interrupts off. For a single target, to take
//! it later is to send it later: the choice is that of pre-empting the sender. That one target of several takes it
//! much later than another, while it runs on, is not explored.

use super::Broken;
use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Doing, Parked, Phase, Sim};
use super::{WordId, access, buffer, tasks};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

/// A point at which the current CPU may be pre-empted, before it touches `words`; if it `drains`, its own delayed
/// stores arrive then.
pub(crate) fn point(words: &[(WordId, bool)], drains: bool) {
    point_before(|sim| {
        let drains = drains && !sim.cpus[sim::current_cpu()].stores.is_empty();
        let mut words = words.to_vec();
        if drains || words.iter().any(|&(word, _)| sim.is_awaited(word)) {
            // Which stores arrive on the way is a matter of what all buffers hold.
            words.extend(sim.delayed_words().map(|word| (word, true)));
        }
        Parked { words, ..Parked::default() }
    });
}

fn point_before(parked: impl Fn(&Sim) -> Parked) {
    let cpu = sim::current_cpu();
    loop {
        let next = sim::with(|sim| {
            let mut cpus = vec![cpu as u8];
            cpus.extend(sim.others_that_can_run());
            let chosen = sim.choose(ChoiceKind::Cpu, cpus.len(), Cost::Preemption, &cpus);
            cpus[chosen] as usize
        });
        if next == cpu {
            break;
        }
        sim::happened(|| "… pre-empted".into());
        sim::with(|sim| {
            let parked = parked(sim);
            sim.cpus[cpu].parked = Some(parked);
        });
        tasks::switch_to(next);
        sim::with(|sim| sim.resume(cpu));
        if sim::with(|sim| !sim.cpus[cpu].takes_interrupt()) {
            break;
        }
        take_interrupt();
        // Between the interrupt and the access there is such a point again.
        sim::with(|sim| sim.next_step(1));
        stop_if_broken();
    }
    stop_if_broken();
}

/// Takes the interrupts that have come since the last step.
pub(crate) fn take_interrupt() {
    while sim::with(|sim| sim.cpus[sim::current_cpu()].takes_interrupt()) {
        handle_interrupt();
    }
}

fn handle_interrupt() {
    let cpu = sim::current_cpu();
    let (before, execution) = sim::with(|sim| {
        let sim_cpu = &mut sim.cpus[cpu];
        (sim_cpu.interrupt_pending, sim_cpu.interrupt_noticed, sim_cpu.in_handler) = (false, true, true);
        // An idle CPU has something to do again.
        (std::mem::replace(&mut sim_cpu.doing, Doing::Running), sim.execution.clone())
    });
    sim::happened(|| "interrupt: flush handler".into());
    if let Some(execution) = execution {
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
    if sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
        sim::with(|sim| sim.next_step(1));
        stop_if_broken();
        point(&[(WordId::of_interrupts(cpu), true)], false);
    }
}

/// Interrupts `cpus`.
pub fn send_interrupt(cpus: impl Iterator<Item = usize>) {
    if !sim::is_exploring() {
        return;
    }
    let targets: Vec<usize> = cpus.collect();
    sim::with(|sim| sim.next_step(6));
    stop_if_broken();
    take_interrupt();
    if !targets.is_empty() {
        let cpus = targets.iter().fold(0, |cpus, &cpu| cpus | 1 << cpu);
        point_before(|_| Parked { cpus, ..Parked::default() });
    }
    sim::with(|sim| {
        for cpu in targets {
            sim.touch(WordId::of_interrupts(cpu), true);
            (sim.cpus[cpu].interrupt_pending, sim.cpus[cpu].interrupt_noticed) = (true, false);
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
    // What came meanwhile is delivered at the next instruction.
    point_if_interrupted();
    take_interrupt();
    result
}

/// Blocks the current CPU until `word` differs from `seen` or an interrupt has come, and takes that if it may; never
/// spins.
pub fn wait_change(word: &AtomicU32, seen: u32) {
    if !sim::is_exploring() || std::thread::panicking() {
        assert!(word.load(SeqCst) != seen, "a wait that nothing can end, where nothing else runs");
        return;
    }
    let address = (&raw const *word).addr();
    let cpu = sim::current_cpu();
    let word = sim::with(|sim| {
        sim.next_step(2);
        sim.regions.word(address)
    });
    stop_if_broken();
    let may_go_on = |sim: &mut Sim| !sim.cpus[cpu].ends_wait() && sim.has_changed(cpu, address, seen);
    if let Some(word) = word.filter(|&word| sim::with(|sim| sim.is_visible(word) && may_go_on(sim))) {
        point(&[(word, false)], false);
    }
    while !sim::with(|sim| sim.cpus[cpu].ends_wait()) && !sees_change(word, address, seen) {
        sim::with(|sim| sim.cpus[cpu].doing = Doing::Waiting { address, seen });
        block();
        sim::with(|sim| sim.cpus[cpu].doing = Doing::Running);
    }
    sim::with(|sim| sim.cpus[cpu].interrupt_noticed = true);
    take_interrupt();
    stop_if_broken();
}

/// Whether the current CPU sees the integer at `address` differ from `seen`, after delayed stores arrived or did not.
fn sees_change(word: Option<WordId>, address: usize, seen: u32) -> bool {
    let cpu = sim::current_cpu();
    if let Some(word) = word {
        sim::with(|sim| sim.touch(word, false));
    }
    loop {
        let differs = sim::with(|sim| sim.differs(cpu, address, seen));
        let arrives = sim::with(|sim| match differs {
            true => sim.another_arrives(address),
            // That it arrives later is the same as to wait longer.
            false => sim.may_differ(cpu, address, seen),
        });
        if !arrives {
            return differs;
        }
        buffer::arrive_first(address);
    }
}

/// The current CPU has done its work; takes interrupts until all have.
pub(crate) fn idle() {
    let cpu = sim::current_cpu();
    sim::with(|sim| {
        sim.next_step(3);
        sim.cpus[cpu].doing = Doing::Idle;
    });
    stop_if_broken();
    loop {
        if sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
            handle_interrupt();
            sim::with(|sim| sim.next_step(3));
            stop_if_broken();
            continue;
        }
        if sim::with(|sim| sim.phase != Phase::Together) {
            return;
        }
        if sim::with(|sim| sim.is_over()) {
            (0..sim::with(|sim| sim.cpus.len())).for_each(buffer::drain);
            sim::with(|sim| sim.leave(Phase::Ending));
            return;
        }
        block();
    }
}

/// Gives the host thread to another CPU, of those that can run; returns when this one is chosen again.
fn block() {
    loop {
        let cpu = sim::current_cpu();
        let next = sim::with(|sim| {
            let cpus: Vec<u8> = sim.others_that_can_run().collect();
            let chosen = sim.choose(ChoiceKind::Cpu, cpus.len(), Cost::Free, &cpus);
            cpus.get(chosen).map(|&cpu| cpu as usize)
        });
        match next {
            Some(next) => return tasks::switch_to(next),
            None if sim::with(|sim| sim.can_run(cpu)) => return,
            None => sim::with(|sim| sim.report_deadlock()),
        }
        stop_if_broken();
    }
}

/// Ends the execution if an invariant is broken: the current CPU does not return from here then.
pub(crate) fn stop_if_broken() {
    if sim::with(|sim| sim.broken.is_some()) {
        tasks::stop();
    }
}

impl Sim {
    fn others_that_can_run(&self) -> impl Iterator<Item = u8> {
        let current = sim::current_cpu();
        let count = self.cpus.len();
        (1..count).map(move |offset| (current + offset) % count).filter(|&cpu| self.can_run(cpu)).map(|cpu| cpu as u8)
    }

    fn can_run(&self, cpu: usize) -> bool {
        self.cpus[cpu].takes_interrupt()
            || match self.cpus[cpu].doing {
                Doing::Running => true,
                Doing::Waiting { address, seen } => self.cpus[cpu].ends_wait() || self.has_changed(cpu, address, seen),
                Doing::Idle => false,
            }
    }

    /// Whether `cpu` can see the integer at `address` differ from `seen`: sooner or later a delayed store arrives.
    fn has_changed(&self, cpu: usize, address: usize, seen: u32) -> bool {
        self.differs(cpu, address, seen) || self.may_differ(cpu, address, seen)
    }

    fn is_over(&self) -> bool {
        self.cpus.iter().all(|cpu| cpu.doing == Doing::Idle && !cpu.takes_interrupt())
    }

    fn report_deadlock(&mut self) {
        let what = |cpu: usize| {
            let sim_cpu = &self.cpus[cpu];
            let off = if sim_cpu.interrupts_off > 0 { " with interrupts off" } else { "" };
            let mail = if sim_cpu.interrupt_pending { ", an interrupt pending" } else { "" };
            match sim_cpu.doing {
                Doing::Waiting { .. } => Some(format!("CPU {cpu} waits{off}{mail}")),
                _ => None,
            }
        };
        let who: Vec<String> = (0..self.cpus.len()).filter_map(what).collect();
        self.broken = Some(Broken { invariant: "I-PROG".into(), detail: format!("deadlock: {}", who.join("; ")) });
    }
}
