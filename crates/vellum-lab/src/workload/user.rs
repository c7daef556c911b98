//! One CPU's user of a workload: makes accesses, and checks what they return.

use crate::access::{self, AccessError, Simulated};
use crate::background::Background;
use crate::latency::FaultLatency;
use crate::outcome::{Findings, RunError};
use crate::replay::touched::Touched;
use vellum::arch::Arch;
use vellum::ops::FaultError;
use vellum::{Error, Space, Vm};

/// A user, on the CPU it was made for.
pub(super) struct User<'vm, M: Simulated> {
    pub(super) vm: &'vm Vm<M>,
    pub(super) cpu: usize,
    running: Option<u64>,
    pub(super) latency: FaultLatency,
    pub(super) findings: Findings,
    pub(super) touched: Touched,
    pub(super) accesses: u64,
    pub(super) segv: u64,
    /// Accesses that were refused since they bore a wrong tag, as they must be.
    pub(super) tag_traps: u64,
    background: Background,
    random: u64,
    buffer: Vec<u8>,
}

/// Bytes of a page.
pub(super) const fn page_bytes<M: Simulated>() -> u64 {
    1 << <M::Arch as Arch>::PAGE_SHIFT
}

impl<'vm, M: Simulated> User<'vm, M> {
    pub(super) fn new(vm: &'vm Vm<M>, cpu: usize) -> Self {
        User {
            vm,
            cpu,
            running: None,
            latency: FaultLatency::default(),
            findings: Findings::default(),
            touched: Touched::new(),
            accesses: 0,
            segv: 0,
            tag_traps: 0,
            background: Background::default(),
            random: 0x2545_f491_4f6c_dd1d ^ (cpu as u64) << 32,
            buffer: Vec::new(),
        }
    }

    /// A number below `limit`, the same ones in each run.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    /// Stores a word.
    pub(super) fn store(&mut self, space: &Space<'vm, M>, address: u64, word: u64) -> Result<(), RunError> {
        self.arrive(space, address);
        let stored = access::store(space, address, &word.to_le_bytes(), &mut self.latency);
        stored.map_err(|error| self.broken(address, error))
    }

    /// Loads a word that the workload stored, and which must be `expected`.
    pub(super) fn check(&mut self, space: &Space<'vm, M>, address: u64, expected: u64) -> Result<(), RunError> {
        let got = self.load(space, address)?;
        self.findings.loads_after_store += 1;
        self.compare(address, expected, got);
        Ok(())
    }

    /// Loads a word that nobody has stored to, and which must be `expected`.
    pub(super) fn check_fresh(&mut self, space: &Space<'vm, M>, address: u64, expected: u64) -> Result<(), RunError> {
        let got = self.load(space, address)?;
        self.compare(address, expected, got);
        Ok(())
    }

    /// Loads a page, which must be `expected`.
    pub(super) fn check_page(&mut self, space: &Space<'vm, M>, address: u64, expected: &[u8]) -> Result<(), RunError> {
        self.arrive(space, address);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(expected.len(), 0);
        let loaded = access::load(space, address, &mut buffer, &mut self.latency);
        self.findings.loads_checked += 1;
        if loaded.is_ok() && buffer != expected {
            let cpu = self.cpu;
            self.findings.report(format_args!("I-LOST: CPU {cpu}: the page at {address:#x} is not what it must be"));
        }
        self.buffer = buffer;
        loaded.map_err(|error| self.broken(address, error))
    }

    /// Makes a store that must get a segmentation fault.
    pub(super) fn check_denied(&mut self, space: &Space<'vm, M>, address: u64) -> Result<(), RunError> {
        self.arrive(space, address);
        match access::store(space, address, &[0xee; 8], &mut self.latency) {
            Err(error) if error.is_segv() => self.segv += 1,
            Err(error) => return Err(self.broken(address, error)),
            Ok(()) => {
                let cpu = self.cpu;
                self.findings.report(format_args!("I-TLBPERM: CPU {cpu}: a store at {address:#x} was not refused"));
            }
        }
        Ok(())
    }

    /// Tags the granules of `length` bytes.
    pub(super) fn set_tag(
        &mut self,
        space: &Space<'vm, M>,
        address: u64,
        length: u64,
        tag: u8,
    ) -> Result<(), RunError> {
        self.arrive(space, address);
        let tagged = access::set_tag(space, address, length as usize, tag, &mut self.latency);
        tagged.map_err(|error| self.broken(address, error))
    }

