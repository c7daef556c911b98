//! Devices that interrupt CPUs, and a lock of the embedder's that their handlers take.
//!
//! A device is an actor of its own, which says when the interrupt comes: at any moment at which the CPU may be
//! pre-empted. The lock stands for that of a scheduler's run queue: it is held across a switch, with interrupts off.

use super::cpu::Cpu;
use super::world::World;
use crate::explore::{sim, wait};
use crate::lab::Lab;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};
use vellum::arch::Arch;
use vellum::sync::AtomicU32 as SharedU32;

/// What a world's devices have done, and the lock.
pub(crate) struct Devices<A: Arch> {
    /// By CPU: a device has interrupted it, and it has not taken that yet.
    raised: Box<[AtomicBool]>,
    /// Not 0 while somebody has the lock.
    lock: Box<AtomicU32>,
    of: PhantomData<fn(A)>,
}

impl<A: Arch> Devices<A> {
    pub(crate) fn new(cpus: usize) -> Self {
        let raised = (0..cpus).map(|_| AtomicBool::new(false)).collect();
        Devices { raised, lock: Box::new(AtomicU32::new(0)), of: PhantomData }
    }

    /// Where the lock is.
    pub(crate) fn memory(&self) -> Range<usize> {
        let start = (&raw const *self.lock).addr();
        start..start + size_of::<AtomicU32>()
    }

    /// The lock, as CPUs reach it.
    fn lock(&self) -> &SharedU32<Lab<A>> {
        SharedU32::from_core(&self.lock)
    }

    /// Whether a device has interrupted `cpu` since this was last asked.
    pub(crate) fn has_interrupted(&self, cpu: usize) -> bool {
        self.raised[cpu].swap(false, Relaxed)
    }
}

/// What a world can do with devices; as [`super::ops::Ops`].
pub(crate) trait DeviceOps {
    fn interrupt(&self, cpu: usize);
    fn lock_run_queue(&self);
    fn unlock_run_queue(&self);
}

impl<A: Arch> DeviceOps for World<A> {
    fn interrupt(&self, cpu: usize) {
        wait::send_interrupt(std::iter::once(cpu));
        // Nothing else has run since it was sent.
        self.devices.raised[cpu].store(true, Relaxed);
    }

    fn lock_run_queue(&self) {
        while self.devices.lock().compare_exchange(0, 1, Acquire).is_err() {
            wait::wait_change(&self.devices.lock, 1);
        }
    }

    fn unlock_run_queue(&self) {
        self.devices.lock().store(0, Release);
    }
}

impl Cpu<'_> {
    /// A device interrupts `cpu`, which does what [`super::Scenario::on_device`] says when it takes the interrupt.
    pub fn interrupt(&self, cpu: usize) {
        sim::happened(|| format!("a device interrupts CPU {cpu}"));
        self.ops.devices().interrupt(cpu);
    }

    /// Runs `body` with interrupts off and a lock that the core knows nothing of, as a scheduler holds that of its run
    /// queue when it switches.
    pub fn with_run_queue<R>(&self, body: impl FnOnce() -> R) -> R {
        wait::with_interrupts_off(|| {
            self.ops.devices().lock_run_queue();
            sim::happened(|| "locks the run queue".into());
            let result = body();
            self.ops.devices().unlock_run_queue();
            sim::happened(|| "unlocks the run queue".into());
            result
        })
    }
}
