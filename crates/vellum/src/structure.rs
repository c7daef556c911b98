//! What lies at an address: for tools that watch accesses to shared state and want to name what they see.

use crate::cpu::{Cpu, Cx};
use crate::machine::Machine;
use crate::phys::{Kind, Pfn};
use crate::vm::Vm;
use core::fmt;
use core::ptr::NonNull;

mod word;

pub use word::{Change, SharedWord, SlotState};

/// A structure of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Structure {
    /// The epoch of read-copy-update.
    Epoch,
    /// The counter that spaces and objects get their identities from.
    Identities,
    /// The pool of address-space identifiers.
    Identifiers,
    /// The registry of spaces.
    Spaces,
    /// The registry of objects.
    Objects,
    /// The table of swap areas.
    Swap,
    /// How much memory is promised: the policy, and who is about to commit more.
    Commitment,
    /// The registry of classes: its lock and what that protects.
    Classes,
    /// Hash buckets of that registry.
    ClassBuckets,
    /// The record of the class with that identity.
    ClassRecord(u32),
    /// The buddy allocator of a node.
    Zone(u8),
    /// The slab cache of objects of so many bytes.
    SlabCache(usize),
    /// A part of what belongs to one CPU.
    Cpu {
        /// Its number.
        cpu: usize,
        /// The part.
        part: CpuPart,
    },
    /// A space's generation, which flushes increment.
    SpaceGeneration,
    /// The set of CPUs that have a space loaded, and its identifier.
    SpaceCpus,
    /// What a space has for one CPU: resident pages, where free addresses are looked for.
    SpaceCpuLine(usize),
    /// Something else of a space.
    Space,
    /// An object: its references, its cache's root and lock.
    Object,
    /// The descriptor of a frame that holds a page table of that level, 0 for leaves.
    TableDescriptor(u8),
    /// The descriptor of a frame of another kind.
    Descriptor(Kind),
    /// The entries of a page table of that level.
    TableEntries(u8),
    /// A word in a frame of that kind.
    Frame(Kind),
}

/// A part of what belongs to one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuPart {
    /// Its announcement to read-copy-update.
    Epoch,
    /// Its lists of free frames.
    Frames,
    /// Its magazines of free slab objects.
    Magazines,
    /// Its event counters.
    Counters,
    /// What it has counted as committed.
    Committed,
    /// What it has counted for a group of spaces.
    Untold,
    /// What it has loaded, and with which identifiers.
    Tlb,
    /// Its flush mailbox.
    Mailbox,
    /// What waits there for grace periods and flushes.
    Retired,
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Structure::Epoch => f.write_str("epoch of read-copy-update"),
            Structure::Identities => f.write_str("counter of identities"),
            Structure::Identifiers => f.write_str("pool of address-space identifiers"),
            Structure::Spaces => f.write_str("registry of spaces"),
            Structure::Objects => f.write_str("registry of objects"),
            Structure::Swap => f.write_str("table of swap areas"),
            Structure::Commitment => f.write_str("commitment of memory"),
            Structure::Classes => f.write_str("class registry"),
            Structure::ClassBuckets => f.write_str("class registry: hash buckets"),
            Structure::ClassRecord(_) => f.write_str("class record"),
            Structure::Zone(node) => write!(f, "buddy allocator of node {node}"),
            Structure::SlabCache(bytes) => write!(f, "slab cache of {bytes} bytes"),
            Structure::Cpu { cpu, part } => write!(f, "{part} of CPU {cpu}"),
            Structure::SpaceGeneration => f.write_str("space: TLB generation"),
            Structure::SpaceCpus => f.write_str("space: CPU set"),
            Structure::SpaceCpuLine(cpu) => write!(f, "space: line of CPU {cpu}"),
            Structure::Space => f.write_str("space"),
            Structure::Object => f.write_str("object"),
            Structure::TableDescriptor(level) => write!(f, "descriptor of a page table of level {level}"),
            Structure::Descriptor(kind) => write!(f, "descriptor of a frame: {}", name(kind)),
            Structure::TableEntries(level) => write!(f, "entries of a page table of level {level}"),
            Structure::Frame(kind) => write!(f, "frame: {}", name(kind)),
        }
    }
}

impl fmt::Display for CpuPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CpuPart::Epoch => "epoch announcement",
            CpuPart::Frames => "list of free frames",
            CpuPart::Magazines => "magazines of slab objects",
            CpuPart::Counters => "event counters",
            CpuPart::Committed => "count of committed pages",
            CpuPart::Untold => "count of a group's pages",
            CpuPart::Tlb => "TLB state",
            CpuPart::Mailbox => "mailbox",
            CpuPart::Retired => "list of what is retired",
        })
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Absent => "absent",
        Kind::Free | Kind::Tail => "free",
        Kind::Cached => "free, on a CPU's list",
        Kind::Allocated => "allocated",
        Kind::Table => "page table",
        Kind::ClassArray => "classes of a page table",
        Kind::Anonymous => "anonymous memory",
        Kind::File => "page cache",
        Kind::Slab => "slab objects",
        Kind::Reserved => "the core's own",
        Kind::Isolated => "an isolated frame",
    }
}

