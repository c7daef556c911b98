//! Who runs: scheduling points, blocking, the end.

use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Doing, Parked, Phase, Sim};
use super::{Broken, WordId, access, buffer, interrupt, record, tasks};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

pub use super::interrupt::{send_interrupt, with_interrupts_off};

/// CPUs that a program can have: those of a bit set.
const CPUS_MAX: usize = u32::BITS as usize;

/// A list of `cpus` in `room`: one is made at each scheduling point.
fn listed(room: &mut [u8; CPUS_MAX], cpus: impl Iterator<Item = u8>) -> &[u8] {
    let mut count = 0;
    for cpu in cpus {
        room[count] = cpu;
        count += 1;
    }
    &room[..count]
}

/// A step of the current CPU begins, whose digest is that of `what`: it takes an interrupt that has come; and if what
/// it does `shows`, it may be pre-empted before. What it is about to do then is `parked`.
pub(super) fn step(what: u64, shows: impl Fn() -> bool, parked: impl Fn() -> Parked) {
    sim::with(|sim| sim.next_step(what));
    begun_step(shows, parked);
}

/// The same of a step that has begun already.
pub(super) fn begun_step(shows: impl Fn() -> bool, parked: impl Fn() -> Parked) {
    stop_if_broken();
    while interrupt::is_taken(&shows) {}
    if shows() {
        point(parked);
    }
}

/// A point at which the current CPU may be pre-empted. Whether it has taken an interrupt then.
fn point(parked: impl Fn() -> Parked) -> bool {
    let mut interrupted = false;
    while let Some(disturbed) = is_preempted(&parked) {
        if !interrupt::is_taken_on_return(disturbed) {
            sim::with(|sim| sim.prune_unless(disturbed));
            break;
        }
        interrupted = true;
    }
    stop_if_broken();
    interrupted
}

/// Whether the current CPU is pre-empted now, and then, when it goes on, whether others did what may matter to it.
pub(super) fn is_preempted(parked: impl Fn() -> Parked) -> Option<bool> {
    let cpu = sim::current_cpu();
    let next = sim::with(|sim| {
        let mut room = [0; CPUS_MAX];
        let cpus = listed(&mut room, std::iter::once(cpu as u8).chain(sim.others_that_can_run()));
        let chosen = sim.choose(ChoiceKind::Cpu, cpus.len(), Cost::Preemption, cpus);
        cpus[chosen] as usize
    });
    if next == cpu {
        return None;
    }
    sim::happened_here(|| "… pre-empted".into());
    let parked = parked();
    sim::with(|sim| (sim.cpus[cpu].parked, sim.is_watched) = (Some(parked), true));
    tasks::switch_to(next);
    Some(sim::with(|sim| sim.resume(cpu)))
}

/// What the current CPU is about to do before it touches `words`; if it `drains`, its own delayed stores arrive then.
pub(super) fn before_touching(mut words: Vec<(WordId, bool)>, drains: bool) -> Parked {
    let arriving: Vec<(WordId, usize)> = sim::with(|sim| {
        let drains = drains && !sim.cpus[sim::current_cpu()].stores.is_empty();
        // Which stores arrive on the way is a matter of what all buffers hold.
        let arrive = drains || words.iter().any(|&(word, _)| sim.is_awaited(word));
        if arrive { sim.delayed_words().collect() } else { Vec::new() }
    });
    for (word, address) in arriving {
        words.push((word, true));
        words.extend(access::touched_by_fills(address));
    }
    Parked { words, ..Parked::default() }
}

/// Blocks the current CPU until `word` differs from `seen` or an interrupt has come, and takes that if it may; never
/// spins.
pub fn wait_change(word: &AtomicU32, seen: u32) {
    if !sim::is_exploring() || std::thread::panicking() {
        assert!(word.load(SeqCst) != seen, "a wait that nothing can end, where nothing else runs");
        return;
    }
    let address = (&raw const *word).addr();
    let word = sim::with(|sim| {
        sim.next_step(2);
        sim.regions.word(address)
    });
    stop_if_broken();
    let wait = Wait { cpu: sim::current_cpu(), word, address, seen };
    if !wait.is_interrupted_before() {
        let mut blocked = false;
        while !wait.is_over(blocked) {
            record::note_wait(address);
            sim::with(|sim| sim.cpus[wait.cpu].doing = Doing::Waiting { address, seen });
            block();
            sim::with(|sim| sim.cpus[wait.cpu].doing = Doing::Running);
            blocked = true;
        }
    }
    sim::with(|sim| sim.cpus[wait.cpu].interrupt_noticed = true);
    stop_if_broken();
}

/// A wait of the current CPU for an integer to differ from `seen`.
struct Wait {
    cpu: usize,
    word: Option<WordId>,
    address: usize,
    seen: u32,
}

