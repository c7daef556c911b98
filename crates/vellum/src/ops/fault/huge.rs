//! Faults at an upper table: where a huge page is, or may come.
//!
//! A slot of an upper table that has no lower one is of one class for its whole span. So whether a huge page may come
//! there is asked of the class, and nothing of the mapping's extent. It is cleared outside of the core, as that takes
//! long, and then installed as any page is: if the table, its classes and the entry are what they were.

use super::fetched::Fetched;
use super::huge_object::absent_huge;
use super::plan::{Plan, bits_for, commit};
use super::present::present;
use super::{Access, FaultKind, Step, Wanted, add_table};
use crate::arch::{Absent, Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::error::PageError;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::ops::huge_pages::is_wanted_huge;
use crate::phys::{Pfn, folio};
use crate::space::claim::is_claimed;
use crate::space::{ClassId, Inner, RssKind, Space};
use crate::stat::Event;
use crate::tlb::Flush;
use core::sync::atomic::Ordering::Relaxed;

/// A fault whose way ends at the upper table of `plan`, whose slot has no lower one.
pub(super) fn above_leaf<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    mut plan: Plan<'_, M>,
    class: ClassId,
    fetched: &mut Option<Fetched>,
) -> Result<Step<M>, PageError> {
    let table = plan.leaf;
    let page = plan.address;
    plan.address &= !(table.span() - 1);
    match plan.word.absent() {
        Some(Absent::Splitting) => {
            table.frame.lock.wait_free(cx);
            return Ok(Step::Retry);
        }
        // Small pages are becoming a huge one.
        Some(Absent::Migration { pfn, .. }) => return Ok(Step::AwaitFolio(pfn, plan.word)),
        _ => {}
    }
    let step = match (plan.word.is_page(), plan.attributes.object) {
        (true, _) => present(cx, space, &plan, fetched)?,
        (false, Some(object)) => absent_huge(cx, space, &plan, object, fetched),
        (false, None) if plan.access == Access::Write => first_store(cx, space, &plan, fetched),
        (false, None) => first_load(cx, space, &plan, fetched),
    };
    // What there is no huge page for, and a copy of a part, are small pages.
    if let Step::Split = step { add_table(cx, space, table, page, class) } else { Ok(step) }
}

/// The first store to a place that has no page yet, or shows only that nothing was stored there: a huge page, if it may
/// come.
#[inline(always)]
pub(super) fn first_store<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    fetched: &mut Option<Fetched>,
) -> Step<M> {
    match may_come(cx, space, plan, *fetched) {
        Coming::Not => Step::Split,
        Coming::Wanted(wanted) => Step::ClearFolio(wanted),
        Coming::Cleared(head) => match install(cx, space, plan, head) {
            Installed::Changed => Step::Retry,
            Installed::Claimed => Step::Split,
            Installed::Yes => {
                *fetched = None;
                Step::Done(FaultKind::Anonymous)
            }
        },
    }
}

/// The first load from such a place: one huge page of zeroes is shown to all, and kept for ever when it was made.
fn first_load<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    fetched: &mut Option<Fetched>,
) -> Step<M> {
    if plan.tag_bit() != PageBits::NONE {
        // The huge page of zeroes has no tags.
        return Step::Split;
    }
    let order = plan.leaf.pages().trailing_zeros() as u8;
    let zero = cx.vm().huge_zero_page(order);
    match (may_come(cx, space, plan, *fetched), zero) {
        (Coming::Not, _) => Step::Split,
        (_, Some(zero)) => match install_zero(cx, space, plan, zero) {
            Installed::Changed => Step::Retry,
            Installed::Claimed => Step::Split,
            Installed::Yes => Step::Done(FaultKind::Zero),
        },
        (Coming::Wanted(wanted), None) => Step::ClearFolio(wanted),
        (Coming::Cleared(head), None) => {
            if cx.keep_huge_zero_page(head) {
                *fetched = None;
            }
            Step::Retry
        }
    }
}

/// Whether a huge page may come at a place.
enum Coming {
    Not,
    Wanted(Wanted),
    Cleared(Pfn),
}

#[inline(always)]
fn may_come<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, fetched: Option<Fetched>) -> Coming {
    let level = plan.leaf.level;
    if level != 1 || level > M::Arch::HUGE_LEVEL || !is_wanted_huge(cx.vm(), space, &plan.attributes) {
        return Coming::Not;
    }
    let order = plan.leaf.pages().trailing_zeros() as u8;
    if plan.folio_offset(order).is_none() {
        return Coming::Not;
    }
    match fetched {
        Some(Fetched::Folio { head, order: cleared }) if cleared == order && has_tags_for(cx, plan, head) => {
            Coming::Cleared(head)
        }
        Some(Fetched::Folio { .. } | Fetched::NoFolio(_)) => Coming::Not,
        _ => Coming::Wanted(plan.wants(order)),
    }
}

