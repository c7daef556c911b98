//! `mprotect`: changing access rights.

use crate::Errno;
use crate::range::{is_aligned, rights, rounded, task_size};
use vellum::{Machine, Space};

/// May be read.
pub const PROT_READ: u64 = 1;
/// May be written.
pub const PROT_WRITE: u64 = 2;
/// May be executed.
pub const PROT_EXEC: u64 = 4;
/// For semaphores; means nothing.
pub const PROT_SEM: u64 = 8;
/// From the beginning of the stack that the range begins in.
pub const PROT_GROWSDOWN: u64 = 0x0100_0000;
/// To the end of the mapping that grows up; there are none.
pub const PROT_GROWSUP: u64 = 0x0200_0000;

/// Gives a range the rights `prot`, as `mprotect` does: what lies before a hole, or before a mapping which must not
/// have them, keeps them also if the call fails.
///
/// # Errors
/// In this order: `EINVAL` for [`PROT_GROWSDOWN`] with [`PROT_GROWSUP`], or an address that is not aligned; nothing for
/// length 0; `ENOMEM` if the range wraps around; `EINVAL` for an unknown bit of `prot`, or if nothing there grows;
/// `ENOMEM` at a hole, `EACCES` at a mapping of a file that was not opened for it, whichever comes first; `ENOMEM` if
/// memory is short, and then nothing is changed.
pub fn mprotect<M: Machine>(space: &Space<'_, M>, address: u64, length: u64, prot: u64) -> Result<(), Errno> {
    let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    if grows == PROT_GROWSDOWN | PROT_GROWSUP || !is_aligned::<M>(address) {
        return Err(Errno::EINVAL);
    }
    if length == 0 {
        return Ok(());
    }
    let end = address.checked_add(rounded::<M>(length)).filter(|&end| end > address).ok_or(Errno::ENOMEM)?;
    if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | grows) != 0 {
        return Err(Errno::EINVAL);
    }
    // What lies beyond the address space is a hole.
    let within = end.min(task_size::<M>());
    if address >= within {
        return Err(Errno::ENOMEM);
    }
    match grows {
        PROT_GROWSDOWN => space.protect_stack(address, within - address, rights(prot))?,
        PROT_GROWSUP if space.first_mapped(address, 1).is_some() => return Err(Errno::EINVAL),
        _ => space.protect_partly(address, within - address, rights(prot))?,
    }
    if within < end { Err(Errno::ENOMEM) } else { Ok(()) }
}