impl Wait {
    /// Where the wait could go on at once: whether it ends by an interrupt that is taken first.
    fn is_interrupted_before(&self) -> bool {
        let may_go_on = || sim::with(|sim| sim.has_changed(self.cpu, self.address, self.seen));
        if self.is_noticed() || !may_go_on() {
            return false;
        }
        let shows = || self.word.is_some_and(|word| sim::with(|sim| sim.is_visible(word)));
        // It ends the wait, which it would not do before that: when it is taken matters.
        sim::with(|sim| sim.disturb_order(self.cpu));
        let parked = || before_touching(self.word.iter().map(|&word| (word, false)).collect(), false);
        interrupt::is_taken(shows) || shows() && point(parked)
    }

    /// Whether the wait is over: the word has changed, or an interrupt has come, which is taken if it may be and has
    /// not been put off; if it has, it is taken where the word has not changed, after those who go on first.
    fn is_over(&self, blocked: bool) -> bool {
        let changed = sim::with(|sim| sim.has_changed(self.cpu, self.address, self.seen));
        let put_off = sim::with(|sim| sim.cpus[self.cpu].pending.is_put_off());
        let takes_interrupt = sim::with(|sim| sim.cpus[self.cpu].takes_interrupt());
        if self.is_noticed() || takes_interrupt && changed && blocked && interrupt::is_taken_after_block() {
            return true;
        }
        if takes_interrupt && !changed {
            if blocked || !put_off {
                sim::with(|sim| sim.disturb_order(self.cpu));
                interrupt::take();
            }
            return blocked || !put_off;
        }
        sees_change(self.word, self.address, self.seen)
    }

    /// Whether an interrupt has come that cannot be taken, but ends the wait.
    fn is_noticed(&self) -> bool {
        sim::with(|sim| sim.cpus[self.cpu].ends_wait() && !sim.cpus[self.cpu].takes_interrupt())
    }
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

/// The current CPU has done its work; takes interrupts until all have. Before one that was put off, others may go on.
pub(crate) fn idle() {
    let cpu = sim::current_cpu();
    sim::with(|sim| {
        sim.next_step(3);
        sim.cpus[cpu].doing = Doing::Idle;
    });
    stop_if_broken();
    loop {
        if sim::with(|sim| sim.cpus[cpu].takes_interrupt()) {
            if sim::with(|sim| sim.cpus[cpu].pending.is_put_off()) {
                block();
            }
            interrupt::take();
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

/// Gives the host thread to another CPU, of those that can run; returns when this one is chosen again. It is one of
/// them if it can take an interrupt.
fn block() {
    loop {
        let cpu = sim::current_cpu();
        let next = sim::with(|sim| {
            let own = sim.cpus[cpu].takes_interrupt().then_some(cpu as u8);
            let mut room = [0; CPUS_MAX];
            let cpus = listed(&mut room, own.into_iter().chain(sim.others_that_can_run()));
            let chosen = sim.choose(ChoiceKind::Cpu, cpus.len(), Cost::Free, cpus);
            cpus.get(chosen).map(|&cpu| cpu as usize)
        });
        match next {
            Some(next) if next == cpu => return,
            Some(next) => {
                // Who has put an interrupt off, and takes it earlier, is pre-empted where this is free.
                sim::with(|sim| {
                    sim.disturb_order(cpu);
                    if sim.cpus[cpu].in_handler {
                        sim.visible.handler_waits(cpu);
                    }
                });
                return tasks::switch_to(next);
            }
            None if sim::with(|sim| sim.can_run(cpu)) => return,
            None => sim::with(|sim| sim.report_deadlock()),
        }
        stop_if_broken();
    }
}

/// Ends the execution if an invariant is broken: the current CPU does not return from here then.
pub fn stop_if_broken() {
    if sim::with(|sim| sim.broken.is_some()) {
        tasks::stop();
    }
}

impl Sim {
    /// From the one after the current one on.
    fn others_that_can_run(&self) -> impl Iterator<Item = u8> {
        let current = sim::current_cpu();
        let others = (current + 1..self.cpus.len()).chain(0..current);
        others.filter(|&cpu| self.can_run(cpu)).map(|cpu| cpu as u8)
    }

    /// Passes a point by at which the current CPU could be pre-empted, if the execution had a pre-emption left.
    pub(super) fn pass_point(&mut self) {
        let current = sim::current_cpu();
        if (0..self.cpus.len()).any(|cpu| cpu != current && self.can_run(cpu)) {
            self.pass_by(ChoiceKind::Cpu);
        }
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
            let mail = if sim_cpu.is_interrupted() { ", an interrupt pending" } else { "" };
            match sim_cpu.doing {
                Doing::Waiting { .. } => Some(format!("CPU {cpu} waits{off}{mail}")),
                _ => None,
            }
        };
        let who: Vec<String> = (0..self.cpus.len()).filter_map(what).collect();
        self.broken = Some(Broken { invariant: "I-PROG".into(), detail: format!("deadlock: {}", who.join("; ")) });
    }
}
