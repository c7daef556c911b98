//! The deterministic machine: several simulated CPUs on one host thread.
//!
//! The driver says which CPU runs ([`Det::set_cpu`]); an operation of the core then runs to its end on that CPU,
//! because nothing else can. An interrupt is delivered at once: the machine becomes each target in turn and calls the
//! handler. So operations are atomic between user accesses, and the MMUs can compare every cached translation with the
//! tables. Interleavings inside operations are not explored here. A wait that nothing can end panics.
//!
//! [`Hosted`](crate::hosted::Hosted) puts a `Vm` on this machine and gives it user accesses.

mod machine;

pub use crate::failure::FailurePlan;

use crate::compressor::Compressor;
use crate::failure::FailureGate;
use crate::hardware::{
    Bus, Checks, CpuCounters, FrameKinds, HostMemory, MachineConfig, Mmu, NoHostMemory, Violation, ViolationLog,
};
use crate::poison::lock;
use crate::recorder;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Mutex, OnceLock};
use vellum::arch::Arch;
use vellum::{Machine, RootLoad};

/// The deterministic machine. What the core touches goes to the [`recorder`] while that records.
pub struct Det<A: Arch> {
    memory: HostMemory<A>,
    cpus: Box<[DetCpu<A>]>,
    /// Identifies the host thread that made the machine, the only one which may run it.
    owner: usize,
    current: AtomicUsize,
    /// How many CPUs have pre-emption off: one in an operation, further ones in interrupts it sent.
    inside: AtomicU32,
    clock_ns: AtomicU64,
    /// Waits since anything happened that could have ended one.
    waits: AtomicU32,
    checks_tables: AtomicBool,
    cpu_nodes: Box<[u8]>,
    interrupt: OnceLock<Box<dyn Fn() + Send + Sync>>,
    gate: FailureGate,
    compressor: Compressor,
    log: Mutex<ViolationLog>,
}

struct DetCpu<A> {
    mmu: Mutex<Mmu<A>>,
    interrupts_sent: AtomicU64,
    interrupts_received: AtomicU64,
}

/// An address that no other live thread has.
#[inline]
fn thread_token() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| here as *const u8 as usize)
}

impl<A: Arch> Det<A> {
    /// A machine, on CPU 0. The host thread which makes it must run it.
    pub fn new(config: &MachineConfig) -> Result<Self, NoHostMemory> {
        let cpu = |number| DetCpu {
            mmu: Mutex::new(Mmu::new(number)),
            interrupts_sent: AtomicU64::new(0),
            interrupts_received: AtomicU64::new(0),
        };
        recorder::set_cpu(0);
        Ok(Det {
            memory: HostMemory::new(&config.ranges)?,
            cpus: (0..config.cpus).map(cpu).collect(),
            owner: thread_token(),
            current: AtomicUsize::new(0),
            inside: AtomicU32::new(0),
            clock_ns: AtomicU64::new(0),
            waits: AtomicU32::new(0),
            checks_tables: AtomicBool::new(true),
            cpu_nodes: config.cpu_nodes(),
            interrupt: OnceLock::new(),
            gate: FailureGate::new(),
            compressor: Compressor::new(),
            log: Mutex::new(ViolationLog::default()),
        })
    }

    /// Registers what a flush interrupt runs: the `Vm`'s `handle_interrupt`. Once.
    ///
    /// # Panics
    /// If one is registered already.
    pub fn on_interrupt(&self, handler: impl Fn() + Send + Sync + 'static) {
        assert!(self.interrupt.set(Box::new(handler)).is_ok(), "the interrupt handler is registered twice");
    }

    /// Makes `cpu` the one that runs.
    ///
    /// # Panics
    /// If there is no such CPU, on a host thread which did not make the machine, or inside an operation of the core.
    pub fn set_cpu(&self, cpu: usize) {
        assert!(cpu < self.cpus.len(), "the machine has no CPU {cpu}");
        self.check_thread();
        assert!(self.inside.load(Relaxed) == 0, "the CPU is changed inside an operation");
        self.become_cpu(cpu);
    }

