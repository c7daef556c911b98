//! User accesses: translate, fault, try again, move the bytes.

use crate::hardware::{Fault, FaultReason, FrameKinds, HostMemory, Invariant, Translated, Violation, ViolationLog};
use crate::latency::FaultLatency;
use std::fmt;
use std::ops::Range;
use std::time::Instant;
use vellum::arch::{Arch, PageBits};
use vellum::ops::{Access, FaultError};
use vellum::phys::Pfn;
use vellum::{Machine, Space};

/// A machine with simulated MMUs.
pub(crate) trait Simulated: Machine {
    /// Faults of one access after which it is taken to make no progress.
    fn retries_max(&self) -> u32;
    /// Translates by the current CPU's MMU.
    fn translate<K: FrameKinds>(&self, kinds: &K, address: u64, access: Access) -> Result<Translated, Fault>;
    fn physical(&self) -> &HostMemory<Self::Arch>;
    /// What the current CPU has loaded.
    fn loaded_root(&self) -> Option<Pfn>;
    fn report(&self, violation: Violation);
    fn report_all(&self, mut found: ViolationLog) {
        if found.count() > 0 {
            found.take().into_iter().for_each(|violation| self.report(violation));
        }
    }
    /// Called before each try: interrupts are served here.
    fn before_access(&self);
    /// Called when the bytes of a translated access have been moved.
    fn after_access(&self) {}
}

/// Why a user access did not happen; what lies below the address was accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessError {
    /// The core did not resolve the fault: what the program gets for it.
    Fault(FaultError),
    /// The fault was resolved again and again, and the access still faults; reported as I-PROG too.
    NoProgress {
        /// The address.
        address: u64,
    },
    /// The access bears another tag than the memory: the program gets a signal.
    Tag {
        /// Where.
        address: u64,
        /// The access's.
        expected: u8,
        /// The memory's.
        found: u8,
    },
    /// Memory is to be tagged that is mapped without tags.
    Untagged {
        /// Where.
        address: u64,
    },
}

impl AccessError {
    /// Whether it is a segmentation fault.
    pub fn is_segv(self) -> bool {
        matches!(self, AccessError::Fault(FaultError::Segv { .. }))
    }

    /// Whether it is a bus error.
    pub fn is_bus(self) -> bool {
        matches!(self, AccessError::Fault(FaultError::Bus { .. }))
    }

    /// Whether memory was exhausted.
    pub fn is_out_of_memory(self) -> bool {
        matches!(self, AccessError::Fault(FaultError::OutOfMemory { .. }))
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::Fault(error) => error.fmt(f),
            AccessError::NoProgress { address } => write!(f, "no progress at {address:#x}"),
            AccessError::Tag { address, expected, found } => {
                write!(f, "an access with tag {expected} at {address:#x}, where the tag is {found}")
            }
            AccessError::Untagged { address } => write!(f, "the memory at {address:#x} is mapped without tags"),
        }
    }
}

impl std::error::Error for AccessError {}

/// A piece of an access that lies in one page.
pub(crate) struct Piece {
    pub(crate) pfn: Pfn,
    /// Where it begins in the frame.
    pub(crate) offset: usize,
    /// Which bytes of the access it is.
    pub(crate) bytes: Range<usize>,
    /// Whether the frame may be stored to.
    pub(crate) usable: bool,
    /// Its virtual address.
    address: u64,
    /// Whether the mapping has tags.
    is_tagged: bool,
}

/// The tag of ordinary addresses.
const NO_TAG: u8 = 0;

/// Switches the current CPU to `space`, unless it is there: `running` says in which space its user ran last.
pub(crate) fn switch<M: Simulated>(space: &Space<'_, M>, running: Option<u64>) -> Option<u64> {
    let machine = space.vm().machine();
    if running != Some(space.id()) || machine.loaded_root() != Some(space.root()) {
        space.vm().switch_to(Some(space));
    }
    Some(space.id())
}

/// Carries out one access of `length` bytes on the current CPU, page by page: `each` moves the bytes of a piece. Where
/// memory has tags, they are compared with `tag`, if there is one. Between the translation and the move nothing else
/// happens on this CPU, so no interrupt is served there.
#[inline]
fn access<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    (access, tag): (Access, Option<u8>),
    length: usize,
    latency: &mut FaultLatency,
    mut each: impl FnMut(&HostMemory<M::Arch>, Piece) -> Result<(), AccessError>,
) -> Result<(), AccessError> {
    let page = 1usize << M::Arch::PAGE_SHIFT;
    let machine = space.vm().machine();
    let mut done = 0;
    while done < length {
        let at =
            address.checked_add(done as u64).ok_or(AccessError::Fault(FaultError::Segv { address, denied: false }))?;
        let offset = at as usize & (page - 1);
        let take = (length - done).min(page - offset);
        let to = translate(space, at, access, latency)?;
        let memory = machine.physical();
        let is_tagged = to.bits.has(PageBits::TAGGED);
        let checked = match tag {
            Some(tag) if is_tagged => memory.check_tags(&to, at, access, take, tag).map_err(trap),
            _ => Ok(()),
        };
        let bytes = done..done + take;
        let piece = Piece { pfn: to.pfn, offset, bytes, usable: to.usable, address: at, is_tagged };
        let result = checked.and_then(|()| each(memory, piece));
        machine.after_access();
        result?;
        done += take;
    }
    Ok(())
}

