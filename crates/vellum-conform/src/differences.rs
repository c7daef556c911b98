//! Where Vellum differs from Linux knowingly: one table. What is not in it is a fault.

use crate::abi::*;
use crate::op::{Call, Outcome};

/// A version of Linux: 6.17 is `(6, 17)`.
pub type Version = (u32, u32);

/// A difference that is meant.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its name.
    pub id: &'static str,
    /// What Linux does.
    pub linux: &'static str,
    /// What Vellum does.
    pub vellum: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The version of Linux from which on there is no difference any more.
    pub until: Option<Version>,
    /// Which results are this difference. A sequence ends there, since both sides are not in the same state then.
    matches: fn(&Call, Outcome, Outcome) -> bool,
}

/// All of them.
pub const DIFFERENCES: [Difference; 3] = [
    Difference {
        id: "memory-growth",
        linux: "ftruncate makes a memory file longer",
        vellum: "shared memory is as long as it was made, or shorter: EINVAL",
        reason: "the core has no call that makes shared memory longer",
        until: None,
        matches: |call, linux, ours| {
            matches!(call, Call::Truncate { file: 0, .. })
                && linux == Outcome::Value(0)
                && ours == Outcome::Error(EINVAL)
        },
    },
    Difference {
        id: "last-addresses",
        linux: "mmap with MAP_FIXED at one of the last 4095 addresses there are takes the address for an error number",
        vellum: "ENOMEM, as for any range that leaves the address space",
        reason: "an accident of how Linux tells addresses from errors; both fail",
        until: None,
        matches: |call, linux, ours| match *call {
            Call::Map { address, flags, .. } => {
                flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0
                    && linux == Outcome::Error(address.wrapping_neg() as i32)
                    && ours == Outcome::Error(ENOMEM)
            }
            _ => false,
        },
    },
    Difference {
        id: "several-moved",
        linux: "mremap moves one mapping only: EFAULT for a range of several",
        vellum: "several are moved at once, if the length stays the same",
        reason: "as Linux 6.17 and later",
        until: Some((6, 17)),
        matches: |call, linux, ours| {
            matches!(call, Call::Remap { .. }) && linux == Outcome::Error(EFAULT) && matches!(ours, Outcome::Value(_))
        },
    },
];

/// The place in [`DIFFERENCES`] of what these results show, on a Linux of this version.
pub fn known(call: &Call, linux: Outcome, ours: Outcome, version: Version) -> Option<usize> {
    DIFFERENCES.iter().position(|difference| {
        difference.until.is_none_or(|until| version < until) && (difference.matches)(call, linux, ours)
    })
}
