//! Recounting physical memory at quiescence: every descriptor, then every list.
//!
//! Each frame on a list is marked in a descriptor field its kind does not use, so that a frame on two lists shows; as
//! the lists hold only frames of the right kind, none twice, and in all as many as there are of that kind, every free
//! frame is on exactly its list.

use super::frame::order_of_none;
use super::slab::{CLASSES, Slab};
use super::{Frame, Kind, NODES_MAX, ORDER_MAX, ORDERS, Pfn, Physical};
use crate::machine::Machine;
use crate::vm::Vm;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

/// A list of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameList {
    /// A node's free blocks of an order.
    Free {
        /// The node.
        node: u8,
        /// The order.
        order: u8,
    },
    /// All free frames of a node's allocator.
    Node {
        /// The node.
        node: u8,
    },
    /// A CPU's free frames.
    Cached {
        /// The CPU.
        cpu: usize,
    },
    /// A CPU's zeroed frames for page tables.
    Tables {
        /// The CPU.
        cpu: usize,
    },
    /// The free frames of all CPUs.
    AllCached,
    /// Slabs with room of a size class.
    Slabs {
        /// The class.
        class: usize,
    },
    /// Free slab objects of a size class that a CPU keeps.
    Magazine {
        /// The CPU.
        cpu: usize,
        /// The class.
        class: usize,
    },
}

/// What the audit of physical memory found wrong first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhysAuditError {
    /// A frame is of another kind than its place demands.
    Kind {
        /// The frame.
        frame: Pfn,
        /// The kind it should have.
        expected: Kind,
        /// The kind it has.
        found: Kind,
    },
    /// A frame is of another order than its list's.
    Order {
        /// The frame.
        frame: Pfn,
        /// The list's.
        expected: u8,
        /// The frame's.
        found: u8,
    },
    /// A block is not aligned to its size, or exceeds the greatest order, or is cut short.
    Block {
        /// Its first frame.
        frame: Pfn,
        /// Its order.
        order: u8,
    },
    /// A frame is on another node's list.
    Node {
        /// The frame.
        frame: Pfn,
        /// The list's.
        expected: u8,
        /// The frame's.
        found: u8,
    },
    /// A tail says another order than that of its folio or, if it is of none, of a huge page.
    Tail {
        /// The frame.
        frame: Pfn,
        /// What it is to say.
        expected: u8,
        /// What it says.
        found: u8,
    },
    /// A list's backward link is wrong.
    Link {
        /// The frame with the link.
        frame: Pfn,
        /// Number + 1 of the frame that leads to it.
        expected: u64,
        /// What the link says.
        found: u64,
    },
    /// A list has another length than is recorded, or than there are such frames.
    Count {
        /// The list.
        list: FrameList,
        /// What is recorded, or found among the descriptors.
        expected: u64,
        /// What is on the list.
        found: u64,
    },
    /// A frame is on two lists, or twice on one.
    Twice {
        /// The frame.
        frame: Pfn,
    },
    /// A list names a frame which does not exist.
    Unknown {
        /// The number.
        frame: Pfn,
    },
    /// Two free buddies were not merged.
    Unmerged {
        /// The lower one.
        frame: Pfn,
        /// Their order.
        order: u8,
    },
    /// A frame kept for page tables is not zero.
    NotZero {
        /// The frame.
        frame: Pfn,
    },
    /// A slab's used and free objects do not add up.
    Slab {
        /// The frame.
        frame: Pfn,
        /// Objects it can hold less those in use.
        expected: u64,
        /// Objects on its free list or never used.
        found: u64,
    },
    /// CPUs keep more objects of a slab than are not in it.
    Kept {
        /// The frame.
        frame: Pfn,
        /// Objects in use, as far as the slab knows.
        in_use: u64,
    },
    /// A CPU keeps an object of a slab's that lies in no slab of that size.
    NoObject {
        /// Where it is kept.
        list: FrameList,
    },
    /// A free frame has counts.
    Counts {
        /// The frame.
        frame: Pfn,
        /// They.
        found: u64,
    },
}

impl fmt::Display for PhysAuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "physical memory does not add up: {self:?}")
    }
}

impl core::error::Error for PhysAuditError {}

/// The frames of a machine, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysAudit {
    /// Frames by kind: those of a block counted as its first one.
    frames: [u64; Kind::COUNT],
    /// Frames in all, holes not counted.
    pub total: u64,
    /// Free frames, those on the CPUs' lists included.
    pub free: u64,
}

impl PhysAudit {
    /// How many frames are of `kind`; those of a block are of the kind of its first one.
    pub fn frames(&self, kind: Kind) -> u64 {
        self.frames[kind as usize]
    }
}

/// What the walk over the descriptors found; blocks where it says so.
struct Tally {
    frames: [u64; Kind::COUNT],
    blocks: [[u64; ORDERS]; NODES_MAX],
    partial_slabs: [u64; CLASSES],
}

