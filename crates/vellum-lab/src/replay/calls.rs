//! Carries out the calls of a trace, with the results that the log says they had.

use super::engine::Engine;
use super::layout::{Area, Kind, OnFork};
use super::mmap::Mmap;
use super::process::{PAGE_SHIFT, Process, check_fits};
use super::remap::Remap;

use crate::outcome::RunError;
use crate::trace::{Call, CallKind, CloneKind, Reason, file_identity};
use vellum::Error;
use vellum::arch::{Arch, Prot};
use vellum::ops::Advice;

/// The rights that a call gives: on x86, each of them includes reading.
pub(super) fn rights(protection: u64) -> Prot {
    let right = |bit: u64, right| if protection & bit != 0 { Prot::READ | right } else { Prot::NONE };
    right(1, Prot::READ) | right(2, Prot::WRITE) | right(4, Prot::EXECUTE)
}

/// The pages from `address` on that `length` bytes reach; `None` if they wrap around, or there are none.
pub(super) fn pages(address: u64, length: u64) -> Option<(u64, u64)> {
    let end = address.checked_add(length)?.checked_add((1 << PAGE_SHIFT) - 1)? >> PAGE_SHIFT;
    (length > 0).then_some((address >> PAGE_SHIFT, end))
}

impl<'vm, A: Arch> Engine<'vm, A> {
    /// Carries out one call; whether the process's stream goes on.
    pub(super) fn call(&mut self, process: &mut Process<'vm, A>, call: Call) -> Result<bool, RunError> {
        self.gauge.look(self.hosted.vm());
        if let CallKind::Mmap { length, result, .. } | CallKind::Mremap { new_length: length, result, .. } = call.kind {
            check_fits::<A>(result.saturating_add(length.saturating_sub(1)))?;
        }
        if let CallKind::Brk { result, .. } = call.kind {
            check_fits::<A>(result)?;
        }
        match call.kind {
            CallKind::Mmap { length, protection, flags, fd, offset, result, hint: _ } => {
                self.mmap(process, &Mmap { address: result, length, protection, flags, fd, offset })?;
            }
            CallKind::Munmap { address, length } => self.munmap(process, address, length)?,
            CallKind::Mprotect { address, length, protection } => {
                self.mprotect(process, address, length, protection)?;
            }
            CallKind::Mremap { address, old_length, new_length, flags, result } => {
                self.mremap(process, &Remap { old: address, old_length, new: result, new_length, flags })?;
            }
            CallKind::Brk { result, .. } => self.brk(process, result)?,
            CallKind::Madvise { address, length, advice } => self.madvise(process, address, length, advice)?,
            CallKind::Open { fd, path } => drop(process.files.insert(fd, file_identity(&path))),
            CallKind::Close { fd } => drop(process.files.remove(&fd)),
            CallKind::Clone { kind: CloneKind::Process, child, .. } => self.fork(process, child)?,
            CallKind::Exec => return Ok(false),
            CallKind::Clone { kind: CloneKind::Thread, .. } | CallKind::ExitThread | CallKind::ExitProcess => {}
            CallKind::Mlock { .. } => self.outcome.ignored_calls.add("mlock"),
            CallKind::Munlock { .. } => self.outcome.ignored_calls.add("munlock"),
            CallKind::MlockAll { .. } => self.outcome.ignored_calls.add("mlockall"),
            CallKind::MunlockAll => self.outcome.ignored_calls.add("munlockall"),
            CallKind::Other { name } => self.outcome.ignored_calls.add(&name),
        }
        Ok(true)
    }

    /// The end of a call that the core refused: it did nothing, and is counted.
    pub(super) fn refused(&mut self, call: &str, error: Error) -> Result<(), RunError> {
        if error == Error::OutOfMemory {
            return Err(self.out_of_memory(call));
        }
        let reason = match error {
            Error::Unaligned { .. } | Error::ZeroLength { .. } | Error::Invalid { .. } => "EINVAL",
            Error::Unsupported { .. } => "not supported yet",
            Error::OutOfRange { .. } => "outside the address space",
            Error::NotMapped { .. } => "not one mapping",
            Error::Exists { .. } => "something is mapped there",
            Error::TooLow { .. } => "EPERM",
            Error::AccessDenied { .. } => "EACCES",
            Error::Guarded { .. } => "EFAULT",
            _ => "failed",
        };
        self.outcome.refused_calls.add(&format!("{call}: {reason}"));
        Ok(())
    }

    pub(super) fn munmap(&mut self, process: &mut Process<'vm, A>, address: u64, length: u64) -> Result<(), RunError> {
        match (process.space.unmap(address, length), pages(address, length)) {
            (Ok(()), Some((start, end))) => {
                process.set_area(start, end, Area::new(Kind::Unmapped, Prot::NONE), &mut self.shadow);
                Ok(())
            }
            (Ok(()), None) => Ok(()),
            (Err(error), _) => self.refused("munmap", error),
        }
    }

    fn mprotect(
        &mut self,
        process: &mut Process<'vm, A>,
        address: u64,
        length: u64,
        protection: u64,
    ) -> Result<(), RunError> {
        let prot = rights(protection);
        let Some((start, end)) = pages(address, length) else { return Ok(()) };
        match self.over_holes(process, end, |process| process.space.protect(address, length, prot))? {
            Ok(()) => {
                process.layout.change(start, end, |area| area.prot = prot);
                let layout = &process.layout;
                process.slots.each(start, end, |page, slot| {
                    slot.set_rights(layout.at(page).map_or(prot, Area::rights));
                });
                Ok(())
            }
            Err(error) => self.refused("mprotect", error),
        }
    }

