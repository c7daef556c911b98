//! `brk`: the end of the heap.

use vellum::{Machine, Space};

/// Moves the end of the heap to `end`, as `brk` does; the end afterwards, which is the old one if it cannot be moved:
/// the call does not fail. [`Space::set_brk_base`] says where the heap begins. Callers serialise their calls for one
/// space.
pub fn brk<M: Machine>(space: &Space<'_, M>, end: u64) -> u64 {
    let old = || space.brk(0).unwrap_or(0);
    if end == 0 { old() } else { space.brk(end).unwrap_or_else(|_| old()) }
}
