//! The operations, and the ground they work on.

use super::{ROUNDS, Recorded, Space};
use crate::hosted::HostedError;
use vellum::arch::{Arch, Prot};
use vellum::ops::{Access, Advice, FaultKind, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{BootError, Event, Object};

/// Something that a CPU does again and again, with another page of its range each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A first store to a page of private memory.
    Fault,
    /// Mapping a page.
    Map,
    /// Unmapping a page that is present.
    Unmap,
    /// Making a page that is present read-only.
    Protect,
    /// Giving the contents of a page up (`MADV_DONTNEED`).
    Advise,
    /// Moving a page that is present.
    Remap,
    /// A first load from a page of a file that is in its cache; both CPUs use the same file.
    FaultFile,
}

/// Pages in front of those that are worked on. The first one stays present, so that the table stays.
const LEAD: u64 = 16;
/// Pages of each CPU's range that are worked on: a round goes before the recorded ones.
const PAGES: u64 = ROUNDS + 1;
/// How many pages further [`Operation::Remap`] moves.
const STEP: u64 = 64;
/// Pages between the parts of two CPUs that work in one table.
const PART: u64 = 128;
/// How far away the pages are that take frames from the list of the first CPU, and how many there are at most.
const STORE: u64 = 1 << 32;
const STORE_PAGES: u64 = 1024;

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 7] = [
        Operation::Fault,
        Operation::Map,
        Operation::Unmap,
        Operation::Protect,
        Operation::Advise,
        Operation::Remap,
        Operation::FaultFile,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Fault => "fault",
            Operation::Map => "map",
            Operation::Unmap => "unmap",
            Operation::Protect => "protect",
            Operation::Advise => "advise",
            Operation::Remap => "remap",
            Operation::FaultFile => "fault-file",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Operation> {
        Operation::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Whether it takes present entries or rights away, so that other CPUs must be told.
    pub const fn flushes(self) -> bool {
        matches!(self, Operation::Unmap | Operation::Protect | Operation::Advise | Operation::Remap)
    }
}

/// A space that both CPUs have loaded, in which each has a range with its tables.
pub(super) struct Ground<'h, A: Arch> {
    hosted: &'h Recorded<A>,
    space: Space<'h, A>,
    file: Object<'h, crate::host::Host<A>>,
    /// By CPU: the first address of its range.
    bases: [u64; 2],
}

impl<'h, A: Arch> Ground<'h, A> {
    const PAGE: u64 = 1 << A::PAGE_SHIFT;

    /// Enters a new space with both CPUs.
    pub(super) fn new(hosted: &'h Recorded<A>, bases: [u64; 2]) -> Result<Self, HostedError> {
        let too_small = |_| HostedError::Boot(BootError::TooLittleMemory { frames: super::FRAMES });
        let space = hosted.vm().create_space().map_err(too_small)?;
        let file = hosted.vm().shared_memory(2 * PAGES).map_err(too_small)?;
        let is_one = bases[0] == bases[1];
        // In one table: an anchor for both, and pages of their own.
        let bases = if is_one { [bases[0], bases[0] + PART * Self::PAGE] } else { bases };
        let ground = Ground { hosted, space, file, bases };
        for (cpu, base) in bases.into_iter().enumerate() {
            hosted.switch_to(cpu, &ground.space);
            ground.map(base, 1);
            ground.touch(base, Access::Write, FaultKind::Anonymous);
        }
        Ok(ground)
    }

    /// Takes free frames from the list of CPU `cpu` until that has been refilled: then there is room on it too.
    pub(super) fn stock(&self, cpu: usize) {
        let refills = || self.hosted.vm().totals().get(Event::Refill);
        self.hosted.on(cpu, || {
            let (base, before) = (self.bases[cpu] + STORE * (cpu as u64 + 1), refills());
            self.map(base, STORE_PAGES);
            let mut pages = (0..STORE_PAGES).map(|page| base + page * Self::PAGE);
            let is_refilled = pages.any(|page| {
                self.touch(page, Access::Write, FaultKind::Anonymous);
                refills() > before
            });
            assert!(is_refilled, "a CPU's list holds more than {STORE_PAGES} frames");
        });
    }

    /// Makes what CPU `cpu` needs for all rounds of `operation`.
    pub(super) fn prepare(&self, cpu: usize, operation: Operation) {
        self.hosted.on(cpu, || {
            let first = self.page(cpu, 0);
            match operation {
                Operation::Map => {}
                Operation::Fault => self.map(first, PAGES),
                Operation::Unmap | Operation::Protect | Operation::Advise | Operation::Remap => {
                    self.map(first, PAGES);
                    let pages = (0..PAGES).map(|round| self.page(cpu, round));
                    pages.for_each(|page| self.touch(page, Access::Write, FaultKind::Anonymous));
                }
                Operation::FaultFile => {
                    // The pages come into the cache through another mapping.
                    self.map_file(cpu, first + STEP * Self::PAGE);
                    let pages = (0..PAGES).map(|round| self.page(cpu, round + STEP));
                    pages.for_each(|page| self.touch(page, Access::Read, FaultKind::File));
                    self.map_file(cpu, first);
                }
            }
        });
    }

    /// Carries `operation` out on CPU `cpu`, with the page of that round.
    pub(super) fn carry_out(&self, cpu: usize, operation: Operation, round: u64) {
        let (page, length) = (self.page(cpu, round), Self::PAGE);
        self.hosted.on(cpu, || match operation {
            Operation::Fault => self.touch(page, Access::Write, FaultKind::Anonymous),
            Operation::Map => self.map(page, 1),
            Operation::Unmap => assert_eq!(self.space.unmap(page, length), Ok(())),
            Operation::Protect => assert_eq!(self.space.protect(page, length, Prot::READ), Ok(())),
            Operation::Advise => assert_eq!(self.space.advise(page, length, Advice::DontNeed), Ok(())),
            Operation::Remap => {
                // Each CPU by a distance of its own, as otherwise the pages moved would be of one class.
                let new = page + (STEP + cpu as u64 * PAGES) * length;
                let place = RemapPlace::Fixed(new);
                let request =
                    RemapRequest { old: page, old_length: length, new_length: length, place, keep_old: false };
                assert_eq!(self.space.remap(&request), Ok(new));
            }
            Operation::FaultFile => self.touch(page, Access::Read, FaultKind::File),
        });
    }

    /// The page of CPU `cpu` for a round.
    fn page(&self, cpu: usize, round: u64) -> u64 {
        self.bases[cpu] + (LEAD + round) * Self::PAGE
    }

    fn map(&self, address: u64, pages: u64) {
        let request = MapRequest::anonymous(pages * Self::PAGE, Prot::READ_WRITE).at(Place::FixedNoReplace(address));
        assert_eq!(self.space.map(&request), Ok(address));
    }

    /// Maps CPU `cpu`'s pages of the file.
    fn map_file(&self, cpu: usize, address: u64) {
        let (offset, length) = (cpu as u64 * PAGES * Self::PAGE, PAGES * Self::PAGE);
        let request = MapRequest::object(&self.file, offset, Sharing::Shared, length, Prot::READ_WRITE);
        assert_eq!(self.space.map(&request.at(Place::FixedNoReplace(address))), Ok(address));
    }

    fn touch(&self, address: u64, access: Access, kind: FaultKind) {
        assert_eq!(self.space.fault(address, access), Ok(kind), "at {address:#x}");
    }
}
