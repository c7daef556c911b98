//! What a fault has read without a lock, and whether that still holds under the lock.

use super::{Access, Wanted};
use crate::arch::{Arch, PageBits, Prot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{COPY_OF_OBJECT, folio_offset};
use crate::space::apply::readable;
use crate::space::table::{Locked, Table};
use crate::space::{Attributes, ClassFlags, ClassId, Inner};

/// What a try has found out.
pub(in crate::ops) struct Plan<'a, M: Machine> {
    /// The lowest table: no leaf, if there is a huge page.
    pub(in crate::ops) leaf: Table<'a, M>,
    pub(in crate::ops) index: usize,
    /// Of the leaf's classes.
    pub(super) sequence: u32,
    pub(in crate::ops) attributes: Attributes<M>,
    /// The entry, as it would stand in a leaf.
    pub(in crate::ops) word: Word<M::Arch>,
    /// Rounded down to a page; to a huge one, if there is one.
    pub(in crate::ops) address: u64,
    pub(in crate::ops) access: Access,
}

impl<M: Machine> Plan<'_, M> {
    /// Page index in the object, or anonymous offset.
    #[inline(always)]
    pub(in crate::ops) fn offset(&self, page_shift: u32) -> u64 {
        (self.address >> page_shift).wrapping_sub(self.attributes.delta)
    }
}

impl<M: Machine> Plan<'_, M> {
    /// The offset by which reverse mapping finds an anonymous page of this place.
    #[inline(always)]
    pub(in crate::ops) fn anonymous_offset(&self) -> u64 {
        let copy = if self.attributes.object.is_some() { COPY_OF_OBJECT } else { 0 };
        (self.offset(M::Arch::PAGE_SHIFT) & !COPY_OF_OBJECT) | copy
    }

    /// That of the first page of a folio of `1 << order` pages, of which the page here is one; none if it cannot be one
    /// folio.
    pub(super) fn folio_offset(&self, order: u8) -> Option<u64> {
        let first = self.address >> M::Arch::PAGE_SHIFT >> order << order;
        folio_offset(first, self.attributes.delta, 1 << order)
    }

    /// The folio of `1 << order` pages that may come at this place.
    pub(super) fn wants(&self, order: u8) -> Wanted {
        let offset = self.offset(M::Arch::PAGE_SHIFT) >> order;
        let is_tagged = self.tag_bit() != PageBits::NONE;
        Wanted { order, is_tagged, policy: self.attributes.policy, offset, is_shared: false }
    }

    /// The bit by which accesses are checked against tags, where the mapping wants that.
    #[inline(always)]
    pub(in crate::ops) fn tag_bit(&self) -> PageBits {
        let is_tagged = M::Arch::semantics().tags.is_some() && self.attributes.flags.has(ClassFlags::TAGGED);
        if is_tagged { PageBits::TAGGED } else { PageBits::NONE }
    }
}

/// A plan to bring back what is absent at `address`, a page's, for loads but without asking for rights; `None` if
/// nothing is known of the page there.
pub(in crate::ops) fn plan_at<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    address: u64,
) -> Option<Plan<'a, M>> {
    let leaf = space.lowest(cx, address);
    let sequence = loop {
        match leaf.sequence() {
            Some(sequence) => break sequence,
            None => leaf.await_sequence(cx),
        }
    };
    let index = leaf.index(address);
    let (class, word) = (leaf.class(cx, index), leaf.entry(index));
    if leaf.level > 0 || class == ClassId::NONE || word.is_empty() || word.is_page() {
        return None;
    }
    Some(Plan { leaf, index, sequence, attributes: cx.attributes(class), word, address, access: Access::Read })
}

/// Whether what was read of the table's classes since `sequence` belongs together.
#[inline(always)]
pub(super) fn still_so<M: Machine>(table: &Table<'_, M>, sequence: u32) -> bool {
    table.sequence_is(sequence) || !M::guard(Guard::SequenceReread)
}

/// Takes the leaf's lock, if everything is as planned.
#[inline(always)]
pub(in crate::ops) fn commit<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'a, M>,
) -> Option<Locked<'a, M>> {
    let locked = plan.leaf.lock(cx, space, plan.address)?;
    let as_planned = !M::guard(Guard::Recheck)
        || plan.leaf.sequence() == Some(plan.sequence)
            && plan.leaf.is_childless(plan.index)
            && plan.leaf.page(plan.index) == plan.word;
    if !as_planned || space.fork_pending(plan.leaf.fork_stamp()) {
        return None;
    }
    if locked.has_pending_flush(Guard::SettledByFault) && !plan.word.is_page() {
        // Another CPU may still see the page that was here.
        return Some(settled(cx, space, locked, plan.address));
    }
    Some(locked)
}

/// `locked`, in which nothing is owed any more for the page at `address`. By value, so that a lock need not lie in
/// memory for it.
#[cold]
#[inline(never)]
fn settled<'a, M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, locked: Locked<'a, M>, address: u64) -> Locked<'a, M> {
    cx.settle(space, &locked, address);
    locked
}

/// The bits of an entry that grants what the class does; WRITE only if `writable`.
#[inline(always)]
pub(in crate::ops) fn bits_for<A: Arch>(prot: Prot, writable: bool, access: Access) -> PageBits {
    let rights = readable::<A>(prot);
    let rights = if writable { rights } else { rights.without(Prot::WRITE) };
    let dirty = if access == Access::Write { PageBits::DIRTY } else { PageBits::NONE };
    PageBits::of(rights) | PageBits::ACCESSED | dirty
}
