//! A huge page becomes small ones: a table takes the place of the entry that showed all of it.
//!
//! The folio stays what it is; each of its pages has an entry from then on, with the rights and marks of the one that
//! there was. The table is filled before anybody sees it, and is published in one exchange, which is repeated if the
//! processor has noted something in the old entry meanwhile: so no access, and no walk without a lock, finds nothing
//! there, and no accessed or dirty bit is lost. The flush for it comes under the lock: a translation of all of the page
//! would outlive changes of its parts that flush only those.
//!
//! Or it goes to swap, and a table of entries that name its slots comes in its place in the same way
//! ([`Inner::put_out_huge`]).
//!
//! Where the architecture wants an invalid entry and a flush between entries of two sizes, the entry says so for the
//! time of the flush ([`Absent::Splitting`]). Who comes upon that waits for the lock of the table where it stands.

use super::absent::migrating;
use super::claim::commit_above;
use super::rules::How;
use super::table::{Locked, Table};
use super::{ClassId, Inner};
use crate::arch::{Absent, Arch, PageBits, SwapSlot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::AllocFlags;
use crate::stat::Event;
use crate::tlb::Flush;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

impl<M: Machine> Inner<M> {
    /// Puts a table in the place of the huge page that slot `index` of a locked table shows, at `address`, on behalf of
    /// who works on its folio: from the reserve. Whether there was memory, and no range operation is committing there,
    /// which knows what tables it has to do with.
    pub(crate) fn cut_huge(&self, cx: &Cx<'_, M>, upper: &Locked<'_, M>, index: usize, address: u64) -> bool {
        let Some((child, class)) = self.table_for(cx, upper, index, address) else { return false };
        cx.retain_class(class, child.len() as u64 - 1);
        self.split_entry(cx, upper, index, &child, address);
        true
    }

    /// A table for the place of a huge page that slot `index` of a locked table shows, from the reserve, with the class
    /// of its slots, which are not counted yet; `None` if there is no memory, or a range operation is committing there.
    fn table_for<'a>(
        &self,
        cx: &'a Cx<'_, M>,
        upper: &Locked<'_, M>,
        index: usize,
        address: u64,
    ) -> Option<(Table<'a, M>, ClassId)> {
        if M::guard(Guard::CutWhereNoCommit) && commit_above(cx, self, &upper.table, address).is_some() {
            return None;
        }
        let class = upper.table.class(cx, index);
        let child = Table::allocate_with(cx, upper.table.level - 1, class, AllocFlags::RESERVE).ok()?;
        Some((child, class))
    }

    /// Puts a table whose entries name the slots of swap from `first` on in the place of a huge page, on behalf of who
    /// puts its folio out, which is cached there: what the entry said of it, with all that was noted until it went.
    /// `None`, and nothing is changed, where [`Inner::cut_huge`] is not possible, or the entries cannot be counted.
    ///
    /// The translation is flushed before anybody can do anything with one of the entries: whoever unmaps such a page
    /// relies on its being gone, and flushes nothing. So the new table is locked until then, or does not stand there
    /// yet.
    pub(crate) fn put_out_huge(
        &self,
        cx: &Cx<'_, M>,
        upper: &Locked<'_, M>,
        (index, address): (usize, u64),
        first: SwapSlot,
    ) -> Option<PageBits> {
        let (child, class) = self.table_for(cx, upper, index, address)?;
        // First: whoever finds an entry may drop it.
        if cx.swap_dup_run(first, upper.table.pages()).is_err() {
            child.discard(cx);
            return None;
        }
        cx.retain_class(class, child.len() as u64 - 1);
        let is_exclusive = upper.table.page(index).bits().has(PageBits::EXCLUSIVE) && M::guard(Guard::ExclusiveKept);
        let [one, next] = [0, 1].map(|page| Absent::Swap { slot: first.further(page), is_exclusive });
        child.fill(Word::of_absent(one), Word::of_absent(next));
        let start = address & !(upper.table.span() - 1);
        let what = Flush { start, pages: upper.table.pages(), tables_freed: false };
        let flush = || M::guard(Guard::SwapLeafFlushed).then(|| cx.flush(self.id(), self.tlb(), what));
        let old = if wants_break::<M::Arch>() {
            let (old, _) = upper.update(index, |_| Word::of_absent(Absent::Splitting));
            flush();
            upper.publish(index, &child);
            old
        } else {
            let _locked = M::guard(Guard::SwapLeafLocked).then(|| child.lock(cx, self, start));
            let old = upper.swap(index, &child);
            flush();
            old
        };
        Some(old.bits())
    }

    /// Puts `child`, which nobody knows yet, in the place of the huge page that slot `index` of a locked table shows,
    /// at `address`, or of what says that one is being moved. The classes are the caller's to see to.
    pub(super) fn split_entry(
        &self,
        cx: &Cx<'_, M>,
        upper: &Locked<'_, M>,
        index: usize,
        child: &Table<'_, M>,
        address: u64,
    ) {
        let start = address & !(upper.table.span() - 1);
        let word = upper.table.page(index);
        let flush =
            || cx.flush(self.id(), self.tlb(), Flush { start, pages: upper.table.pages(), tables_freed: false });
        let moving = migrating::<M>(word).filter(|_| M::guard(Guard::MovingCutCounted));
        let named = if word.is_page() { Some(word.pfn()) } else { moving };
        if let Some(pfn) = named.filter(|_| !(word.is_page() && word.bits().has(PageBits::SPECIAL))) {
            // One for each page, and there was one.
            cx.vm().physical().folio(pfn).add_mappings(child.len() as u64 - 1);
        }
        if !word.is_page() {
            // Each page is where all of them are. What a batch that has taken the huge page owes is owed to this table
            // here, and would be missed below it.
            child.fill(word, word);
            upper.publish(index, child);
            return flush();
        }
        if wants_break::<M::Arch>() && M::guard(Guard::SplitBreakBeforeMake) {
            let (word, _) = upper.update(index, |_| Word::of_absent(Absent::Splitting));
            flush();
            fill(child, word);
            upper.publish(index, child);
        } else {
            upper.publish_over(index, child);
            flush();
        }
        cx.count(Event::SplitMapping, 1);
    }
}

