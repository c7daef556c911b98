//! An access to a page of a file or of shared memory that is not mapped yet.

use super::copy::copy_to;
use super::fetched::Fetched;
use super::plan::{Plan, bits_for, commit, still_so};
use super::{Access, FaultKind, Step};
use crate::arch::{Arch, Word};
use crate::cpu::Cx;
use crate::error::PageError;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Kind, Pfn};
use crate::space::Inner;
use crate::space::apply::rss_kind;
use core::ptr::NonNull;

/// A page of an object that is not mapped here yet.
pub(super) fn absent_object<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    object: NonNull<object::Inner<M>>,
    fetched: &mut Option<Fetched>,
) -> Result<Step<M>, PageError> {
    // The class was read without a lock: only now is it known that its object is one.
    if !still_so(&plan.leaf, plan.sequence) {
        return Ok(Step::Retry);
    }
    let index = plan.offset(M::Arch::PAGE_SHIFT);
    let Some(pfn) = find_page(cx, object, index, fetched) else {
        // SAFETY: found in a class within this read-side section, so its memory is there; it may be dying.
        let has_reference = unsafe { object.as_ref() }.try_get();
        return Ok(if has_reference { Step::Read(object, index) } else { Step::Retry });
    };
    let step = if cx.vm().physical().folio(pfn).is_full() {
        Err(PageError::OutOfMemory)
    } else if plan.access == Access::Write && plan.attributes.is_private() {
        copy_to(cx, space, plan, pfn)
    } else {
        Ok(map_page(cx, space, plan, pfn))
    };
    match step {
        // The reference of the lookup has become the mapping's.
        Ok(Step::Done(FaultKind::File)) => {}
        _ => object::release(cx, pfn),
    }
    step
}

/// The page with a reference: fetched before, or in the cache.
pub(super) fn find_page<M: Machine>(
    cx: &Cx<'_, M>,
    object: NonNull<object::Inner<M>>,
    index: u64,
    fetched: &mut Option<Fetched>,
) -> Option<Pfn> {
    // SAFETY: found in a class within this read-side section.
    let object = unsafe { object.as_ref() };
    if is_going(object, index) {
        // Who asks for the page waits until that is over.
        return None;
    }
    match *fetched {
        Some(Fetched::Page { object: fetched_of, index: page, pfn }) if fetched_of == object.id() && page == index => {
            *fetched = None;
            Some(pfn)
        }
        _ => object.lookup(cx, index),
    }
}

/// Maps the object's own page. The caller's reference goes to the mapping.
pub(super) fn map_page<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, pfn: Pfn) -> Step<M> {
    // A page of a shared mapping becomes writable by a store, so that the store is noticed.
    let bits = bits_for::<M::Arch>(plan.attributes.prot, plan.access == Access::Write, plan.access);
    let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
    if !is_still_shown(cx, plan, pfn) {
        return Step::Retry;
    }
    cx.vm().physical().folio(pfn).add_mapping_of_reference();
    locked.install(plan.index, Word::of_page(pfn, bits));
    // Without the lock the frame may be something else at once.
    let kind = rss_kind(cx, pfn);
    drop(locked);
    space.add_rss(cx, kind, 1);
    Step::Done(FaultKind::File)
}

/// Whether page `pfn` is still one of the plan's object, and is not being taken away: it may have been truncated, or be
/// in a hole, since it was looked up (F11, F12, F14, F17). The leaf's lock is held.
pub(super) fn is_still_shown<M: Machine>(cx: &Cx<'_, M>, plan: &Plan<'_, M>, pfn: Pfn) -> bool {
    let Some(object) = plan.attributes.object else { return true };
    // This first: who takes a page away has dropped it before he says that it is not going any more.
    // SAFETY: found in a class within this read-side section.
    let going = || is_going(unsafe { object.as_ref() }, plan.offset(M::Arch::PAGE_SHIFT));
    let is_going = M::guard(Guard::GoingAskedFirst) && going();
    let frame = cx.vm().physical().frame(pfn);
    let is_page = || match frame.is_single(Kind::File) {
        true => object::is_page_of(frame, object),
        // SAFETY: as above.
        false => unsafe { object.as_ref() }.has_part(cx, plan.offset(M::Arch::PAGE_SHIFT), pfn),
    };
    let is_of = is_page() || !M::guard(Guard::CachedUnderLock);
    is_of && !is_going && (M::guard(Guard::GoingAskedFirst) || !going())
}

/// Whether page `index` is being taken from its object.
#[inline(always)]
pub(super) fn is_going<M: Machine>(object: &object::Inner<M>, index: u64) -> bool {
    object.is_cut(index) && M::guard(Guard::CutUnderLock) || object.is_in_hole(index) && M::guard(Guard::HoleUnderLock)
}
