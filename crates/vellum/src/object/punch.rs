//! Making a hole in an object.
//!
//! It goes as truncation does (see `truncate`): first it is said which pages go; then their entries go, then the pages
//! leave the cache. What is said is honoured as there, by faults and by moves, but it takes private copies nowhere.
//!
//! Here the pages are the object's still, so that somebody may add one meanwhile. What he reads from a file may be what
//! was there before. So whoever has added a page looks once more whether it is in a hole, behind a fence: either he
//! finds that out, and withdraws the page, or who makes the hole finds it (F17). The backing makes its hole when all
//! pages have gone, with their locks waited for: nothing of them is written any more. Who wants a page meanwhile waits
//! for the end.

use super::Inner;
use super::folio::{split_across, with_whole_folios};
use super::truncate::{clear, drop_pages};
use super::unmap::{Loss, unmap};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::Physical;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::ops::Range;
use core::sync::atomic::Ordering::SeqCst;

/// The pages of the hole that is being made, if one is. One is made at a time.
pub(super) struct Hole<M> {
    /// [`u64::MAX`] if none is.
    start: AtomicU64<M>,
    /// Written before `start`.
    end: AtomicU64<M>,
}

impl<M: Machine> Hole<M> {
    /// None is being made.
    pub(super) const fn none() -> Self {
        Hole { start: AtomicU64::new(u64::MAX), end: AtomicU64::new(0) }
    }

    /// Which pages. If another hole is begun while this looks, that may be the beginning of one and the end of the
    /// other. Who has the lock of a leaf meanwhile may believe it: the first has ended then, and was there; the other
    /// is yet to come.
    pub(super) fn pages(&self) -> Range<u64> {
        let start = self.start.load(SeqCst);
        if start == u64::MAX { start..start } else { start..self.end.load(SeqCst) }
    }

    /// Whether page `index` is one of them.
    #[inline(always)]
    pub(super) fn has(&self, index: u64) -> bool {
        self.start.load(SeqCst) <= index && index < self.end.load(SeqCst)
    }

    /// Says that those pages go, until what is returned is dropped, also if a backing panics.
    pub(super) fn begin(&self, pages: &Range<u64>) -> Begun<'_, M> {
        self.end.store(pages.end, SeqCst);
        self.start.store(pages.start, SeqCst);
        Begun(self)
    }
}

/// A hole that is being made.
pub(super) struct Begun<'a, M: Machine>(&'a Hole<M>);

impl<M: Machine> Drop for Begun<'_, M> {
    fn drop(&mut self) {
        self.0.start.store(u64::MAX, SeqCst);
    }
}

/// See [`super::Object::punch`].
pub(super) fn punch<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, start: u64, length: u64) -> Result<(), Error> {
    if length == 0 {
        return Err(Error::ZeroLength { what: "hole" });
    }
    let end = start.checked_add(length).filter(|&end| end <= 1 << 63);
    let end = end.ok_or(Error::OutOfRange { start, length })?;
    let backing = inner.backing();
    if backing.is_some_and(|backing| !backing.can_punch()) {
        return Err(Error::Unsupported { what: "holes in this file" });
    }
    let page = Physical::<M>::PAGE as u64;
    let _guard = inner.cutting.lock(vm);
    let pages = start.div_ceil(page)..end / page;
    let begun = (!pages.is_empty()).then(|| begin(vm, inner, &pages));
    if begun.is_some() {
        unmap(vm, inner, &Loss { pages: inner.hole.pages(), takes_copies: false });
        [pages.start, pages.end].into_iter().for_each(|edge| split_across(vm, inner, edge));
        drop_pages(vm, inner, pages);
    }
    if let Some(backing) = backing {
        backing.punch(start, length).map_err(|_| Error::Io { index: start / page })?;
    }
    drop(begun);
    clear_edges(vm, inner, start, end);
    Ok(())
}

/// Says that those pages go, and with them, for now, what else there is of folios across the edges: single pages are to
/// be made of these.
fn begin<'a, M: Machine>(vm: &Vm<M>, inner: &'a Inner<M>, pages: &Range<u64>) -> Begun<'a, M> {
    let mut hole = pages.clone();
    loop {
        let begun = inner.hole.begin(&hole);
        let all = with_whole_folios(&Cx::enter(vm), inner, pages);
        // As long as it is said nobody adds another.
        if hole.start <= all.start && all.end <= hole.end {
            return begun;
        }
        drop(begun);
        hole = hole.start.min(all.start)..hole.end.max(all.end);
    }
}

/// Clears what of `start..end` is not a whole page. The backing has done so before: so a page that is not cached now is
/// read as it is to be.
fn clear_edges<M: Machine>(vm: &Vm<M>, inner: &Inner<M>, start: u64, end: u64) {
    let page = Physical::<M>::PAGE as u64;
    let (first, last) = (start / page, end / page);
    for index in [Some(first), (last != first).then_some(last)].into_iter().flatten() {
        let base = index * page;
        let bytes = (start.max(base) - base) as usize..(end - base).min(page) as usize;
        if !bytes.is_empty() && bytes.len() < page as usize {
            clear(vm, inner, index, bytes, true);
        }
    }
}
