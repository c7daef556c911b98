//! `munmap`: unmapping memory.

use crate::Errno;
use crate::range::{is_aligned, task_size};
use vellum::{Machine, Space};

/// Removes what is mapped in a range, holes and all, as `munmap` does.
///
/// # Errors
/// `EINVAL` if the address is not aligned, the length is 0, or the range leaves the address space; `ENOMEM` if memory
/// is short: it may cut a large mapping.
pub fn munmap<M: Machine>(space: &Space<'_, M>, address: u64, length: u64) -> Result<(), Errno> {
    let is_within = address <= task_size::<M>() && length <= task_size::<M>() - address;
    if !is_aligned::<M>(address) || !is_within || length == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(space.unmap(address, length)?)
}
