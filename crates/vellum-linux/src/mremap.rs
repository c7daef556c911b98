//! `mremap`: moving and resizing mappings.

use crate::Errno;
use crate::range::{is_aligned, rounded, task_size};
use vellum::arch::Arch;
use vellum::ops::{RemapPlace, RemapRequest};
use vellum::{Error, Machine, Space};

/// It may move.
pub const MREMAP_MAYMOVE: u64 = 1;
/// It moves exactly there.
pub const MREMAP_FIXED: u64 = 2;
/// The old mapping stays, empty.
pub const MREMAP_DONTUNMAP: u64 = 4;

/// Moves or resizes a mapping, as `mremap` does; its new address.
///
/// # Errors
/// In this order: `EINVAL` for an unknown flag, an address that is not aligned, a new length that is 0 or longer than
/// the address space; with [`MREMAP_FIXED`] or [`MREMAP_DONTUNMAP`] also for a new address that leaves the address
/// space or is not aligned, without [`MREMAP_MAYMOVE`], for a length that changes while the old mapping stays, and for
/// ranges that overlap; `EFAULT` if nothing is mapped at the address; `EINVAL` for a private mapping of old length 0;
/// `EFAULT` if the range is not one mapping where it must be; `EPERM` if the new address is too low; `ENOMEM` if it
/// cannot grow in place and must not move, or if there is no room, or memory is short. Nothing is changed then.
pub fn mremap<M: Machine>(
    space: &Space<'_, M>,
    old: u64,
    old_length: u64,
    new_length: u64,
    flags: u64,
    new: u64,
) -> Result<u64, Errno> {
    let (old_length, new_length) = (rounded::<M>(old_length), rounded::<M>(new_length));
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
        || !is_aligned::<M>(old)
        || new_length == 0
        || new_length > task_size::<M>()
    {
        return Err(Errno::EINVAL);
    }
    let keep_old = flags & MREMAP_DONTUNMAP != 0;
    let place = match flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) {
        0 if flags & MREMAP_MAYMOVE == 0 => RemapPlace::InPlace,
        0 => RemapPlace::MayMove,
        _ => {
            let is_move = flags & MREMAP_MAYMOVE != 0;
            let overlaps = old.wrapping_add(old_length) > new && new.wrapping_add(new_length) > old;
            let resizes = keep_old && old_length != new_length;
            if new > task_size::<M>() - new_length || !is_aligned::<M>(new) || !is_move || resizes || overlaps {
                return Err(Errno::EINVAL);
            }
            match flags & MREMAP_FIXED {
                0 if new == 0 => RemapPlace::MayMove,
                0 => RemapPlace::Hint(new.max(M::Arch::USER_START)),
                _ => RemapPlace::Fixed(new),
            }
        }
    };
    space.remap(&RemapRequest { old, old_length, new_length, place, keep_old }).map_err(|error| match error {
        Error::NotMapped { .. } => Errno::EFAULT,
        Error::Exists { .. } => Errno::ENOMEM,
        // It may not grow to there, or what it is to lose is not memory.
        Error::OutOfRange { .. } if new_length > old_length => Errno::ENOMEM,
        Error::OutOfRange { .. } => Errno::EINVAL,
        error => error.into(),
    })
}
