//! An entry of a page table as one number.

use super::{Absent, Arch, Entry, PageBits};
use crate::pfn::Pfn;
use core::fmt;
use core::marker::PhantomData;

/// An entry of a page table, as it was when it was loaded or as it is to be stored. What the number means depends on
/// the architecture, and on whether it stands in a leaf: what is said here of pages and of absent ones holds for
/// leaves, what is said of lower tables for upper tables; [`Word::decode`] holds for both.
#[repr(transparent)]
pub(crate) struct Word<A>(u64, PhantomData<A>);

impl<A> Clone for Word<A> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Word<A> {}

impl<A> PartialEq for Word<A> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<A> Eq for Word<A> {}

impl<A> fmt::Debug for Word<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl<A> Word<A> {
    /// No entry: what the slot shows is said by its class.
    pub(crate) const EMPTY: Word<A> = Word(0, PhantomData);

    /// The number, as the hardware has it.
    #[inline(always)]
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    /// The entry that is this number to the hardware.
    #[inline(always)]
    pub(crate) const fn from_raw(raw: u64) -> Word<A> {
        Word(raw, PhantomData)
    }

    /// Whether there is no entry.
    #[inline(always)]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl<A: Arch> Word<A> {
    /// A page.
    #[inline(always)]
    pub(crate) fn of_page(pfn: Pfn, bits: PageBits) -> Word<A> {
        Word::from_raw(A::page(pfn, bits))
    }

    /// No page, to the hardware.
    #[inline(always)]
    pub(crate) fn of_absent(absent: Absent) -> Word<A> {
        Word::from_raw(A::absent(absent))
    }

    /// A lower table.
    #[inline(always)]
    pub(crate) fn of_table(pfn: Pfn) -> Word<A> {
        Word::from_raw(A::table(pfn))
    }

    /// This word, of a table of `level`, as it would stand in a leaf: a huge page as a page of its first frame.
    /// Whatever else is no lower table is the same at all levels.
    #[inline(always)]
    pub(crate) fn as_small(self, level: usize) -> Word<A> {
        if level == 0 || !A::is_huge(self.0) { self } else { Word::from_raw(A::small(self.0)) }
    }

    /// This word, of a leaf, as it stands in a table of `level`: what [`Word::as_small`] undoes.
    #[inline(always)]
    pub(crate) fn at_level(self, level: usize) -> Word<A> {
        if level == 0 || !self.is_page() { self } else { Word::from_raw(A::huge(self.0, level)) }
    }

    /// The page `pages` further on, which is as this one.
    #[inline(always)]
    pub(crate) fn further(self, pages: u64) -> Word<A> {
        Word::of_page(self.pfn().offset(pages), self.bits())
    }

    /// How much larger the number of `next` is, the word of the frame behind that of this one which is as it. Among the
    /// frames of one aligned block that is the same for all, whatever the architecture: the number of a frame is one
    /// field.
    #[inline(always)]
    pub(crate) fn step_to(self, next: Word<A>) -> u64 {
        next.0.wrapping_sub(self.0)
    }

    /// This word, so many [steps](Word::step_to) further.
    #[inline(always)]
    pub(crate) fn stepped(self, step: u64, count: u64) -> Word<A> {
        Word::from_raw(self.0.wrapping_add(step.wrapping_mul(count)))
    }

    /// What it says in a table of `level`.
    #[inline(always)]
    pub(crate) fn decode(self, level: usize) -> Entry {
        A::decode(self.0, level)
    }

    /// Whether it is a page: neither empty nor absent.
    #[inline(always)]
    pub(crate) fn is_page(self) -> bool {
        A::is_page(self.0)
    }

    /// The frame of a page.
    #[inline(always)]
    pub(crate) fn pfn(self) -> Pfn {
        A::pfn(self.0)
    }

    /// The frame of a page, if it is one.
    #[inline(always)]
    pub(crate) fn page(self) -> Option<Pfn> {
        if self.is_page() { Some(self.pfn()) } else { None }
    }

    /// The frame of a page of the usual kind: the quick form of [`Word::page`], to be asked first. See
    /// [`Arch::usual_page`].
    #[inline(always)]
    pub(crate) fn usual_page(self) -> Option<Pfn> {
        A::usual_page(self.0)
    }

    /// What it says of a page beside its frame.
    #[inline(always)]
    pub(crate) fn bits(self) -> PageBits {
        A::page_bits(self.0)
    }

    /// This page with other bits.
    #[inline(always)]
    pub(crate) fn with_bits(self, bits: PageBits) -> Word<A> {
        Word::of_page(self.pfn(), bits)
    }

    /// What it says of an absent page; `None` if it is empty, or a page, which may look like anything otherwise.
    #[inline(always)]
    pub(crate) fn absent(self) -> Option<Absent> {
        if self.is_page() { None } else { A::absent_of(self.0) }
    }

    /// The lower table that it names, if it does.
    #[inline(always)]
    pub(crate) fn table(self) -> Option<Pfn> {
        A::table_of(self.0)
    }

    /// What fork makes of a page, on both sides: nobody's alone, and not to be stored to.
    #[inline(always)]
    pub(crate) fn shared_copy(self) -> Word<A> {
        Word::from_raw(A::shared_copy(self.0))
    }

    /// What fork makes of an absent page, on both sides.
    #[inline(always)]
    pub(crate) fn shared_absent(self) -> Word<A> {
        Word::from_raw(A::shared_absent(self.0))
    }

    /// Of a page: its bits which say the rights, alone; see [`Arch::RIGHTS`].
    #[inline(always)]
    pub(crate) fn rights(self) -> u64 {
        self.0 & A::RIGHTS
    }

    /// This page with other rights, which are [`Word::rights`] of a clean one; see [`Arch::with_rights`].
    #[inline(always)]
    pub(crate) fn with_rights(self, rights: u64) -> Word<A> {
        Word::from_raw(A::with_rights(self.0, rights))
    }
}