/// Whether an entry must be invalid, and flushed, between a huge page and its table: also where nothing is wrong with
/// the change but that a TLB may then have entries of both sizes.
pub(super) fn wants_break<A: Arch>() -> bool {
    A::semantics().break_before_make || A::semantics().mixed_sizes_fault
}

/// Gives `child`, which nobody knows, the pages of a huge one, which `word` shows as it would stand in a leaf. Of the
/// huge page of zeroes none: faults bring what is wanted, and a table that was made for nothing can be given back.
fn fill<M: Machine>(child: &Table<'_, M>, word: Word<M::Arch>) {
    if !word.bits().has(PageBits::SPECIAL) {
        // Both as they are made here: what a processor has noted may stand in other bits of the word (AArch64's AP[2]).
        child.fill(word.further(0), word.further(child.pages()));
    }
}

impl<M: Machine> Locked<'_, M> {
    /// Makes `child` the entry of a slot that shows a huge page, whose pages `child` shows when this is seen.
    fn publish_over(&self, index: usize, child: &Table<'_, M>) {
        let slot = self.table.slot(index);
        let mut word = slot.load(Relaxed);
        loop {
            if M::guard(Guard::SplitFilledFirst) {
                fill(child, word.as_small(self.table.level));
            }
            if !M::guard(Guard::SplitRepeated) {
                slot.swap(Word::of_table(child.pfn), SeqCst);
                break;
            }
            self.assert_how(word, Word::of_table(child.pfn), How::Split);
            match slot.compare_exchange(word, Word::of_table(child.pfn), SeqCst) {
                Ok(()) => break,
                Err(now) => word = now,
            }
        }
        if !M::guard(Guard::SplitFilledFirst) {
            fill(child, word.as_small(self.table.level));
        }
    }

    /// Makes `child`, none of whose pages is there, the entry of a slot that shows a huge page; what that was, as it
    /// would stand in a leaf.
    fn swap(&self, index: usize, child: &Table<'_, M>) -> Word<M::Arch> {
        let old = self.table.slot(index).swap(Word::of_table(child.pfn), SeqCst);
        self.assert_how(old, Word::of_table(child.pfn), How::Split);
        old.as_small(self.table.level)
    }

    /// Makes `child` the entry of a slot which shows nothing to a processor.
    fn publish(&self, index: usize, child: &Table<'_, M>) {
        self.assert_how(self.table.entry(index), Word::of_table(child.pfn), How::Published);
        self.table.slot(index).store(Word::of_table(child.pfn), Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{ClassId, Table, fill};
    use crate::arch::{Aarch64, Arch, PageBits, Ppc64, Prot, Riscv64, Sparc64, Tiny, Word, X86_64};
    use crate::cpu::Cx;
    use crate::pfn::Pfn;
    use crate::testing::{TestMachine, become_cpu};
    use crate::vm::Vm;

    /// The parts of a huge page to which a processor has noted a store are that page's, with what was noted.
    fn noted<A: Arch>() {
        become_cpu(0);
        let vm: Vm<TestMachine<A>> = Vm::new(TestMachine::new(1000)).expect("a machine");
        let cx = Cx::enter(&vm);
        let child = Table::allocate(&cx, 0, ClassId::NONE).expect("memory");
        let clean = Word::<A>::of_page(Pfn(0x4000), PageBits::of(Prot::READ_WRITE) | PageBits::EXCLUSIVE);
        let word = Word::from_raw(A::noted(clean.raw(), PageBits::ACCESSED | PageBits::DIRTY));
        fill(&child, word);
        for index in 0..child.len() {
            let part = child.page(index);
            assert_eq!((part.pfn(), part.bits()), (Pfn(0x4000 + index as u64), word.bits()), "{}: {index}", A::NAME);
        }
        child.discard(&cx);
    }

    #[test]
    fn the_parts_of_a_huge_page_have_what_was_noted() {
        noted::<Tiny>();
        noted::<X86_64>();
        noted::<Aarch64>();
        noted::<Riscv64>();
        noted::<Ppc64>();
        noted::<Sparc64>();
    }
}
