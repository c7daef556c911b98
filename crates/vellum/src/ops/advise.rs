//! Advice about a range.

use super::range::{Reach, checked};
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
    /// It is not part of a core dump: [`Space::maps`] says so.
    DontDump,
    /// Takes [`Advice::DontDump`] back.
    DoDump,
    /// Its pages may be dropped until they are stored to again; private anonymous memory only.
    Free,
    /// Its pages are the next to be reclaimed when memory is short.
    Cold,
    /// Its pages are reclaimed now, as far as they can be written somewhere.
    PageOut,
    /// What it shows is not needed any more: the objects get holes there, see [`Object::punch`]; shared mappings only
    /// that may be stored to.
    Remove,
    /// Every access faults from now on, as if nothing was mapped, and its pages go; private ones are lost. It stays a
    /// part of its mapping, and what is done to that leaves the guard alone, but for [`Space::unmap`] and a new mapping
    /// in its place. Children of fork have it too, unless the mapping is wiped. [`Space::guards`] tells where guards
    /// are.
    GuardInstall,
    /// Takes [`Advice::GuardInstall`] back: it reads as memory that nobody has accessed. Other pages stay as they are.
    GuardRemove,
    /// It gets huge pages, where there are free ones: see [`HugePages`](super::HugePages).
    HugePage,
    /// It gets none any more.
    NoHugePage,
    /// Its small pages become huge ones now, whatever the policy says: those of all whole places of a huge page in the
    /// range. Memory is moved to get some, pages are brought back from swap, and what was not there takes memory, too.
    /// Private anonymous memory only, without tags and guards, and shared memory, for all who map it, where this
    /// mapping has touched some of it; none that was advised [`Advice::NoHugePage`], or is in a space that is to have
    /// none ([`Space::set_huge_pages`]).
    Collapse,
    /// Not supported yet: merge equal pages.
    Mergeable,
    /// Not supported yet: do not merge equal pages.
    Unmergeable,
}

impl Advice {
    /// The name in `madvise`'s manual.
    fn name(self) -> &'static str {
        match self {
            Advice::Mergeable => "MADV_MERGEABLE",
            Advice::Unmergeable => "MADV_UNMERGEABLE",
            _ => "this advice",
        }
    }
}

