//! The machine on real threads, at full speed.
//!
//! A host thread is a CPU while it holds the [`Seat`] that [`Threads::enter_cpu`] gave it. Nothing pre-empts it there,
//! so disabling pre-emption is nothing. An interrupt sets a flag of its target, which the target sees when it polls: at
//! each simulated user access, and wherever the driver calls [`CpuThread::poll`]. While it waits inside the core, the
//! core serves the mailbox itself. **So a thread that neither accesses, nor polls, nor waits in the core keeps
//! everybody waiting who flushes a space it has loaded**: leave the seat, or call [`CpuThread::idle`], before doing
//! anything else for long. For a CPU that no thread sits on, the sender of an interrupt answers in its place.
//!
//! MMUs are optional. Without them, invalidations are only counted, which is how the core is benchmarked. With them,
//! user accesses run in parallel on the simulated TLBs; cached translations are not compared with the tables, which
//! other threads change meanwhile, but frames and tables can be checked ([`Threads::check_frames`]).
//!
//! The memory order is the host's. Interrupts that come in the middle of the core are those of [`interrupts`].

mod host;
pub mod interrupts;
mod machine;

pub use host::{CpuThread, ThreadHost};

use crate::compressor::Compressor;
use crate::hardware::{
    Bus, Checks, CpuCounters, HostMemory, MachineConfig, Mmu, NoHostMemory, Violation, ViolationLog,
};
use crate::poison::lock;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;
use vellum::Machine;
use vellum::arch::Arch;

/// The machine on real threads.
pub struct Threads<A: Arch> {
    memory: HostMemory<A>,
    cpus: Box<[ThreadCpu<A>]>,
    /// What [`SEAT`] holds on CPU 0 of this machine; the other CPUs follow.
    first_seat: u64,
    cpu_nodes: Box<[u8]>,
    checks_frames: AtomicBool,
    started: Instant,
    interrupt: OnceLock<Box<dyn Fn() + Send + Sync>>,
    compressor: Compressor,
    log: Mutex<ViolationLog>,
}

/// One CPU, on cache lines of its own.
#[repr(align(128))]
struct ThreadCpu<A> {
    /// Whether a thread sits here, or a sender answers for it.
    taken: AtomicBool,
    /// An interrupt waits to be served.
    pending: AtomicBool,
    interrupts_sent: AtomicU64,
    interrupts_received: AtomicU64,
    page_invalidations: AtomicU64,
    asid_invalidations: AtomicU64,
    root_loads: AtomicU64,
    /// Odd while a user access is between its translation and its end. Written by the CPU's thread.
    accesses: AtomicU64,
    /// Frame of the loaded root; [`NO_ROOT`] if there is none.
    root: AtomicU64,
    mmu: Option<Mutex<Mmu<A>>>,
}

/// Whether the machine has simulated MMUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mmus {
    /// One for each CPU.
    Simulated,
    /// None: there are no user accesses, and invalidations are counted.
    None,
}

const NO_ROOT: u64 = u64::MAX;

/// Machines have 2^16 seat numbers each, from 2^16 on; 0 is no seat.
const SEATS_SHIFT: u32 = 16;
static MACHINES: AtomicU64 = AtomicU64::new(1);
thread_local!(static SEAT: Cell<u64> = const { Cell::new(0) });

/// A thread's being a CPU; dropping it leaves the CPU.
pub struct Seat<'m, A: Arch> {
    machine: &'m Threads<A>,
    cpu: usize,
    _not_send: PhantomData<*const ()>,
}

impl<A: Arch> Seat<'_, A> {
    /// The CPU's number.
    pub fn cpu(&self) -> usize {
        self.cpu
    }
}

impl<A: Arch> Drop for Seat<'_, A> {
    fn drop(&mut self) {
        self.machine.poll();
        SEAT.set(0);
        self.machine.vacate(self.cpu);
    }
}

