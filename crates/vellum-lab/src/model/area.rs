//! Areas: ranges of addresses with equal attributes, always merged as far as they can be.

use super::{Limits, ObjectId};
use std::cell::Cell;
use std::collections::BTreeMap;
use vellum::Policy;
use vellum::arch::Prot;
use vellum::ops::Sharing;

/// In what order a mapping is expected to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOrder {
    /// Nothing is known.
    Normal,
    /// In order.
    Sequential,
    /// Out of order.
    Random,
}

/// What an area says of its pages, apart from its extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Access rights.
    pub prot: Prot,
    /// The most the rights may be changed to.
    pub max_prot: Prot,
    /// Whether stores reach the object.
    pub sharing: Sharing,
    /// Grows at its lower end when accessed below it.
    pub grows_down: bool,
    /// Mapped without a reservation.
    pub no_reserve: bool,
    /// A child does not get the area.
    pub dont_fork: bool,
    /// A child gets the area without its contents.
    pub wipe_on_fork: bool,
    /// Not part of a core dump.
    pub dont_dump: bool,
    /// Whether huge pages are wanted; `None` if nothing was said.
    pub huge_pages: Option<bool>,
    /// Its pages count as committed.
    pub committed: bool,
    /// In what order it is expected to be read.
    pub order: ReadOrder,
    /// From which node private memory comes.
    pub policy: Policy,
    /// What it shows; `None` for private anonymous memory.
    pub object: Option<ObjectId>,
    /// Offset in the object less the address, wrapping. Of anonymous memory: how far it has been moved down.
    pub difference: u64,
}

impl Attributes {
    /// The offset in the object that `address` shows.
    pub fn offset(&self, address: u64) -> u64 {
        address.wrapping_add(self.difference)
    }

    /// Whether anything at all may be done with the pages.
    pub(super) fn is_accessible(&self) -> bool {
        self.prot != Prot::NONE
    }
}

/// An area, or the part of one that lies in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Attributes,
}

/// The areas of a space, by address.
#[derive(Clone, Default)]
pub(super) struct Areas {
    map: BTreeMap<u64, (u64, Attributes)>,
    /// The area found last: replays ask for the same one again and again.
    last: Cell<Option<Area>>,
}

impl Areas {
    /// All areas in ascending order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Area> + '_ {
        self.map.iter().map(|(&start, &(end, attributes))| Area { start, end, attributes })
    }

    /// The area that holds `address`.
    pub(super) fn find(&self, address: u64) -> Option<Area> {
        if let Some(area) = self.last.get()
            && (area.start..area.end).contains(&address)
        {
            return Some(area);
        }
        let (&start, &(end, attributes)) = self.map.range(..=address).next_back()?;
        let found = (address < end).then_some(Area { start, end, attributes });
        self.last.set(found.or(self.last.get()));
        found
    }

    /// The lowest area above `address`, which no area holds.
    pub(super) fn above(&self, address: u64) -> Option<Area> {
        self.map.range(address..).next().map(|(&start, &(end, attributes))| Area { start, end, attributes })
    }

    /// The highest area that ends at or below `address`, which no area crosses.
    fn below(&self, address: u64) -> Option<Area> {
        self.map.range(..address).next_back().map(|(&start, &(end, attributes))| Area { start, end, attributes })
    }

    /// What lies in `[start, end)`, cut to it.
    pub(super) fn within(&self, start: u64, end: u64) -> Vec<Area> {
        let first = self.find(start).map_or(start, |area| area.start);
        let parts = self.map.range(first..end.max(first));
        parts
            .filter(|&(_, &(area_end, _))| area_end > start && start < end)
            .map(|(&from, &(to, attributes))| Area { start: from.max(start), end: to.min(end), attributes })
            .collect()
    }

    /// Committed bytes in `[start, end)`.
    pub(super) fn committed_within(&self, start: u64, end: u64) -> u64 {
        let areas = self.within(start, end).into_iter().filter(|area| area.attributes.committed);
        areas.map(|area| area.end - area.start).sum()
    }

    /// Whether nothing is mapped in `[start, end)`.
    pub(super) fn is_free(&self, start: u64, end: u64) -> bool {
        self.first_mapped(start, end).is_none()
    }

    /// The lowest mapped address of `[start, end)`.
    pub(super) fn first_mapped(&self, start: u64, end: u64) -> Option<u64> {
        self.within(start, end).first().map(|area| area.start)
    }

    /// The lowest address of `[start, end)` that is not mapped.
    pub(super) fn first_hole(&self, start: u64, end: u64) -> Option<u64> {
        let mut next = start;
        for area in self.within(start, end) {
            if area.start != next {
                break;
            }
            next = area.end;
        }
        (next < end).then_some(next)
    }

    /// Removes what lies in `[start, end)`.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        for part in self.within(start, end) {
            let whole = self.find(part.start).expect("it was there");
            self.last.set(None);
            self.map.remove(&whole.start);
            if whole.start < part.start {
                self.map.insert(whole.start, (part.start, whole.attributes));
            }
            if part.end < whole.end {
                self.map.insert(part.end, (whole.end, whole.attributes));
            }
        }
    }

    /// Adds an area where nothing is, merging it with its neighbours where they are equal.
    pub(super) fn insert(&mut self, mut start: u64, mut end: u64, attributes: Attributes) {
        debug_assert!(start < end && self.is_free(start, end));
        self.last.set(None);
        if let Some(below) = self.below(start)
            && below.end == start
            && below.attributes == attributes
        {
            start = below.start;
        }
        if let Some(&(above_end, above)) = self.map.get(&end)
            && above == attributes
        {
            self.map.remove(&end);
            end = above_end;
        }
        self.map.insert(start, (end, attributes));
    }

    /// Changes the attributes of what lies in `[start, end)`.
    pub(super) fn update(&mut self, start: u64, end: u64, mut change: impl FnMut(&mut Attributes)) {
        for mut part in self.within(start, end) {
            self.remove(part.start, part.end);
            change(&mut part.attributes);
            self.insert(part.start, part.end, part.attributes);
        }
    }

    /// Whether a new mapping may lie at `[start, end)` without having been forced there: free, and not in the guard
    /// gap of a grows-down mapping above.
    pub(super) fn is_legal(&self, start: u64, end: u64, limits: &Limits) -> bool {
        let gap = |above: Area| if above.attributes.grows_down { limits.guard_bytes() } else { 0 };
        self.is_free(start, end) && self.above(end).is_none_or(|above| end.saturating_add(gap(above)) <= above.start)
    }

    /// Whether a new mapping of `length` bytes has a legal place below `end`.
    pub(super) fn has_room(&self, length: u64, end: u64, limits: &Limits) -> bool {
        let mut low = limits.user_start;
        for area in self.iter() {
            let gap = if area.attributes.grows_down { limits.guard_bytes() } else { 0 };
            if area.start.saturating_sub(gap).min(end).saturating_sub(low) >= length {
                return true;
            }
            low = low.max(area.end);
        }
        end.saturating_sub(low) >= length
    }
}
