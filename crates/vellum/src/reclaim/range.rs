//! The pages of a range: put out, or aged, on a program's advice; and those of a group that has reached its limit.

use super::list::Isolated;
use super::shrink::{Choice, shrink};
use crate::arch::{Arch, PageBits};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object;
use crate::phys::Pfn;
use crate::rmap::take_accessed;
use crate::space::{Inner, Space};
use crate::vm::Vm;

/// Turns of the hand by which a page that is said to be cold is aged.
const COLD: u8 = 2;

impl<M: Machine> Space<'_, M> {
    /// Writes out and frees the pages of `start..end` that nobody else maps; how many.
    pub(crate) fn page_out(&self, start: u64, end: u64) -> u64 {
        each_list(self.vm(), self.inner(), start, end, &mut |list| shrink(self.vm(), list, Choice::All))
    }

    /// Makes the pages of `start..end` that nobody else maps the next to be reclaimed.
    pub(crate) fn make_cold(&self, start: u64, end: u64) {
        each_list(self.vm(), self.inner(), start, end, &mut |list| {
            let cx = Cx::enter(self.vm());
            for &pfn in list.pages() {
                let frame = self.vm().physical().frame(pfn);
                if frame.folio_lock().try_acquire() {
                    take_accessed(&cx, pfn);
                    frame.set_generation(self.vm().physical().generation_before(frame.node(), COLD));
                    frame.folio_lock().release(self.vm());
                }
                object::release(&cx, pfn);
            }
            0
        });
    }
}

/// Calls `each` with lists of the pages that `start..end` of `space` shows and that have no other mapping, each page with
/// a reference which `each` drops; the sum of what it returns. Without a context.
pub(super) fn each_list<M: Machine>(
    vm: &Vm<M>,
    space: &Inner<M>,
    start: u64,
    end: u64,
    each: &mut dyn FnMut(&Isolated) -> u64,
) -> u64 {
    let mut done = 0;
    let mut here = start;
    while here < end {
        let mut list = Isolated::new();
        here = collect(&Cx::enter(vm), space, here, end, &mut list);
        if !list.is_empty() {
            done += each(&list);
        }
    }
    done
}

/// Adds pages of `start..end` to the list until it is full or the leaf ends; where to go on.
fn collect<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, start: u64, end: u64, list: &mut Isolated) -> u64 {
    let leaf = space.lowest(cx, start);
    if leaf.level > 0 {
        return (start & !(leaf.span() - 1)).saturating_add(leaf.span()).min(end);
    }
    let last = (leaf.base(start) + (leaf.span() * leaf.len() as u64 - 1)).min(end - 1);
    for index in leaf.index(start)..=leaf.index(last) {
        if list.is_full() {
            return leaf.base(start) + ((index as u64) << M::Arch::PAGE_SHIFT);
        }
        let word = leaf.entry(index);
        if let Some(pfn) = lonely_page(cx, word) {
            // The frame may have become another page before it was counted; if the entry names it still, it is the page.
            if leaf.entry(index) == word {
                list.push(pfn);
            } else {
                object::release(cx, pfn);
            }
        }
    }
    last + 1
}

/// The page that the entry `word` shows, if no other does, with a reference.
fn lonely_page<M: Machine>(cx: &Cx<'_, M>, word: u64) -> Option<Pfn> {
    if !M::Arch::is_page(word) || M::Arch::page_bits(word).has(PageBits::SPECIAL) {
        return None;
    }
    let pfn = M::Arch::pfn(word);
    let frame = cx.vm().physical().frame(pfn);
    (frame.mappings() == 1 && frame.try_get()).then_some(pfn)
}
