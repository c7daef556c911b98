//! What was got outside of the core for the next try of a fault.

use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Pfn, release};
use crate::vm::Vm;

/// What a try asked for, and may use if it asks for it again.
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