impl<M: Machine> Space<'_, M> {
    /// Takes advice about a range, as `madvise` does. A range of length zero is fine and means nothing.
    ///
    /// May sleep, may read files ([`Advice::WillNeed`], [`Advice::PopulateRead`]) and make holes in them
    /// ([`Advice::Remove`]), allocates.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfRange`]; [`Error::NotMapped`] if the range has a hole; [`Error::Invalid`] if
    /// the advice does not fit a mapping; [`Error::Unsupported`] for what is not built yet; [`Error::OutOfMemory`];
    /// those of [`Space::populate`]; for [`Advice::Collapse`] [`Error::Invalid`] also if there is no page in a place,
    /// the space is to have no huge pages, shared memory ends within a place or has lost a part of a huge page there
    /// that is in use, or a place is mapped otherwise when its turn comes, [`Error::OutOfMemory`] if there is no huge
    /// page free, [`Error::GroupLimit`] if the space's group has no room for the pages that come, and [`Error::Busy`]
    /// if somebody is at work on a page or holds one; for [`Advice::Remove`] [`Error::AccessDenied`] if a mapping is
    /// private or must not be stored to, and those of [`Object::punch`]. Nothing is changed then, but that populating,
    /// collapsing, or making holes in files, may have got part of the way.
    pub fn advise(&self, start: u64, length: u64, advice: Advice) -> Result<(), Error> {
        self.advise_reaching(start, length, advice, Reach::Whole)
    }

    /// As [`Space::advise`], but what is mapped takes the advice, whatever holes are between, up to the first mapping
    /// that the advice does not fit. So does `madvise`. Populating ends at the first hole, as
    /// [`Space::populate_partly`] does.
    ///
    /// # Errors
    /// Those of [`Space::advise`]. [`Error::NotMapped`] and [`Error::Invalid`] leave something done: what is mapped,
    /// or what lies before such a mapping.
    pub fn advise_partly(&self, start: u64, length: u64, advice: Advice) -> Result<(), Error> {
        self.advise_reaching(start, length, advice, Reach::Mapped)
    }

    fn advise_reaching(&self, start: u64, length: u64, advice: Advice, reach: Reach) -> Result<(), Error> {
        super::range::aligned::<M::Arch>("address", start)?;
        if length == 0 {
            return Ok(());
        }
        let (none, order) = (ClassFlags::NONE, ClassFlags::SEQUENTIAL | ClassFlags::RANDOM);
        let flags = |set, clear| self.set_flags(start, length, reach, (set, clear), advice);
        match advice {
            Advice::Normal => flags(none, order),
            Advice::Sequential => flags(ClassFlags::SEQUENTIAL, order),
            Advice::Random => flags(ClassFlags::RANDOM, order),
            Advice::DontFork => flags(ClassFlags::DONT_FORK, none),
            Advice::DoFork => flags(none, ClassFlags::DONT_FORK),
            Advice::WipeOnFork => flags(ClassFlags::WIPE_ON_FORK, none),
            Advice::KeepOnFork => flags(none, ClassFlags::WIPE_ON_FORK),
            Advice::DontDump => flags(ClassFlags::DONT_DUMP, none),
            Advice::DoDump => flags(none, ClassFlags::DONT_DUMP),
            Advice::GuardInstall => flags(ClassFlags::GUARD, none),
            Advice::GuardRemove => flags(none, ClassFlags::GUARD),
            Advice::HugePage => flags(ClassFlags::HUGE_PAGES, ClassFlags::NO_HUGE_PAGES),
            Advice::NoHugePage => flags(ClassFlags::NO_HUGE_PAGES, ClassFlags::HUGE_PAGES),
            Advice::DontNeed => self.change_pages(start, length, reach, PageChange::Zap, |_| Ok(())),
            Advice::Free => self.give_up(start, length, reach),
            Advice::Cold => self.look_over(start, length, reach, |start, end| self.make_cold(start, end)),
            Advice::PageOut => self.look_over(start, length, reach, |start, end| {
                self.page_out(start, end);
            }),
            Advice::WillNeed => self.will_need(start, length, reach),
            Advice::Remove => self.remove(start, length, reach),
            Advice::Collapse => self.collapse(start, length, reach),
            Advice::PopulateRead => self.populate_reaching(start, length, Access::Read, reach),
            Advice::PopulateWrite => self.populate_reaching(start, length, Access::Write, reach),
            _ => Err(Error::Unsupported { what: advice.name() }),
        }
    }

    fn set_flags(
        &self,
        start: u64,
        length: u64,
        reach: Reach,
        (set, clear): (ClassFlags, ClassFlags),
        advice: Advice,
    ) -> Result<(), Error> {
        let may = |attributes: &Attributes<M>, _| {
            if advice == Advice::WipeOnFork && (attributes.object.is_some() || !attributes.is_private()) {
                return Err(Error::Invalid { what: "only private anonymous memory can be wiped on fork" });
            }
            Ok(())
        };
        let change = |attributes: Attributes<M>| attributes.with_flags(set, clear);
        // A leaf's pages go and its classes change under one hold of its lock. A fault that has planned before that
        // finds other classes when it commits, as beside `protect`; one that plans later finds the guard. So when this
        // returns no page is there, and none comes.
        let pages = if advice == Advice::GuardInstall { PageChange::Zap } else { PageChange::Keep };
        self.vm().with_room(|| self.change(start, length, reach, may, change, pages))
    }

    /// Gives the pages of a range up until they are stored to again.
    fn give_up(&self, start: u64, length: u64, reach: Reach) -> Result<(), Error> {
        let may = |attributes: &Attributes<M>| {
            if attributes.object.is_some() || !attributes.is_private() {
                return Err(Error::Invalid { what: "only private anonymous memory can be given up" });
            }
            Ok(())
        };
        self.change_pages(start, length, reach, PageChange::GiveUp, may)
    }

    /// Calls `act` with a range, if it is mapped throughout or `reach` is around holes.
    fn look_over(&self, start: u64, length: u64, reach: Reach, act: impl FnOnce(u64, u64)) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let hole = self.inner().first_hole(self.vm(), start, end);
        if hole.is_none() || reach == Reach::Mapped {
            act(start, end);
        }
        hole.map_or(Ok(()), |address| Err(Error::NotMapped { address }))
    }

    /// Changes the pages of a range, and nothing of its classes, as far as `may` lets it for each mapping and `reach`
    /// says.
    fn change_pages(
        &self,
        start: u64,
        length: u64,
        reach: Reach,
        pages: PageChange,
        may: impl Fn(&Attributes<M>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let look = || self.survey(start, end, reach, &mut |cx, class, _| Ok(may(&cx.attributes(class))));
        let too_early = if M::guard(Guard::AdviceUnderClaim) { None } else { Some(look()) };
        let mut claim = Claim::acquire(self.vm(), self.inner(), start, end);
        let result = too_early.unwrap_or_else(look).and_then(|reached| {
            if reached.end > start {
                let mut part = claim.part(start, reached.end);
                // No class changes, so there are no edges to prepare but those of huge pages.
                let cut = part.cut_pages(self.vm());
                match cut {
                    Ok(()) => part.apply(self.vm(), ClassChange::Keep, pages, Spares::default(), Fold::Below),
                    Err(_) => part.tidy_part(&Cx::enter(self.vm())),
                }
                claim.join(part);
                claim.fold_now(&Cx::enter(self.vm()));
                cut?;
            }
            reached.result
        });
        claim.release();
        result
    }

    /// Reads the pages of files in the range into their caches.
    fn will_need(&self, start: u64, length: u64, reach: Reach) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let mut here = start;
        let mut result = Ok(());
        while here < end {
            let (next, wanted) = {
                let cx = Cx::enter(self.vm());
                let span = self.inner().span_at(&cx, here, end);
                if span.class == ClassId::NONE {
                    result = result.and(Err(Error::NotMapped { address: here }));
                    if reach == Reach::Whole {
                        return result;
                    }
                    here = span.end;
                    continue;
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
        result
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
