//! What an access is going to touch, found out without touching anything.

use super::mmu::{Bus, Mmu};
use super::violation::FrameKinds;
use vellum::arch::{Arch, Entry, index};
use vellum::phys::Pfn;

/// What the next access to an address is going to touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Addresses, in the host's memory, of the table entries that the walk reads; empty for a hit.
    pub entries: Vec<usize>,
    /// Whether the last of them is of the lowest level, or of a huge page.
    pub reaches_leaf: bool,
    /// The frame, if the way leads to one.
    pub frame: Option<Pfn>,
    /// The frames of the tables that the walk reads.
    pub tables: Vec<Pfn>,
}

impl<A: Arch> Mmu<A> {
    /// What an access to `address` is going to touch; nothing if no root is loaded.
    pub fn peek<K: FrameKinds + ?Sized>(&mut self, bus: &Bus<'_, A, K>, address: u64) -> Peek {
        let mut peek = Peek::default();
        let Some(load) = self.loaded.filter(|_| A::is_canonical(address)) else { return peek };
        let tag = self.epochs.tag(load.asid.0);
        if let Some(entry) = self.tlb.lookup(tag, address >> A::PAGE_SHIFT) {
            peek.frame = Some(entry.frame(address >> A::PAGE_SHIFT));
            return peek;
        }
        let (mut level, mut table) = self.walk_cache.lookup::<A>(tag, address).unwrap_or((A::LEVELS - 1, load.root));
        loop {
            let Some(word) = bus.memory.word(table, index::<A>(address, level)) else { return peek };
            peek.entries.push(word.as_ptr().addr());
            peek.tables.push(table);
            peek.reaches_leaf = level == 0;
            match A::decode(word.load(std::sync::atomic::Ordering::Relaxed), level) {
                Entry::Table(next) => (table, level) = (next, level - 1),
                Entry::Page(pfn, _) => {
                    peek.reaches_leaf = true;
                    let within = (address & ((1 << A::shift(level)) - 1)) >> A::PAGE_SHIFT;
                    peek.frame = Some(Pfn(pfn.0 + within));
                    return peek;
                }
                _ => return peek,
            }
        }
    }

    /// Whether the translation of `address` is cached.
    pub fn caches(&mut self, address: u64) -> bool {
        let Some(load) = self.loaded else { return false };
        let tag = self.epochs.tag(load.asid.0);
        self.tlb.lookup(tag, address >> A::PAGE_SHIFT).is_some()
    }
}
