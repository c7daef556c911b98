//! A `Vm` on the deterministic machine, with users.

use crate::access::{self, AccessError};
use crate::det::Det;
use crate::hardware::{MachineConfig, NoHostMemory, Violation};
use crate::host::Host;
use crate::latency::FaultLatency;
use crate::poison::lock;
use std::fmt;
use std::sync::{Arc, Mutex};
use vellum::arch::Arch;
use vellum::{BootError, Space, Vm};

/// A `Vm` on a [`Det`], and the user programs' side: loads, stores and instruction fetches that go through the
/// simulated MMU of a CPU, fault, and are tried again.
///
/// ```
/// use vellum::arch::{Prot, X86_64};
/// use vellum::ops::MapRequest;
/// use vellum_lab::hardware::MachineConfig;
/// use vellum_lab::hosted::Hosted;
///
/// let hosted = Hosted::<X86_64>::new(&MachineConfig::new(2, 4096))?;
/// let space = hosted.vm().create_space()?;
/// let address = space.map(&MapRequest::anonymous(0x4000, Prot::READ_WRITE))?;
/// hosted.store(0, &space, address, b"from CPU 0")?;
/// assert_eq!(hosted.load(1, &space, address, 10)?, b"from CPU 0");
/// hosted.on(1, || space.unmap(address, 0x4000))?;
/// assert!(hosted.load(0, &space, address, 1).is_err());
/// assert_eq!(hosted.take_violations(), []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Hosted<A: Arch> {
    vm: Arc<Vm<Host<A>>>,
    users: Mutex<Users>,
}

struct Users {
    /// By CPU: the space its user runs in, if it runs one.
    running: Vec<Option<u64>>,
    latency: FaultLatency,
}

/// Why there is no such machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostedError {
    /// The core refused it.
    Boot(BootError),
    /// The host has no room for its memory.
    Memory(NoHostMemory),
}

impl fmt::Display for HostedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostedError::Boot(error) => error.fmt(f),
            HostedError::Memory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HostedError {}

impl From<BootError> for HostedError {
    fn from(error: BootError) -> Self {
        HostedError::Boot(error)
    }
}

impl From<NoHostMemory> for HostedError {
    fn from(error: NoHostMemory) -> Self {
        HostedError::Memory(error)
    }
}

/// What the simulated clock advances at each user access.
const ACCESS_NS: u64 = 10;

impl<A: Arch> Hosted<A> {
    /// Makes the machine and starts a `Vm` on it.
    pub fn new(config: &MachineConfig) -> Result<Self, HostedError> {
        let vm = Arc::new(Vm::new(Host::Det(Det::new(config)?))?);
        let handler = Arc::downgrade(&vm);
        vm.machine().det().on_interrupt(move || {
            if let Some(vm) = handler.upgrade() {
                // SAFETY: the machine changes CPUs between operations only.
                unsafe { vm.handle_interrupt() };
            }
        });
        let users = Users { running: vec![None; config.cpus], latency: FaultLatency::default() };
        Ok(Hosted { vm, users: Mutex::new(users) })
    }

    /// The `Vm`.
    pub fn vm(&self) -> &Vm<Host<A>> {
        &self.vm
    }

    /// The machine.
    pub fn machine(&self) -> &Det<A> {
        self.vm.machine().det()
    }

    /// Runs `operation` on `cpu`, which then stays the current one.
    pub fn on<R>(&self, cpu: usize, operation: impl FnOnce() -> R) -> R {
        self.machine().set_cpu(cpu);
        operation()
    }

    /// Stores `bytes` at `address`, on `cpu`, which is switched to `space` if it is not there.
    pub fn store(&self, cpu: usize, space: &Space<'_, Host<A>>, address: u64, bytes: &[u8]) -> Result<(), AccessError> {
        self.run(cpu, space, |latency| access::store(space, address, bytes, latency))
    }

