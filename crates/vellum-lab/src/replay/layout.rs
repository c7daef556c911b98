//! What the log says about each address of a process: mapped, and how; given up; or nothing.

use std::collections::BTreeMap;
use vellum::arch::Prot;

/// What the log says about some pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) kind: Kind,
    /// Access rights, as x86 gives them: any right includes that to read.
    pub(super) prot: Prot,
    pub(super) on_fork: OnFork,
    /// Whether accesses fault all the same.
    pub(super) is_guarded: bool,
}

/// What lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: a logged call unmapped it.
    Unmapped,
    /// A page that was accessed and that no logged call had mapped.
    Implicit,
    /// The range into which the stack grows.
    Stack,
    /// Private memory that grows down.
    GrowsDown,
    /// Private memory.
    Anonymous,
    /// An object: a page's index in it is its page number less `delta`.
    Object { key: u64, delta: u64, is_shared: bool },
}

/// What a forked child gets of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFork {
    Copy,
    Skip,
    Wipe,
}

impl Area {
    pub(super) fn new(kind: Kind, prot: Prot) -> Area {
        Area { kind, prot, on_fork: OnFork::Copy, is_guarded: false }
    }

    /// The same without a guard.
    pub(super) fn unguarded(self) -> Area {
        Area { is_guarded: false, ..self }
    }

    /// What accesses may do.
    pub(super) fn rights(&self) -> Prot {
        if self.is_guarded { Prot::NONE } else { self.prot }
    }

    /// Whether a logged call mapped it.
    pub(super) fn is_logged(&self) -> bool {
        matches!(self.kind, Kind::GrowsDown | Kind::Anonymous | Kind::Object { .. })
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.kind != Kind::Unmapped
    }

    /// The object, if there is one.
    pub(super) fn object(&self) -> Option<u64> {
        match self.kind {
            Kind::Object { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// A range of pages that the log says the same about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// First page.
    pub(super) start: u64,
    /// End, exclusive.
    pub(super) end: u64,
    /// `None`: nothing is known.
    pub(super) area: Option<Area>,
}

/// The pages of one process; neighbours of equal areas are joined.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout(BTreeMap<u64, (u64, Area)>);

impl Layout {
    /// What is known about `page`.
    pub(super) fn at(&self, page: u64) -> Option<&Area> {
        let (_, (end, area)) = self.0.range(..=page).next_back()?;
        (page < *end).then_some(area)
    }

    /// The ranges from `start` to `end`, without a gap.
    pub(super) fn parts(&self, start: u64, end: u64) -> Vec<Part> {
        let first = self.0.range(..=start).next_back().map_or(start, |(first, _)| *first);
        let mut parts = Vec::new();
        let mut here = start;
        for (&from, &(to, area)) in self.0.range(first..end) {
            if to <= here {
                continue;
            }
            if from > here {
                parts.push(Part { start: here, end: from, area: None });
            }
            parts.push(Part { start: from.max(here), end: to.min(end), area: Some(area) });
            here = to.min(end);
        }
        if here < end {
            parts.push(Part { start: here, end, area: None });
        }
        parts
    }

    /// Notes that a stack has grown down to `page`, if nothing is mapped there and the next mapping above grows down.
    pub(super) fn grow_stack(&mut self, page: u64) {
        let next = self.0.range(page..).find(|(_, (_, area))| area.is_mapped());
        if let Some((&bottom, &(_, area))) = next
            && bottom > page
            && area.kind == Kind::GrowsDown
            && !self.at(page).is_some_and(Area::is_mapped)
        {
            self.set(page, bottom, area.unguarded());
        }
    }

    /// All areas.
    pub(super) fn iter(&self) -> impl Iterator<Item = Part> + '_ {
        self.0.iter().map(|(&start, &(end, area))| Part { start, end, area: Some(area) })
    }

    /// Says `area` about the pages from `start` to `end`.
    pub(super) fn set(&mut self, start: u64, end: u64, area: Area) {
        if start >= end {
            return;
        }
        self.cut(start);
        self.cut(end);
        let inside: Vec<u64> = self.0.range(start..end).map(|(&first, _)| first).collect();
        for first in inside {
            self.0.remove(&first);
        }
        self.0.insert(start, (end, area));
        self.join(end);
        self.join(start);
    }

    /// Changes what is said from `start` to `end`, where something is mapped.
    pub(super) fn change(&mut self, start: u64, end: u64, change: impl Fn(&mut Area)) {
        for part in self.parts(start, end) {
            if let Some(mut area) = part.area.filter(Area::is_mapped) {
                change(&mut area);
                self.set(part.start, part.end, area);
            }
        }
    }

    fn cut(&mut self, page: u64) {
        if let Some((_, entry)) = self.0.range_mut(..page).next_back()
            && entry.0 > page
        {
            let behind = *entry;
            entry.0 = page;
            self.0.insert(page, behind);
        }
    }

    /// Joins what ends and what begins at `page`, if they are equal.
    fn join(&mut self, page: u64) {
        let Some(&(end, area)) = self.0.get(&page) else { return };
        if let Some((_, before)) = self.0.range_mut(..page).next_back()
            && *before == (page, area)
        {
            before.0 = end;
            self.0.remove(&page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(kind: Kind) -> Area {
        Area::new(kind, Prot::READ)
    }

    #[test]
    fn ranges_are_cut_and_joined() {
        let mut layout = Layout::default();
        layout.set(10, 20, area(Kind::Anonymous));
        layout.set(20, 30, area(Kind::Anonymous));
        assert_eq!(layout.iter().count(), 1);
        layout.set(14, 16, area(Kind::Unmapped));
        let ends: Vec<_> = layout.iter().map(|part| (part.start, part.end)).collect();
        assert_eq!(ends, [(10, 14), (14, 16), (16, 30)]);
        layout.set(14, 16, area(Kind::Anonymous));
        assert_eq!(layout.iter().count(), 1);
        assert_eq!(layout.at(9), None);
        assert_eq!(layout.at(29), Some(&area(Kind::Anonymous)));
        assert_eq!(layout.at(30), None);
    }

    #[test]
    fn parts_leave_no_gap() {
        let mut layout = Layout::default();
        layout.set(5, 7, area(Kind::Implicit));
        layout.set(9, 12, area(Kind::Anonymous));
        let ends: Vec<_> = layout.parts(4, 10).iter().map(|part| (part.start, part.end, part.area.is_some())).collect();
        assert_eq!(ends, [(4, 5, false), (5, 7, true), (7, 9, false), (9, 10, true)]);
        assert_eq!(layout.parts(6, 7), [Part { start: 6, end: 7, area: Some(area(Kind::Implicit)) }]);
    }

    #[test]
    fn changes_leave_alone_what_is_not_mapped() {
        let mut layout = Layout::default();
        layout.set(0, 4, area(Kind::Anonymous));
        layout.set(4, 6, area(Kind::Unmapped));
        layout.change(2, 8, |area| area.prot = Prot::NONE);
        let rights: Vec<_> = layout.iter().map(|part| (part.start, part.area.unwrap().prot)).collect();
        assert_eq!(rights, [(0, Prot::READ), (2, Prot::NONE), (4, Prot::READ)]);
    }
}
