//! A wrapper for the machines of embedders which asserts the contract between them and the core, in both directions.
//!
//! [`Vm`](vellum::Vm) believes what its [`Machine`] says, and a machine believes that the core keeps its promises.
//! [`Strict`] stands between the two in tests, and in debug builds of a kernel: it forwards every call, and checks each
//! clause of the contract (`docs/EMBEDDING.md`) that can be seen from there. A broken one ([`Clause`]) panics, with one
//! line which names it, or goes to a handler of yours. It needs neither the standard library nor an allocator.
//!
//! The checks need a place that stays: [`Checked`]. A [`Strict`] is a handle of one: a reference to a static in a
//! kernel, an `Arc` in a hosted test.
//!
//! ```
//! # #[path = "../../vellum/examples/embed.rs"]
//! # #[allow(dead_code)]
//! # mod embed;
//! # use embed::Toy;
//! use std::sync::Arc;
//! use vellum::arch::Prot;
//! use vellum::ops::{Access, MapRequest};
//! use vellum::Vm;
//! use vellum_strict::{Checked, Strict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let strict = Strict::new(Arc::new(Checked::new(Toy::default())));
//! let vm = Vm::new(strict.clone())?;
//! let space = vm.create_space()?;
//! vm.switch_to(Some(&space));
//! let address = space.map(&MapRequest::anonymous(0x4000, Prot::READ_WRITE))?;
//! space.fault(address, Access::Write)?;
//! space.unmap(address, 0x4000)?;
//! vm.switch_to(None);
//! # Ok(())
//! # }
//! ```
//!
//! Three things must be done beside wrapping the machine:
//!
//! * the handler of the flush interrupt says that it is one: [`Strict::interrupt`];
//! * backings and swap devices are wrapped too: [`Strict::watch`];
//! * something that goes on while CPUs are stuck, such as a timer's interrupt, calls [`Strict::watchdog`].
//!
//! # What it does not see
//!
//! Whether `invalidate_page` and its like invalidate anything, `load_root` loads, `wake` wakes, and whether others use
//! the core's memory. Calls of the core that must be made with pre-emption on: the core's own steps then break
//! [`Clause::Sleeps`], if they get as far as sleeping. Of pages, it compares digests: what is stored to a page while it
//! is being copied makes it look away.

#![no_std]

mod clause;
mod contents;
mod devices;
mod line;
mod machine;
mod memory;

pub use clause::{Breach, Clause, Side};
pub use devices::Watched;

use contents::Compressed;
use core::ops::Deref;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use line::Line;
use memory::Memory;
use vellum::Machine;
use vellum::cpuset::CPUS_MAX;
use vellum::phys::NODES_MAX;

/// A machine, and what the checks know of it: about 40 KiB.
pub struct Checked<M> {
    machine: M,
    handler: fn(&Breach),
    cpus: AtomicUsize,
    memory: Memory,
    lines: [Line; CPUS_MAX],
    /// The latest time that anybody was told.
    clock: AtomicU64,
    /// By node: what `demotion_target` said; see `note_demotion`.
    demotions: [AtomicU32; NODES_MAX],
    compressed: Compressed,
}

impl<M> Checked<M> {
    /// The machine, to be checked; a broken clause panics.
    pub const fn new(machine: M) -> Checked<M> {
        Checked::with_handler(machine, |breach| panic!("{breach}"))
    }

    /// The machine, to be checked; `handler` is told of broken clauses. If it returns, the call is made all the same.
    pub const fn with_handler(machine: M, handler: fn(&Breach)) -> Checked<M> {
        Checked {
            machine,
            handler,
            cpus: AtomicUsize::new(0),
            memory: Memory::new(),
            lines: [const { Line::new() }; CPUS_MAX],
            clock: AtomicU64::new(0),
            demotions: [const { AtomicU32::new(0) }; NODES_MAX],
            compressed: Compressed::new(),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }
}

/// A handle of a [`Checked`] machine: the machine to give to [`Vm::new`](vellum::Vm::new).
#[derive(Clone, Copy, Debug)]
pub struct Strict<P>(P);

impl<M: Machine, P: Deref<Target = Checked<M>>> Strict<P> {
    /// Begins to check: looks at what the machine says of itself.
    pub fn new(checked: P) -> Strict<P> {
        let strict = Strict(checked);
        let machine = strict.inner();
        let cpus = machine.cpu_count();
        strict.0.cpus.store(cpus, Relaxed);
        strict.require_at_boot((1..=CPUS_MAX).contains(&cpus), Clause::CpuCount, "Machine::cpu_count", cpus);
        let wrong = memory::wrong_range(machine.memory());
        strict.require_at_boot(wrong.is_none(), Clause::Memory, "Machine::memory", wrong.unwrap_or(0));
        let wrong = memory::wrong_base(machine);
        strict.require_at_boot(wrong.is_none(), Clause::Frame, "Machine::frame", wrong.unwrap_or(0));
        strict.0.memory.note(machine);
        strict
    }

