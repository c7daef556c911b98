//! The first access to a page of anonymous memory.

use super::fetched::Fetched;
use super::folio::absent_folio;
use super::plan::{Plan, bits_for, commit};
use super::{Access, FaultKind, Step};
use crate::arch::{Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::error::{Error, PageError};
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Pfn, Policy};
use crate::space::{Inner, RssKind};
use core::sync::atomic::Ordering::Relaxed;

/// Private anonymous memory that nothing was stored to.
#[inline(always)]
pub(super) fn absent_anonymous<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    fetched: &mut Option<Fetched>,
) -> Result<Step<M>, PageError> {
    if plan.access != Access::Write {
        let bits = bits_for::<M::Arch>(plan.attributes.prot, false, plan.access) | PageBits::SPECIAL | plan.tag_bit();
        let Some(locked) = commit(cx, space, plan) else { return Ok(Step::Retry) };
        locked.install(plan.index, Word::of_page(cx.vm().zero_page(), bits));
        return Ok(Step::Done(FaultKind::Zero));
    }
    if cx.vm().folio_orders() != 0
        // A copy, so that the plan of a small page need not lie in memory.
        && let Some(step) = absent_folio(cx, space, &Plan { ..*plan }, fetched)
    {
        return Ok(step);
    }
    let pfn = fresh_page(cx, space, plan)?;
    let bits = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access) | PageBits::EXCLUSIVE | plan.tag_bit();
    let Some(locked) = commit(cx, space, plan) else {
        drop_fresh(cx, pfn);
        return Ok(Step::Retry);
    };
    locked.install(plan.index, Word::of_page(pfn, bits));
    drop(locked);
    if plan.tag_bit() != PageBits::NONE && !M::guard(Guard::TagsBeforeMapping) {
        cx.clear_tags(pfn);
    }
    space.add_rss(cx, RssKind::Anonymous, 1);
    Ok(Step::Done(FaultKind::Anonymous))
}

/// A cleared anonymous page for the plan's address, with the reference and the mapping it is going to have.
#[inline(always)]
pub(super) fn fresh_page<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Pfn, PageError> {
    let pfn = new_page(cx, space, plan)?;
    // SAFETY: the frame was just allocated and nobody else has it.
    unsafe { cx.vm().machine().clear_page(cx.vm().machine().frame(pfn)) };
    if plan.tag_bit() != PageBits::NONE && M::guard(Guard::TagsBeforeMapping) {
        cx.clear_tags(pfn);
    }
    Ok(pfn)
}

/// As [`fresh_page`], with whatever contents.
#[inline(always)]
pub(super) fn new_page<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Pfn, PageError> {
    let pfn = match plan.attributes.policy {
        // Here, so that the offset is not worked out before it is needed.
        Policy::Local => cx.alloc_frame(0, AllocFlags::NONE),
        policy => cx.alloc_frame_by(AllocFlags::NONE, policy, plan.offset(M::Arch::PAGE_SHIFT)),
    };
    let pfn = pfn.map_err(|_: Error| PageError::OutOfMemory)?;
    let frame = cx.vm().physical().frame(pfn);
    frame.be_anonymous(0, space.owner(), plan.anonymous_offset());
    frame.words[2].store(0, Relaxed);
    frame.set_counts(1, 1);
    Ok(pfn)
}

/// Frees a page from [`new_page`] that was not installed.
#[cold]
pub(super) fn drop_fresh<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) {
    // By chance a lookup of a page that was in this frame before has a reference.
    if cx.vm().physical().frame(pfn).drop_mapping() {
        cx.free_frame(pfn);
    }
}