/// Adds where the CPU's own thread is the only writer.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl<A: Arch> Threads<A> {
    /// A machine.
    pub fn new(config: &MachineConfig, mmus: Mmus) -> Result<Self, NoHostMemory> {
        let cpu = |number| ThreadCpu {
            taken: AtomicBool::new(false),
            pending: AtomicBool::new(false),
            interrupts_sent: AtomicU64::new(0),
            interrupts_received: AtomicU64::new(0),
            page_invalidations: AtomicU64::new(0),
            asid_invalidations: AtomicU64::new(0),
            root_loads: AtomicU64::new(0),
            accesses: AtomicU64::new(0),
            root: AtomicU64::new(NO_ROOT),
            mmu: (mmus == Mmus::Simulated).then(|| Mutex::new(Mmu::new(number))),
        };
        Ok(Threads {
            memory: HostMemory::new(&config.ranges)?,
            cpus: (0..config.cpus).map(cpu).collect(),
            first_seat: MACHINES.fetch_add(1, Relaxed) << SEATS_SHIFT,
            cpu_nodes: config.cpu_nodes(),
            checks_frames: AtomicBool::new(false),
            started: Instant::now(),
            interrupt: OnceLock::new(),
            compressor: Compressor::new(),
            log: Mutex::new(ViolationLog::default()),
        })
    }

    /// Makes the calling thread CPU `cpu`, waiting until the CPU is free.
    ///
    /// # Panics
    /// If there is no such CPU, or the thread is one already, of whatever machine.
    pub fn enter_cpu(&self, cpu: usize) -> Seat<'_, A> {
        assert!(cpu < self.cpus.len(), "the machine has no CPU {cpu}");
        assert!(SEAT.get() == 0, "the thread is a CPU already");
        while !self.take(cpu) {
            std::thread::yield_now();
        }
        SEAT.set(self.first_seat + cpu as u64);
        let seat = Seat { machine: self, cpu, _not_send: PhantomData };
        self.poll();
        seat
    }

    /// Registers what a flush interrupt runs: the `Vm`'s `handle_interrupt`. Once.
    ///
    /// # Panics
    /// If one is registered already.
    pub fn on_interrupt(&self, handler: impl Fn() + Send + Sync + 'static) {
        assert!(self.interrupt.set(Box::new(handler)).is_ok(), "the interrupt handler is registered twice");
    }

    /// Serves an interrupt that waits for the current CPU. Not inside the core.
    #[inline]
    pub fn poll(&self) {
        let cpu = &self.cpus[self.current_cpu()];
        if cpu.pending.load(Relaxed) {
            self.serve(cpu);
        }
    }

    /// Switches the check that frames and tables reached by user accesses are what they must be; off at first.
    pub fn check_frames(&self, on: bool) {
        self.checks_frames.store(on, Relaxed);
    }

    /// What compresses pages for the core.
    pub fn compressor(&self) -> &Compressor {
        &self.compressor
    }

    /// What `cpu` did.
    pub fn counters(&self, cpu: usize) -> CpuCounters {
        let cpu = &self.cpus[cpu];
        let mut mmu = cpu.mmu.as_ref().map(|mmu| lock(mmu).counters()).unwrap_or_default();
        if cpu.mmu.is_none() {
            mmu.page_invalidations = cpu.page_invalidations.load(Relaxed);
            mmu.asid_invalidations = cpu.asid_invalidations.load(Relaxed);
            mmu.root_loads = cpu.root_loads.load(Relaxed);
        }
        CpuCounters {
            mmu,
            interrupts_sent: cpu.interrupts_sent.load(Relaxed),
            interrupts_received: cpu.interrupts_received.load(Relaxed),
        }
    }

    /// What all CPUs did.
    pub fn total_counters(&self) -> CpuCounters {
        (0..self.cpus.len()).map(|cpu| self.counters(cpu)).fold(CpuCounters::default(), CpuCounters::plus)
    }

    /// Takes the violations found so far.
    pub fn take_violations(&self) -> Vec<Violation> {
        lock(&self.log).take()
    }

    #[cold]
    fn serve(&self, cpu: &ThreadCpu<A>) {
        if cpu.pending.swap(false, SeqCst) {
            count(&cpu.interrupts_received);
            let handler = self.interrupt.get().expect("an interrupt is sent and no handler is registered");
            interrupts::with_interrupts_off(handler);
        }
    }

    /// Starts what needs a CPU before anything can be shared with other threads.
    pub(crate) fn boot<R>(self, start: impl FnOnce(Self) -> R) -> R {
        let seat = SEAT.replace(self.first_seat);
        let result = start(self);
        SEAT.set(seat);
        result
    }

    fn take(&self, cpu: usize) -> bool {
        self.cpus[cpu].taken.compare_exchange(false, true, SeqCst, Relaxed).is_ok()
    }

    /// Gives the CPU up. An interrupt that was sent while it was taken, and not seen by its thread, is answered here.
    fn vacate(&self, cpu: usize) {
        self.cpus[cpu].taken.store(false, SeqCst);
        self.answer_for(cpu);
    }

    /// Serves a waiting interrupt of a CPU that nobody sits on. Either this sees that the CPU is free, or whoever
    /// frees it sees the interrupt: each sets its flag before it looks at the other's.
    fn answer_for(&self, cpu: usize) {
        while self.cpus[cpu].pending.load(SeqCst) && self.take(cpu) {
            let seat = SEAT.replace(self.first_seat + cpu as u64);
            self.serve(&self.cpus[cpu]);
            SEAT.set(seat);
            self.cpus[cpu].taken.store(false, SeqCst);
        }
    }

    #[inline(always)]
    fn cpu(&self) -> &ThreadCpu<A> {
        &self.cpus[self.current_cpu()]
    }

    /// Compares what the current CPU caches for `address` with what others do at one moment.
    fn check_conflicts(&self, address: u64, log: &mut ViolationLog) {
        if !A::semantics().break_before_make {
            return;
        }
        let current = self.current_cpu();
        let Some(own) = &self.cpus[current].mmu else { return };
        for (number, other) in self.cpus.iter().enumerate().filter(|&(number, _)| number != current) {
            let Some(other) = &other.mmu else { continue };
            // Locked in the order of the CPUs.
            let (first, second) = if number < current { (other, own) } else { (own, other) };
            let (first, second) = (lock(first), lock(second));
            let (own, other) = if number < current { (&second, &first) } else { (&first, &second) };
            own.check_conflict(other, address, log);
        }
    }

    fn bus<'a, K>(&'a self, kinds: &'a K) -> Bus<'a, A, K> {
        let checks = Checks { frames: self.checks_frames.load(Relaxed), tables: false };
        Bus { memory: &self.memory, kinds, checks }
    }
}
