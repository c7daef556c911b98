//! Each CPU has a space of its own with a heap of huge pages, parts of which are discarded, made read-only, put out,
//! and shared with a child: whatever becomes of a huge page, no word may be another than was stored, on either side of
//! a fork.

use super::user::{User, page_bytes};
use super::{Actor, Prepared, Simulated, Step};
use crate::outcome::RunError;
use vellum::Space;
use vellum::arch::{Arch, Prot};
use vellum::ops::{Advice, MapRequest, Place};

const HEAP: u64 = 1 << 36;
/// Huge pages of a heap at most.
const SPANS_MAX: u64 = 4;
/// Of so many frames for each of them: copies and children need some, and page tables.
const FRAMES: u64 = 4;
const ROUNDS: u64 = 1500;
/// Pages stored to, or checked, in each round.
const LOOKS: u64 = 12;

struct HugeHeap<'vm, M: Simulated> {
    space: Space<'vm, M>,
    /// Pages of a huge page.
    span: u64,
    pages_max: u64,
    /// The first word of each page.
    words: Vec<u64>,
    round: u64,
}

pub(super) fn prepare<'vm, M: Simulated>(user: &mut User<'vm, M>, cpus: usize) -> Result<Prepared<'vm, M>, RunError> {
    let span = 1 << (M::Arch::shift(1) - M::Arch::PAGE_SHIFT);
    let spans = (user.frames() / FRAMES / (span * cpus as u64)).clamp(1, SPANS_MAX);
    Prepared::apart(user, cpus, |_, space| {
        Ok(HugeHeap { space, span, pages_max: spans * span, words: Vec::new(), round: 0 })
    })
}

impl<'vm, M: Simulated> Actor<'vm, M> for HugeHeap<'vm, M> {
    fn step(&mut self, user: &mut User<'vm, M>) -> Result<Step, RunError> {
        match user.below(16) {
            _ if self.words.is_empty() => self.grow(user)?,
            0..3 => self.grow(user)?,
            3 => self.shrink(user)?,
            4..6 => self.discard(user)?,
            6..8 => self.protect(user)?,
            8 => self.put_out(user)?,
            9 => self.fork(user)?,
            _ => store(user, &self.space, &mut self.words, self.round)?,
        }
        look(user, &self.space, &self.words)?;
        self.round += 1;
        Ok(Step::until(self.round, ROUNDS))
    }

    fn space(&self) -> &Space<'vm, M> {
        &self.space
    }
}

fn address<M: Simulated>(page: u64) -> u64 {
    HEAP + page * page_bytes::<M>()
}

/// Stores to some pages.
fn store<'vm, M: Simulated>(
    user: &mut User<'vm, M>,
    space: &Space<'vm, M>,
    words: &mut [u64],
    round: u64,
) -> Result<(), RunError> {
    for _ in 0..LOOKS {
        let page = user.below(words.len() as u64);
        let word = (round + 1) << 32 | page << 1 | 1;
        user.store(space, address::<M>(page), word)?;
        words[page as usize] = word;
    }
    Ok(())
}

/// Loads from some pages.
fn look<'vm, M: Simulated>(user: &mut User<'vm, M>, space: &Space<'vm, M>, words: &[u64]) -> Result<(), RunError> {
    for _ in 0..LOOKS {
        let page = user.below(words.len() as u64);
        match words[page as usize] {
            0 => user.check_fresh(space, address::<M>(page), 0)?,
            word => user.check(space, address::<M>(page), word)?,
        }
    }
    Ok(())
}

impl<'vm, M: Simulated> HugeHeap<'vm, M> {
    /// A huge page, or a part of one, at the end.
    fn grow(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let (old, room) = (self.words.len() as u64, self.pages_max - self.words.len() as u64);
        let to_edge = self.span - old % self.span;
        let pages = if user.below(4) == 0 { 1 + user.below(self.span) } else { to_edge }.min(room);
        if pages == 0 {
            return Ok(());
        }
        let request = MapRequest::anonymous(pages * page_bytes::<M>(), Prot::READ_WRITE);
        user.ok("map", self.space.map(&request.at(Place::Fixed(address::<M>(old)))))?;
        self.words.resize((old + pages) as usize, 0);
        store(user, &self.space, &mut self.words, self.round)
    }

    /// Takes something off the end, but not all of it.
    fn shrink(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let pages = self.words.len() as u64;
        let kept = if pages > self.span && user.below(2) == 0 { self.span } else { 1 + user.below(pages) };
        if kept < pages {
            let length = (pages - kept) * page_bytes::<M>();
            user.ok("unmap", self.space.unmap(address::<M>(kept), length))?;
            self.words.truncate(kept as usize);
        }
        Ok(())
    }

    /// Some pages, or all of a huge one: the first and how many.
    fn range(&self, user: &mut User<'vm, M>) -> (u64, u64) {
        let pages = self.words.len() as u64;
        let first = user.below(pages);
        match user.below(3) {
            0 => (first - first % self.span, self.span.min(pages - (first - first % self.span))),
            1 => (first, 1),
            _ => (first, 1 + user.below((pages - first).min(self.span))),
        }
    }

    fn discard(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let (first, pages) = self.range(user);
        self.advise(user, first, pages, Advice::DontNeed)?;
        self.words[first as usize..(first + pages) as usize].fill(0);
        Ok(())
    }

    fn put_out(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let (first, pages) = self.range(user);
        self.advise(user, first, pages, Advice::PageOut)
    }

    fn advise(&self, user: &User<'vm, M>, first: u64, pages: u64, advice: Advice) -> Result<(), RunError> {
        user.ok("advise", self.space.advise(address::<M>(first), pages * page_bytes::<M>(), advice))
    }

    /// Makes a range read-only and writable again; a store between must be refused.
    fn protect(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let (first, pages) = self.range(user);
        let (start, length) = (address::<M>(first), pages * page_bytes::<M>());
        user.ok("protect", self.space.protect(start, length, Prot::READ))?;
        let page = first + user.below(pages);
        user.check_denied(&self.space, address::<M>(page))?;
        look(user, &self.space, &self.words)?;
        user.ok("protect", self.space.protect(start, length, Prot::READ_WRITE))
    }

    /// A child, while which lives both sides store.
    fn fork(&mut self, user: &mut User<'vm, M>) -> Result<(), RunError> {
        let child = user.ok("fork", self.space.fork())?;
        let mut words = self.words.clone();
        for _ in 0..2 {
            store(user, &child, &mut words, self.round | 1 << 20)?;
            store(user, &self.space, &mut self.words, self.round)?;
            look(user, &child, &words)?;
            look(user, &self.space, &self.words)?;
        }
        Ok(())
    }
}
