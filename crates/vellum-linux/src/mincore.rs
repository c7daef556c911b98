//! `mincore`: what is in memory.

use crate::Errno;
use crate::range::{is_aligned, page, task_size};
use vellum::{Machine, Space};

/// Says of each page of a range whether an access would find it in memory, as `mincore` does: `tell` is called with the
/// number of pages from the beginning, and 1 or 0, in order, up to the first hole. What the caller makes of it (a copy
/// to the program, `EFAULT`) is his.
///
/// # Errors
/// `EINVAL` if the address is not aligned; `ENOMEM` if the range leaves the address space, or at a hole.
pub fn mincore<M: Machine>(
    space: &Space<'_, M>,
    address: u64,
    length: u64,
    tell: &mut dyn FnMut(u64, u8),
) -> Result<(), Errno> {
    if !is_aligned::<M>(address) {
        return Err(Errno::EINVAL);
    }
    let end = address.checked_add(length).filter(|&end| end <= task_size::<M>()).ok_or(Errno::ENOMEM)?;
    let pages = (end - address).div_ceil(page::<M>());
    let mut told = 0;
    space.resident(address, pages, &mut |is_resident| {
        tell(told, u8::from(is_resident));
        told += 1;
    })?;
    Ok(())
}