/// Whether a folio that was cleared for a fault has cleared tags if its place wants them by now, and else none.
pub(super) fn has_tags_for<M: Machine>(cx: &Cx<'_, M>, plan: &Plan<'_, M>, head: Pfn) -> bool {
    let has_tags = cx.vm().physical().frame(head).flags_relaxed() & folio::TAGGED != 0;
    has_tags == (plan.tag_bit() != PageBits::NONE)
}

/// What came of installing a huge page.
enum Installed {
    Yes,
    /// Something is not as planned.
    Changed,
    /// Somebody has claimed a part of the place, or all of it.
    Claimed,
}

/// Installs the folio `head` at the plan's place, if that is still as planned, and nobody has claimed any of it: who
/// has prepared the edges of his range does not expect a page that lies across one. It is the argument of the short way
/// ([`crate::space::leaf`]): either the claim is seen here, under the lock, or who has claimed waits until the lock is
/// free.
fn install<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, head: Pfn) -> Installed {
    let bits = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access) | PageBits::EXCLUSIVE | plan.tag_bit();
    let frame = cx.vm().physical().frame(head);
    let Some(offset) = plan.folio_offset(frame.order()) else { return Installed::Changed };
    frame.be_anonymous(frame.order(), space.owner(), offset);
    let Some(locked) = commit(cx, space, plan) else { return Installed::Changed };
    if M::guard(Guard::HugeUnclaimed) && is_claimed(cx, space, &plan.leaf, plan.address) {
        return Installed::Claimed;
    }
    frame.add_mapping_of_reference();
    if !plan.word.is_empty() && M::guard(Guard::CopyBreakBeforeMake) {
        // No CPU may load zeroes when a store to the new page is seen (D9).
        locked.take(plan.index);
        let what = Flush { start: plan.address, pages: plan.leaf.pages(), tables_freed: false };
        cx.flush(space.id(), space.tlb(), what);
    }
    match plan.leaf.page(plan.index).is_empty() {
        true => locked.install(plan.index, Word::of_page(head, bits)),
        false => _ = locked.update(plan.index, |_| Word::of_page(head, bits)),
    }
    drop(locked);
    space.add_rss(cx, RssKind::Anonymous, plan.leaf.pages() as i64);
    cx.count(Event::HugeFault, 1);
    Installed::Yes
}

/// As [`install`], for the huge page of zeroes, which nobody counts.
fn install_zero<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, zero: Pfn) -> Installed {
    let bits = bits_for::<M::Arch>(plan.attributes.prot, false, plan.access) | PageBits::SPECIAL;
    let Some(locked) = commit(cx, space, plan) else { return Installed::Changed };
    if M::guard(Guard::HugeUnclaimed) && is_claimed(cx, space, &plan.leaf, plan.address) {
        return Installed::Claimed;
    }
    locked.install(plan.index, Word::of_page(zero, bits));
    Installed::Yes
}

impl<M: Machine> Space<'_, M> {
    /// A cleared folio for a fault of this space; none if there is none free, or the space's group has no room for so
    /// many pages. Clears it with pre-emption on.
    #[cold]
    pub(super) fn clear_folio(&self, wanted: Wanted) -> Fetched {
        let (vm, Wanted { order, policy, offset, is_tagged, .. }) = (self.vm(), wanted);
        let head = {
            let has_room = self.has_room_in_group(1 << order);
            let cx = Cx::enter(vm);
            let folio = if has_room { cx.alloc_folio_by(order, policy, offset).ok() } else { None };
            let Some(head) = folio else {
                // Of a smaller folio nobody counts it.
                let event = if wanted.is_shared { Event::SharedHugeFallback } else { Event::HugeFallback };
                cx.count(event, u64::from(u32::from(order) == M::Arch::index_bits(0)));
                return Fetched::NoFolio(order);
            };
            let frame = vm.physical().frame(head);
            frame.words[2].store(0, Relaxed);
            frame.set_counts(1, 0);
            head
        };
        // SAFETY: the frames were just allocated, and nobody else has them.
        unsafe { vm.machine().clear_frames(head, 1 << order) };
        if is_tagged {
            (0..1 << order).for_each(|page| Cx::enter(vm).clear_tags(head.offset(page)));
        }
        Fetched::Folio { head, order }
    }
}
