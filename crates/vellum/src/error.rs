//! Errors, each with its operands.

use core::fmt;

/// Why an operation did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// An address or offset is not a multiple of the page size.
    Unaligned {
        /// What it is: "address", "offset", …
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A length is zero.
    ZeroLength {
        /// What it is the length of.
        what: &'static str,
    },
    /// A range wraps around, or leaves the user part of the address space.
    OutOfRange {
        /// First address.
        start: u64,
        /// Length in bytes.
        length: u64,
    },
    /// An address below the lowest one that may be mapped.
    TooLow {
        /// The address.
        address: u64,
    },
    /// The range is not mapped where it must be.
    NotMapped {
        /// First address without a mapping.
        address: u64,
    },
    /// The range is mapped where it must not be.
    Exists {
        /// First address that is mapped.
        address: u64,
    },
    /// No gap of that size is left in the address space.
    NoAddressSpace {
        /// Length in bytes.
        length: u64,
    },
    /// The space may not map so much more; see [`Space::set_mapped_limit`](crate::Space::set_mapped_limit).
    Limit {
        /// Length in bytes of what would have come.
        length: u64,
    },
    /// The space's group may not show so much more; see [`Vm::create_group`](crate::Vm::create_group).
    GroupLimit {
        /// Pages that would have come.
        pages: u64,
    },
    /// So much memory may not be promised; see [`Vm::set_overcommit`](crate::Vm::set_overcommit).
    CommitLimit {
        /// Bytes that would have been committed at once.
        bytes: u64,
    },
    /// Physical memory is exhausted.
    OutOfMemory,
    /// The object's access rights do not allow the mapping or protection.
    AccessDenied {
        /// First address concerned.
        address: u64,
    },
    /// A guard lies where pages are to be faulted in.
    Guarded {
        /// The address.
        address: u64,
    },
    /// Somebody is at work on a page there, or holds it: it may go another time.
    Busy {
        /// First address of the place concerned.
        address: u64,
    },
    /// Two arguments contradict each other, or one is not a known value.
    Invalid {
        /// What is wrong.
        what: &'static str,
    },
    /// Known, and not built yet.
    Unsupported {
        /// What is asked for.
        what: &'static str,
    },
    /// The backing of a file failed to read or write.
    Io {
        /// Page index in the file.
        index: u64,
    },
}

impl Error {
    /// A number of Linux's for this kind of mistake, positive. Linux says more or less the same mistake in other
    /// numbers from call to call; the crate `vellum-linux` knows which.
    pub fn errno(self) -> i32 {
        match self {
            Error::Unaligned { .. } | Error::ZeroLength { .. } | Error::Invalid { .. } => 22,
            Error::Unsupported { .. } => 22,
            Error::OutOfRange { .. } | Error::NotMapped { .. } => 12,
            Error::NoAddressSpace { .. } | Error::Limit { .. } | Error::CommitLimit { .. } | Error::OutOfMemory => 12,
            Error::TooLow { .. } => 1,
            Error::Exists { .. } => 17,
            Error::AccessDenied { .. } => 13,
            Error::Guarded { .. } => 14,
            Error::Busy { .. } => 11,
            Error::GroupLimit { .. } => 16,
            Error::Io { .. } => 5,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Unaligned { what, value } => write!(f, "{what} {value:#x} is not page-aligned"),
            Error::ZeroLength { what } => write!(f, "the {what} has length zero"),
            Error::OutOfRange { start, length } => {
                write!(f, "range at {start:#x} of {length:#x} bytes leaves the user address space")
            }
            Error::TooLow { address } => write!(f, "address {address:#x} is below the lowest that may be mapped"),
            Error::NotMapped { address } => write!(f, "nothing is mapped at {address:#x}"),
            Error::Exists { address } => write!(f, "something is already mapped at {address:#x}"),
            Error::NoAddressSpace { length } => write!(f, "no free range of {length:#x} bytes is left"),
            Error::Limit { length } => write!(f, "the space may not map {length:#x} bytes more"),
            Error::GroupLimit { pages } => write!(f, "the space's group may not show {pages} pages more"),
            Error::CommitLimit { bytes } => write!(f, "{bytes:#x} bytes more may not be committed"),
            Error::OutOfMemory => f.write_str("out of physical memory"),
            Error::AccessDenied { address } => write!(f, "the object does not allow that access at {address:#x}"),
            Error::Guarded { address } => write!(f, "a guard lies at {address:#x}"),
            Error::Busy { address } => write!(f, "a page at {address:#x} is in somebody's hands"),
            Error::Invalid { what } => write!(f, "invalid: {what}"),
            Error::Unsupported { what } => write!(f, "not supported yet: {what}"),
            Error::Io { index } => write!(f, "I/O error at page {index} of the file"),
        }
    }
}

impl core::error::Error for Error {}

/// Why a [`Vm`](crate::Vm) could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The machine has no CPU, or more than [`CPUS_MAX`](crate::cpuset::CPUS_MAX).
    CpuCount {
        /// The count it gave.
        count: usize,
    },
    /// A memory range overlaps the one before it, or is out of order, or wraps.
    BadRange {
        /// Its place in [`Machine::memory`](crate::Machine::memory).
        index: usize,
    },
    /// A memory range names a node above [`NODES_MAX`](crate::phys::NODES_MAX).
    BadNode {
        /// Its place in [`Machine::memory`](crate::Machine::memory).
        index: usize,
    },
    /// The architecture flushes by broadcast, and has not one address-space identifier more than the machine has CPUs:
    /// when all CPUs run with one, none is left to switch to.
    TooFewIdentifiers {
        /// Identifiers for all CPUs together.
        identifiers: usize,
        /// CPUs of the machine.
        cpus: usize,
    },
    /// Too little memory for the core's own structures.
    TooLittleMemory {
        /// Frames the machine has.
        frames: u64,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            BootError::CpuCount { count } => write!(f, "a machine cannot have {count} CPUs"),
            BootError::BadRange { index } => write!(f, "memory range {index} overlaps, wraps or is out of order"),
            BootError::BadNode { index } => write!(f, "memory range {index} names a node that cannot exist"),
            BootError::TooFewIdentifiers { identifiers, cpus } => {
                write!(f, "{identifiers} address-space identifiers are too few for {cpus} CPUs that share them")
            }
            BootError::TooLittleMemory { frames } => write!(f, "{frames} frames are too little memory to start with"),
        }
    }
}

impl core::error::Error for BootError {}

/// What the embedder reads from and writes to, a [`Backing`](crate::Backing) or a [`SwapDevice`](crate::SwapDevice),
/// has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoError;

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("input or output failed")
    }
}

impl core::error::Error for IoError {}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageError {
    /// Physical memory is exhausted.
    OutOfMemory,
    /// The backing could not read it.
    Io {
        /// The page.
        index: u64,
    },
    /// The object is shorter.
    BeyondEnd {
        /// The page.
        index: u64,
    },
}
