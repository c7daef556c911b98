//! Changing access rights.

use super::holds::Holds;
use super::range::{Reach, Reached, aligned, checked};
use crate::arch::{Arch, Prot};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::overcommit::Ticket;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::leaf::{Short, Simple};
use crate::space::split::Holes;
use crate::space::{Attributes, ClassFlags, ClassId, Space};

/// Whether the mapping of these attributes at an address may be changed.
type May<'a, M> = dyn Fn(&Attributes<M>, u64) -> Result<(), Error> + 'a;
/// What a survey asks of each part of a mapping, by its class and where it begins in the range: whether it may be
/// changed, which decides how far the operation goes; or the operation fails altogether.
type Look<'a, M> = dyn FnMut(&Cx<'_, M>, ClassId, u64) -> Result<Result<(), Error>, Error> + 'a;
/// What attributes become.
type Becomes<'a, M> = dyn Fn(Attributes<M>) -> Attributes<M> + 'a;

/// Whether `prot` is not more than a mapping may have.
fn may_have<M: Machine>(attributes: &Attributes<M>, prot: Prot, address: u64) -> Result<(), Error> {
    if prot.without(attributes.max_prot) == Prot::NONE { Ok(()) } else { Err(Error::AccessDenied { address }) }
}

/// What becomes of private anonymous memory of class `old`, if it can be changed by itself.
#[inline(always)]
fn plainly(old: ClassId, start: u64, prot: Prot) -> Result<Option<Simple>, Error> {
    if old == ClassId::NONE {
        return Err(Error::NotMapped { address: start });
    }
    let (class, pages) = (old.plain_with_prot(prot), PageChange::Reprotect(prot));
    // What is committed by it may have to be asked for.
    let is_quick = !old.is_stored() && !class.commits_more(old);
    Ok(is_quick.then_some(Simple { class, pages }))
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// Gives a range the access rights `prot`, as `mprotect` does. When it returns no CPU can use a right that was
    /// taken away. A range of length zero is fine and means nothing.
    ///
    /// May sleep while another operation works on the same range; allocates as [`Space::unmap`] does.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::OutOfRange`]; [`Error::NotMapped`] if the range has a hole;
    /// [`Error::AccessDenied`] if a mapping's `max_prot` does not allow it; [`Error::CommitLimit`] if what would be
    /// private and can be stored to is not promised yet, and may not be; [`Error::OutOfMemory`]. Nothing is changed
    /// then, unlike in Linux, which changes what lies before the hole.
    pub fn protect(&self, start: u64, length: u64, prot: Prot) -> Result<(), Error> {
        self.protect_reaching(start, length, prot, Reach::Whole)
    }

    /// As [`Space::protect`], but what lies before the first address which is in the way keeps its new rights: before a
    /// hole, or before a mapping whose `max_prot` does not allow them, or that may not be committed. So does
    /// `mprotect`.
    ///
    /// # Errors
    /// Those of [`Space::protect`]. Only [`Error::NotMapped`], [`Error::AccessDenied`] and [`Error::CommitLimit`] leave
    /// something done.
    pub fn protect_partly(&self, start: u64, length: u64, prot: Prot) -> Result<(), Error> {
        self.protect_reaching(start, length, prot, Reach::Before)
    }

    /// As [`Space::protect_partly`], from the beginning of the stack on in which the range begins (`PROT_GROWSDOWN`):
    /// so that it grows on with these rights. The range may begin below the stack, where nothing is mapped.
    ///
    /// # Errors
    /// Those of [`Space::protect_partly`]; [`Error::Invalid`] if what is mapped there first does not grow down. Unlike
    /// there, [`Error::ZeroLength`] for a range of length zero, which names no stack, and [`Error::AccessDenied`] for
    /// unknown rights, which no mapping may have.
    pub fn protect_stack(&self, start: u64, length: u64, prot: Prot) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        let may = |attributes: &Attributes<M>, address| may_have(attributes, prot, address);
        let change = |attributes: Attributes<M>| attributes.with_prot(prot);
        self.vm().with_room(|| {
            let mut claim = self.claim_stack(start, end)?;
            let result = self.change_claimed(&mut claim, Reach::Before, &may, &change, PageChange::Reprotect(prot));
            claim.release();
            result
        })
    }

    /// Claims the range from the beginning of the stack on that is the first thing mapped in `start..end`, up to `end`.
    /// While it is claimed, the stack does not grow.
    fn claim_stack(&self, start: u64, end: u64) -> Result<Claim<'_, M>, Error> {
        loop {
            let bottom = self.stack_bottom(start, end)?;
            let claim = Claim::acquire(self.vm(), self.inner(), bottom, end);
            if self.stack_bottom(start, end) == Ok(bottom) {
                return Ok(claim);
            }
            claim.release();
        }
    }

    /// Where the stack begins that is the first thing mapped in `start..end`: as of several moments, but under a claim.
    fn stack_bottom(&self, start: u64, end: u64) -> Result<u64, Error> {
        let found = self.inner().first_attributes(self.vm(), start, end);
        let (first, class, attributes) = found.ok_or(Error::NotMapped { address: start })?;
        if !attributes.flags.has(ClassFlags::GROWS_DOWN) {
            return Err(Error::Invalid { what: "nothing that grows down is mapped there" });
        }
        let (mut here, mut bottom) = (self.inner().stacks().0.min(first), None);
        while here < first {
            let cx = Cx::enter(self.vm());
            let span = self.inner().span_at(&cx, here, first);
            let is_stack = cx.is_one_mapping(span.class, class);
            bottom = bottom.filter(|_| is_stack).or(is_stack.then_some(here));
            here = span.end;
        }
        Ok(bottom.unwrap_or(first))
    }

    #[inline(always)]
    fn protect_reaching(&self, start: u64, length: u64, prot: Prot, reach: Reach) -> Result<(), Error> {
        if prot.without(Prot(7)) != Prot::NONE {
            return Err(Error::Invalid { what: "unknown access rights" });
        }
        if length == 0 {
            return aligned::<M::Arch>("address", start).map(|_| ());
        }
        let (start, end) = checked::<M::Arch>(start, length)?;
        if self.protect_plain(start, end, prot)? {
            return Ok(());
        }
        self.vm().with_room(|| self.protect_other(start, end, prot, reach))
    }

    /// Everything but the shortest way.
    #[cold]
    #[inline(never)]
    fn protect_other(&self, start: u64, end: u64, prot: Prot, reach: Reach) -> Result<(), Error> {
        let may = |attributes: &Attributes<M>, address| may_have(attributes, prot, address);
        let change = |attributes: Attributes<M>| attributes.with_prot(prot);
        self.change(start, end - start, reach, may, change, PageChange::Reprotect(prot))
    }

    /// The short way for private anonymous memory, whose classes need no record; whether it was taken.
    #[inline(always)]
    fn protect_plain(&self, start: u64, end: u64, prot: Prot) -> Result<bool, Error> {
        let span = 1 << M::Arch::shift(1);
        if end - start == span && start & (span - 1) == 0 {
            return Ok(self.protect_huge(start, prot));
        }
        let cx = Cx::enter(self.vm());
        let short = self.inner().change_in_leaf(&cx, start, end, |old| plainly(old, start, prot))?;
        Ok(short != Short::No)
    }

    /// [`Space::protect_plain`], of the place of a huge page.
    #[inline(always)]
    fn protect_huge(&self, start: u64, prot: Prot) -> bool {
        let cx = Cx::enter(self.vm());
        // What is refused is so the long way, too.
        let short = self.inner().change_one_slot(&cx, start, |old| match old {
            ClassId::NONE => Ok(None),
            old => plainly(old, start, prot),
        });
        short.is_ok_and(|short| short != Short::No)
    }

    /// Changes what the classes of a range say, as far as `may` lets it for each mapping and `reach` says.
    pub(super) fn change(
        &self,
        start: u64,
        length: u64,
        reach: Reach,
        may: impl Fn(&Attributes<M>, u64) -> Result<(), Error>,
        change: impl Fn(Attributes<M>) -> Attributes<M>,
        pages: PageChange,
    ) -> Result<(), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        if self.change_in_leaf(start, end, &may, &change, pages)? {
            return Ok(());
        }
        let mut claim = Claim::acquire(self.vm(), self.inner(), start, end);
        let result = self.change_claimed(&mut claim, reach, &may, &change, pages);
        claim.release();
        result
    }

    /// The long way.
    #[inline(never)]
    fn change_claimed(
        &self,
        claim: &mut Claim<'_, M>,
        reach: Reach,
        may: &May<'_, M>,
        change: &Becomes<'_, M>,
        pages: PageChange,
    ) -> Result<(), Error> {
        let mut holds = Holds::new();
        let reached = self.hold_changed(&mut holds, claim.start, claim.end, reach, may, change);
        let result = reached.and_then(|(reached, _ticket)| {
            self.change_part(claim, reached.end, change, pages)?;
            reached.result
        });
        claim.fold_now(&Cx::enter(self.vm()));
        holds.release(self.vm());
        result
    }

    /// Changes what the claim has before `end`.
    fn change_part(
        &self,
        claim: &Claim<'_, M>,
        end: u64,
        change: &Becomes<'_, M>,
        pages: PageChange,
    ) -> Result<(), Error> {
        if end == claim.start {
            return Ok(());
        }
        let mut part = claim.part(claim.start, end);
        let spares = part.split(self.vm(), Holes::Leave);
        let spares = spares.inspect_err(|_| part.tidy_part(&Cx::enter(self.vm())))?;
        part.apply(self.vm(), ClassChange::Map(change), pages, spares, Fold::Below);
        claim.join(part);
        Ok(())
    }

    /// The short way; whether it was taken.
    #[inline(always)]
    fn change_in_leaf(
        &self,
        start: u64,
        end: u64,
        may: &impl Fn(&Attributes<M>, u64) -> Result<(), Error>,
        change: &impl Fn(Attributes<M>) -> Attributes<M>,
        pages: PageChange,
    ) -> Result<bool, Error> {
        let short = {
            let cx = Cx::enter(self.vm());
            let mut held = ClassId::NONE;
            let short = self.inner().change_in_leaf(&cx, start, end, |old| {
                if old == ClassId::NONE {
                    return Err(Error::NotMapped { address: start });
                }
                let attributes = cx.attributes(old);
                may(&attributes, start)?;
                let new = change(attributes);
                if new.commits_more(&attributes) && !self.vm().commits_unasked((end - start) >> M::Arch::PAGE_SHIFT) {
                    return Ok(None);
                }
                held = cx.intern(&new, cx.extent_of(old))?;
                Ok(Some(Simple { class: held, pages }))
            })?;
            if short != Short::No {
                cx.release_class(held, 1);
            }
            short
        };
        if short == Short::Emptied {
            self.inner().leaf_emptied(self.vm(), start);
        }
        Ok(short != Short::No)
    }

    /// Checks each mapping of the claimed range, as far as `reach` says, and holds the class it will have. The ticket
    /// is for what is not committed yet, and will be.
    fn hold_changed(
        &self,
        holds: &mut Holds<M>,
        start: u64,
        end: u64,
        reach: Reach,
        may: &May<'_, M>,
        change: &Becomes<'_, M>,
    ) -> Result<(Reached, Ticket<'vm, M>), Error> {
        let mut last = ClassId::NONE;
        // What lies before whatever is in the way is asked for first, also if nothing is done then.
        let part = if reach == Reach::Whole { Reach::Before } else { reach };
        let reached = self.survey(start, end, part, &mut |cx, class, here| {
            if class != last {
                let attributes = cx.attributes(class);
                if let Err(error) = may(&attributes, here) {
                    return Ok(Err(error));
                }
                holds.add(cx, cx.intern(&change(attributes), cx.extent_of(class))?)?;
                last = class;
            }
            Ok(Ok(()))
        })?;
        let (mut reached, ticket) = self.may_change(start, reached, change);
        if reach == Reach::Whole && reached.result.is_err() {
            reached.end = start;
        }
        Ok((reached, ticket))
    }

    /// Lets the caller commit what the mappings of a claimed range will commit more, as long as the result lives; or
    /// those before the first one that may not.
    fn may_change(&self, start: u64, reached: Reached, change: &Becomes<'_, M>) -> (Reached, Ticket<'vm, M>) {
        let mut ticket = self.vm().no_ticket();
        let mut here = start;
        let is_asked = !self.vm().commits_unasked((reached.end - start) >> M::Arch::PAGE_SHIFT);
        while is_asked && let Some(mapped) = self.first_mapped(here, reached.end - here) {
            let (class, end) = self.one_mapping(mapped, reached.end);
            let attributes = Cx::enter(self.vm()).attributes(class);
            if change(attributes).commits_more(&attributes) {
                match self.vm().may_commit((end - mapped) >> M::Arch::PAGE_SHIFT, || 0) {
                    Ok(more) => ticket.join(more),
                    Err(refused) => return (Reached { end: mapped, result: Err(refused) }, ticket),
                }
            }
            here = end;
        }
        (reached, ticket)
    }

    /// Looks through a claimed range for how far an operation may go.
    pub(super) fn survey(&self, start: u64, end: u64, reach: Reach, look: &mut Look<'_, M>) -> Result<Reached, Error> {
        let mut here = start;
        let mut result = Ok(());
        while here < end {
            let cx = Cx::enter(self.vm());
            let span = self.inner().span_at(&cx, here, end);
            let (allowed, is_hole) = match span.class {
                ClassId::NONE => (Err(Error::NotMapped { address: here }), true),
                class => (look(&cx, class, here)?, false),
            };
            match allowed {
                Err(_) if is_hole && reach == Reach::Mapped => result = result.and(allowed),
                Err(_) => {
                    return Ok(Reached { end: if reach == Reach::Whole { start } else { here }, result: allowed });
                }
                Ok(()) => {}
            }
            here = span.end;
        }
        Ok(Reached { end, result })
    }
}
