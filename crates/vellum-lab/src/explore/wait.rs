//! Who runs: scheduling points, blocking, interrupts, the end.
//!
//! An interrupt is taken at the next step of its target, unless that has interrupts off. To take it later is the same as
//! to send it later, so it is no choice of its own: it is that of pre-empting the sender.

use super::Broken;
use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Doing, Parked, Phase, Sim};
use super::{WordId, access, tasks};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

/// A point at which the current CPU may be pre-empted, before it touches `words`.
pub(crate) fn point(words: &[(WordId, bool)]) {
    let next = sim::with(|sim| {
        let mut cpus = vec![sim::current_cpu() as u8];
        cpus.extend(sim.others_that_can_run());
        let chosen = sim.choose(ChoiceKind::Cpu, cpus.len(), Cost::Preemption, &cpus);
        cpus[chosen] as usize
    });
    if next != sim::current_cpu() {
        sim::happened(|| "… pre-empted".into());
        let cpu = sim::current_cpu();
        sim::with(|sim| {
            let sim_cpu = &mut sim.cpus[cpu];
            sim_cpu.parked = Some(Parked::new(words, &sim_cpu.stores));
        });
        tasks::switch_to(next);
        sim::with(|sim| sim.resume(cpu));
        take_interrupt();
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
        (sim_cpu.interrupt_pending, sim_cpu.in_handler) = (false, true);
        // An idle CPU has something to do again.
        (std::mem::replace(&mut sim_cpu.doing, Doing::Running), sim.execution.clone())
    });
    sim::happened(|| "interrupt: flush handler".into());
    if let Some(execution) = execution {
        execution.interrupt(cpu);
    }
    // The return from an interrupt serialises.
    access::drain(cpu);
    sim::with(|sim| (sim.cpus[cpu].in_handler, sim.cpus[cpu].doing) = (false, before));
}

/// Interrupts `cpus`.
pub fn send_interrupt(cpus: impl Iterator<Item = usize>) {
    if !sim::is_exploring() {
        return;
    }
    sim::with(|sim| cpus.for_each(|cpu| sim.cpus[cpu].interrupt_pending = true));
}

/// Runs `body` with interrupts off on the current CPU.
pub fn with_interrupts_off<R>(body: impl FnOnce() -> R) -> R {
    if !sim::is_exploring() {
        return body();
    }
    let cpu = sim::current_cpu();
    sim::with(|sim| sim.cpus[cpu].interrupts_off += 1);
    let result = body();
    sim::with(|sim| sim.cpus[cpu].interrupts_off -= 1);
    // What came meanwhile is delivered at the next instruction.
    if sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
        sim::with(|sim| sim.next_step(1));
        stop_if_broken();
        take_interrupt();
    }
    result
}

/// Blocks the current CPU until `word` differs from `seen` or an interrupt was taken; never spins.
pub fn wait_change(word: &AtomicU32, seen: u32) {
    if !sim::is_exploring() || std::thread::panicking() {
        assert!(word.load(SeqCst) != seen, "a wait that nothing can end, where nothing else runs");
        return;
    }
    let address = (&raw const *word).addr();
    let cpu = sim::current_cpu();
    sim::with(|sim| {
        sim.next_step(2);
        if let Some(word) = sim.regions.word(address) {
            sim.touch(word, false);
        }
    });
    stop_if_broken();
    if sim::with(|sim| !sim.cpus[cpu].takes_interrupt() && !sim.has_changed(cpu, address, seen)) {
        sim::with(|sim| sim.cpus[cpu].doing = Doing::Waiting { address, seen });
        block();
        sim::with(|sim| sim.cpus[cpu].doing = Doing::Running);
    }
    if sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
        handle_interrupt();
    }
    stop_if_broken();
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
            settle();
            sim::with(|sim| sim.leave(Phase::Ending));
            return;
        }
        block();
    }
}

/// All delayed stores arrive; in which order those of different CPUs to one word do, is a choice.
fn settle() {
    while let Some(cpu) = sim::with(|sim| {
        let cpus: Vec<u8> = (0..sim.cpus.len() as u8).filter(|&cpu| !sim.cpus[cpu as usize].stores.is_empty()).collect();
        let &first = cpus.first()?;
        let chosen = if sim.stores_compete() { sim.choose(ChoiceKind::Store, cpus.len(), Cost::Free, &[]) } else { 0 };
        Some(if chosen == 0 { first } else { cpus[chosen] } as usize)
    }) {
        access::arrive_one(cpu);
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
                Doing::Waiting { address, seen } => self.has_changed(cpu, address, seen),
                Doing::Idle => false,
            }
    }

    /// Whether `cpu` can see the integer at `address` differ from `seen`: sooner or later a delayed store arrives.
    fn has_changed(&self, cpu: usize, address: usize, seen: u32) -> bool {
        // SAFETY: the address is that of a live word, as the CPU that waits for it has a reference to it.
        let now = unsafe { AtomicU32::from_ptr(address as *mut u32) }.load(SeqCst);
        now != seen
            || (0..self.cpus.len())
                .filter(|&other| other != cpu)
                .any(|other| self.cpus[other].stores.iter().any(|delayed| delayed.address == address))
    }

    fn is_over(&self) -> bool {
        self.cpus.iter().all(|cpu| cpu.doing == Doing::Idle && !cpu.takes_interrupt())
    }

    /// Whether two CPUs have delayed stores to one word.
    fn stores_compete(&self) -> bool {
        let words = |cpu: usize| self.cpus[cpu].stores.iter().map(|delayed| delayed.word);
        (0..self.cpus.len()).any(|one| (0..one).any(|other| words(one).any(|word| words(other).any(|w| w == word))))
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
