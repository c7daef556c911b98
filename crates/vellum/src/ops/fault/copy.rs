//! A private copy in place of a page that is shared with others.

use super::anonymous::{drop_fresh, new_page};
use super::object::is_still_shown;
use super::plan::{Plan, bits_for, commit};
use super::{FaultKind, Step};
use crate::arch::{PageBits, Word};
use crate::cpu::Cx;
use crate::error::PageError;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Kind, Pfn};
use crate::space::apply::rss_kind;
use crate::space::{Inner, RssKind};
use crate::tlb::Flush;

/// Installs a private copy of page `source`, to which the caller has a reference, where nothing or that page was.
pub(super) fn copy_to<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    source: Pfn,
) -> Result<Step<M>, PageError> {
    let pfn = new_page(cx, space, plan)?;
    let machine = cx.vm().machine();
    // SAFETY: the target was just allocated and nobody else has it; the source stays allocated by the reference. Who
    // shares the source may store to it meanwhile only through a shared mapping, where any mix is as good.
    unsafe { machine.copy_page(machine.frame(source), machine.frame(pfn)) };
    if M::guard(Guard::CopyTakesTags) {
        cx.copy_tags(source, pfn);
    }
    Ok(if replace(cx, space, plan, pfn, Some(source)) { Step::Done(FaultKind::Copied) } else { Step::Retry })
}

/// Installs the fresh page `pfn`, writable, in place of what the plan saw, whose translations are flushed before the
/// new entry appears: no CPU may see stores to the new page while another still loads from the old (D9). `source`: what
/// it was copied from.
pub(super) fn replace<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    pfn: Pfn,
    source: Option<Pfn>,
) -> bool {
    let locked = commit(cx, space, plan);
    // A copy of a page that is mapped here needs no second look: its entry would have gone with it.
    let is_copy_of = |source: Pfn| !plan.word.is_empty() || is_still_shown(cx, plan, source);
    let Some(locked) = locked.filter(|_| source.is_none_or(is_copy_of)) else {
        drop_fresh(cx, pfn);
        return false;
    };
    let bits = bits_for::<M::Arch>(plan.attributes.prot, true, plan.access) | PageBits::EXCLUSIVE | plan.tag_bit();
    let word = Word::of_page(pfn, bits);
    let gone = if plan.word.is_empty() {
        locked.install(plan.index, word);
        None
    } else if M::guard(Guard::CopyBreakBeforeMake) {
        let old = locked.take(plan.index);
        let gone = drop_flushed(cx, space, plan, old);
        locked.install(plan.index, word);
        gone
    } else {
        let old = locked.update(plan.index, |_| word).0;
        drop_flushed(cx, space, plan, old)
    };
    drop(locked);
    if gone != Some(RssKind::Anonymous) {
        gone.inspect(|&kind| space.add_rss(cx, kind, -1));
        space.add_rss(cx, RssKind::Anonymous, 1);
    }
    true
}

/// Flushes the entry that the plan saw, which was `word` when it was removed, and drops its mapping: of what kind of
/// page, whose count is the caller's.
#[inline(always)]
fn drop_flushed<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    word: Word<M::Arch>,
) -> Option<RssKind> {
    cx.flush(space.id(), space.tlb(), Flush { start: plan.address, pages: 1, tables_freed: false });
    if word.bits().has(PageBits::SPECIAL) {
        return None;
    }
    let old = word.pfn();
    if !cx.vm().physical().frame(old).is_single(Kind::Anonymous) {
        let kind = rss_kind(cx, old);
        cx.end_page_mapping(old);
        return Some(kind);
    }
    if cx.drop_page_mapping(old) {
        cx.free_frame(old);
    }
    Some(RssKind::Anonymous)
}