impl<M: Machine> Physical<M> {
    /// Recounts everything. No other CPU is inside the core.
    pub(crate) fn audit(&self, vm: &Vm<M>) -> Result<PhysAudit, PhysAuditError> {
        let tally = self.audit_descriptors(vm)?;
        for node in 0..self.zones.len() as u8 {
            self.audit_zone(node, &tally)?;
        }
        let mut cached = 0;
        for cpu in 0..vm.machine().cpu_count() {
            cached += self.audit_cpu(vm, cpu)?;
        }
        expect_count(FrameList::AllCached, tally.frames[Kind::Cached as usize], cached)?;
        for class in 0..CLASSES {
            self.audit_slabs(class, &tally)?;
            (0..vm.machine().cpu_count()).try_for_each(|cpu| self.audit_magazine(vm, cpu, class))?;
        }
        let total = tally.frames.iter().sum::<u64>() - tally.frames[Kind::Absent as usize];
        let free = tally.frames[Kind::Free as usize] + tally.frames[Kind::Cached as usize];
        Ok(PhysAudit { frames: tally.frames, total, free })
    }

    fn audit_descriptors(&self, vm: &Vm<M>) -> Result<Tally, PhysAuditError> {
        let mut tally =
            Tally { frames: [0; Kind::COUNT], blocks: [[0; ORDERS]; NODES_MAX], partial_slabs: [0; CLASSES] };
        let mut frames = self.map.iter();
        while let Some((pfn, frame)) = frames.next() {
            let (kind, order) = (frame.kind(), frame.order());
            if kind == Kind::Tail {
                return Err(PhysAuditError::Kind { frame: pfn, expected: Kind::Free, found: kind });
            }
            if order > ORDER_MAX || pfn.0 % (1 << order) != 0 {
                return Err(PhysAuditError::Block { frame: pfn, order });
            }
            tally.frames[kind as usize] += 1 << order;
            for _ in 1..1u64 << order {
                let (at, tail) = frames.next().ok_or(PhysAuditError::Block { frame: pfn, order })?;
                expect_tail(at, tail, frame)?;
            }
            match kind {
                Kind::Free => self.audit_free_block(pfn, frame, order, &mut tally)?,
                Kind::Cached => {
                    expect_no_counts(pfn, frame)?;
                    frame.halves[0].store(0, Relaxed);
                }
                Kind::Slab => self.audit_slab(vm, pfn, &mut tally)?,
                _ => {}
            }
        }
        Ok(tally)
    }

    fn audit_free_block(&self, pfn: Pfn, frame: &Frame<M>, order: u8, tally: &mut Tally) -> Result<(), PhysAuditError> {
        expect_no_counts(pfn, frame)?;
        frame.halves[0].store(0, Relaxed);
        tally.blocks[frame.node() as usize % NODES_MAX][order as usize] += 1;
        let buddy = self.get(Pfn(pfn.0 ^ 1 << order)).filter(|buddy| buddy.is_free_block(order, frame.node()));
        let is_upper = pfn.0 & 1 << order != 0;
        if order < ORDER_MAX && is_upper && buddy.is_some() && !frame.is_range_start() {
            return Err(PhysAuditError::Unmerged { frame: Pfn(pfn.0 ^ 1 << order), order });
        }
        Ok(())
    }

    fn audit_slab(&self, vm: &Vm<M>, pfn: Pfn, tally: &mut Tally) -> Result<(), PhysAuditError> {
        let slab = Slab::of(self, vm.machine(), pfn).ok_or(PhysAuditError::Unknown { frame: pfn })?;
        let (expected, found) = (slab.capacity().wrapping_sub(slab.in_use()), slab.free().unwrap_or(u64::MAX));
        if expected != found {
            return Err(PhysAuditError::Slab { frame: pfn, expected, found });
        }
        self.frame(pfn).halves.iter().for_each(|half| half.store(0, Relaxed));
        tally.partial_slabs[slab.class()] += !slab.is_full() as u64;
        Ok(())
    }

    fn audit_zone(&self, node: u8, tally: &Tally) -> Result<(), PhysAuditError> {
        let zone = self.zone(node);
        let mut free = 0;
        for order in 0..=ORDER_MAX {
            let list = FrameList::Free { node, order };
            let length = self.audit_list(zone.list(order).first(), true, |pfn, frame| {
                expect_kind(pfn, frame, Kind::Free)?;
                if frame.order() != order {
                    return Err(PhysAuditError::Order { frame: pfn, expected: order, found: frame.order() });
                }
                if frame.node() != node {
                    return Err(PhysAuditError::Node { frame: pfn, expected: node, found: frame.node() });
                }
                Ok(())
            })?;
            expect_count(list, zone.list(order).len(), length)?;
            expect_count(list, tally.blocks[node as usize][order as usize], length)?;
            free += length << order;
        }
        expect_count(FrameList::Node { node }, zone.free(), free)
    }

