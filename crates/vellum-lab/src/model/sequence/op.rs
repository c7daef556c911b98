//! One operation of a sequence, in small numbers that mean something on every architecture and in every state.
//!
//! Spaces, objects and CPUs are taken modulo their count, addresses from a pool, so every part of a sequence is a
//! sequence too: that is what makes shrinking work. What [`Op`] prints can be pasted back after
//! `use vellum_lab::model::sequence::paste::*;`.

use vellum::arch::Prot;
pub use vellum::ops::{Access, Advice};

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A page of the pool.
    Pool(u16),
    /// Pages above an address the core chose earlier, counted from the latest.
    Answer {
        /// How many answers back.
        back: u8,
        /// How many pages above it.
        page: u8,
    },
    /// A page of a mapping of the space, both modulo their count.
    Mapped {
        /// Which mapping, by address.
        area: u8,
        /// Which page of it.
        page: u16,
    },
    /// Just this.
    Raw(u64),
}

/// A length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many pages.
    Pages(u16),
    /// Up to that page of the pool; one page if it is not above.
    To(u16),
    /// Up to the end of the mapping; one page if there is none.
    Rest,
    /// So many huge pages.
    Huge(u8),
    /// So many bytes.
    Bytes(u64),
}

/// Access rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rights {
    NoRights,
    ReadOnly,
    ReadWrite,
    WriteOnly,
    ExecuteOnly,
    ReadExecute,
    AllRights,
}

impl Rights {
    /// All of them.
    pub const ALL: [Rights; 7] = [
        Rights::ReadWrite,
        Rights::ReadOnly,
        Rights::AllRights,
        Rights::NoRights,
        Rights::ReadExecute,
        Rights::ExecuteOnly,
        Rights::WriteOnly,
    ];

    /// As the core says it.
    pub fn prot(self) -> Prot {
        match self {
            Rights::NoRights => Prot::NONE,
            Rights::ReadOnly => Prot::READ,
            Rights::ReadWrite => Prot::READ_WRITE,
            Rights::WriteOnly => Prot::WRITE,
            Rights::ExecuteOnly => Prot::EXECUTE,
            Rights::ReadExecute => Prot::READ | Prot::EXECUTE,
            Rights::AllRights => Prot::READ_WRITE | Prot::EXECUTE,
        }
    }
}

/// How the place of a new mapping is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Put {
    Exactly,
    IfFree,
    Hinted,
    AnyPlace,
}

/// What a new mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Private anonymous memory.
    PrivateZero,
    /// Shared anonymous memory.
    SharedZero,
    /// A private mapping of an object, from a page of it.
    ObjectPrivate(u8, u8),
    /// A shared mapping of an object, from a page of it.
    ObjectShared(u8, u8),
    /// A shared mapping of an object from a byte offset.
    ObjectRaw(u8, u64),
}

/// How a new mapping is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum How {
    Plain,
    GrowsDown,
    NoReserve,
    Populate,
}

/// Where a remapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Nowhere else.
    Stay,
    /// Wherever there is room.
    Wander,
    /// There, if there is room.
    Near(Spot),
    /// There, whatever is there.
    MoveTo(Spot),
}

/// One operation. `CopyOut` and `CopyIn` are a store and a load by the kernel, on the program's behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    CreateSpace,
    DropSpace { space: u8 },
    Fork { cpu: u8, space: u8 },
    Map { cpu: u8, space: u8, at: Spot, length: Length, put: Put, rights: Rights, most: Rights, what: What, how: How },
    Unmap { cpu: u8, space: u8, at: Spot, length: Length },
    Protect { cpu: u8, space: u8, at: Spot, length: Length, rights: Rights },
    ProtectPartly { cpu: u8, space: u8, at: Spot, length: Length, rights: Rights },
    Remap { cpu: u8, space: u8, at: Spot, length: Length, new_length: Length, goal: Goal, keep_old: bool },
    Advise { cpu: u8, space: u8, at: Spot, length: Length, advice: Advice },
    AdvisePartly { cpu: u8, space: u8, at: Spot, length: Length, advice: Advice },
    PopulateRange { cpu: u8, space: u8, at: Spot, length: Length, access: Access },
    Store { cpu: u8, space: u8, at: Spot, offset: u16, bytes: u16 },
    Load { cpu: u8, space: u8, at: Spot, offset: u16, bytes: u16 },
    CopyOut { cpu: u8, space: u8, at: Spot, offset: u16, bytes: u16 },
    CopyIn { cpu: u8, space: u8, at: Spot, offset: u16, bytes: u16 },
    Fetch { cpu: u8, space: u8, at: Spot },
    BrkBase { space: u8, at: Spot, offset: u16 },
    Brk { cpu: u8, space: u8, at: Spot, offset: u16 },
    StackLimit { space: u8, pages: u16 },
    ReplaceObject { object: u8 },
    WriteBack { object: u8 },
    Lazy { cpu: u8 },
    Idle { cpu: u8 },
    Speculate { cpu: u8, at: Spot },
    Quiesce { cpu: u8 },
    Reclaim { cpu: u8, node: u8, pages: u16 },
    ReclaimBackground { cpu: u8 },
    SwitchSwap { cpu: u8 },
    Compact { cpu: u8, node: u8, order: u8 },
    MovePages { cpu: u8, space: u8, at: Spot, length: Length, node: u8 },
    SetPolicy { cpu: u8, space: u8, at: Spot, length: Length, policy: u8 },
    Truncate { object: u8, keep: u8 },
    SetTag { cpu: u8, space: u8, at: Spot, offset: u16, tag: u8 },
}

