//! Carries out the accesses of a trace, and compares what they return.

use super::engine::Engine;
use super::layout::{Area, Kind};
use super::process::{ALL, PAGE_SHIFT, Process, check_fits};
use crate::access::{self, AccessError};
use crate::outcome::RunError;
use crate::trace::{self, AccessKind};
use vellum::Error;
use vellum::arch::{Arch, Prot};
use vellum::ops::{Access, FaultError, MapRequest, Place};

/// What came of an access to one page.
enum Reached {
    /// It got a signal.
    Nothing,
    /// It was made; whether it read what the trace had stored.
    Done(bool),
}

impl<'vm, A: Arch> Engine<'vm, A> {
    /// Carries out one record.
    #[inline]
    pub(super) fn access(&mut self, process: &mut Process<'vm, A>, access: trace::Access) -> Result<(), RunError> {
        self.outcome.accesses += 1;
        if self.gauge.is_due(self.outcome.accesses) {
            self.sample(process);
        }
        let (first, second) = access.parts();
        self.touched.insert(first.address >> PAGE_SHIFT);
        let mut reached = self.part(process, first)?;
        if let Some(second) = second {
            self.touched.insert(second.address >> PAGE_SHIFT);
            if let Reached::Done(after_store) = reached {
                reached = match self.part(process, second)? {
                    Reached::Done(also) => Reached::Done(after_store | also),
                    Reached::Nothing => Reached::Nothing,
                };
            }
        }
        self.background.after_access(self.hosted.vm(), &self.latency);
        if let Reached::Done(after_store) = reached
            && access.kind.is_read()
        {
            self.outcome.oracle.loads_checked += 1;
            self.outcome.oracle.loads_after_store += u64::from(after_store);
        }
        Ok(())
    }

    #[cold]
    fn sample(&mut self, process: &Process<'vm, A>) {
        let resident = process.space.rss().total() + self.resident_elsewhere;
        self.gauge.sample(self.hosted.vm(), self.outcome.accesses, resident);
    }

    /// The part of an access that lies in one page.
    #[inline]
    fn part(&mut self, process: &mut Process<'vm, A>, part: trace::Access) -> Result<Reached, RunError> {
        match part.kind {
            AccessKind::Execute => self.fetch(process, part),
            AccessKind::Load => self.load(process, part),
            AccessKind::Store => self.store(process, part),
            AccessKind::Modify => match self.load(process, part)? {
                Reached::Nothing => Ok(Reached::Nothing),
                Reached::Done(after_store) => Ok(match self.store(process, part)? {
                    Reached::Nothing => Reached::Nothing,
                    Reached::Done(_) => Reached::Done(after_store),
                }),
            },
        }
    }

    #[inline]
    fn fetch(&mut self, process: &mut Process<'vm, A>, part: trace::Access) -> Result<Reached, RunError> {
        while let Err(error) = access::execute(&process.space, part.address, part.size.into(), &mut self.latency) {
            if !self.recover(process, part.address, Access::Execute, error)? {
                return Ok(Reached::Nothing);
            }
        }
        self.check_rights(process, part.address, Access::Execute);
        Ok(Reached::Done(false))
    }

    #[inline]
    fn load(&mut self, process: &mut Process<'vm, A>, part: trace::Access) -> Result<Reached, RunError> {
        let size = usize::from(part.size);
        while let Err(error) = access::load(&process.space, part.address, &mut self.buffer[..size], &mut self.latency) {
            if !self.recover(process, part.address, Access::Read, error)? {
                return Ok(Reached::Nothing);
            }
        }
        self.check_rights(process, part.address, Access::Read);
        let page = part.address >> PAGE_SHIFT;
        let slot = process.slots.get(page);
        if slot.contents == 0 {
            self.shadow.fill(slot, page, process.layout.at(page));
        }
        let offset = part.address as usize & ((1 << PAGE_SHIFT) - 1);
        match self.shadow.check(*slot, offset, &self.buffer[..size]) {
            Ok(after_store) => Ok(Reached::Done(after_store)),
            Err(wrong) => {
                let address = (page << PAGE_SHIFT) + wrong.offset as u64;
                self.outcome.oracle.report(format_args!(
                    "I-LOST: access {}: a load at {address:#x} returned {:#04x} instead of {:#04x}",
                    self.outcome.accesses, wrong.got, wrong.expected
                ));
                Ok(Reached::Done(false))
            }
        }
    }

