//! Advice about a range.

use super::range::checked;
use super::{Access, FaultError};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, Object};
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::{Attributes, ClassFlags, ClassId, Space, Spares};

/// What a program says about a range, with `madvise`'s names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Takes [`Advice::Sequential`] and [`Advice::Random`] back.
    Normal,
    /// It will be read in order.
    Sequential,
    /// It will be read out of order.
    Random,
    /// It will be used soon: pages of files are read.
    WillNeed,
    /// Its pages can go now: private ones are lost, and read as at first. An access of another CPU that races with this
    /// may still find the old page, even when a store to the new one is seen already, until the call returns.
    DontNeed,
    /// Fault all of it in for loads.
    PopulateRead,
    /// Fault all of it in for stores.
    PopulateWrite,
    /// Children of fork do not get it.
    DontFork,
    /// Takes [`Advice::DontFork`] back.
    DoFork,
    /// Children of fork get it empty; private anonymous memory only.
    WipeOnFork,
    /// Takes [`Advice::WipeOnFork`] back.
    KeepOnFork,
    /// Its pages may be dropped until they are stored to again; private anonymous memory only.
    Free,
    /// Its pages are the next to be reclaimed when memory is short.
    Cold,
    /// Its pages are reclaimed now, as far as they can be written somewhere.
    PageOut,
    /// Not supported yet: use huge pages.
    HugePage,
    /// Not supported yet: do not use huge pages.
    NoHugePage,
    /// Not supported yet: collapse to huge pages now.
    Collapse,
    /// Not supported yet: punch a hole into the object.
    Remove,
    /// Not supported yet: merge equal pages.
    Mergeable,
    /// Not supported yet: do not merge equal pages.
    Unmergeable,
}

impl Advice {
    /// The name in `madvise`'s manual.
    fn name(self) -> &'static str {
        match self {
            Advice::HugePage => "MADV_HUGEPAGE",
            Advice::NoHugePage => "MADV_NOHUGEPAGE",
            Advice::Collapse => "MADV_COLLAPSE",
            Advice::Remove => "MADV_REMOVE",
            Advice::Mergeable => "MADV_MERGEABLE",
            Advice::Unmergeable => "MADV_UNMERGEABLE",
            _ => "this advice",
        }
    }
}