impl Op {
    /// The CPU it names.
    pub fn cpu_mut(&mut self) -> Option<&mut u8> {
        match self {
            Op::CreateSpace
            | Op::DropSpace { .. }
            | Op::BrkBase { .. }
            | Op::StackLimit { .. }
            | Op::ReplaceObject { .. }
            | Op::WriteBack { .. }
            | Op::Truncate { .. } => None,
            Op::Fork { cpu, .. }
            | Op::Map { cpu, .. }
            | Op::Unmap { cpu, .. }
            | Op::Protect { cpu, .. }
            | Op::ProtectPartly { cpu, .. }
            | Op::Remap { cpu, .. }
            | Op::Advise { cpu, .. }
            | Op::AdvisePartly { cpu, .. }
            | Op::PopulateRange { cpu, .. }
            | Op::Store { cpu, .. }
            | Op::Load { cpu, .. }
            | Op::CopyOut { cpu, .. }
            | Op::CopyIn { cpu, .. }
            | Op::Fetch { cpu, .. }
            | Op::Brk { cpu, .. }
            | Op::Lazy { cpu }
            | Op::Idle { cpu }
            | Op::Speculate { cpu, .. }
            | Op::Quiesce { cpu }
            | Op::Reclaim { cpu, .. }
            | Op::ReclaimBackground { cpu }
            | Op::SwitchSwap { cpu }
            | Op::Compact { cpu, .. }
            | Op::MovePages { cpu, .. }
            | Op::SetPolicy { cpu, .. }
            | Op::SetTag { cpu, .. } => Some(cpu),
        }
    }

    /// The space it names.
    pub fn space_mut(&mut self) -> Option<&mut u8> {
        match self {
            Op::DropSpace { space }
            | Op::Fork { space, .. }
            | Op::Map { space, .. }
            | Op::Unmap { space, .. }
            | Op::Protect { space, .. }
            | Op::ProtectPartly { space, .. }
            | Op::Remap { space, .. }
            | Op::Advise { space, .. }
            | Op::AdvisePartly { space, .. }
            | Op::PopulateRange { space, .. }
            | Op::Store { space, .. }
            | Op::Load { space, .. }
            | Op::CopyOut { space, .. }
            | Op::CopyIn { space, .. }
            | Op::Fetch { space, .. }
            | Op::BrkBase { space, .. }
            | Op::Brk { space, .. }
            | Op::StackLimit { space, .. }
            | Op::MovePages { space, .. }
            | Op::SetPolicy { space, .. }
            | Op::SetTag { space, .. } => Some(space),
            _ => None,
        }
    }

    /// The addresses it names.
    pub fn spots_mut(&mut self) -> Vec<&mut Spot> {
        match self {
            Op::Remap { at, goal: Goal::MoveTo(to) | Goal::Near(to), .. } => vec![at, to],
            Op::Map { at, .. }
            | Op::Unmap { at, .. }
            | Op::Protect { at, .. }
            | Op::ProtectPartly { at, .. }
            | Op::Remap { at, .. }
            | Op::Advise { at, .. }
            | Op::AdvisePartly { at, .. }
            | Op::PopulateRange { at, .. }
            | Op::Store { at, .. }
            | Op::Load { at, .. }
            | Op::CopyOut { at, .. }
            | Op::CopyIn { at, .. }
            | Op::Fetch { at, .. }
            | Op::BrkBase { at, .. }
            | Op::Brk { at, .. }
            | Op::Speculate { at, .. }
            | Op::MovePages { at, .. }
            | Op::SetPolicy { at, .. }
            | Op::SetTag { at, .. } => vec![at],
            _ => Vec::new(),
        }
    }

    /// The lengths it names.
    pub fn lengths_mut(&mut self) -> Vec<&mut Length> {
        match self {
            Op::Remap { length, new_length, .. } => vec![length, new_length],
            Op::Map { length, .. }
            | Op::Unmap { length, .. }
            | Op::Protect { length, .. }
            | Op::ProtectPartly { length, .. }
            | Op::Advise { length, .. }
            | Op::AdvisePartly { length, .. }
            | Op::PopulateRange { length, .. }
            | Op::MovePages { length, .. }
            | Op::SetPolicy { length, .. } => vec![length],
            _ => Vec::new(),
        }
    }
}
