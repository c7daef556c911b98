//! The list of mappings.

use super::area::Attributes;
use super::{Model, ObjectId, SpaceId};
use vellum::arch::Prot;
use vellum::ops::Sharing;

/// One line of the list: what one sees of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// First address.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
    /// Access rights.
    pub prot: Prot,
    /// Whether stores reach the object.
    pub sharing: Sharing,
    /// Grows at its lower end.
    pub grows_down: bool,
    /// Mapped without a reservation.
    pub no_reserve: bool,
    /// A child does not get it.
    pub dont_fork: bool,
    /// A child gets it empty.
    pub wipe_on_fork: bool,
    /// Not part of a core dump.
    pub dont_dump: bool,
    /// Whether huge pages are wanted; `None` if nothing was said.
    pub huge_pages: Option<bool>,
    /// Its pages count as committed.
    pub committed: bool,
    /// What it shows; `None` for private anonymous memory.
    pub object: Option<ObjectId>,
    /// Offset in the object of the first page; 0 without one.
    pub offset: u64,
}

impl MapLine {
    fn new(start: u64, end: u64, attributes: &Attributes) -> Self {
        let Attributes { prot, sharing, grows_down, no_reserve, dont_fork, wipe_on_fork, .. } = *attributes;
        let Attributes { dont_dump, huge_pages, committed, object, .. } = *attributes;
        let offset = if object.is_some() { attributes.offset(start) } else { 0 };
        MapLine {
            start,
            end,
            prot,
            sharing,
            grows_down,
            no_reserve,
            dont_fork,
            wipe_on_fork,
            dont_dump,
            huge_pages,
            committed,
            object,
            offset,
        }
    }

    /// Whether `next` continues this line.
    pub fn is_continued_by(&self, next: &MapLine) -> bool {
        let offset = if self.object.is_some() { self.offset.wrapping_add(self.end - self.start) } else { 0 };
        MapLine { start: self.end, end: next.end, offset, ..*self } == *next
    }

    /// Joins lines that differ in nothing one can see.
    pub fn coalesce(lines: impl IntoIterator<Item = MapLine>) -> Vec<MapLine> {
        let mut joined: Vec<MapLine> = Vec::new();
        for line in lines {
            match joined.last_mut() {
                Some(last) if last.is_continued_by(&line) => last.end = line.end,
                _ => joined.push(line),
            }
        }
        joined
    }
}

impl Model {
    /// All mappings of a space in ascending order, joined where they differ in nothing one can see.
    pub fn maps(&self, space: SpaceId) -> Vec<MapLine> {
        let lines = self.space(space).areas.iter();
        MapLine::coalesce(lines.map(|area| MapLine::new(area.start, area.end, &area.attributes)))
    }

    /// What is guarded of a space, in ascending order.
    pub fn guards(&self, space: SpaceId) -> Vec<(u64, u64)> {
        self.space(space).guards.iter().collect()
    }

    /// Guarded bytes of a range.
    pub fn guarded_within(&self, space: SpaceId, start: u64, end: u64) -> u64 {
        self.space(space).guards.within(start, end).iter().map(|(start, end)| end - start).sum()
    }

    /// Private pages of a range.
    pub fn private_pages_within(&self, space: SpaceId, start: u64, end: u64) -> u64 {
        let pages = self.limits.page(start)..self.limits.page(end);
        self.space(space).pages.keys().filter(|page| pages.contains(page)).count() as u64
    }

    /// Those of [`Model::private_pages_within`] that are not among the pages given up.
    pub fn sure_pages_within(&self, space: SpaceId, start: u64, end: u64) -> u64 {
        let pages = self.limits.page(start)..self.limits.page(end);
        let sure = self.space(space).pages.iter().filter(|(number, page)| pages.contains(number) && !page.may_go);
        sure.count() as u64
    }

    /// Whether some area of a range has pages that may be there or not, and none that is there.
    pub fn is_unsure_of_pages(&self, space: SpaceId, start: u64, end: u64) -> bool {
        self.space(space).areas.within(start, end).iter().any(|area| {
            let (start, end) = (area.start, area.end);
            self.private_pages_within(space, start, end) > 0 && self.sure_pages_within(space, start, end) == 0
        })
    }

    /// The attributes at `address`, and the extent of its area.
    pub fn area_at(&self, space: SpaceId, address: u64) -> Option<(u64, u64, Attributes)> {
        self.space(space).areas.find(address).map(|area| (area.start, area.end, area.attributes))
    }

    /// Whether nothing is mapped in a range.
    pub fn is_free(&self, space: SpaceId, start: u64, length: u64) -> bool {
        self.space(space).areas.is_free(start, start.saturating_add(length))
    }
}
