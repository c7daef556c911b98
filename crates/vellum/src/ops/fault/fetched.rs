//! What was got outside of the core for the next try of a fault.

use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Pfn, Policy, release};
use crate::vm::Vm;

/// A folio that a try asks for, cleared.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Wanted {
    /// log2 of its pages.
    pub(in crate::ops) order: u8,
    /// From which node it is to come, for page `offset` of the mapping.
    pub(in crate::ops) policy: Policy,
    pub(in crate::ops) offset: u64,
    /// Its tags are to be cleared.
    pub(in crate::ops) is_tagged: bool,
    /// It is for shared memory.
    pub(in crate::ops) is_shared: bool,
}

/// What a try asked for, and may use if it asks for it again.
#[derive(Clone, Copy)]
pub(super) enum Fetched {
    /// A page of an object, with a reference.
    Page {
        /// The object's identity: addresses are used again.
        object: u64,
        index: u64,
        pfn: Pfn,
    },
    /// A cleared folio of anonymous memory, with one reference and no mapping: its head, and log2 of its pages.
    Folio { head: Pfn, order: u8 },
    /// There was no folio of that order to be had.
    NoFolio(u8),
}

impl Fetched {
    /// Lets go of what was fetched for nothing.
    pub(super) fn drop<M: Machine>(self, vm: &Vm<M>) {
        match self {
            Fetched::Page { pfn, .. } | Fetched::Folio { head: pfn, .. } => release(&Cx::enter(vm), pfn),
            Fetched::NoFolio(_) => {}
        }
    }
}
