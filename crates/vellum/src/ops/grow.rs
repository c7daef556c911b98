//! Growing a stack: a fault below a grows-down mapping extends it.

use super::FaultError;
use crate::arch::{Arch, Prot};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::overcommit::Ticket;
use crate::space::apply::{ClassChange, Fold, PageChange};
use crate::space::claim::Claim;
use crate::space::split::Holes;
use crate::space::{ClassFlags, ClassId, Extent, Space, stack_guard_pages};
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;

impl<'vm, M: Machine> Space<'vm, M> {
    /// Extends the grows-down mapping above `address` down to its page, if there is one that may grow so far: within
    /// the limits of stacks, of the space and of what is committed, and with the guard gap between it and what is
    /// mapped below. Whether the address is mapped now.
    #[cold]
    pub(super) fn grow_stack(&self, address: u64) -> Result<bool, FaultError> {
        let limit = self.inner().stack_limit.load(Relaxed);
        let page = address >> M::Arch::PAGE_SHIFT << M::Arch::PAGE_SHIFT;
        let look = || self.stack_above(page, limit).map(|(bottom, _)| bottom);
        loop {
            let Some(bottom) = look() else { return Ok(false) };
            if bottom == page {
                return Ok(true);
            }
            let Ok(_limited) = self.may_map(bottom - page, (0, 0)) else {
                // What there is no more room for may be what somebody else has grown meanwhile.
                if look() == Some(bottom) {
                    return Ok(false);
                }
                continue;
            };
            // The gap is claimed too, so that nothing is mapped there meanwhile (G19).
            let gap = if M::guard(Guard::GapClaimed) { self.gap_below(page) } else { page };
            let mut claim = Claim::acquire(self.vm(), self.inner(), gap, bottom + (1 << M::Arch::PAGE_SHIFT));
            let result = self.grow_claimed(&claim, page, limit);
            claim.fold_now(&Cx::enter(self.vm()));
            claim.release();
            let outcome = result.map_err(|_| FaultError::OutOfMemory { address })?;
            if let Some(is_mapped) = outcome {
                return Ok(is_mapped);
            }
            if !M::guard(Guard::StackSoughtAgain) {
                return Ok(false);
            }
        }
    }

    /// Where the guard gap of a stack that begins at `page` begins.
    fn gap_below(&self, page: u64) -> u64 {
        page.saturating_sub(stack_guard_pages::<M::Arch>() << M::Arch::PAGE_SHIFT).max(M::Arch::USER_START).min(page)
    }

    /// The first mapped address at or above `page`, and its class, if what is mapped there grows down and ends within
    /// `limit` bytes from `page`; `page` itself if it is mapped by now.
    ///
    /// Beyond what is claimed it is what there is at several moments, so what is mapped at `bottom` is told by what its
    /// class said when it was found: later it may be another one's.
    fn stack_above(&self, page: u64, limit: u64) -> Option<(u64, ClassId)> {
        let (vm, high) = (self.vm(), page.saturating_add(limit).min(M::Arch::USER_END));
        let (bottom, class, stack) = self.inner().first_attributes(vm, page, high)?;
        let stack = stack.unguarded();
        if bottom == page {
            return Some((bottom, class));
        }
        if !stack.flags.has(ClassFlags::GROWS_DOWN) {
            return None;
        }
        // The limit is on the whole mapping: look whether it ends there.
        let beyond = high.saturating_add(1).min(M::Arch::USER_END);
        let end = self.inner().each_span(vm, (bottom, beyond), &mut |cx, here, span| {
            let is_stack = span.class != ClassId::NONE && cx.attributes(span.class).unguarded() == stack;
            if is_stack { ControlFlow::Continue(()) } else { ControlFlow::Break(here) }
        });
        let end = end.break_value().unwrap_or(beyond);
        (end - page <= limit).then_some((bottom, class))
    }

    /// Extends the mapping at the end of the claimed range down to `page`; whether `page` is mapped now. `None` if
    /// nothing is mapped at the end any more: what was the lowest page of a stack went, and the stack may begin above
    /// (G12M).
    fn grow_claimed(&self, claim: &Claim<'_, M>, page: u64, limit: u64) -> Result<Option<bool>, Error> {
        let last = claim.end - (1 << M::Arch::PAGE_SHIFT);
        // Somebody else may have been faster, with this or with something else.
        let stack = match M::guard(Guard::GrowUnderClaim) {
            true => self.stack_above(page, limit),
            false => Some((last, self.inner().span_at(&Cx::enter(self.vm()), last, claim.end).class)),
        };
        let Some((bottom, class)) = stack else { return Ok(Some(false)) };
        if bottom == page {
            return Ok(Some(true));
        }
        if bottom > last {
            return Ok(None);
        }
        // It is claimed: so the class stays what it is.
        let attributes = Cx::enter(self.vm()).attributes(class);
        if !attributes.flags.has(ClassFlags::GROWS_DOWN) || !self.has_gap(page) {
            return Ok(Some(false));
        }
        // A guard at the bottom does not grow.
        let class = Cx::enter(self.vm()).intern(&attributes.unguarded(), Extent::of::<M::Arch>(page, bottom))?;
        let Ok(_ticket) = self.may_extend(class, (bottom - page) >> M::Arch::PAGE_SHIFT) else {
            Cx::enter(self.vm()).release_class(class, 1);
            return Ok(Some(false));
        };
        let mut new = claim.part(page, bottom);
        let result = match new.split(self.vm(), Holes::Cut) {
            Ok(spares) => {
                self.inner().note_stack(page, bottom);
                new.apply(self.vm(), ClassChange::Set(class), PageChange::Keep, spares, Fold::Below);
                Cx::enter(self.vm()).count(crate::stat::Event::StackGrowth, 1);
                Ok(Some(true))
            }
            Err(error) => {
                new.tidy_part(&Cx::enter(self.vm()));
                Err(error)
            }
        };
        claim.join(new);
        Cx::enter(self.vm()).release_class(class, 1);
        result
    }

    /// Lets the caller commit `pages` pages more of `class`, which is held or mapped within a claim, if its pages are
    /// committed.
    pub(super) fn may_extend(&self, class: ClassId, pages: u64) -> Result<Ticket<'vm, M>, Error> {
        let is_committed = Cx::enter(self.vm()).is_committed(class);
        self.vm().may_commit(if is_committed { pages } else { 0 }, || 0)
    }

    /// Whether the guard gap below `page` is free, but for another part of a stack. As in Linux, what lies lower in the
    /// gap does not count if the nearest mapping is one that may lie there.
    fn has_gap(&self, page: u64) -> bool {
        let mut nearest = None;
        let gap = (self.gap_below(page), page);
        let _ = self.inner().each_span(self.vm(), gap, &mut |cx, _, span| {
            nearest = if span.class == ClassId::NONE { nearest } else { Some(cx.attributes(span.class)) };
            ControlFlow::<()>::Continue(())
        });
        nearest.is_none_or(|nearest| nearest.prot == Prot::NONE || nearest.flags.has(ClassFlags::GROWS_DOWN))
    }
}
