//! A `Vm` on real threads, with users: the counterpart of [`Hosted`](crate::hosted::Hosted).

use super::{Mmus, Seat, Threads};
use crate::access::{self, AccessError};
use crate::hardware::MachineConfig;
use crate::host::Host;
use crate::hosted::HostedError;
use crate::latency::FaultLatency;
use crate::poison::lock;
use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use vellum::arch::Arch;
use vellum::{Space, Vm};

/// A `Vm` on a [`Threads`] machine. Everything of the core is called by threads which hold a [`CpuThread`], dropping
/// the last handle of a space included.
pub struct ThreadHost<A: Arch> {
    vm: Arc<Vm<Host<A>>>,
    latency: Mutex<FaultLatency>,
}

impl<A: Arch> ThreadHost<A> {
    /// Makes the machine and starts a `Vm` on it.
    pub fn new(config: &MachineConfig, mmus: Mmus) -> Result<Self, HostedError> {
        let vm = Arc::new(Threads::new(config, mmus)?.boot(|threads| Vm::new(Host::Threads(threads)))?);
        let handler = Arc::downgrade(&vm);
        vm.machine().threads().on_interrupt(move || {
            if let Some(vm) = handler.upgrade() {
                // SAFETY: a CPU is a thread.
                unsafe { vm.handle_interrupt() };
            }
        });
        Ok(ThreadHost { vm, latency: Mutex::default() })
    }

    /// The `Vm`.
    pub fn vm(&self) -> &Vm<Host<A>> {
        &self.vm
    }

    /// The machine.
    pub fn machine(&self) -> &Threads<A> {
        self.vm.machine().threads()
    }

    /// Makes the calling thread CPU `cpu`, waiting until the CPU is free.
    ///
    /// # Panics
    /// If there is no such CPU, or the thread is one already.
    pub fn enter(&self, cpu: usize) -> CpuThread<'_, A> {
        let seat = self.machine().enter_cpu(cpu);
        CpuThread { host: self, seat, running: Cell::new(None), latency: RefCell::default() }
    }

    /// How long the faults of user accesses took, of the threads that have left their CPU.
    pub fn latency(&self) -> FaultLatency {
        lock(&self.latency).clone()
    }
}

/// A thread that is a CPU, and runs users on it. Dropping it takes the CPU out of its space and leaves the CPU.
pub struct CpuThread<'h, A: Arch> {
    host: &'h ThreadHost<A>,
    seat: Seat<'h, A>,
    running: Cell<Option<u64>>,
    latency: RefCell<FaultLatency>,
}

impl<'h, A: Arch> CpuThread<'h, A> {
    /// The CPU's number.
    pub fn cpu(&self) -> usize {
        self.seat.cpu()
    }

    /// The `Vm`.
    pub fn vm(&self) -> &'h Vm<Host<A>> {
        self.host.vm()
    }

    /// The `Vm`, to be kept beside the thread.
    pub(super) fn shared(&self) -> Arc<Vm<Host<A>>> {
        Arc::clone(&self.host.vm)
    }

    /// Serves a waiting interrupt. To be called often by a thread which makes no user accesses.
    pub fn poll(&self) {
        self.host.machine().poll();
    }

    /// Stores `bytes` at `address` of `space`, switching to it if the CPU is not there.
    pub fn store(&self, space: &Space<'_, Host<A>>, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        self.switch_to(space);
        access::store(space, address, bytes, &mut self.latency.borrow_mut())
    }

    /// Loads `length` bytes from `address`.
    pub fn load(&self, space: &Space<'_, Host<A>>, address: u64, length: usize) -> Result<Vec<u8>, AccessError> {
        let mut bytes = vec![0; length];
        self.load_into(space, address, &mut bytes)?;
        Ok(bytes)
    }

    /// Loads from `address` into `bytes`.
    pub fn load_into(&self, space: &Space<'_, Host<A>>, address: u64, bytes: &mut [u8]) -> Result<(), AccessError> {
        self.switch_to(space);
        access::load(space, address, bytes, &mut self.latency.borrow_mut())
    }

    /// Stores `bytes` by an address that bears `tag`; those of the methods above bear 0.
    pub fn store_tagged(
        &self,
        space: &Space<'_, Host<A>>,
        address: u64,
        bytes: &[u8],
        tag: u8,
    ) -> Result<(), AccessError> {
        self.switch_to(space);
        access::store_tagged(space, address, bytes, tag, &mut self.latency.borrow_mut())
    }

    /// Loads `length` bytes by an address that bears `tag`.
    pub fn load_tagged(
        &self,
        space: &Space<'_, Host<A>>,
        address: u64,
        length: usize,
        tag: u8,
    ) -> Result<Vec<u8>, AccessError> {
        self.switch_to(space);
        let mut bytes = vec![0; length];
        access::load_tagged(space, address, &mut bytes, tag, &mut self.latency.borrow_mut())?;
        Ok(bytes)
    }

    /// Tags the granules of `length` bytes from `address` on, which must be mapped with tags.
    pub fn set_tag(&self, space: &Space<'_, Host<A>>, address: u64, length: usize, tag: u8) -> Result<(), AccessError> {
        self.switch_to(space);
        access::set_tag(space, address, length, tag, &mut self.latency.borrow_mut())
    }

    /// Fetches `length` bytes of instructions from `address`.
    pub fn execute(&self, space: &Space<'_, Host<A>>, address: u64, length: usize) -> Result<(), AccessError> {
        self.switch_to(space);
        access::execute(space, address, length, &mut self.latency.borrow_mut())
    }

    /// Switches the CPU to `space`, if it is not there already.
    pub fn switch_to(&self, space: &Space<'_, Host<A>>) {
        self.running.set(access::switch(space, self.running.get()));
    }

    /// Makes the CPU lazy: it keeps its space loaded and runs no user until the next access. It must go on polling.
    pub fn enter_lazy(&self) {
        self.running.set(None);
        self.vm().enter_lazy();
    }

    /// Takes the CPU out of every space, so that no flush waits for this thread.
    pub fn idle(&self) {
        self.running.set(None);
        self.vm().switch_to(None);
    }
}

impl<A: Arch> Drop for CpuThread<'_, A> {
    fn drop(&mut self) {
        self.idle();
        lock(&self.host.latency).merge(&self.latency.borrow());
    }
}
