//! Mappings of one space are made, cut, moved and removed; each CPU checks that its own keep their contents.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::Prot;
use vellum::ops::{MapRequest, RemapPlace, RemapRequest};

const MAPPINGS: usize = 16;
const PAGES_MAX: u64 = 64;
const STEPS: u64 = 6000;

/// A mapping: the word at the beginning of page `n` is `mark + n`.
#[derive(Clone, Copy)]
struct Mapping {
    base: u64,
    pages: u64,
    mark: u64,
}

struct MapChurn<'vm, M: Simulated> {
    space: Space<'vm, M>,
    mappings: Vec<Mapping>,
    cpu: u64,
    taken: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    Prepared::in_common(user, cpus, |space, cpu| MapChurn { space, mappings: Vec::new(), cpu, taken: 0 })
}

impl<'vm, M: Simulated> Actor<'vm, M> for MapChurn<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        if self.mappings.len() < MAPPINGS {
            self.add(user)?;
        } else {
            let chosen = user.below(MAPPINGS as u64) as usize;
            match user.below(3) {
                0 => self.remove(user, chosen)?,
                1 => self.cut(user, chosen)?,
                _ => self.resize(user, chosen)?,
            }
        }
        self.taken += 1;
        Ok(Step::until(self.taken, STEPS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}

impl<'vm, M: Simulated> MapChurn<'vm, M> {
    fn add(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let pages = 1 + user.below(PAGES_MAX);
        let request = MapRequest::anonymous(pages * page_bytes::<M>(), Prot::READ_WRITE);
        let base = user.ok("map", self.space.map(&request))?;
        let mapping = Mapping { base, pages, mark: self.cpu << 48 | self.taken << 8 };
        self.fill(user, &mapping, 0)?;
        self.mappings.push(mapping);
        Ok(())
    }

    fn remove(&mut self, user: &mut User<'vm, M>, chosen: usize) -> Result<(), RunError> {
        let Mapping { base, pages, .. } = self.mappings.swap_remove(chosen);
        user.ok("unmap", self.space.unmap(base, pages * page_bytes::<M>()))
    }

    /// Unmaps the first half.
    fn cut(&mut self, user: &mut User<'vm, M>, chosen: usize) -> Result<(), RunError> {
        let Mapping { base, pages, mark } = self.mappings[chosen];
        if pages < 2 {
            return self.remove(user, chosen);
        }
        let gone = pages / 2;
        user.ok("unmap", self.space.unmap(base, gone * page_bytes::<M>()))?;
        let rest = Mapping { base: base + gone * page_bytes::<M>(), pages: pages - gone, mark: mark + gone };
        self.mappings[chosen] = rest;
        self.check(user, &rest, rest.pages)
    }

    /// Makes it larger or smaller, wherever there is room.
    fn resize(&mut self, user: &mut User<'vm, M>, chosen: usize) -> Result<(), RunError> {
        let Mapping { base, pages, mark } = self.mappings[chosen];
        let new_pages = 1 + user.below(PAGES_MAX);
        let request = RemapRequest {
            old: base,
            old_length: pages * page_bytes::<M>(),
            new_length: new_pages * page_bytes::<M>(),
            place: RemapPlace::MayMove,
            keep_old: false,
        };
        let base = user.ok("remap", self.space.remap(&request))?;
        let mapping = Mapping { base, pages: new_pages, mark };
        self.mappings[chosen] = mapping;
        self.check(user, &mapping, pages.min(new_pages))?;
        self.fill(user, &mapping, pages)
    }

    /// Stores to the pages from `first` on, which are new.
    fn fill(&self, user: &mut User<'vm, M>, mapping: &Mapping, first: u64) -> Result<(), RunError> {
        for page in first..mapping.pages {
            user.check_fresh(&self.space, mapping.base + page * page_bytes::<M>(), 0)?;
            user.store(&self.space, mapping.base + page * page_bytes::<M>(), mapping.mark + page)?;
        }
        Ok(())
    }

    fn check(&self, user: &mut User<'vm, M>, mapping: &Mapping, pages: u64) -> Result<(), RunError> {
        (0..pages)
            .try_for_each(|page| user.check(&self.space, mapping.base + page * page_bytes::<M>(), mapping.mark + page))
    }
}
