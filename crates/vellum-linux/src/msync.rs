//! `msync`: writing stores to files.

use crate::Errno;
use crate::range::{is_aligned, rounded, task_size};
use vellum::{Machine, Space};

/// Begin to write; nothing is begun, as in Linux.
pub const MS_ASYNC: u64 = 1;
/// Others who map the file see it, as they do anyway.
pub const MS_INVALIDATE: u64 = 2;
/// Write, and return when that is done.
pub const MS_SYNC: u64 = 4;

/// Writes what was stored to shared mappings of files in a range, with [`MS_SYNC`], as `msync` does: around holes,
/// which it reports at the end. It writes all that is dirty in those files.
///
/// # Errors
/// In this order: `EINVAL` for an unknown flag, an address that is not aligned, or [`MS_ASYNC`] with [`MS_SYNC`];
/// `ENOMEM` if the range wraps around; `EIO` if a page could not be written; `ENOMEM` for a hole.
pub fn msync<M: Machine>(space: &Space<'_, M>, address: u64, length: u64, flags: u64) -> Result<(), Errno> {
    // The argument is an int.
    let flags = flags as u32 as u64;
    let both = MS_ASYNC | MS_SYNC;
    if flags & !(both | MS_INVALIDATE) != 0 || !is_aligned::<M>(address) || flags & both == both {
        return Err(Errno::EINVAL);
    }
    let end = address.checked_add(rounded::<M>(length)).ok_or(Errno::ENOMEM)?;
    if end == address {
        return Ok(());
    }
    let within = end.min(task_size::<M>());
    if address >= within {
        return Err(Errno::ENOMEM);
    }
    match flags & MS_SYNC {
        0 if space.first_hole(address, within - address).is_some() => return Err(Errno::ENOMEM),
        0 => {}
        _ => space.write_back(address, within - address)?,
    }
    if within < end { Err(Errno::ENOMEM) } else { Ok(()) }
}
