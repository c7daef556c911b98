//! Addresses and lengths as they come from registers.

use crate::{PROT_EXEC, PROT_READ, PROT_WRITE};
use vellum::Machine;
use vellum::arch::{Arch, Prot};

/// End of what a program can map: Linux's `TASK_SIZE`.
pub(crate) const fn task_size<M: Machine>() -> u64 {
    M::Arch::USER_END
}

/// Bytes of a page.
pub(crate) const fn page<M: Machine>() -> u64 {
    1 << M::Arch::PAGE_SHIFT
}

/// Whether `value` is a multiple of the page size.
pub(crate) const fn is_aligned<M: Machine>(value: u64) -> bool {
    value & (page::<M>() - 1) == 0
}

/// `length` rounded up to pages; as in Linux, one that is too large becomes 0.
pub(crate) const fn rounded<M: Machine>(length: u64) -> u64 {
    length.wrapping_add(page::<M>() - 1) & !(page::<M>() - 1)
}

/// The rights among the bits of a `prot` argument.
pub(crate) fn rights(prot: u64) -> Prot {
    let right = |bit: u64, right: Prot| if prot & bit != 0 { right } else { Prot::NONE };
    right(PROT_READ, Prot::READ) | right(PROT_WRITE, Prot::WRITE) | right(PROT_EXEC, Prot::EXECUTE)
}