    /// Loads `length` bytes from `address`.
    pub fn load(
        &self,
        cpu: usize,
        space: &Space<'_, Host<A>>,
        address: u64,
        length: usize,
    ) -> Result<Vec<u8>, AccessError> {
        let mut bytes = vec![0; length];
        self.load_into(cpu, space, address, &mut bytes)?;
        Ok(bytes)
    }

    /// Loads from `address` into `bytes`.
    pub fn load_into(
        &self,
        cpu: usize,
        space: &Space<'_, Host<A>>,
        address: u64,
        bytes: &mut [u8],
    ) -> Result<(), AccessError> {
        self.run(cpu, space, |latency| access::load(space, address, bytes, latency))
    }

    /// Stores `bytes` by an address that bears `tag`; those of the methods above bear 0.
    pub fn store_tagged(
        &self,
        cpu: usize,
        space: &Space<'_, Host<A>>,
        address: u64,
        bytes: &[u8],
        tag: u8,
    ) -> Result<(), AccessError> {
        self.run(cpu, space, |latency| access::store_tagged(space, address, bytes, tag, latency))
    }

    /// Loads `length` bytes by an address that bears `tag`.
    pub fn load_tagged(
        &self,
        cpu: usize,
        space: &Space<'_, Host<A>>,
        address: u64,
        length: usize,
        tag: u8,
    ) -> Result<Vec<u8>, AccessError> {
        let mut bytes = vec![0; length];
        self.run(cpu, space, |latency| access::load_tagged(space, address, &mut bytes, tag, latency))?;
        Ok(bytes)
    }

    /// Tags the granules of `length` bytes from `address` on, which must be mapped with tags.
    pub fn set_tag(
        &self,
        cpu: usize,
        space: &Space<'_, Host<A>>,
        address: u64,
        length: usize,
        tag: u8,
    ) -> Result<(), AccessError> {
        self.run(cpu, space, |latency| access::set_tag(space, address, length, tag, latency))
    }

    /// Fetches `length` bytes of instructions from `address`.
    pub fn execute(
        &self,
        cpu: usize,
        space: &Space<'_, Host<A>>,
        address: u64,
        length: usize,
    ) -> Result<(), AccessError> {
        self.run(cpu, space, |latency| access::execute(space, address, length, latency))
    }

    /// Lets `cpu` fill its TLB for `address` from what it has loaded, as a processor may at any time: whether it did.
    pub fn speculate(&self, cpu: usize, address: u64) -> bool {
        self.on(cpu, || self.machine().speculate(&*self.vm, address))
    }

    /// Switches `cpu` to `space`, if it does not run it already.
    pub fn switch_to(&self, cpu: usize, space: &Space<'_, Host<A>>) {
        self.run(cpu, space, |_| ());
    }

    /// Takes `cpu` out of every space.
    pub fn idle(&self, cpu: usize) {
        self.on(cpu, || self.vm.switch_to(None));
        lock(&self.users).running[cpu] = None;
    }

    /// Makes `cpu` lazy: it keeps its space loaded and runs no user until its next access.
    pub fn enter_lazy(&self, cpu: usize) {
        self.on(cpu, || self.vm.enter_lazy());
        lock(&self.users).running[cpu] = None;
    }

    /// Compares everything that the CPUs which run users cache with the tables, and reports what differs.
    pub fn audit_tlbs(&self) {
        for (cpu, running) in lock(&self.users).running.iter().enumerate() {
            if running.is_some() {
                self.machine().audit(&*self.vm, cpu);
            }
        }
    }

    /// Takes the violations found so far.
    pub fn take_violations(&self) -> Vec<Violation> {
        self.machine().take_violations()
    }

    /// How long the faults of user accesses took on the host.
    pub fn latency(&self) -> FaultLatency {
        lock(&self.users).latency.clone()
    }

    fn run<R>(&self, cpu: usize, space: &Space<'_, Host<A>>, access: impl FnOnce(&mut FaultLatency) -> R) -> R {
        self.machine().set_cpu(cpu);
        let mut users = lock(&self.users);
        users.running[cpu] = access::switch(space, users.running[cpu]);
        self.machine().advance_clock(ACCESS_NS);
        access(&mut users.latency)
    }
}