    /// Calls `operation`, which fails at holes of a range that ends at page `end`, until the holes are filled.
    fn over_holes(
        &mut self,
        process: &mut Process<'vm, A>,
        end: u64,
        operation: impl Fn(&mut Process<'vm, A>) -> Result<(), Error>,
    ) -> Result<Result<(), Error>, RunError> {
        loop {
            match operation(process) {
                Err(Error::NotMapped { address }) if self.make_implicit(process, address >> PAGE_SHIFT, end)? => {}
                result => return Ok(result),
            }
        }
    }

    fn brk(&mut self, process: &mut Process<'vm, A>, result: u64) -> Result<(), RunError> {
        let up = |address: u64| address.saturating_add((1 << PAGE_SHIFT) - 1) >> PAGE_SHIFT;
        let Some((base, old)) = process.heap else {
            // The page that the base lies in belongs to the program.
            let base = up(result) << PAGE_SHIFT;
            return match process.space.set_brk_base(base) {
                Ok(()) => {
                    process.heap = Some((base, base));
                    Ok(())
                }
                Err(error) => self.refused("brk", error),
            };
        };
        let end = result.max(base);
        let (old_page, new_page) = (up(old), up(end));
        self.clear_implicit(process, old_page, new_page.max(old_page))?;
        if let Err(error) = process.space.brk(end) {
            return self.refused("brk", error);
        }
        let heap = Area::new(Kind::Anonymous, Prot::READ_WRITE);
        let gone = Area::new(Kind::Unmapped, Prot::NONE);
        if new_page > old_page {
            process.set_area(old_page, new_page, heap, &mut self.shadow);
        } else if new_page < old_page {
            process.set_area(new_page, old_page, gone, &mut self.shadow);
        }
        process.heap = Some((base, end));
        Ok(())
    }

    fn madvise(
        &mut self,
        process: &mut Process<'vm, A>,
        address: u64,
        length: u64,
        number: u64,
    ) -> Result<(), RunError> {
        let Some((start, end)) = pages(address, length) else { return Ok(()) };
        let advice = match advice(number) {
            Ok(advice) => advice,
            Err(name) => {
                self.outcome.ignored_calls.add(&name);
                return Ok(());
            }
        };
        if let Err(error) = self.over_holes(process, end, |process| process.space.advise(address, length, advice))? {
            return self.refused("madvise", error);
        }
        let on_fork = |process: &mut Process<'vm, A>, from: &[OnFork], to| {
            process.layout.change(start, end, |area| {
                if from.contains(&area.on_fork) {
                    area.on_fork = to;
                }
            });
        };
        match advice {
            Advice::DontNeed => process.forget(start, end, &mut self.shadow),
            Advice::GuardInstall => {
                process.forget(start, end, &mut self.shadow);
                process.layout.change(start, end, |area| area.is_guarded = true);
            }
            Advice::GuardRemove => {
                for part in process.layout.parts(start, end) {
                    if part.area.is_some_and(|area| area.is_guarded) {
                        process.forget(part.start, part.end, &mut self.shadow);
                    }
                }
                process.layout.change(start, end, |area| area.is_guarded = false);
            }
            Advice::DontFork => on_fork(process, &[OnFork::Copy, OnFork::Wipe], OnFork::Skip),
            Advice::DoFork => on_fork(process, &[OnFork::Skip], OnFork::Copy),
            Advice::WipeOnFork => on_fork(process, &[OnFork::Copy], OnFork::Wipe),
            Advice::KeepOnFork => on_fork(process, &[OnFork::Wipe], OnFork::Copy),
            _ => {}
        }
        Ok(())
    }

    fn fork(&mut self, process: &mut Process<'vm, A>, child: u32) -> Result<(), RunError> {
        let space = match process.space.fork() {
            Ok(space) => space,
            Err(error) => return self.refused("fork", error),
        };
        if process.reader.pid() == Some(child) || !self.streams.insert(child) {
            self.missing_streams += 1;
            return Ok(());
        }
        match process.reader.open_child(child) {
            Ok(reader) => {
                self.processes += 1;
                let child = process.child(space, reader, self.processes, &mut self.shadow);
                self.born.push(child);
                Ok(())
            }
            Err(error) if matches!(error.reason(), Reason::NoChild { .. } | Reason::NoSiblings { .. }) => {
                self.missing_streams += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The advice of that number; or the name to count it by, if it means nothing here.
fn advice(number: u64) -> Result<Advice, String> {
    Ok(match number {
        0 => Advice::Normal,
        1 => Advice::Random,
        2 => Advice::Sequential,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        10 => Advice::DontFork,
        11 => Advice::DoFork,
        14 => Advice::HugePage,
        15 => Advice::NoHugePage,
        18 => Advice::WipeOnFork,
        19 => Advice::KeepOnFork,
        22 => Advice::PopulateRead,
        23 => Advice::PopulateWrite,
        102 => Advice::GuardInstall,
        103 => Advice::GuardRemove,
        8 => return Err("madvise MADV_FREE".into()),
        9 => return Err("madvise MADV_REMOVE".into()),
        12 => return Err("madvise MADV_MERGEABLE".into()),
        13 => return Err("madvise MADV_UNMERGEABLE".into()),
        16 => return Err("madvise MADV_DONTDUMP".into()),
        17 => return Err("madvise MADV_DODUMP".into()),
        20 => return Err("madvise MADV_COLD".into()),
        21 => return Err("madvise MADV_PAGEOUT".into()),
        25 => return Err("madvise MADV_COLLAPSE".into()),
        number => return Err(format!("madvise {number}")),
    })
}
