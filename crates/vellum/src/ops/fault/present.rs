//! An access that the entry of a page did not allow: to be granted, or to a copy.

use super::anonymous::fresh_page;
use super::copy::{copy_to, replace};
use super::fetched::Fetched;
use super::huge::first_store;
use super::plan::{Plan, bits_for, commit};
use super::{Access, FaultKind, Step};
use crate::arch::{PageBits, Word};
use crate::cpu::Cx;
use crate::error::PageError;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Kind;
use crate::space::Inner;

/// A page is there, and did not allow the access, or no longer did when the CPU looked.
/// [`Step::Split`] if it is a huge one, and small ones must come in its place.
#[inline(always)]
pub(super) fn present<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    fetched: &mut Option<Fetched>,
) -> Result<Step<M>, PageError> {
    let bits = plan.word.bits();
    if plan.access != Access::Write {
        let writable = bits.has(PageBits::WRITE);
        return Ok(grant(cx, space, plan, bits | bits_for::<M::Arch>(plan.attributes.prot, writable, plan.access)));
    }
    let granted = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access);
    if !plan.attributes.is_private() || bits.has(PageBits::EXCLUSIVE) {
        return Ok(grant(cx, space, plan, bits | granted));
    }
    if bits.has(PageBits::SPECIAL) {
        if plan.leaf.level > 0 {
            return Ok(first_store(cx, space, plan, fetched));
        }
        let pfn = fresh_page(cx, space, plan)?;
        let done = replace(cx, space, plan, pfn, None);
        return Ok(if done { Step::Done(FaultKind::Anonymous) } else { Step::Retry });
    }
    let source = plan.word.pfn();
    let head = cx.vm().physical().head(source);
    let frame = cx.vm().physical().frame(head);
    if frame.kind() == Kind::Anonymous && frame.references() == 1 {
        return Ok(reuse(cx, space, plan, bits | granted | PageBits::EXCLUSIVE));
    }
    if plan.leaf.level > 0 {
        return Ok(Step::Split);
    }
    if !frame.try_get() {
        // Its folio is being split by who has the leaf's lock, if it has not become another page.
        plan.leaf.frame.lock.wait_free(cx);
        return Ok(Step::Retry);
    }
    // From here on the frame cannot become another page; that it did not before, the entry says, which still names it.
    let is_it = plan.leaf.entry(plan.index) == plan.word && cx.vm().physical().head(source) == head;
    // A page whose only other user is the swap cache need not be copied: it leaves the cache and is looked at again.
    // The slot is asked for first: another mapping is another user, too, and most pages have that instead.
    let is_nearly_alone = || frame.kind() == Kind::Anonymous && frame.swap_slot().is_some() && frame.references() == 3;
    let step = if is_it && !(is_nearly_alone() && crate::ops::swap_in::leave_cache(cx, head)) {
        copy_to(cx, space, plan, source)
    } else {
        Ok(Step::Retry)
    };
    if frame.put() {
        cx.free_frame(head);
    }
    step
}

/// Gives the entry the rights `bits`; spurious if it has them.
pub(super) fn grant<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, bits: PageBits) -> Step<M> {
    let word = Word::of_page(plan.word.pfn(), bits);
    let kind =
        if bits.without(plan.word.bits()).has(PageBits::WRITE) { FaultKind::Reused } else { FaultKind::Spurious };
    if word != plan.word {
        let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
        if locked.update(plan.index, |old| if old == plan.word { word } else { old }).0 != plan.word {
            return Step::Retry;
        }
    }
    // The CPU may still have the translation that did not allow it (A14).
    cx.flush_spurious(space.id(), plan.address);
    Step::Done(kind)
}

/// Makes an anonymous page, whose only user the entry seems to be, writable and exclusive.
pub(super) fn reuse<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, bits: PageBits) -> Step<M> {
    let pfn = plan.word.pfn();
    let word = Word::of_page(pfn, bits);
    let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
    // Under the lock the entry's own reference pins the frame, and nobody can take another from the entry. Before, the
    // frame may have been another page, which the entry did not show.
    let frame = cx.vm().physical().folio(pfn);
    if frame.kind() != Kind::Anonymous || frame.references() != 1 && M::guard(Guard::ReuseRecounted) {
        return Step::Retry;
    }
    if locked.update(plan.index, |old| if old == plan.word { word } else { old }).0 != plan.word {
        return Step::Retry;
    }
    drop(locked);
    cx.flush_spurious(space.id(), plan.address);
    Step::Done(FaultKind::Reused)
}
