//! Words on which operations decide, and what a change of one means: for the diagrams of a laboratory.
//!
//! To find what a word is takes no lock and changes nothing, so that it can be done in the midst of an operation;
//! nobody else may be inside the core meanwhile, for what is found to be true.

use super::{Structure, holds};
use crate::arch::SwapSlot;
use crate::machine::Machine;
use crate::object::Object;
use crate::phys::{Kind, PageFlags, Pfn};
use crate::space::Space;
use crate::vm::Vm;

/// A word on which operations decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedWord {
    /// The references and mappings of a frame.
    Counts(Pfn),
    /// What a frame is used for.
    Use(Pfn),
    /// The folio lock of a page.
    FolioLock(Pfn),
    /// The flags of a page, its generation and its slot.
    Flags(Pfn),
    /// Whether the page of a file has been read.
    Contents(Pfn),
    /// How many unmap batches owe a flush of a leaf table.
    FlushesOwed(Pfn),
    /// The lock of a page table.
    TableLock(Pfn),
    /// The header of a page table.
    TableHeader(Pfn),
    /// The claim of a range operation on slots of a page table.
    Claim(Pfn),
    /// The last flush request that was posted to a CPU.
    Posted(usize),
    /// The last flush request that a CPU has served.
    Served(usize),
    /// Whether a CPU is lazy.
    Lazy(usize),
    /// The generation of a space's translations.
    Generation,
    /// The CPUs that have a space loaded.
    Targets,
    /// The last fork of a space that is complete.
    ForkDone,
    /// Reverse-mapping walks in a space, and whether it ends.
    Walks,
    /// Entries that began to move within a space.
    MovesBegun,
    /// Entries whose move within a space is complete.
    MovesDone,
    /// A swap slot.
    Slot(SwapSlot),
    /// A word of that structure which is not described further: if somebody waits for it, its lock.
    Of(Structure),
}

/// A slot's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Entries that name it.
    pub entries: u32,
    /// Given out, with no page in it yet; or about to be free.
    pub is_reserved: bool,
    /// Its page, while that is in memory.
    pub cached: Option<Pfn>,
}

/// What a change of a [`SharedWord`] means. Pairs are what was, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Of a page.
    Counts {
        /// References, those of mappings included.
        references: (u32, u32),
        /// Mappings.
        mappings: (u32, u32),
    },
    /// Of a frame.
    Use(Kind, Kind),
    /// The lock was taken, or released.
    Held(bool),
    /// Of a page.
    Flags(PageFlags, PageFlags),
    /// A number: of requests, flushes, forks, walks, moves; a generation.
    Number(u64, u64),
    /// The page table was unlinked.
    Stale,
    /// The page table was copied by the fork of that number.
    Forked(u32),
    /// First and last slot claimed, and whether the range is being changed.
    Claimed(u16, u16, bool),
    /// No slot is claimed any more.
    Unclaimed,
    /// CPUs, as bits.
    Cpus(u64, u64),
    /// Of a swap slot.
    Slot(SlotState, SlotState),
}

impl SharedWord {
    /// What it means that the word changes from `old` to `new`; `None` if nothing of interest.
    pub fn change(self, old: u64, new: u64) -> Option<Change> {
        if old == new {
            return None;
        }
        match self {
            SharedWord::Counts(_) => Some(Change::Counts {
                references: (old as u32, new as u32),
                mappings: ((old >> 32) as u32, (new >> 32) as u32),
            }),
            SharedWord::Use(_) => {
                let kinds = (Kind::of_state(old as u32), Kind::of_state(new as u32));
                (kinds.0 != kinds.1).then_some(Change::Use(kinds.0, kinds.1))
            }
            SharedWord::FolioLock(_) | SharedWord::TableLock(_) => {
                ((old == 0) != (new == 0)).then_some(Change::Held(new != 0))
            }
            SharedWord::Flags(_) => Some(Change::Flags(PageFlags(old), PageFlags(new))),
            SharedWord::FlushesOwed(_) => Some(Change::Number(old >> 32, new >> 32)),
            SharedWord::TableHeader(_) => crate::space::header_change(old, new),
            SharedWord::Claim(_) => Some(match crate::space::claimed(new as u32) {
                Some((first, last, is_committing)) => Change::Claimed(first, last, is_committing),
                None => Change::Unclaimed,
            }),
            SharedWord::Targets => Some(Change::Cpus(old, new)),
            SharedWord::Slot(_) => Some(Change::Slot(crate::swap::slot_state(old), crate::swap::slot_state(new))),
            SharedWord::Of(_) | SharedWord::Contents(_) => None,
            _ => Some(Change::Number(old, new)),
        }
    }
}

impl<M: Machine> Vm<M> {
    /// Which word lies at `address`: of a frame's descriptor, of what belongs to a CPU, of a swap area, or of the `Vm`.
    pub fn word_at(&self, address: usize) -> Option<SharedWord> {
        let of_cpus = || self.cpus().enumerate().find_map(|(cpu, state)| state.tlb.word_at(cpu, address));
        let of_structure = || {
            let of_zone = || self.physical().zone_at(address).map(Structure::Zone);
            self.part_at(address).or_else(of_zone).map(SharedWord::Of)
        };
        self.physical()
            .word_at(address)
            .or_else(of_cpus)
            .or_else(|| self.swap_slot_at(address).map(SharedWord::Slot))
            .or_else(of_structure)
    }
}

impl<M: Machine> Vm<M> {
    /// The level of the page table that begins in frame `pfn`, if one does.
    pub fn table_level(&self, pfn: Pfn) -> Option<u8> {
        let frame = self.physical().get(pfn)?;
        (frame.kind() == Kind::Table).then(|| frame.table_level())
    }
}

impl<M: Machine> Space<'_, M> {
    /// Which word of the space lies at `address`.
    pub fn word_at(&self, address: usize) -> Option<SharedWord> {
        let inner = self.inner();
        let words = [
            (holds(&inner.tlb().generation, address), SharedWord::Generation),
            (inner.tlb().cpus.is_first_word_at(address), SharedWord::Targets),
            (holds(&inner.fork_done, address), SharedWord::ForkDone),
            (inner.is_walks_at(address), SharedWord::Walks),
            (holds(&inner.moves_begun, address), SharedWord::MovesBegun),
            (holds(&inner.moves_done, address), SharedWord::MovesDone),
        ];
        words.into_iter().find(|(is_there, _)| *is_there).map(|(_, word)| word)
    }
}

impl<M: Machine> Object<'_, M> {
    /// Which word of the object lies at `address`.
    pub fn word_at(&self, address: usize) -> Option<SharedWord> {
        holds(self.inner(), address).then_some(SharedWord::Of(Structure::Object))
    }
}
