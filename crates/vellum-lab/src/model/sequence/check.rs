//! Comparing the whole state of both sides.

use super::outcome::Wrong;
use super::touch::By;
use super::world::World;
use crate::access::Simulated;
use crate::model::{MapLine, Model, SpaceId};
use std::ops::RangeInclusive;
use vellum::MapEntry;
use vellum::arch::{Arch, PageBits};
use vellum::ops::Sharing;

impl<A: Arch> World<'_, A> {
    /// Compares mappings, counts and resident contents of every space, without changing anything, and audits the core.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.check_contents()?;
        for index in 0..self.spaces.len() {
            self.check_counts(index).map_err(|wrong| format!("space {index}: {wrong}"))?;
        }
        let (core, model) = (self.hosted.vm().committed_bytes(), self.oracle.model.committed_bytes());
        if core == model { Ok(()) } else { Err(format!("{core:#x} bytes are committed, should be {model:#x}")) }
    }

    /// As [`World::check`], but for the counts: right also when some pages have been populated ahead of the model.
    pub(super) fn check_contents(&mut self) -> Result<(), String> {
        for index in 0..self.spaces.len() {
            self.check_maps(index).map_err(|wrong| format!("space {index}: {wrong}"))?;
            self.check_pages(index).map_err(|wrong| format!("space {index}: {wrong}"))?;
        }
        self.check_machine()
    }

    /// Loads from every page of interest of every space.
    pub(super) fn load_everything(&mut self) -> Result<(), Wrong> {
        for index in 0..self.spaces.len() {
            let cpu = index % self.cpus;
            for address in self.pages_of_interest() {
                if self.can_read(index, address) {
                    for offset in [0, 2048, 4088] {
                        self.load(cpu, index, address + offset, 8, By::Program)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The core's own audit, and what the simulated hardware noticed.
    pub(super) fn check_machine(&self) -> Result<(), String> {
        self.hosted.audit_tlbs();
        if let Some(violation) = self.hosted.take_violations().first() {
            return Err(violation.to_string());
        }
        // SAFETY: CPUs take turns, and none is inside the core.
        unsafe { self.hosted.vm().audit() }.map(|_| ()).map_err(|error| format!("audit: {error}"))
    }

    /// What is left when every space and object is gone.
    pub(super) fn check_all_free(&self) -> Result<(), String> {
        let usage = self.hosted.vm().usage();
        if usage.anonymous + usage.file + usage.tables != 0 {
            return Err(format!("frames are left after the end: {usage:?}"));
        }
        Ok(())
    }

    fn check_maps(&mut self, index: usize) -> Result<(), String> {
        let mut entries = Vec::new();
        self.spaces[index].core.maps(&mut |entry| entries.push(*entry));
        let model = self.oracle.model.maps(self.spaces[index].model);
        let mut core = Vec::new();
        for entry in &entries {
            let line = self.line_of(entry, &model);
            core.push(line.ok_or_else(|| format!("{entry:x?} shows an unknown object; model: {model:x?}"))?);
        }
        let core = MapLine::coalesce(core);
        let wrong = (0..core.len().max(model.len())).find(|&line| core.get(line) != model.get(line));
        if let Some(line) = wrong {
            return Err(format!("line {line} of maps is {:x?}, should be {:x?}", core.get(line), model.get(line)));
        }
        self.check_guards(index)
    }

    fn check_guards(&self, index: usize) -> Result<(), String> {
        let mut core = Vec::new();
        self.spaces[index].core.guards(&mut |start, end| core.push((start, end)));
        let model = self.oracle.model.guards(self.spaces[index].model);
        if core == model { Ok(()) } else { Err(format!("guards are {core:x?}, should be {model:x?}")) }
    }

    /// A line of the core in the model's terms. An identity seen for the first time stands for what the model shows
    /// there, and from then on for nothing else.
    fn line_of(&mut self, entry: &MapEntry, model: &[MapLine]) -> Option<MapLine> {
        let object = match entry.object {
            0 => None,
            id => {
                let here = || model.iter().find(|line| (line.start..line.end).contains(&entry.start))?.object;
                match self.identities.get(&id) {
                    Some(&known) => Some(known),
                    None => {
                        let new = here().filter(|new| !self.identities.values().any(|known| known == new))?;
                        self.identities.insert(id, new);
                        Some(new)
                    }
                }
            }
        };
        Some(MapLine {
            start: entry.start,
            end: entry.end,
            prot: entry.prot,
            sharing: if entry.is_shared { Sharing::Shared } else { Sharing::Private },
            grows_down: entry.grows_down,
            no_reserve: entry.no_reserve,
            dont_fork: entry.dont_fork,
            wipe_on_fork: entry.wipe_on_fork,
            dont_dump: entry.dont_dump,
            huge_pages: (entry.huge_pages != entry.no_huge_pages).then_some(entry.huge_pages),
            committed: entry.is_committed,
            object,
            offset: entry.offset,
        })
    }

    fn check_counts(&self, index: usize) -> Result<(), String> {
        let pair = &self.spaces[index];
        let model = &self.oracle.model;
        let rss = pair.core.rss();
        let (core, expected) = (rss.anonymous + rss.swapped, counts(model, pair.model, 0, u64::MAX));
        if !expected.contains(&core) {
            return Err(format!("rss counts {core} anonymous pages, should be {expected:?}"));
        }
        let mut wrong = Ok(());
        pair.core.smaps(&mut |entry| {
            let expected = counts(model, pair.model, entry.map.start, entry.map.end);
            if !expected.contains(&(entry.anonymous + entry.swapped)) && wrong.is_ok() {
                wrong = Err(format!("{entry:x?} should have {expected:?} anonymous pages"));
            }
            let huge = entry.anonymous_huge << A::PAGE_SHIFT;
            if (huge % (1 << A::shift(1)) != 0 || entry.anonymous_huge > entry.anonymous) && wrong.is_ok() {
                wrong = Err(format!("{entry:x?} has an impossible number of huge pages"));
            }
            let guarded = model.guarded_within(pair.model, entry.map.start, entry.map.end) >> A::PAGE_SHIFT;
            if entry.guarded != guarded && wrong.is_ok() {
                wrong = Err(format!("{entry:x?} should have {guarded} guarded pages"));
            }
        });
        wrong
    }

    /// What is resident shows the right bytes, and what must be resident is.
    fn check_pages(&mut self, index: usize) -> Result<(), String> {
        let space = self.spaces[index].model;
        let (mut got, mut expected) = (vec![0; 1 << A::PAGE_SHIFT], vec![0; 1 << A::PAGE_SHIFT]);
        for address in self.pages_of_interest() {
            let translation = self.spaces[index].core.translate(address);
            let is_there = self.oracle.model.peek(space, address, &mut expected).is_some();
            let Some(translation) = translation else {
                // Where there is swap it may be there; then it is counted.
                if self.oracle.model.has_private_page(space, address) && self.relief.is_none() {
                    return Err(format!("I-LOST: the private page at {address:#x} is gone"));
                }
                continue;
            };
            if !is_there {
                return Err(format!("{translation:x?} at {address:#x}, where no page can be"));
            }
            self.check_bits(space, address, translation.bits.prot())?;
            let read = self.hosted.machine().physical().read(translation.pfn, 0, &mut got);
            read.ok_or_else(|| format!("{translation:x?} at {address:#x} names no memory"))?;
            self.oracle.model.observe(space, address, &got);
            let is_there = self.oracle.model.peek(space, address, &mut expected);
            debug_assert!(is_there.is_some());
            if translation.bits.has(PageBits::TAGGED) {
                self.check_tags(index, address, translation.pfn)?;
            }
            if let Some(at) = (0..got.len()).find(|&at| got[at] != expected[at]) {
                let address = address + at as u64;
                return Err(format!("I-LOST: {address:#x} holds {:#x}, should be {:#x}", got[at], expected[at]));
            }
        }
        Ok(())
    }

    /// No entry grants more than the mapping does.
    fn check_bits(&self, space: SpaceId, address: u64, granted: vellum::arch::Prot) -> Result<(), String> {
        use vellum::arch::Prot;
        let model = &self.oracle.model;
        let Some((_, _, attributes)) = model.area_at(space, address) else { return Ok(()) };
        let (limits, prot) = (model.limits(), attributes.prot);
        let too_much = (granted.has(Prot::WRITE) && !prot.has(Prot::WRITE))
            || (granted.has(Prot::EXECUTE) && !prot.has(Prot::EXECUTE))
            || (granted.has(Prot::READ) && !limits.allows(prot, vellum::ops::Access::Read));
        if too_much {
            return Err(format!("I-TLBPERM: the entry at {address:#x} grants {granted:?}, the mapping {prot:?}"));
        }
        Ok(())
    }
}

/// How many anonymous pages, resident or in swap, a range may have.
fn counts(model: &Model, space: SpaceId, start: u64, end: u64) -> RangeInclusive<u64> {
    model.sure_pages_within(space, start, end)..=model.private_pages_within(space, start, end)
}