    #[inline]
    fn store(&mut self, process: &mut Process<'vm, A>, part: trace::Access) -> Result<Reached, RunError> {
        let size = usize::from(part.size);
        for bytes in self.buffer[..size].chunks_mut(8) {
            self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let fresh = self.seed ^ (self.seed >> 32);
            bytes.copy_from_slice(&fresh.to_le_bytes()[..bytes.len()]);
        }
        while let Err(error) = access::store(&process.space, part.address, &self.buffer[..size], &mut self.latency) {
            if !self.recover(process, part.address, Access::Write, error)? {
                return Ok(Reached::Nothing);
            }
        }
        self.check_rights(process, part.address, Access::Write);
        let page = part.address >> PAGE_SHIFT;
        let slot = process.slots.get(page);
        if slot.contents == 0 {
            self.shadow.fill(slot, page, process.layout.at(page));
        }
        let offset = part.address as usize & ((1 << PAGE_SHIFT) - 1);
        self.shadow.store(slot, offset, &self.buffer[..size]);
        Ok(Reached::Done(false))
    }

    /// Checks that an access which was made may be made.
    #[inline]
    fn check_rights(&mut self, process: &mut Process<'vm, A>, address: u64, access: Access) {
        if !process.slot(address >> PAGE_SHIFT).allows(access) {
            self.outcome.oracle.report(format_args!(
                "I-TLBPERM: access {}: {access:?} at {address:#x} is not allowed, and was made",
                self.outcome.accesses
            ));
        }
    }

    /// What to do when an access was not made: whether to try it again.
    #[cold]
    fn recover(
        &mut self,
        process: &mut Process<'vm, A>,
        address: u64,
        access: Access,
        error: AccessError,
    ) -> Result<bool, RunError> {
        match error {
            AccessError::Fault(FaultError::OutOfMemory { .. }) => {
                Err(self.out_of_memory(&format!("a page fault at {address:#x}")))
            }
            AccessError::Fault(FaultError::Bus { .. }) => {
                self.outcome.bus += 1;
                Ok(false)
            }
            AccessError::Fault(FaultError::Segv { denied, .. }) => self.segv(process, address, access, denied),
            AccessError::NoProgress { .. } => Ok(false), // The machine has reported it.
            // Nothing is mapped with tags here.
            AccessError::Tag { .. } | AccessError::Untagged { .. } => Err(RunError::Workload(error.to_string())),
        }
    }

    fn segv(
        &mut self,
        process: &mut Process<'vm, A>,
        address: u64,
        access: Access,
        denied: bool,
    ) -> Result<bool, RunError> {
        check_fits::<A>(address)?;
        let page = address >> PAGE_SHIFT;
        if denied {
            // The stack may have grown all the same.
            process.layout.grow_stack(page);
        }
        let area = process.layout.at(page).copied();
        let is_free = area.is_none_or(|area| area.kind == Kind::Stack && !denied && !area.is_guarded);
        if is_free && self.make_implicit(process, page, page + 1)? {
            return Ok(true);
        }
        let allowed = area.filter(|area| !is_free && area.is_mapped() && allows(area.rights(), access));
        if let Some(area) = allowed {
            self.outcome.oracle.report(format_args!(
                "I-LOST: access {}: {access:?} at {address:#x} is refused, and the mapping there allows it: {area:?}",
                self.outcome.accesses
            ));
        }
        self.outcome.segv += 1;
        Ok(false)
    }