/// Whether `place` contains `address`.
pub(crate) fn holds<T: ?Sized>(place: &T, address: usize) -> bool {
    address.wrapping_sub((&raw const *place).addr()) < size_of_val(place)
}

impl<M: Machine> Vm<M> {
    /// What of the core lies at `address`, an address of the machine's memory or of the `Vm` itself; `None` if nothing
    /// does. At quiescence; slow, and takes the locks of registries.
    pub fn structure_at(&self, address: usize) -> Option<Structure> {
        let cx = Cx::enter(self);
        let of_a_cpu = || self.cpus().enumerate().find_map(|(cpu, state)| state.structure_at(cpu, address));
        self.part_at(address)
            .or_else(of_a_cpu)
            .or_else(|| self.physical().structure_at(address))
            .or_else(|| cx.class_structure_at(address))
            .or_else(|| cx.space_structure_at(address))
            .or_else(|| cx.is_object_at(address).then_some(Structure::Object))
            .or_else(|| self.frame_structure_at(address))
    }

    /// Part of the `Vm` itself.
    fn part_at(&self, address: usize) -> Option<Structure> {
        let parts = [
            (holds(self.epoch(), address), Structure::Epoch),
            (holds(self.identifiers(), address), Structure::Identifiers),
            (holds(self.spaces(), address), Structure::Spaces),
            (holds(self.objects(), address), Structure::Objects),
            (holds(self.swap(), address), Structure::Swap),
            (holds(self.commitment(), address), Structure::Commitment),
            (self.classes().holds(address), Structure::Classes),
            (holds(self.identities(), address), Structure::Identities),
        ];
        parts.into_iter().find(|(is_there, _)| *is_there).map(|(_, structure)| structure)
    }

    /// A word in a frame.
    fn frame_structure_at(&self, address: usize) -> Option<Structure> {
        let pointer = NonNull::new(core::ptr::without_provenance_mut(address))?;
        let pfn = self.physical().pfn_of(self.machine(), pointer)?;
        let first = self.first_of_block(pfn);
        Some(match self.physical().frame(first).kind() {
            Kind::Table => Structure::TableEntries(self.physical().frame(first).table_level()),
            kind => Structure::Frame(kind),
        })
    }

    /// The first frame of the block which `pfn` is in, if that is one of several frames.
    fn first_of_block(&self, pfn: Pfn) -> Pfn {
        let begin = |order: u8| Pfn(pfn.0 >> order << order);
        let holds = |first: &Pfn| {
            self.physical()
                .get(*first)
                .is_some_and(|frame| frame.kind() != Kind::Tail && first.0 + (1 << frame.order()) > pfn.0)
        };
        (0..=crate::phys::ORDER_MAX).map(begin).find(holds).unwrap_or(pfn)
    }
}

impl<M: Machine> Cpu<M> {
    fn structure_at(&self, cpu: usize, address: usize) -> Option<Structure> {
        let parts = [
            (holds(&self.epoch, address), CpuPart::Epoch),
            (holds(&self.lists, address), CpuPart::Frames),
            (holds(&self.magazines, address), CpuPart::Magazines),
            (holds(&self.counters, address), CpuPart::Counters),
            (holds(&self.committed, address), CpuPart::Committed),
            (holds(&self.untold, address), CpuPart::Untold),
            (holds(&self.tlb.mailbox, address), CpuPart::Mailbox),
            (holds(&self.tlb, address), CpuPart::Tlb),
            (holds(self, address), CpuPart::Retired),
        ];
        parts.into_iter().find(|(is_there, _)| *is_there).map(|(_, part)| Structure::Cpu { cpu, part })
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Part of a space.
    fn space_structure_at(&self, address: usize) -> Option<Structure> {
        let mut found = None;
        self.vm().spaces().for_each(self, |space| {
            let line = || space.line_at(self.vm(), address).map(Structure::SpaceCpuLine);
            let part = || {
                holds(space, address).then(|| match space.tlb() {
                    tlb if holds(&tlb.generation, address) => Structure::SpaceGeneration,
                    tlb if holds(tlb, address) => Structure::SpaceCpus,
                    _ => Structure::Space,
                })
            };
            found = found.or_else(line).or_else(part);
        });
        found
    }

    fn is_object_at(&self, address: usize) -> bool {
        let mut found = false;
        self.vm().objects().for_each(self, |object| found |= holds(object, address));
        found
    }
}
