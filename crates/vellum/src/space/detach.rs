//! Taking whole leaves out of the tree of a live space, with what they show.
//!
//! Where an operation unmaps all pages of a leaf, nobody need touch them before the flush: the leaf is unlinked with
//! its entries, as if it were empty and folded, and so are those that follow. One flush serves them all; then what they
//! show is dropped, some pages in each read-side section, and the leaves go as other tables do.
//!
//! Until that flush the entries are reached by the processors that have cached the way to the leaf, which go on noting
//! accesses there. Who comes to the leaf by a way of his own finds it stale when he has its lock. Who reads it without
//! the lock relies, as everywhere, on what an entry shows only if it shows it still after he has counted: an entry is
//! cleared before its page goes (D8). To all others the pages are mapped, and nobody finds where, as those that a
//! gather holds (B3).
//!
//! No fault makes a table in the place of one that was taken out before the operation ends (B17). So no other page is
//! there before the flush, also where another mapping replaces this one (B23).
//!
//! What is shared is left to the way page by page: who writes a page to its file relies on finding the entries through
//! which it is stored to, or on its having been marked (B2, B22). An entry of a private mapping that can be stored to
//! shows a page that is no object's.

use super::gone::Gone;
use super::table::{Locked, Table};
use super::{ClassId, Inner};
use crate::arch::Word;
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, Release};

/// Pages of anonymous memory that are dropped in one read-side section, others for the price of two of them, and slots
/// that are looked at for that of one; and the most slots before it is asked what they were.
const PORTION: usize = 520;
const OTHERS: usize = 2;
const EMPTY: usize = 16;
const AT_ONCE: usize = 256;

/// Leaves that were taken out of the tree of one space and not freed yet: an operation's own, and it may leave the core
/// while it has some.
#[derive(Default)]
pub(super) struct Detached {
    /// Head of their chain, as frame number + 1.
    leaves: u64,
    /// Up to which slot the first of them is emptied.
    emptied: usize,
}

impl Detached {
    /// Adds a leaf that has just been unlinked.
    pub(super) fn add<M: Machine>(&mut self, leaf: &Table<'_, M>) {
        leaf.frame.link.store(self.leaves, Relaxed);
        self.leaves = leaf.pfn.0 + 1;
    }

    /// Frees what the leaves show, and the leaves. They are flushed.
    pub(super) fn free<M: Machine>(&mut self, vm: &Vm<M>, space: &Inner<M>) {
        while self.leaves != 0 {
            self.free_some(&Cx::enter(vm), space);
        }
    }

    /// [`Detached::free`], as much as is done in one read-side section.
    pub(super) fn free_some<M: Machine>(&mut self, cx: &Cx<'_, M>, space: &Inner<M>) {
        let mut left = PORTION;
        let mut gone = Gone::new(cx);
        while left > 0 && self.leaves != 0 {
            let leaf = Table::at(cx, Pfn(self.leaves - 1), 0);
            let end = leaf.len().min(self.emptied + left.min(AT_ONCE));
            let price = empty(cx, &leaf, (self.emptied, end), &mut gone);
            left = left.saturating_sub(price + 1);
            self.emptied = end;
            if end == leaf.len() {
                (self.leaves, self.emptied) = (leaf.frame.link.load(Relaxed), 0);
                cx.retire_table(leaf.pfn);
            }
        }
        gone.account(cx, space);
    }
}

/// Empties the slots `low..end` of a leaf that is flushed, and drops what they showed; what that was, as a price.
fn empty<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    leaf: &Table<'_, M>,
    (low, end): (usize, usize),
    gone: &mut Gone<'a, M>,
) -> usize {
    let (mut shown, before) = (0, gone.others());
    for slot in leaf.slots(low, end) {
        // No processor writes there any more: what it has noted is here.
        let word = slot.load(Relaxed);
        // In this order, and apart: most are pages.
        if let Some(pfn) = word.usual_page() {
            shown += 1;
            slot.store(Word::EMPTY, Release);
            gone.usual(cx, word, pfn);
        } else if !word.is_empty() {
            shown += 1;
            slot.store(Word::EMPTY, Release);
            gone.other(cx, word, 1);
        }
    }
    let others = gone.others() - before;
    shown + others * (OTHERS - 1) + (end - low - shown) / EMPTY
}

/// Whether nothing of a locked leaf is shared memory, or a page of a file that may be stored to through it.
pub(super) fn is_private<M: Machine>(cx: &Cx<'_, M>, leaf: &Locked<'_, M>) -> bool {
    let mut is_private = true;
    let table = leaf.table;
    table.each_class(cx, 0, table.len() - 1, &mut |class, _| {
        is_private &= class == ClassId::NONE || cx.attributes(class).is_private();
    });
    is_private || !M::guard(Guard::SharedPageByPage)
}

#[cfg(test)]
mod tests;
