//! Folios of several pages, of fewer than a huge page, at the first store to one of them.
//!
//! One fault then serves all the pages: the largest folio that the policy allows, at its natural place, where all slots
//! are of one class and have no entries. Each page has an entry of its own. As a huge page, it is cleared outside of
//! the core.

use super::fetched::Fetched;
use super::huge::has_tags_for;
use super::plan::{Plan, bits_for, commit};
use super::{Access, FaultKind, Step};
use crate::arch::{PageBits, Word};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::ops::huge_pages::is_wanted_huge;
use crate::phys::Pfn;
use crate::space::{Inner, RssKind};
use crate::stat::Event;

/// The first store to a page where folios of several pages may come: what is to be done, unless it is a page by itself.
#[cold]
#[inline(never)]
pub(super) fn absent_folio<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    fetched: &mut Option<Fetched>,
) -> Option<Step<M>> {
    if !is_wanted_huge(cx.vm(), space, &plan.attributes) {
        return None;
    }
    // Where a larger one could not be had, smaller ones are tried.
    let smaller = if let Some(Fetched::NoFolio(order)) = *fetched { (1u32 << order) - 1 } else { u32::MAX };
    let order = order_for(cx, plan, cx.vm().folio_orders() & smaller)?;
    match *fetched {
        // What there is no room for any more comes as a page by itself.
        Some(Fetched::Folio { head, order: cleared }) if cleared <= order && has_tags_for(cx, plan, head) => {
            install(cx, space, plan, head, cleared).then(|| {
                *fetched = None;
                Step::Done(FaultKind::Anonymous)
            })
        }
        Some(Fetched::Folio { .. }) => None,
        _ => Some(Step::ClearFolio(plan.wants(order))),
    }
}

/// The largest of the orders that there is room for at the plan's place; seen without a lock, or with the leaf's.
fn order_for<M: Machine>(cx: &Cx<'_, M>, plan: &Plan<'_, M>, orders: u32) -> Option<u8> {
    let leaf = &plan.leaf;
    let has_room = |order: &u8| {
        let (low, slots) = (plan.index >> order << order, 1usize << order);
        let is_of_one_class = || leaf.runs(cx).run(low, low + slots).1 == low + slots;
        let has_name = || plan.folio_offset(*order).is_some();
        slots < leaf.len() && leaf.is_empty(low, low + slots - 1) && is_of_one_class() && has_name()
    };
    (1..u32::BITS as u8).rev().filter(|order| orders & 1 << order != 0).find(has_room)
}

/// Installs the pages of the folio `head`, cleared and nobody else's, if everything is as planned and there is room for
/// it; else it is the caller's still.
fn install<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, head: Pfn, order: u8) -> bool {
    let frame = cx.vm().physical().frame(head);
    let low = plan.index >> order << order;
    let Some(locked) = commit(cx, space, plan) else { return false };
    let has_room = order_for(cx, plan, 1 << order).is_some();
    let Some(offset) = plan.folio_offset(order).filter(|_| has_room) else { return false };
    frame.be_anonymous(order, space.owner(), offset);
    let pages = 1u64 << order;
    // One has the reference that there is.
    frame.add_mapping_of_reference();
    frame.add_mappings(pages - 1);
    let bits = bits_for::<M::Arch>(plan.attributes.prot, true, Access::Write) | PageBits::EXCLUSIVE | plan.tag_bit();
    let first = Word::of_page(head, bits);
    for page in 0..pages {
        locked.install(low + page as usize, first.further(page));
    }
    drop(locked);
    space.add_rss(cx, RssKind::Anonymous, pages as i64);
    cx.count(Event::FolioFault, 1);
    true
}