    /// Maps private memory from page `start` on, up to `end` or to the next mapping; whether that was possible.
    pub(super) fn make_implicit(
        &mut self,
        process: &mut Process<'vm, A>,
        start: u64,
        end: u64,
    ) -> Result<bool, RunError> {
        let address = start << PAGE_SHIFT;
        let mut end = end;
        while start < end {
            let request = MapRequest::anonymous((end - start) << PAGE_SHIFT, ALL).at(Place::FixedNoReplace(address));
            match process.space.map(&request) {
                Ok(_) => {
                    self.outcome.implicit_pages += end - start;
                    process.set_area(start, end, Area::new(Kind::Implicit, ALL), &mut self.shadow);
                    return Ok(true);
                }
                Err(Error::Exists { address }) => end = address >> PAGE_SHIFT,
                Err(Error::OutOfMemory) => return Err(self.out_of_memory(&format!("a mapping at {address:#x}"))),
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }
}

#[inline]
fn allows(prot: Prot, access: Access) -> bool {
    prot.has(match access {
        Access::Read => Prot::READ,
        Access::Write => Prot::WRITE,
        Access::Execute => Prot::EXECUTE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Simulated;
    use crate::hardware::MachineConfig;
    use crate::hosted::Hosted;
    use crate::trace::TraceReader;
    use vellum::arch::X86_64;

    const ADDRESS: u64 = 0x60_0010;

    /// Runs `check` with a process that has stored 8 bytes at `ADDRESS`.
    fn after_a_store(check: impl for<'v> FnOnce(&mut Engine<'v, X86_64>, &mut Process<'v, X86_64>)) {
        let hosted = Hosted::<X86_64>::new(&MachineConfig::new(1, 1024)).unwrap();
        let mut engine = Engine::new(&hosted, 1);
        let reader = TraceReader::from_reader("test", Box::new(&b"==7== Lackey\n"[..])).unwrap();
        let mut process = Process::new(engine.first_space().unwrap(), reader);
        engine.enter(&process);
        engine.access(&mut process, trace::Access { kind: AccessKind::Store, size: 8, address: ADDRESS }).unwrap();
        check(&mut engine, &mut process);
    }

    fn load<'v>(engine: &mut Engine<'v, X86_64>, process: &mut Process<'v, X86_64>) -> u64 {
        engine.access(process, trace::Access { kind: AccessKind::Load, size: 8, address: ADDRESS }).unwrap();
        engine.outcome.oracle.violations
    }

    #[test]
    fn a_changed_byte_is_found() {
        after_a_store(|engine, process| {
            assert_eq!(load(engine, process), 0);
            let pfn = process.space.translate(ADDRESS).unwrap().pfn;
            engine.hosted.machine().physical().write(pfn, 0x13, &[!0]).unwrap();
            engine.hosted.machine().physical().write(pfn, 0x14, &[0]).unwrap();
            assert_eq!(load(engine, process), 1);
        });
    }

    #[test]
    fn a_lost_page_is_found() {
        after_a_store(|engine, process| {
            process.space.advise(ADDRESS & !0xfff, 0x1000, vellum::ops::Advice::DontNeed).unwrap();
            assert_eq!(load(engine, process), 1);
        });
    }

    #[test]
    fn a_lost_mapping_is_found() {
        after_a_store(|engine, process| {
            process.space.unmap(ADDRESS & !0xfff, 0x1000).unwrap();
            assert_eq!(load(engine, process), 1);
            assert_eq!(engine.outcome.segv, 1);
        });
    }

    #[test]
    fn a_mapping_too_many_is_found() {
        after_a_store(|engine, process| {
            process.set_area(
                ADDRESS >> 12,
                (ADDRESS >> 12) + 1,
                Area::new(Kind::Unmapped, Prot::NONE),
                &mut engine.shadow,
            );
            // The access is made, and the bytes are not those of fresh memory.
            assert_eq!(load(engine, process), 2);
        });
    }
}
