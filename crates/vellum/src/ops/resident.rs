//! Which pages are in memory.

use super::range::{aligned, checked, page};
use crate::arch::{Absent, Arch};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::object;
use crate::space::{Attributes, ClassId, Space};

/// Pages looked at within one read-side section.
const PAGES_PER_SECTION: u64 = 512;

impl<M: Machine> Space<'_, M> {
    /// Calls `visit` for each of `pages` pages from `start` on, in order: whether an access would find it in memory, as
    /// `mincore` says. That is a page which is mapped there, or in the cache of the object shown, or in memory still
    /// though it is on its way to swap or to another frame.
    ///
    /// Reads without locks: beside concurrent changes each answer is of some moment. Neither sleeps nor allocates;
    /// `visit` is called with pre-emption on.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfRange`]; [`Error::NotMapped`] at the first hole, after the pages before it.
    pub fn resident(&self, start: u64, pages: u64, visit: &mut dyn FnMut(bool)) -> Result<(), Error> {
        aligned::<M::Arch>("address", start)?;
        if pages == 0 {
            return Ok(());
        }
        let length = pages.checked_mul(page::<M::Arch>()).ok_or(Error::OutOfRange { start, length: u64::MAX })?;
        let (start, end) = checked::<M::Arch>(start, length)?;
        let mut here = start;
        while here < end {
            let mut answers = [false; PAGES_PER_SECTION as usize];
            let count = self.look_at_pages(here, end, &mut answers)?;
            answers[..count].iter().for_each(|&answer| visit(answer));
            here += (count as u64) << M::Arch::PAGE_SHIFT;
        }
        Ok(())
    }

    /// Answers for some of the pages from `start` on; how many.
    fn look_at_pages(&self, start: u64, end: u64, answers: &mut [bool]) -> Result<usize, Error> {
        let cx = Cx::enter(self.vm());
        let span = self.inner().span_at(&cx, start, end);
        if span.class == ClassId::NONE {
            return Err(Error::NotMapped { address: start });
        }
        let attributes = cx.attributes(span.class);
        let pages = (span.end.min(end) - start) >> M::Arch::PAGE_SHIFT;
        let count = (pages as usize).min(answers.len());
        for (page, answer) in answers[..count].iter_mut().enumerate() {
            *answer = self.is_resident(&cx, start + ((page as u64) << M::Arch::PAGE_SHIFT), &attributes);
        }
        Ok(count)
    }

    fn is_resident(&self, cx: &Cx<'_, M>, address: u64, attributes: &Attributes<M>) -> bool {
        let table = self.inner().lowest(cx, address);
        let word = table.page(table.index(address));
        if word.is_page() {
            return true;
        }
        match word.absent() {
            Some(Absent::Swap { slot, .. }) => cx.swap_has_page(slot),
            Some(Absent::Migration { .. } | Absent::Splitting) => true,
            Some(Absent::Poison) => false,
            None => {
                let Some(object) = attributes.object else { return false };
                let index = (address >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
                // SAFETY: found in a class within this read-side section, so its memory is still there.
                let page = unsafe { object.as_ref() }.lookup(cx, index);
                page.inspect(|&pfn| object::release(cx, pfn)).is_some()
            }
        }
    }
}