/// What a program gets for a fault that the core has no part in.
#[cold]
fn trap(fault: Fault) -> AccessError {
    match fault.reason {
        FaultReason::Tag { expected, found } => AccessError::Tag { address: fault.address, expected, found },
        _ => AccessError::Fault(FaultError::Segv { address: fault.address, denied: true }),
    }
}

/// Stores `bytes`. Frames that are no user memory are left alone: the violation is reported.
#[inline]
pub(crate) fn store<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    bytes: &[u8],
    latency: &mut FaultLatency,
) -> Result<(), AccessError> {
    store_tagged(space, address, bytes, NO_TAG, latency)
}

/// As [`store`], by an address that bears `tag`.
#[inline]
pub(crate) fn store_tagged<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    bytes: &[u8],
    tag: u8,
    latency: &mut FaultLatency,
) -> Result<(), AccessError> {
    access(space, address, (Access::Write, Some(tag)), bytes.len(), latency, |memory, piece| {
        if piece.usable {
            let stored = memory.write(piece.pfn, piece.offset, &bytes[piece.bytes]);
            debug_assert!(stored.is_some(), "a piece of an access leaves its frame");
        }
        Ok(())
    })
}

/// Loads into `bytes`; what comes from no memory at all is left as it was.
#[inline]
pub(crate) fn load<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    bytes: &mut [u8],
    latency: &mut FaultLatency,
) -> Result<(), AccessError> {
    load_tagged(space, address, bytes, NO_TAG, latency)
}

/// As [`load`], by an address that bears `tag`.
#[inline]
pub(crate) fn load_tagged<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    bytes: &mut [u8],
    tag: u8,
    latency: &mut FaultLatency,
) -> Result<(), AccessError> {
    access(space, address, (Access::Read, Some(tag)), bytes.len(), latency, |memory, piece| {
        let loaded = memory.read(piece.pfn, piece.offset, &mut bytes[piece.bytes]);
        debug_assert!(loaded.is_some() || !piece.usable, "a piece of an access leaves its frame");
        Ok(())
    })
}

/// Tags the granules of `length` bytes: what a program has an instruction for. The memory must be mapped with tags, and
/// so that it can be stored to; it is faulted in as by a store. Tags that it has already do not matter.
pub(crate) fn set_tag<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    length: usize,
    tag: u8,
    latency: &mut FaultLatency,
) -> Result<(), AccessError> {
    access(space, address, (Access::Write, None), length, latency, |memory, piece| {
        if !piece.is_tagged {
            return Err(AccessError::Untagged { address: piece.address });
        }
        if piece.usable {
            let tagged = memory.set_tags(piece.pfn, piece.offset, piece.bytes.len(), tag);
            debug_assert!(tagged.is_some(), "a piece of an access leaves its frame");
        }
        Ok(())
    })
}

/// Fetches instructions.
#[inline]
pub(crate) fn execute<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    length: usize,
    latency: &mut FaultLatency,
) -> Result<(), AccessError> {
    access(space, address, (Access::Execute, None), length, latency, |_, _| Ok(()))
}

#[inline]
fn translate<M: Simulated>(
    space: &Space<'_, M>,
    address: u64,
    access: Access,
    latency: &mut FaultLatency,
) -> Result<Translated, AccessError> {
    let machine = space.vm().machine();
    for _ in 0..machine.retries_max() {
        machine.before_access();
        if let Ok(translated) = machine.translate(space.vm(), address, access) {
            return Ok(translated);
        }
        let begun = Instant::now();
        let kind = space.fault(address, access).map_err(AccessError::Fault)?;
        latency.record(kind, begun.elapsed().as_nanos() as u64);
    }
    machine.report(Violation {
        invariant: Invariant::Progress,
        cpu: machine.current_cpu(),
        asid: 0,
        address,
        detail: format!("{access:?} in space {} faults after {} resolved faults", space.id(), machine.retries_max()),
    });
    Err(AccessError::NoProgress { address })
}
