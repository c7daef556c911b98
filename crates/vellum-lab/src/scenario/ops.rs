//! What a scenario may ask of a world, whatever its architecture.

use super::At;
use super::oracle::Shown;
use crate::lab::Action;
use vellum::Error;

/// The rights of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prot {
    /// None.
    None,
    /// Loads.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// What a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Private memory.
    Anonymous,
    /// Private memory that grows downwards.
    Stack,
    /// Private memory with tags.
    Tagged,
    /// The world's file, from page `.0` on, shared.
    File(u64),
    /// The world's file, from page `.0` on, privately.
    PrivateFile(u64),
}

impl Shows {
    /// What page `n` of the mapping shows.
    pub(super) fn shown(self, n: u64) -> Shown {
        match self {
            Shows::Anonymous | Shows::Stack | Shows::Tagged => Shown::Own,
            Shows::File(index) => Shown::File(index + n),
            Shows::PrivateFile(index) => Shown::Copy(index + n),
        }
    }
}

/// Public operations of the core on process `process`, on the current CPU, and the lab's means around them.
pub(crate) trait Ops: Send + Sync {
    fn address(&self, at: At) -> u64;
    fn page_size(&self) -> u64;
    /// Pages under one leaf table.
    fn leaf_pages(&self) -> u64;
    /// Maps, replacing what is there if `replace`.
    fn map(&self, process: usize, at: At, pages: u64, prot: Prot, shows: Shows, replace: bool) -> Result<(), Error>;
    /// Maps there if there is room, else elsewhere.
    fn map_near(&self, process: usize, at: At, pages: u64, prot: Prot) -> Result<(), Error>;
    fn unmap(&self, process: usize, at: At, pages: u64) -> Result<(), Error>;
    fn protect(&self, process: usize, at: At, pages: u64, prot: Prot) -> Result<(), Error>;
    fn dont_need(&self, process: usize, at: At, pages: u64) -> Result<(), Error>;
    fn remap(&self, process: usize, from: At, pages: u64, to: At) -> Result<(), Error>;
    /// The new process.
    fn fork(&self, process: usize) -> Result<usize, Error>;
    /// A new, empty process.
    fn create(&self) -> Result<usize, Error>;
    fn exit(&self, process: usize);
    fn translate(&self, process: usize, at: At) -> Option<u64>;
    /// The word of a page that is held while it is read, by its frame.
    fn read_held(&self, process: usize, at: At) -> Option<u64>;
    /// What a user does to the page's word: the value; `None` if the program gets a signal for it.
    fn access(&self, process: usize, at: At, action: Action) -> Option<u64>;
    /// The processor walks the loaded tables for the page.
    fn speculate(&self, at: At);
    fn switch_to(&self, process: Option<usize>);
    fn enter_lazy(&self);
    fn quiesce(&self);
    fn write_back(&self) -> Result<(), Error>;
    /// Whether the file is one: not shared memory, which has no backing.
    fn has_backing(&self) -> bool;
    /// What the file's backing holds in the first word of a page.
    fn in_backing(&self, index: u64) -> u64;
    /// The step in which the lab looks at what was stored to the file.
    fn look_at_stores(&self);
    /// The step in which the lab looks at the file's backing.
    fn look_at_backing(&self);
    fn drop_file(&self);
    fn limit_commitment(&self, pages: u64);
    fn committed(&self) -> u64;
    /// The mappings of a process, as text.
    fn maps(&self, process: usize) -> String;
    /// Whether the process has a mapping that covers the page.
    fn is_mapped(&self, process: usize, at: At) -> bool;
    /// The step in which the lab looks at all TLBs.
    fn look_at_tlbs(&self);
    /// Compares what all CPUs that run `process` cache with its tables.
    fn audit_tlbs(&self, process: usize);
    /// Recounts everything.
    fn audit(&self);
    /// What the shortage of memory does.
    fn pressure(&self) -> &dyn super::pressure::PressureOps;
    /// Swap, and tags, and what devices do with pages.
    fn swap(&self) -> &dyn super::swap::SwapOps;
    /// The end of the file.
    fn file(&self) -> &dyn super::file::FileOps;
    /// Huge pages.
    fn huge(&self) -> &dyn super::huge::HugeOps;
    /// Devices that interrupt.
    fn devices(&self) -> &dyn super::device::DeviceOps;
    /// The toy's means.
    fn reaches(&self) -> &dyn super::reach::ReachOps;
    fn toy(&self) -> &dyn super::toy::ToyOps;
}
