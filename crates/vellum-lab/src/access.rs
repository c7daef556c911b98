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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::MachineConfig;
    use crate::hosted::Hosted;
    use crate::threads::{Mmus, ThreadHost};
    use std::sync::atomic::Ordering::SeqCst;
    use vellum::Vm;
    use vellum::arch::{Aarch64, Prot, Tiny, TinyAssist, X86_64, index};
    use vellum::ops::MapRequest;

    const PAGES: u64 = 3;

    /// Memory of `PAGES` pages that is faulted in, and whose entries then say that it has tags.
    fn tagged_memory<'vm, M: Simulated>(vm: &'vm Vm<M>) -> (Space<'vm, M>, u64) {
        let page = 1u64 << M::Arch::PAGE_SHIFT;
        let space = vm.create_space().unwrap();
        let address = space.map(&MapRequest::anonymous(PAGES * page, Prot::READ_WRITE)).unwrap();
        for number in 0..PAGES {
            let at = address + number * page;
            space.fault(at, Access::Write).unwrap();
            let word = leaf_word(vm.machine().physical(), space.root(), at);
            let old = word.load(SeqCst);
            word.store(M::Arch::page(M::Arch::pfn(old), M::Arch::page_bits(old) | PageBits::TAGGED), SeqCst);
        }
        (space, address)
    }

    fn leaf_word<A: Arch>(memory: &HostMemory<A>, root: Pfn, at: u64) -> &std::sync::atomic::AtomicU64 {
        let table = (1..A::LEVELS).rev().fold(root, |table, level| {
            let word = memory.word(table, index::<A>(at, level)).unwrap().load(SeqCst);
            A::table_of(word).expect("the page is there")
        });
        memory.word(table, index::<A>(at, 0)).unwrap()
    }

    fn tags_are_compared<A: Arch>() {
        let hosted = Hosted::<A>::new(&MachineConfig::new(2, 4096)).unwrap();
        let (space, address) = tagged_memory(hosted.vm());
        let granule = 1u64 << A::semantics().tags.unwrap().granule_shift;
        let wrong = |at, expected, found| Err(AccessError::Tag { address: at, expected, found });
        let refused = |address, expected, found| Err(AccessError::Tag { address, expected, found });
        hosted.store(0, &space, address, b"no tag yet").unwrap();
        hosted.set_tag(0, &space, address + granule, 2 * granule as usize, 5).unwrap();
        // The bytes stay, the granules on both sides too; both CPUs see it.
        assert_eq!(hosted.load(1, &space, address, 10).unwrap(), b"no tag yet");
        assert_eq!(hosted.load(1, &space, address + 3 * granule, 1).unwrap(), [0]);
        assert_eq!(hosted.load(1, &space, address + granule, 1), wrong(address + granule, 0, 5));
        assert_eq!(hosted.store(0, &space, address + granule, &[1]), refused(address + granule, 0, 5));
        hosted.store_tagged(0, &space, address + 2 * granule, b"word", 5).unwrap();
        assert_eq!(hosted.load_tagged(1, &space, address + 2 * granule, 4, 5).unwrap(), b"word");
        assert_eq!(hosted.load_tagged(1, &space, address + 2 * granule, 4, 4), wrong(address + 2 * granule, 4, 5));
        // An access that only reaches into the granule.
        assert_eq!(hosted.load(0, &space, address + granule - 1, 2), wrong(address + granule, 0, 5));
        assert_eq!(hosted.load_tagged(0, &space, address + 3 * granule - 4, 8, 5), wrong(address + 3 * granule, 5, 0));
        // A store that traps stores nothing.
        assert_eq!(hosted.store_tagged(0, &space, address, b"gone", 7), refused(address, 7, 0));
        assert_eq!(hosted.load(0, &space, address, 4).unwrap(), b"no t");
        // Bits which tags do not have mean nothing.
        assert_eq!(hosted.load_tagged(0, &space, address + granule, 1, 0xf5).unwrap(), [0]);
        assert_eq!(hosted.take_violations(), []);
    }

    #[test]
    fn tags_are_compared_on_every_architecture_that_has_them() {
        tags_are_compared::<Aarch64>();
        tags_are_compared::<vellum::arch::Sparc64>();
        tags_are_compared::<Tiny>();
        tags_are_compared::<TinyAssist>();
    }

    #[test]
    fn ranges_of_tags_may_cross_pages() {
        let hosted = Hosted::<Aarch64>::new(&MachineConfig::new(1, 4096)).unwrap();
        let (space, address) = tagged_memory(hosted.vm());
        hosted.set_tag(0, &space, address + 0xff8, 0x1010, 9).unwrap();
        for at in [0xff0, 0x1000, 0x1ff0, 0x2000] {
            assert!(hosted.load_tagged(0, &space, address + at, 16, 9).is_ok(), "{at:#x}");
        }
        for at in [0xfe0, 0x2010] {
            assert!(hosted.load_tagged(0, &space, address + at, 16, 9).is_err(), "{at:#x}");
        }
        assert!(hosted.load_tagged(0, &space, address + 0xff0, 0x1020, 9).is_ok());
    }

    #[test]
    fn memory_without_tags_is_not_checked() {
        fn check<A: Arch>() {
            let hosted = Hosted::<A>::new(&MachineConfig::new(1, 4096)).unwrap();
            let space = hosted.vm().create_space().unwrap();
            let page = 1 << A::PAGE_SHIFT;
            let address = space.map(&MapRequest::anonymous(page, Prot::READ_WRITE)).unwrap();
            // It is faulted in as by a store, and then refused.
            let refused = Err(AccessError::Untagged { address });
            assert_eq!(hosted.set_tag(0, &space, address, page as usize, 5), refused);
            assert!(space.translate(address).is_some());
            hosted.store_tagged(0, &space, address, b"any", 3).unwrap();
            assert_eq!(hosted.load_tagged(0, &space, address, 3, 9).unwrap(), b"any");
            space.protect(address, page, Prot::READ).unwrap();
            assert!(hosted.set_tag(0, &space, address, 1, 5).unwrap_err().is_segv());
        }
        check::<Aarch64>();
        check::<Tiny>();
        check::<X86_64>();
        // Neither has an architecture without tags any entry that says so.
        let hosted = Hosted::<X86_64>::new(&MachineConfig::new(1, 4096)).unwrap();
        let (space, address) = tagged_memory(hosted.vm());
        assert_eq!(hosted.load_tagged(0, &space, address, 1, 9).unwrap(), [0]);
    }

    #[test]
    fn a_cached_translation_knows_whether_it_has_tags() {
        let hosted = Hosted::<TinyAssist>::new(&MachineConfig::new(1, 4096)).unwrap();
        let (space, address) = tagged_memory(hosted.vm());
        hosted.set_tag(0, &space, address, 16, 5).unwrap();
        let word = leaf_word(hosted.machine().physical(), space.root(), address);
        let old = word.load(SeqCst);
        let untagged = TinyAssist::page_bits(old).without(PageBits::TAGGED);
        word.store(TinyAssist::page(TinyAssist::pfn(old), untagged), SeqCst);
        // Still checked, and the machine finds that the tables say otherwise.
        assert!(matches!(hosted.load(0, &space, address, 1), Err(AccessError::Tag { expected: 0, found: 5, .. })));
        assert_eq!(hosted.take_violations().first().map(|found| found.invariant), Some(Invariant::TlbPerm));
        hosted.idle(0);
        hosted.machine().invalidate_all();
        assert_eq!(hosted.load(0, &space, address, 1).unwrap(), [0]);
        assert_eq!(hosted.take_violations(), []);
    }

    #[test]
    fn threads_have_tags_too() {
        let host = ThreadHost::<Aarch64>::new(&MachineConfig::new(2, 4096), Mmus::Simulated).unwrap();
        let (space, address) = {
            let _seat = host.enter(0);
            tagged_memory(host.vm())
        };
        std::thread::scope(|scope| {
            for cpu in 0..2u64 {
                let (host, space) = (&host, &space);
                scope.spawn(move || {
                    let seat = host.enter(cpu as usize);
                    let (at, tag) = (address + cpu * 16, cpu as u8 + 1);
                    // An odd number of them: each makes one access that traps.
                    for _ in 0..101 {
                        seat.set_tag(space, at, 16, tag).unwrap();
                        seat.store_tagged(space, at, &[tag], tag).unwrap();
                        assert_eq!(seat.load_tagged(space, at, 1, tag).unwrap(), [tag]);
                        assert!(matches!(seat.load(space, at, 1), Err(AccessError::Tag { expected: 0, .. })));
                        seat.set_tag(space, at, 16, 0).unwrap();
                        assert_eq!(seat.load(space, at, 1).unwrap(), [tag]);
                    }
                });
            }
        });
        let _seat = host.enter(0);
        drop(space);
        // Broadcasts wait for accesses that are under way: none is, although some trapped.
        host.machine().broadcast_wait();
    }
}
