//! What a CPU caches of the tables: translations of pages, and tables reached by upper entries.
//!
//! Entries carry a [`Tag`]. Invalidating an address-space identifier starts a new epoch of it, which no entry carries.

use vellum::arch::{Arch, LEVELS_MAX, PageBits};
use vellum::phys::Pfn;

/// An address-space identifier in its current epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u64);

/// The current epoch of each address-space identifier.
#[derive(Debug, Default)]
pub(super) struct Epochs(Vec<u64>);

impl Epochs {
    pub(super) fn tag(&self, asid: u16) -> Tag {
        let epoch = self.0.get(asid as usize).copied().unwrap_or(0);
        Tag(epoch << 16 | asid as u64)
    }

    /// Makes all entries of `asid` invalid.
    pub(super) fn advance(&mut self, asid: u16) {
        if self.0.len() <= asid as usize {
            self.0.resize(asid as usize + 1, 0);
        }
        self.0[asid as usize] += 1;
    }

    fn is_current(&self, tag: Tag) -> bool {
        self.tag(tag.0 as u16) == tag
    }
}

/// A cached translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct TlbEntry {
    pub(super) tag: Tag,
    /// Page number of the virtual address; [`NO_PAGE`] in an invalid entry.
    pub(super) page: u64,
    pub(super) pfn: Pfn,
    pub(super) bits: PageBits,
}

const NO_PAGE: u64 = u64::MAX;
const INVALID: TlbEntry = TlbEntry { tag: Tag(u64::MAX), page: NO_PAGE, pfn: Pfn(0), bits: PageBits::NONE };
const WAYS: usize = 4;

/// A TLB, 4-way set-associative, replacing round robin.
pub(super) struct Tlb {
    entries: Box<[TlbEntry]>,
    sets: usize,
    turn: usize,
}

impl Tlb {
    /// A TLB of `sets` sets.
    pub(super) fn new(sets: usize) -> Tlb {
        Tlb { entries: vec![INVALID; WAYS * sets].into(), sets, turn: 0 }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.fill(INVALID);
    }

    fn set(&mut self, page: u64) -> &mut [TlbEntry] {
        let set = page as usize % self.sets;
        &mut self.entries[set * WAYS..(set + 1) * WAYS]
    }

    #[inline]
    pub(super) fn lookup(&mut self, tag: Tag, page: u64) -> Option<&mut TlbEntry> {
        self.set(page).iter_mut().find(|entry| entry.page == page && entry.tag == tag)
    }

    /// Adds or replaces; whether a valid entry of another page had to go.
    pub(super) fn insert(&mut self, entry: TlbEntry, epochs: &Epochs) -> bool {
        self.turn = (self.turn + 1) % WAYS;
        let turn = self.turn;
        let set = self.set(entry.page);
        let same = set.iter().position(|old| old.page == entry.page && old.tag == entry.tag);
        let free = || set.iter().position(|old| old.page == NO_PAGE || !epochs.is_current(old.tag));
        let place = same.or_else(free);
        set[place.unwrap_or(turn)] = entry;
        place.is_none()
    }

    pub(super) fn remove(&mut self, tag: Tag, page: u64) {
        if let Some(entry) = self.lookup(tag, page) {
            *entry = INVALID;
        }
    }

    /// The frame cached for `page`, which is not counted as a use.
    pub(super) fn frame_of(&self, tag: Tag, page: u64) -> Option<Pfn> {
        let set = page as usize % self.sets;
        let ways = &self.entries[set * WAYS..(set + 1) * WAYS];
        ways.iter().find(|entry| entry.page == page && entry.tag == tag).map(|entry| entry.pfn)
    }

    /// The valid entries of `tag`.
    pub(super) fn of_tag(&self, tag: Tag) -> impl Iterator<Item = &TlbEntry> {
        self.entries.iter().filter(move |entry| entry.tag == tag && entry.page != NO_PAGE)
    }
}

/// An upper entry: where the walk of the addresses with this prefix goes on.
#[derive(Clone, Copy)]
struct UpperEntry {
    tag: Tag,
    prefix: u64,
    table: Pfn,
}

const UPPER_INVALID: UpperEntry = UpperEntry { tag: Tag(u64::MAX), prefix: u64::MAX, table: Pfn(0) };
const UPPER_ENTRIES: usize = 32;

/// The paging-structure caches: for each level above 0, the tables its entries name; direct-mapped.
pub(super) struct WalkCache([[UpperEntry; UPPER_ENTRIES]; LEVELS_MAX]);

impl WalkCache {
    pub(super) fn new() -> WalkCache {
        WalkCache([[UPPER_INVALID; UPPER_ENTRIES]; LEVELS_MAX])
    }

    fn place<A: Arch>(&mut self, address: u64, level: usize) -> (u64, &mut UpperEntry) {
        let prefix = address >> A::shift(level);
        (prefix, &mut self.0[level][prefix as usize % UPPER_ENTRIES])
    }

    /// The table that the entry of `level` on the way to `address` is known to name.
    pub(super) fn table_of<A: Arch>(&self, tag: Tag, address: u64, level: usize) -> Option<Pfn> {
        let prefix = address >> A::shift(level);
        let entry = &self.0[level][prefix as usize % UPPER_ENTRIES];
        (entry.tag == tag && entry.prefix == prefix).then_some(entry.table)
    }

    /// The lowest table known on the way to `address`, with its level.
    #[inline]
    pub(super) fn lookup<A: Arch>(&mut self, tag: Tag, address: u64) -> Option<(usize, Pfn)> {
        (1..A::LEVELS).find_map(|level| {
            let (prefix, entry) = self.place::<A>(address, level);
            (entry.tag == tag && entry.prefix == prefix).then_some((level - 1, entry.table))
        })
    }

    /// Notes that the entry of `level` on the way to `address` names `table`.
    pub(super) fn insert<A: Arch>(&mut self, tag: Tag, address: u64, level: usize, table: Pfn) {
        let (prefix, entry) = self.place::<A>(address, level);
        *entry = UpperEntry { tag, prefix, table };
    }

    /// Forgets the way to `address`.
    pub(super) fn remove<A: Arch>(&mut self, tag: Tag, address: u64) {
        for level in 1..A::LEVELS {
            let (prefix, entry) = self.place::<A>(address, level);
            if entry.tag == tag && entry.prefix == prefix {
                *entry = UPPER_INVALID;
            }
        }
    }
}