    /// The wrapped machine.
    pub fn inner(&self) -> &M {
        &self.0.machine
    }

    /// Runs the handler of a flush interrupt, on the CPU that was interrupted: `body` calls
    /// [`Vm::handle_interrupt`](vellum::Vm::handle_interrupt).
    pub fn interrupt<R>(&self, body: impl FnOnce() -> R) -> R {
        const CALL: &str = "Strict::interrupt";
        let cpu = self.inner().current_cpu();
        let Some(line) = self.line(cpu, CALL) else { return body() };
        let called = line.enter_interrupt();
        let result = body();
        line.leave_interrupt(called);
        self.require_stays(cpu, CALL);
        result
    }

    /// Looks whether a CPU has been in one call of `wait_change`, or an interrupt on its way to one, for more than
    /// `limit_ns`. To be called every now and then, from where it happens even if CPUs are stuck.
    pub fn watchdog(&self, limit_ns: u64) {
        let now = self.inner().now();
        for (cpu, line) in self.0.lines.iter().enumerate().take(self.0.cpus.load(Relaxed)) {
            let (waits, sent) = (line.waits_for(now), line.interrupted_for(now));
            self.require_on(waits <= limit_ns, Clause::WaitEnds, "Machine::wait_change", cpu, waits);
            self.require_on(sent <= limit_ns, Clause::InterruptArrives, "Machine::send_interrupt", cpu, sent);
        }
    }

    /// A backing or a swap device whose calls are checked too.
    pub fn watch<T>(&self, inner: T) -> Watched<P, T>
    where
        P: Clone,
    {
        Watched::new(Strict(self.0.clone()), inner)
    }

    /// Reports a clause unless it holds, with the CPU this runs on.
    fn require(&self, holds: bool, clause: Clause, call: &'static str, value: u64) {
        if !holds {
            self.require_on(false, clause, call, self.inner().current_cpu(), value);
        }
    }

    fn require_on(&self, holds: bool, clause: Clause, call: &'static str, cpu: usize, value: u64) {
        if !holds {
            (self.0.handler)(&Breach { clause, call, cpu, value });
        }
    }

    /// Where nobody need be a CPU yet.
    fn require_at_boot(&self, holds: bool, clause: Clause, call: &'static str, value: usize) {
        self.require_on(holds, clause, call, 0, value as u64);
    }

    /// The state of `cpu`, if there is such a CPU.
    fn line(&self, cpu: usize, call: &'static str) -> Option<&Line> {
        let exists = cpu < self.0.cpus.load(Relaxed);
        self.require_on(exists, Clause::CurrentCpu, call, cpu, cpu as u64);
        self.0.lines.get(cpu).filter(|_| exists)
    }

    /// The current CPU is still `cpu`.
    fn require_stays(&self, cpu: usize, call: &'static str) {
        let now = self.inner().current_cpu();
        self.require_on(now == cpu, Clause::CurrentCpu, call, cpu, now as u64);
    }

    /// A call that the core makes with pre-emption off, and that may not call it back.
    fn inside<R>(&self, call: &'static str, body: impl FnOnce(&M, &Line) -> R) -> R {
        let cpu = self.inner().current_cpu();
        let Some(line) = self.line(cpu, call) else { return body(self.inner(), &Line::new()) };
        self.require_on(line.is_inside(), Clause::Inside, call, cpu, cpu as u64);
        let called = line.set_called(1);
        self.require_on(called == 0, Clause::NoCallBack, call, cpu, cpu as u64);
        let result = body(self.inner(), line);
        line.set_called(called);
        self.require_stays(cpu, call);
        result
    }

    /// A call in which the embedder may sleep. Pre-emption is switched off to look: it is on, or the clause broken.
    fn sleeps(&self, call: &'static str) {
        let machine = self.inner();
        machine.disable_preemption();
        let cpu = machine.current_cpu();
        let state = self.line(cpu, call).map(|line| (line.depth(), line.is_in_interrupt()));
        machine.enable_preemption();
        let (depth, is_in_interrupt) = state.unwrap_or_default();
        self.require_on(depth == 0, Clause::Sleeps, call, cpu, u64::from(depth));
        self.require_on(!is_in_interrupt, Clause::InterruptIsShort, call, cpu, cpu as u64);
    }

    /// The time, later than what anybody was told before this was called.
    fn time(&self) -> u64 {
        let latest = self.0.clock.load(SeqCst);
        let now = self.inner().now();
        self.require(now >= latest, Clause::Clock, "Machine::now", now);
        self.0.clock.fetch_max(now, SeqCst);
        now
    }

    /// Remembers where pages of `node` go; whether it is what was said before, if anything was.
    fn note_demotion(&self, node: u8, target: Option<u8>) -> bool {
        let said = target.map_or(1, |target| u32::from(target) + 2);
        let Some(known) = self.0.demotions.get(usize::from(node)) else { return true };
        let before = known.swap(said, Relaxed);
        before == 0 || before == said
    }
}
