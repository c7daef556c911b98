//! Faults at an upper table where shared memory is mapped: a huge page of it, where the object has one or may get one.
//!
//! A slot of an upper table shows a huge page of an object if the mapping is shared, and the slot lies in the mapping
//! as the huge page lies in the object. What is in the cache as a folio of that size is shown by one entry; where there
//! is no page yet a folio is cleared, outside of the core, and added, if the policy says so. Everything else is shown
//! by small pages: what has small pages already, private mappings, which copy page by page, and a huge page of which a
//! part goes.

use super::fetched::{Fetched, Wanted};
use super::object::find_page;
use super::plan::{Plan, bits_for, commit, still_so};
use super::{Access, FaultKind, Step};
use crate::arch::{Arch, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, Shows};
use crate::ops::huge_pages::{is_shared_wanted_huge, may_show_huge};
use crate::phys::{Folio, Kind, Pfn, Policy};
use crate::space::claim::is_claimed;
use crate::space::{Inner, RssKind};
use crate::stat::Event;
use core::ptr::NonNull;

/// An access to a slot of an upper table that shows an object, and has no entry; [`Step::Split`] if small pages are to
/// come there.
#[cold]
#[inline(never)]
pub(super) fn absent_huge<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    object: NonNull<object::Inner<M>>,
    fetched: &mut Option<Fetched>,
) -> Step<M> {
    // The class was read without a lock: only now is it known that its object is one.
    if !still_so(&plan.leaf, plan.sequence) {
        return Step::Retry;
    }
    // SAFETY: found in a class within this read-side section.
    let inner = unsafe { object.as_ref() };
    let Some(first) = place_of(space, plan, inner) else { return Step::Split };
    if let Some(pfn) = find_page(cx, object, first, fetched) {
        return show(cx, space, plan, inner, pfn);
    }
    if inner.has_any(cx, first..first + 1) {
        // It is being moved, or has just been added: small pages would stay. It may be gone by then, and none is asked
        // for.
        return if inner.try_get() { Step::AwaitPage(object, first) } else { Step::Retry };
    }
    match wanted(cx, plan, inner, *fetched) {
        Coming::Not => Step::Split,
        Coming::Wanted(wanted) => Step::ClearFolio(wanted),
        Coming::Cleared(of) => {
            // If it cannot be added small pages come: what has kept it out does so still, or is one of them.
            *fetched = Some(Fetched::NoFolio(of.order));
            let step = add(cx, space, plan, object, of);
            if matches!(step, Step::Done(_)) {
                *fetched = None;
            }
            step
        }
    }
}

/// The first page of the object in the slot of `plan`, if a huge page may be shown there.
fn place_of<M: Machine>(space: &Inner<M>, plan: &Plan<'_, M>, object: &object::Inner<M>) -> Option<u64> {
    let (level, pages) = (plan.leaf.level, plan.leaf.pages());
    let first = plan.offset(M::Arch::PAGE_SHIFT);
    let can_be = level == 1 && level <= M::Arch::HUGE_LEVEL && !object.is_file() && first.is_multiple_of(pages);
    (can_be && may_show_huge(space, &plan.attributes) && object.is_within(first, pages)).then_some(first)
}

/// Whether a huge page is to be added to an object.
enum Coming {
    Not,
    Wanted(Wanted),
    Cleared(Folio),
}

fn wanted<M: Machine>(
    cx: &Cx<'_, M>,
    plan: &Plan<'_, M>,
    object: &object::Inner<M>,
    fetched: Option<Fetched>,
) -> Coming {
    let (first, pages) = (plan.offset(M::Arch::PAGE_SHIFT), plan.leaf.pages());
    if !is_shared_wanted_huge(cx.vm(), &plan.attributes) || object.has_any(cx, first..first + pages) {
        return Coming::Not;
    }
    let order = pages.trailing_zeros() as u8;
    match fetched {
        Some(Fetched::Folio { head, order: cleared }) if cleared == order => Coming::Cleared(Folio { head, order }),
        Some(Fetched::Folio { .. } | Fetched::NoFolio(_)) => Coming::Not,
        // As small pages of objects, from where it is stored to first.
        _ => Coming::Wanted(Wanted { policy: Policy::Local, is_tagged: false, is_shared: true, ..plan.wants(order) }),
    }
}

/// Adds a folio, cleared and nobody else's, to the object, and shows it. Its reference goes.
fn add<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    object: NonNull<object::Inner<M>>,
    of: Folio,
) -> Step<M> {
    // SAFETY: found in a class within this read-side section; it may be dying, and gets no pages then.
    let inner = unsafe { object.as_ref() };
    let is_alive = inner.try_get();
    let is_added = is_alive && inner.add_folio(cx, plan.offset(M::Arch::PAGE_SHIFT), of);
    let step = if is_added { show(cx, space, plan, inner, of.head) } else { Step::Retry };
    if !is_added {
        object::release(cx, of.head);
    }
    if is_alive {
        cx.put_object(object);
    }
    step
}

/// Shows the folio that page `pfn`, to which there is a reference, is the first one of, if it is as large as the slot.
/// The reference goes.
fn show<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    object: &object::Inner<M>,
    pfn: Pfn,
) -> Step<M> {
    let frame = cx.vm().physical().frame(pfn);
    let order = plan.leaf.pages().trailing_zeros() as u8;
    let is_huge = frame.kind_and_order() == (Kind::File, order) && !frame.is_full();
    let step = if is_huge { install(cx, space, plan, object, pfn) } else { Step::Split };
    if !matches!(step, Step::Done(_)) {
        object::release(cx, pfn);
    }
    step
}

/// Installs the folio at the plan's place, if that is as planned, nobody has claimed any of it, as for any huge page,
/// and all of the folio is the object's and stays so. The caller's reference goes to the mapping.
fn install<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    object: &object::Inner<M>,
    head: Pfn,
) -> Step<M> {
    let (frame, pages) = (cx.vm().physical().frame(head), plan.leaf.pages());
    // As a small page, it becomes writable by a store.
    let bits = bits_for::<M::Arch>(plan.attributes.prot, plan.access == Access::Write, plan.access);
    let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
    if M::guard(Guard::HugeUnclaimed) && is_claimed(cx, space, &plan.leaf, plan.address) {
        return Step::Split;
    }
    match object.shows_whole(frame, plan.offset(M::Arch::PAGE_SHIFT), pages) {
        Shows::Whole => {}
        Shows::Parts => return Step::Split,
        Shows::Another => return Step::Retry,
    }
    frame.add_mapping_of_reference();
    locked.install(plan.index, Word::of_page(head, bits));
    drop(locked);
    space.add_rss(cx, RssKind::SharedMemory, pages as i64);
    cx.count(Event::SharedHugeMapped, 1);
    Step::Done(FaultKind::File)
}