    fn become_cpu(&self, cpu: usize) {
        self.current.store(cpu, Relaxed);
        self.waits.store(0, Relaxed);
        recorder::set_cpu(cpu);
    }

    /// Sets the clock.
    pub fn set_clock(&self, now_ns: u64) {
        self.clock_ns.store(now_ns, Relaxed);
    }

    /// Advances the clock.
    pub fn advance_clock(&self, by_ns: u64) {
        self.clock_ns.fetch_add(by_ns, Relaxed);
    }

    /// Switches the comparison of cached translations with the tables (I-TLBPERM, I-DIRTY); on at first.
    pub fn check_tables(&self, on: bool) {
        self.checks_tables.store(on, Relaxed);
    }

    /// Lets `plan` decide which allocations fail from now on, and counts them from 0 again.
    pub fn set_failure_plan(&self, plan: FailurePlan) {
        self.gate.set(plan);
    }

    /// Allocations tried since the failure plan was set.
    pub fn allocations(&self) -> u64 {
        self.gate.attempts()
    }

    /// How many of them the plan made fail.
    pub fn allocation_failures(&self) -> u64 {
        self.gate.failures()
    }

    /// What compresses pages for the core.
    pub fn compressor(&self) -> &Compressor {
        &self.compressor
    }

    /// What `cpu` did.
    pub fn counters(&self, cpu: usize) -> CpuCounters {
        let cpu = &self.cpus[cpu];
        CpuCounters {
            mmu: lock(&cpu.mmu).counters(),
            interrupts_sent: cpu.interrupts_sent.load(Relaxed),
            interrupts_received: cpu.interrupts_received.load(Relaxed),
        }
    }

    /// What all CPUs did.
    pub fn total_counters(&self) -> CpuCounters {
        (0..self.cpus.len()).map(|cpu| self.counters(cpu)).fold(CpuCounters::default(), CpuCounters::plus)
    }

    /// The root loaded on `cpu`.
    pub fn loaded(&self, cpu: usize) -> Option<RootLoad> {
        lock(&self.cpus[cpu].mmu).loaded()
    }

    /// How many violations were found.
    pub fn violation_count(&self) -> u64 {
        lock(&self.log).count()
    }

    /// Takes the violations found so far.
    pub fn take_violations(&self) -> Vec<Violation> {
        lock(&self.log).take()
    }

    /// Lets the current CPU fill its TLB for `address` if the tables allow it, as a processor may at any time (H1).
    pub(crate) fn speculate<K: FrameKinds>(&self, kinds: &K, address: u64) -> bool {
        let mut log = lock(&self.log);
        let filled = lock(&self.cpu().mmu).speculate(&self.bus(kinds), address, &mut log);
        self.check_conflicts(address, &mut log);
        filled
    }

    /// Compares what the current CPU caches for `address` with what others do.
    #[inline]
    fn check_conflicts(&self, address: u64, log: &mut ViolationLog) {
        if !A::semantics().break_before_make {
            return;
        }
        let current = self.current_cpu();
        for (_, other) in self.cpus.iter().enumerate().filter(|&(number, _)| number != current) {
            lock(&self.cpu().mmu).check_conflict(&lock(&other.mmu), address, log);
        }
    }

    /// Compares what `cpu` caches of its loaded address space with the tables.
    pub(crate) fn audit<K: FrameKinds>(&self, kinds: &K, cpu: usize) {
        lock(&self.cpus[cpu].mmu).audit(&self.bus(kinds), &mut lock(&self.log));
    }

    #[inline]
    fn bus<'a, K>(&'a self, kinds: &'a K) -> Bus<'a, A, K> {
        let checks = Checks { frames: true, tables: self.checks_tables.load(Relaxed) };
        Bus { memory: &self.memory, kinds, checks }
    }

    #[inline]
    fn cpu(&self) -> &DetCpu<A> {
        &self.cpus[self.current_cpu()]
    }

    #[inline]
    fn check_thread(&self) {
        assert!(thread_token() == self.owner, "a deterministic machine runs on the host thread that made it");
    }
}
