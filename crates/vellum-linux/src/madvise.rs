//! `madvise`: advice about a range.

use crate::Errno;
use crate::range::{is_aligned, rounded, task_size};
use vellum::ops::{Access, Advice};
use vellum::{Error, Machine, Space};

/// Defines the numbers of the advices, and which advice each is.
macro_rules! advices {
    ($($(#[$doc:meta])* $name:ident = $number:literal => $advice:ident;)*) => {
        $($(#[$doc])* pub const $name: u64 = $number;)*

        /// The advice of a number.
        fn advice(number: u64) -> Option<Advice> {
            match number {
                $($name => Some(Advice::$advice),)*
                _ => None,
            }
        }
    };
}

advices! {
    /// No special treatment.
    MADV_NORMAL = 0 => Normal;
    /// It will be read out of order.
    MADV_RANDOM = 1 => Random;
    /// It will be read in order.
    MADV_SEQUENTIAL = 2 => Sequential;
    /// It will be used soon.
    MADV_WILLNEED = 3 => WillNeed;
    /// Its pages can go now.
    MADV_DONTNEED = 4 => DontNeed;
    /// Its pages may be dropped until they are stored to again.
    MADV_FREE = 8 => Free;
    /// What it shows is not needed any more: a hole in the file, or in the shared memory.
    MADV_REMOVE = 9 => Remove;
    /// Children of fork do not get it.
    MADV_DONTFORK = 10 => DontFork;
    /// Takes [`MADV_DONTFORK`] back.
    MADV_DOFORK = 11 => DoFork;
    /// It gets huge pages, where there are free ones: see `vellum::ops::HugePages`.
    MADV_HUGEPAGE = 14 => HugePage;
    /// It gets none.
    MADV_NOHUGEPAGE = 15 => NoHugePage;
    /// It is not part of a core dump.
    MADV_DONTDUMP = 16 => DontDump;
    /// Takes [`MADV_DONTDUMP`] back.
    MADV_DODUMP = 17 => DoDump;
    /// Children of fork get it empty.
    MADV_WIPEONFORK = 18 => WipeOnFork;
    /// Takes [`MADV_WIPEONFORK`] back.
    MADV_KEEPONFORK = 19 => KeepOnFork;
    /// Its pages are the next to be reclaimed.
    MADV_COLD = 20 => Cold;
    /// Its pages are reclaimed now.
    MADV_PAGEOUT = 21 => PageOut;
    /// Fault all of it in for loads.
    MADV_POPULATE_READ = 22 => PopulateRead;
    /// Fault all of it in for stores.
    MADV_POPULATE_WRITE = 23 => PopulateWrite;
    /// Its small pages become huge ones now.
    MADV_COLLAPSE = 25 => Collapse;
    /// Every access faults, as if nothing was mapped.
    MADV_GUARD_INSTALL = 102 => GuardInstall;
    /// Takes [`MADV_GUARD_INSTALL`] back.
    MADV_GUARD_REMOVE = 103 => GuardRemove;
}

/// Takes advice about a range, as `madvise` does: what is mapped takes it whatever holes are between, and what lies
/// before a mapping which it does not fit, also if the call fails. Populating ends at the first page that cannot be.
///
/// Unknown, as to a Linux that is older or built without them: merging of equal pages, poisoning.
///
/// # Errors
/// In this order: `EINVAL` for an unknown advice, an address that is not aligned, or a range that wraps around; nothing
/// for a length of 0; `EINVAL` for a mapping which the advice does not fit; `EAGAIN` if memory is short, but `ENOMEM`
/// for guards; `ENOMEM` for a hole, at the end. `MADV_REMOVE`: `EINVAL` for private anonymous memory, `EACCES` for a
/// private mapping or one that must not be stored to, `EOPNOTSUPP` if the file can have no holes, `EIO`.
/// `MADV_COLLAPSE`: `EINVAL` also where there is no page, and in a process that is to have no huge pages, `ENOMEM` if
/// there is no huge page, `EBUSY` if the process's group has no room for the pages that come, `EAGAIN` if somebody has
/// one of the pages in hand. Populating: `ENOMEM` for a hole, or if memory is short, `EINVAL` for a mapping without the
/// right, `EFAULT` for a guard, and for a page that cannot be read or lies beyond the end of its file, whichever comes
/// first.
pub fn madvise<M: Machine>(space: &Space<'_, M>, address: u64, length: u64, number: u64) -> Result<(), Errno> {
    // The argument is an int.
    let advice = advice(number as u32 as u64).ok_or(Errno::EINVAL)?;
    let rounded = rounded::<M>(length);
    let end = address.checked_add(rounded).ok_or(Errno::EINVAL)?;
    if !is_aligned::<M>(address) || (length != 0 && rounded == 0) {
        return Err(Errno::EINVAL);
    }
    if end == address {
        return Ok(());
    }
    // What lies beyond the address space is a hole.
    let within = end.min(task_size::<M>());
    if address >= within {
        return Err(Errno::ENOMEM);
    }
    match advice {
        Advice::PopulateRead => populate(space, address, within - address, Access::Read)?,
        Advice::PopulateWrite => populate(space, address, within - address, Access::Write)?,
        Advice::Remove => remove(space, address, within - address)?,
        Advice::GuardInstall | Advice::GuardRemove | Advice::Collapse => {
            space.advise_partly(address, within - address, advice)?
        }
        _ => space.advise_partly(address, within - address, advice).map_err(|error| match error {
            // ENOMEM says that there is a hole.
            Error::OutOfMemory => Errno::EAGAIN,
            error => error.into(),
        })?,
    }
    if within < end { Err(Errno::ENOMEM) } else { Ok(()) }
}

fn remove<M: Machine>(space: &Space<'_, M>, address: u64, length: u64) -> Result<(), Errno> {
    space.advise_partly(address, length, Advice::Remove).map_err(|error| match error {
        Error::Unsupported { .. } => Errno::EOPNOTSUPP,
        error => error.into(),
    })
}

fn populate<M: Machine>(space: &Space<'_, M>, address: u64, length: u64, access: Access) -> Result<(), Errno> {
    space.populate_partly(address, length, access).map_err(|error| match error {
        Error::AccessDenied { .. } => Errno::EINVAL,
        Error::Io { .. } => Errno::EFAULT,
        error => error.into(),
    })
}
