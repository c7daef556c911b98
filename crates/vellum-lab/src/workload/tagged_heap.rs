//! An allocator that gives its blocks tags, in each CPU's own space, in a heap that is larger than memory. It is
//! forked, moved between nodes and swapped out, and every pointer must go on fitting its block, and no other.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::{Arch, Prot, TagFormat};
use vellum::ops::{MapFlags, MapRequest};

/// Heaps of all CPUs together, in memories.
const MEMORIES: u64 = 2;
/// Blocks that share a page, at most one in each part of it.
const PLACES_PER_PAGE: u64 = 2;
/// Blocks taken, used or given back in a step.
const BLOCKS: u64 = 32;
/// Steps after the heap was filled.
const STEPS: u64 = 400;
const FORK_EVERY: u64 = 40;
const MOVE_EVERY: u64 = 10;
/// Pages that are moved at once.
const MOVED: u64 = 64;

/// A place for a block.
#[derive(Clone, Copy)]
struct Block {
    /// Tag of its granules.
    tag: u8,
    granules: u64,
    /// What was stored to its first and last granule, while it is in use.
    word: Option<u64>,
}

struct TaggedHeap<'vm, M: Simulated> {
    space: Space<'vm, M>,
    base: u64,
    format: TagFormat,
    places: Vec<Block>,
    filled: u64,
    taken: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let name = M::Arch::NAME;
    let Some(format) = M::Arch::semantics().tags else {
        return Err(RunError::Unfit(format!(
            "tagged-heap: {name} has no memory tags (--arch aarch64 and sparc64 have)"
        )));
    };
    let pages = (MEMORIES * user.frames() / cpus as u64).max(MOVED);
    Prepared::apart(user, cpus, |user, space| {
        let request = MapRequest::anonymous(pages * page_bytes::<M>(), Prot::READ_WRITE);
        let base = user.ok("map", space.map(&request.with(MapFlags::TAGGED)))?;
        let places = vec![Block { tag: 0, granules: 0, word: None }; (pages * PLACES_PER_PAGE) as usize];
        Ok(TaggedHeap { space, base, format, places, filled: 0, taken: 0 })
    })
}

impl<'vm, M: Simulated> Actor<'vm, M> for TaggedHeap<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        if self.filled < self.places.len() as u64 {
            for _ in 0..BLOCKS.min(self.places.len() as u64 - self.filled) {
                self.take(user, self.filled as usize)?;
                self.filled += 1;
            }
            return Ok(Step::More);
        }
        for _ in 0..BLOCKS {
            let place = user.below(self.places.len() as u64) as usize;
            match self.places[place].word {
                None => self.take(user, place)?,
                Some(_) if user.below(3) == 0 => self.give_back(user, place)?,
                Some(_) => self.check(user, &self.space, place)?,
            }
        }
        self.taken += 1;
        if self.taken.is_multiple_of(MOVE_EVERY) {
            self.migrate(user)?;
        }
        if self.taken.is_multiple_of(FORK_EVERY) {
            self.fork(user)?;
        }
        Ok(Step::until(self.taken, STEPS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}

impl<'vm, M: Simulated> TaggedHeap<'vm, M> {
    fn address(&self, place: usize) -> u64 {
        self.base + place as u64 * (page_bytes::<M>() / PLACES_PER_PAGE)
    }

    fn granule(&self) -> u64 {
        1 << self.format.granule_shift
    }

    /// A tag that differs from `tag`, and is not that of plain pointers.
    fn another_tag(&self, user: &mut User<'vm, M>, tag: u8) -> u8 {
        let tags = (1u64 << self.format.bits) - 1;
        let other = 1 + user.below(tags) as u8;
        if other != tag { other } else { (u64::from(other) % tags) as u8 + 1 }
    }

    /// Allocates a block.
    fn take(&mut self, user: &mut User<'vm, M>, place: usize) -> Result<(), RunError> {
        let address = self.address(place);
        let granules = 1 + user.below(page_bytes::<M>() / PLACES_PER_PAGE / self.granule());
        let tag = self.another_tag(user, self.places[place].tag);
        let word = user.accesses << 32 | place as u64;
        user.set_tag(&self.space, address, granules * self.granule(), tag)?;
        user.store_tagged(&self.space, address, word, tag)?;
        user.store_tagged(&self.space, address + granules * self.granule() - 8, word, tag)?;
        // With one granule, both are the same word or lie in the same granule.
        self.places[place] = Block { tag, granules, word: Some(word) };
        Ok(())
    }

    /// Frees a block: its pointer must not work any more.
    fn give_back(&mut self, user: &mut User<'vm, M>, place: usize) -> Result<(), RunError> {
        let (address, Block { tag, granules, .. }) = (self.address(place), self.places[place]);
        let new_tag = self.another_tag(user, tag);
        user.set_tag(&self.space, address, granules * self.granule(), new_tag)?;
        self.places[place] = Block { tag: new_tag, granules, word: None };
        user.check_trap(&self.space, address, tag, new_tag)
    }

    /// Checks a place as `space` shows it: the block, or that a pointer to it traps.
    fn check(&self, user: &mut User<'vm, M>, space: &Space<'vm, M>, place: usize) -> Result<(), RunError> {
        let (address, Block { tag, granules, word }) = (self.address(place), self.places[place]);
        if let Some(word) = word {
            user.check_tagged(space, address, word, tag)?;
            user.check_tagged(space, address + granules * self.granule() - 8, word, tag)?;
        }
        let wrong = self.another_tag(user, tag);
        user.check_trap(space, address, wrong, tag)
    }

    /// Moves a part of the heap to the next node.
    fn migrate(&self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let nodes: Vec<u8> = user.vm.nodes().collect();
        let node = nodes[(self.taken / MOVE_EVERY) as usize % nodes.len()];
        let pages = self.places.len() as u64 / PLACES_PER_PAGE;
        let start = self.base + user.below(pages - MOVED + 1) * page_bytes::<M>();
        user.ok("move_pages", self.space.move_pages(start, MOVED * page_bytes::<M>(), node)).map(drop)
    }

    /// Forks: the child has the same blocks, and what it does to them the parent does not see.
    fn fork(&self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let child = user.ok("fork", self.space.fork())?;
        for _ in 0..BLOCKS {
            let place = user.below(self.places.len() as u64) as usize;
            self.check(user, &child, place)?;
            let (address, Block { tag, granules, .. }) = (self.address(place), self.places[place]);
            let own = self.another_tag(user, tag);
            user.set_tag(&child, address, granules * self.granule(), own)?;
            user.store_tagged(&child, address, u64::MAX, own)?;
            self.check(user, &self.space, place)?;
            user.check_trap(&child, address, tag, own)?;
            user.set_tag(&child, address, granules * self.granule(), tag)?;
            user.store_tagged(&child, address, self.places[place].word.unwrap_or(0), tag)?;
        }
        Ok(())
    }
}
