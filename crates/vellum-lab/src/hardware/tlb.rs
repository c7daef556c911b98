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

/// A cached translation, of one page or of a huge one.
#[derive(Clone, Copy, Debug)]
pub(super) struct TlbEntry {
    pub(super) tag: Tag,
    /// Number of the first page of virtual addresses; [`NO_PAGE`] in an invalid entry.
    pub(super) page: u64,
    /// The first frame.
    pub(super) pfn: Pfn,
    /// log2 of the pages.
    pub(super) order: u8,
    pub(super) bits: PageBits,
}

impl TlbEntry {
    /// The frame of `page`, which it covers.
    #[inline]
    pub(super) fn frame(&self, page: u64) -> Pfn {
        Pfn(self.pfn.0 + (page - self.page))
    }
}

const NO_PAGE: u64 = u64::MAX;
const INVALID: TlbEntry = TlbEntry { tag: Tag(u64::MAX), page: NO_PAGE, pfn: Pfn(0), order: 0, bits: PageBits::NONE };
const WAYS: usize = 4;

/// The TLB of one size of pages, 4-way set-associative, replacing round robin.
struct Sized {
    entries: Box<[TlbEntry]>,
    sets: usize,
    turn: usize,
    order: u8,
}

impl Sized {
    fn new(sets: usize, order: u8) -> Sized {
        Sized { entries: vec![INVALID; WAYS * sets].into(), sets, turn: 0, order }
    }

    /// The first page of the one of this size in which `page` lies, and where its set begins.
    #[inline]
    fn set_of(&self, page: u64) -> (u64, usize) {
        let number = page >> self.order;
        (number << self.order, number as usize % self.sets * WAYS)
    }

    /// Where the entry is that covers `page`.
    #[inline]
    fn find(&self, tag: Tag, page: u64) -> Option<usize> {
        let (page, set) = self.set_of(page);
        let ways = &self.entries[set..set + WAYS];
        ways.iter().position(|entry| entry.page == page && entry.tag == tag).map(|way| set + way)
    }

    /// Adds or replaces; whether a valid entry of another page had to go.
    fn insert(&mut self, entry: TlbEntry, epochs: &Epochs) -> bool {
        self.turn = (self.turn + 1) % WAYS;
        let (turn, (_, set)) = (self.turn, self.set_of(entry.page));
        let set = &mut self.entries[set..set + WAYS];
        let same = set.iter().position(|old| old.page == entry.page && old.tag == entry.tag);
        let free = || set.iter().position(|old| old.page == NO_PAGE || !epochs.is_current(old.tag));
        let place = same.or_else(free);
        set[place.unwrap_or(turn)] = entry;
        place.is_none()
    }

    fn remove(&mut self, tag: Tag, page: u64) {
        if let Some(place) = self.find(tag, page) {
            self.entries[place] = INVALID;
        }
    }

    fn of_tag(&self, tag: Tag) -> impl Iterator<Item = &TlbEntry> {
        self.entries.iter().filter(move |entry| entry.tag == tag && entry.page != NO_PAGE)
    }
}

/// A TLB: one for each size of pages that was ever met.
pub(super) struct Tlb {
    small: Sized,
    huge: Vec<Sized>,
}

impl Tlb {
    /// A TLB of `sets` sets for small pages, and for each size of huge ones, when one is met.
    pub(super) fn new(sets: usize) -> Tlb {
        Tlb { small: Sized::new(sets, 0), huge: Vec::new() }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.small.entries.fill(INVALID);
        self.huge.clear();
    }

    fn sizes(&self) -> impl Iterator<Item = &Sized> {
        std::iter::once(&self.small).chain(&self.huge)
    }

    /// The entry that covers `page`: of the smallest size, if there are several.
    #[inline]
    pub(super) fn lookup(&mut self, tag: Tag, page: u64) -> Option<&mut TlbEntry> {
        if let Some(place) = self.small.find(tag, page) {
            return Some(&mut self.small.entries[place]);
        }
        self.huge.iter_mut().find_map(|size| size.find(tag, page).map(|place| &mut size.entries[place]))
    }

    /// Adds or replaces; whether a valid entry of another page had to go.
    pub(super) fn insert(&mut self, entry: TlbEntry, epochs: &Epochs) -> bool {
        if entry.order == 0 {
            return self.small.insert(entry, epochs);
        }
        let known = self.huge.iter().position(|size| size.order == entry.order);
        let size = known.unwrap_or_else(|| {
            self.huge.push(Sized::new(self.small.sets, entry.order));
            self.huge.len() - 1
        });
        self.huge[size].insert(entry, epochs)
    }

    /// Forgets what covers `page`, of every size.
    pub(super) fn remove(&mut self, tag: Tag, page: u64) {
        self.small.remove(tag, page);
        self.huge.iter_mut().for_each(|size| size.remove(tag, page));
    }

    /// The frame cached for `page`, which is not counted as a use.
    pub(super) fn frame_of(&self, tag: Tag, page: u64) -> Option<Pfn> {
        self.sizes().find_map(|size| size.find(tag, page).map(|place| size.entries[place].frame(page)))
    }

    /// A valid entry of another size than `1 << order` pages for some of those pages around `page`.
    pub(super) fn of_other_size(&self, tag: Tag, page: u64, order: u8) -> Option<&TlbEntry> {
        let first = page >> order << order;
        self.sizes().filter(|size| size.order != order).find_map(|size| {
            if size.order > order {
                return size.find(tag, page).map(|place| &size.entries[place]);
            }
            size.of_tag(tag).find(|entry| entry.page >> order << order == first)
        })
    }

    /// The valid entries of `tag`.
    pub(super) fn of_tag(&self, tag: Tag) -> impl Iterator<Item = &TlbEntry> {
        self.sizes().flat_map(move |size| size.of_tag(tag))
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