    fn audit_cpu(&self, vm: &Vm<M>, cpu: usize) -> Result<u64, PhysAuditError> {
        let (frames, tables) = vm.cpu(cpu).lists.stacks();
        let kept = self.audit_list(frames.first(), false, |pfn, frame| expect_kind(pfn, frame, Kind::Cached))?;
        expect_count(FrameList::Cached { cpu }, frames.len(), kept)?;
        let zeroed = self.audit_list(tables.first(), false, |pfn, frame| {
            expect_kind(pfn, frame, Kind::Cached)?;
            let words = vm.machine().frame(pfn).cast::<u64>();
            // SAFETY: a frame on the list belongs to the allocator, and no other CPU is inside the core.
            let is_zero = (0..Self::PAGE / size_of::<u64>()).all(|index| unsafe { words.add(index).read() } == 0);
            if is_zero { Ok(()) } else { Err(PhysAuditError::NotZero { frame: pfn }) }
        })?;
        expect_count(FrameList::Tables { cpu }, tables.len(), zeroed)?;
        Ok(kept + zeroed)
    }

    fn audit_slabs(&self, class: usize, tally: &Tally) -> Result<(), PhysAuditError> {
        let list = self.slabs[class].partial();
        let length = self.audit_list(list.first(), true, |pfn, frame| expect_kind(pfn, frame, Kind::Slab))?;
        expect_count(FrameList::Slabs { class }, list.len(), length)?;
        expect_count(FrameList::Slabs { class }, tally.partial_slabs[class], length)
    }

    /// What a CPU keeps of a class; counted in the descriptor of each object's slab, which has that many in use.
    fn audit_magazine(&self, vm: &Vm<M>, cpu: usize, class: usize) -> Result<(), PhysAuditError> {
        let (list, magazines) = (FrameList::Magazine { cpu, class }, &vm.cpu(cpu).magazines);
        let found = magazines.audit(vm, class, |slab| {
            let (frame, slab) = slab.ok_or(PhysAuditError::NoObject { list })?;
            let in_use = slab.in_use();
            if slab.count_kept() <= in_use { Ok(()) } else { Err(PhysAuditError::Kept { frame, in_use }) }
        })?;
        expect_count(list, magazines.len(class), found)
    }

    /// Walks a list, marking its frames; how long it is. `is_double`: it has backward links.
    fn audit_list(
        &self,
        first: Option<Pfn>,
        is_double: bool,
        check: impl Fn(Pfn, &Frame<M>) -> Result<(), PhysAuditError>,
    ) -> Result<u64, PhysAuditError> {
        let (mut next, mut previous, mut length) = (first, 0, 0);
        while let Some(pfn) = next {
            let frame = self.get(pfn).ok_or(PhysAuditError::Unknown { frame: pfn })?;
            check(pfn, frame)?;
            if frame.halves[0].load(Relaxed) != 0 {
                return Err(PhysAuditError::Twice { frame: pfn });
            }
            frame.halves[0].store(1, Relaxed);
            let found = frame.words[0].load(Relaxed);
            if is_double && found != previous {
                return Err(PhysAuditError::Link { frame: pfn, expected: previous, found });
            }
            previous = pfn.0 + 1;
            length += 1;
            next = frame.link.load(Relaxed).checked_sub(1).map(Pfn);
        }
        Ok(length)
    }
}

fn expect_kind<M: Machine>(pfn: Pfn, frame: &Frame<M>, expected: Kind) -> Result<(), PhysAuditError> {
    let found = frame.kind();
    if found == expected { Ok(()) } else { Err(PhysAuditError::Kind { frame: pfn, expected, found }) }
}

/// A tail of the block that `first` begins says what it is to say.
fn expect_tail<M: Machine>(pfn: Pfn, tail: &Frame<M>, first: &Frame<M>) -> Result<(), PhysAuditError> {
    expect_kind(pfn, tail, Kind::Tail)?;
    let (kind, order) = first.kind_and_order();
    // What is allocated has no meaning yet, and may be a folio.
    let is_folio = kind == Kind::Anonymous || kind == Kind::Allocated && tail.order() == order;
    let (expected, found) = (if is_folio { order } else { order_of_none::<M::Arch>() }, tail.order());
    if found == expected { Ok(()) } else { Err(PhysAuditError::Tail { frame: pfn, expected, found }) }
}

fn expect_count(list: FrameList, expected: u64, found: u64) -> Result<(), PhysAuditError> {
    if found == expected { Ok(()) } else { Err(PhysAuditError::Count { list, expected, found }) }
}

fn expect_no_counts<M: Machine>(pfn: Pfn, frame: &Frame<M>) -> Result<(), PhysAuditError> {
    let found = frame.counts().load(Relaxed);
    if found == 0 { Ok(()) } else { Err(PhysAuditError::Counts { frame: pfn, found }) }
}