    /// Stores a word by an address that bears `tag`, which must be that of the memory.
    pub(super) fn store_tagged(
        &mut self,
        space: &Space<'vm, M>,
        address: u64,
        word: u64,
        tag: u8,
    ) -> Result<(), RunError> {
        self.arrive(space, address);
        let stored = access::store_tagged(space, address, &word.to_le_bytes(), tag, &mut self.latency);
        self.unless_trapped(address, stored)
    }

    /// Loads a word by an address that bears `tag`, which must be that of the memory; the word must be `expected`.
    pub(super) fn check_tagged(
        &mut self,
        space: &Space<'vm, M>,
        address: u64,
        expected: u64,
        tag: u8,
    ) -> Result<(), RunError> {
        self.arrive(space, address);
        let mut word = [0; 8];
        let loaded = access::load_tagged(space, address, &mut word, tag, &mut self.latency);
        self.findings.loads_checked += 1;
        self.findings.loads_after_store += 1;
        if loaded.is_ok() {
            self.compare(address, expected, u64::from_le_bytes(word));
        }
        self.unless_trapped(address, loaded)
    }

    /// Loads a word by an address that bears `tag`, which must trap since the memory has the tag `found`.
    pub(super) fn check_trap(
        &mut self,
        space: &Space<'vm, M>,
        address: u64,
        tag: u8,
        found: u8,
    ) -> Result<(), RunError> {
        self.arrive(space, address);
        let cpu = self.cpu;
        match access::load_tagged(space, address, &mut [0; 8], tag, &mut self.latency) {
            Err(AccessError::Tag { found: is, .. }) if is == found => self.tag_traps += 1,
            Err(AccessError::Tag { found: is, .. }) => self.findings.report(format_args!(
                "I-TAG: CPU {cpu}: the memory at {address:#x} has the tag {is} instead of {found}"
            )),
            Err(error) => return Err(self.broken(address, error)),
            Ok(()) => self.findings.report(format_args!(
                "I-TAG: CPU {cpu}: a load at {address:#x} with the tag {tag} was made, where the tag is {found}"
            )),
        }
        Ok(())
    }

    /// Reports an access that was refused for its tag.
    fn unless_trapped(&mut self, address: u64, result: Result<(), AccessError>) -> Result<(), RunError> {
        match result {
            Err(error @ AccessError::Tag { .. }) => {
                let cpu = self.cpu;
                self.findings.report(format_args!("I-TAG: CPU {cpu}: {error}"));
                Ok(())
            }
            result => result.map_err(|error| self.broken(address, error)),
        }
    }

    /// Frames of the machine.
    pub(super) fn frames(&self) -> u64 {
        self.vm.machine().memory().iter().map(|range| range.frames).sum()
    }

    /// Turns the error of an operation into that of the run.
    pub(super) fn ok<T>(&self, what: &str, result: Result<T, Error>) -> Result<T, RunError> {
        result.map_err(|error| match error {
            Error::OutOfMemory => self.out_of_memory(what.into()),
            error => RunError::Workload(format!("CPU {}: {what}: {error}", self.cpu)),
        })
    }

    fn load(&mut self, space: &Space<'vm, M>, address: u64) -> Result<u64, RunError> {
        self.arrive(space, address);
        let mut word = [0; 8];
        let loaded = access::load(space, address, &mut word, &mut self.latency);
        self.findings.loads_checked += 1;
        loaded.map(|()| u64::from_le_bytes(word)).map_err(|error| self.broken(address, error))
    }

    fn compare(&mut self, address: u64, expected: u64, got: u64) {
        if expected != got {
            let cpu = self.cpu;
            self.findings.report(format_args!(
                "I-LOST: CPU {cpu}: a load at {address:#x} returned {got:#x} instead of {expected:#x}"
            ));
        }
    }

    fn arrive(&mut self, space: &Space<'vm, M>, address: u64) {
        self.background.after_access(self.vm, &self.latency);
        self.accesses += 1;
        self.touched.insert(address / page_bytes::<M>());
        self.running = access::switch(space, self.running);
    }

    fn out_of_memory(&self, during: String) -> RunError {
        RunError::OutOfMemory { during, accesses: self.accesses, frames: self.frames() }
    }

    #[cold]
    fn broken(&self, address: u64, error: AccessError) -> RunError {
        match error {
            AccessError::Fault(FaultError::OutOfMemory { .. }) => {
                self.out_of_memory(format!("a page fault at {address:#x}"))
            }
            error => RunError::Workload(format!("CPU {}: {error}", self.cpu)),
        }
    }
}