impl<M: Machine> Space<'_, M> {
    /// Takes advice about a range, as `madvise` does. A range of length zero is fine and means nothing.
    ///
    /// May sleep, may read files ([`Advice::WillNeed`], [`Advice::PopulateRead`]), allocates.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfRange`]; [`Error::NotMapped`] if the range has a hole; [`Error::Invalid`] if
    /// the advice does not fit a mapping; [`Error::Unsupported`] for what is not built yet; [`Error::OutOfMemory`];
    /// those of [`Space::populate`]. Nothing is changed then, but that populating may have got part of the way.
    pub fn advise(&self, start: u64, length: u64, advice: Advice) -> Result<(), Error> {
        super::range::aligned::<M::Arch>("address", start)?;
        if length == 0 {
            return Ok(());
        }
        let (none, order) = (ClassFlags::NONE, ClassFlags::SEQUENTIAL | ClassFlags::RANDOM);
        match advice {
            Advice::Normal => self.set_flags(start, length, none, order, advice),
            Advice::Sequential => self.set_flags(start, length, ClassFlags::SEQUENTIAL, order, advice),
            Advice::Random => self.set_flags(start, length, ClassFlags::RANDOM, order, advice),
            Advice::DontFork => self.set_flags(start, length, ClassFlags::DONT_FORK, none, advice),
            Advice::DoFork => self.set_flags(start, length, none, ClassFlags::DONT_FORK, advice),
            Advice::WipeOnFork => self.set_flags(start, length, ClassFlags::WIPE_ON_FORK, none, advice),
            Advice::KeepOnFork => self.set_flags(start, length, none, ClassFlags::WIPE_ON_FORK, advice),
            Advice::DontNeed => self.change_pages(start, length, PageChange::Zap, |_| Ok(())),
            Advice::Free => self.give_up(start, length),
            Advice::Cold => self.look_over(start, length, |start, end| self.make_cold(start, end)),
            Advice::PageOut => self.look_over(start, length, |start, end| {
                self.page_out(start, end);
            }),
            Advice::WillNeed => self.will_need(start, length),
            Advice::PopulateRead => self.populate(start, length, Access::Read),
            Advice::PopulateWrite => self.populate(start, length, Access::Write),
            _ => Err(Error::Unsupported { what: advice.name() }),
        }
    }

    fn set_flags(
        &self,
        start: u64,
        length: u64,
        set: ClassFlags,
        clear: ClassFlags,
        advice: Advice,
    ) -> Result<(), Error> {
        let may = |attributes: &Attributes<M>, _| {
            if advice == Advice::WipeOnFork && (attributes.object.is_some() || !attributes.is_private()) {
                return Err(Error::Invalid { what: "only private anonymous memory can be wiped on fork" });
            }
            Ok(())
        };
        self.vm().with_room(|| {
            self.change(start, length, may, |attributes| attributes.with_flags(set, clear), PageChange::Keep)
        })
    }

    /// Gives the pages of a range up until they are stored to again.
    fn give_up(&self, start: u64, length: u64) -> Result<(), Error> {
        let may = |attributes: &Attributes<M>| {
            if attributes.object.is_some() || !attributes.is_private() {
                return Err(Error::Invalid { what: "only private anonymous memory can be given up" });
            }
            Ok(())
        };
        self.change_pages(start, length, PageChange::GiveUp, may)
    }

    /// Calls `act` with a range that is mapped throughout.
    fn look_over(&self, start: u64, length: u64, act: impl FnOnce(u64, u64)) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if let Some(address) = self.first_hole(start, end) {
            return Err(Error::NotMapped { address });
        }
        act(start, end);
        Ok(())
    }

    /// Changes the pages of a range that is mapped throughout, if `may` lets it for each mapping, and nothing of its
    /// classes.
    fn change_pages(
        &self,
        start: u64,
        length: u64,
        pages: PageChange,
        may: impl Fn(&Attributes<M>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let look = || self.each_mapping_may(start, end, &may);
        let too_early = if M::guard(Guard::AdviceUnderClaim) { None } else { Some(look()) };
        let mut claim = Claim::acquire(self.vm(), self.inner(), start, end);
        let result = too_early.unwrap_or_else(look);
        if result.is_ok() {
            // No class changes, so there are no edges to prepare: slots cut by the range have no pages.
            claim.apply(self.vm(), ClassChange::Keep, pages, Spares::default(), Fold::Whole);
        }
        claim.release();
        result
    }

    /// Whether the range is mapped throughout and `may` lets each mapping there.
    fn each_mapping_may(
        &self,
        start: u64,
        end: u64,
        may: &impl Fn(&Attributes<M>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut here = start;
        while here < end {
            let cx = Cx::enter(self.vm());
            let span = self.inner().span_at(&cx, here, end);
            if span.class == ClassId::NONE {
                return Err(Error::NotMapped { address: here });
            }
            may(&cx.attributes(span.class))?;
            here = span.end;
        }
        Ok(())
    }

    /// The first address of the range that is not mapped.
    pub(super) fn first_hole(&self, start: u64, end: u64) -> Option<u64> {
        let mut here = start;
        while here < end {
            let span = self.inner().span_at(&Cx::enter(self.vm()), here, end);
            if span.class == ClassId::NONE {
                return Some(here);
            }
            here = span.end;
        }
        None
    }

    /// Reads the pages of files in the range into their caches.
    fn will_need(&self, start: u64, length: u64) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let mut here = start;
        while here < end {
            let (next, wanted) = {
                let cx = Cx::enter(self.vm());
                let span = self.inner().span_at(&cx, here, end);
                if span.class == ClassId::NONE {
                    return Err(Error::NotMapped { address: here });
                }
                let attributes = cx.attributes(span.class);
                // SAFETY: the object's memory stays allocated within the read-side section.
                let object = attributes.object.filter(|object| unsafe { object.as_ref() }.try_get());
                (span.end.min(end), object.map(|object| (object, attributes.delta)))
            };
            if let Some((object, delta)) = wanted {
                let first = (here >> M::Arch::PAGE_SHIFT).wrapping_sub(delta);
                // SAFETY: the reference that was just taken.
                let object = unsafe { Object::of_reference(self.vm(), object) };
                let pages = (next - here) >> M::Arch::PAGE_SHIFT;
                object::read_ahead(self.vm(), object.inner_pointer(), first, pages);
            }
            here = next;
        }
        Ok(())
    }
}

impl From<FaultError> for Error {
    fn from(error: FaultError) -> Self {
        match error {
            FaultError::Segv { address, denied: false } => Error::NotMapped { address },
            FaultError::Segv { address, denied: true } => Error::AccessDenied { address },
            FaultError::Bus { index, .. } => Error::Io { index },
            FaultError::OutOfMemory { .. } => Error::OutOfMemory,
        }
    }
}
