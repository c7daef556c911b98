//! A huge page becomes small ones: a table takes the place of the entry that showed all of it.
//!
//! The folio stays what it is; each of its pages has an entry from then on, with the rights and marks of the one that there was.
//! The table is filled before anybody sees it, and is published in one exchange, which is repeated if the processor has noted
//! something in the old entry meanwhile: so no access, and no walk without a lock, finds nothing there, and no accessed or dirty
//! bit is lost. The flush for it comes under the lock: a translation of all of the page would outlive changes of its parts that
//! flush only those.
//!
//! Where the architecture wants an invalid entry and a flush between entries of two sizes, the entry says so for the time of the
//! flush ([`Absent::Splitting`]). Who comes upon that waits for the lock of the table where it stands.

use super::Inner;
use super::absent::migrating;
use super::claim::commit_above;
use super::rules::How;
use super::table::{Locked, Table};
use crate::arch::{Absent, Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::AllocFlags;
use crate::stat::Event;
use crate::tlb::Flush;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

impl<M: Machine> Inner<M> {
    /// Puts a table in the place of the huge page that slot `index` of a locked table shows, at `address`, on behalf of who
    /// works on its folio: from the reserve. Whether there was memory, and no range operation is committing there, which knows
    /// what tables it has to do with.
    pub(crate) fn cut_huge(&self, cx: &Cx<'_, M>, upper: &Locked<'_, M>, index: usize, address: u64) -> bool {
        if commit_above(cx, self, &upper.table, address).is_some() {
            return false;
        }
        let class = upper.table.class(cx, index);
        let Ok(child) = Table::allocate_with(cx, upper.table.level - 1, class, AllocFlags::RESERVE) else {
            return false;
        };
        cx.retain_class(class, child.len() as u64 - 1);
        self.split_entry(cx, upper, index, &child, address);
        true
    }

    /// Puts `child`, which nobody knows yet, in the place of the huge page that slot `index` of a locked table shows, at
    /// `address`, or of what says that one is being moved. The classes are the caller's to see to.
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
        let named = if word.is_page() { Some(word.pfn()) } else { migrating::<M>(word) };
        if let Some(pfn) = named.filter(|_| !(word.is_page() && word.bits().has(PageBits::SPECIAL))) {
            // One for each page, and there was one.
            cx.vm().physical().folio(pfn).add_mappings(child.len() as u64 - 1);
        }
        if !word.is_page() {
            // Each page is where all of them are. What a batch that has taken the huge page owes is owed to this table here, and
            // would be missed below it.
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

/// Whether an entry must be invalid, and flushed, between a huge page and its table: also where nothing is wrong with the change
/// but that a TLB may then have entries of both sizes.
pub(super) fn wants_break<A: Arch>() -> bool {
    A::semantics().break_before_make || A::semantics().mixed_sizes_fault
}

/// Gives `child`, which nobody knows, the pages of a huge one, which `word` shows as it would stand in a leaf. Of the huge page
/// of zeroes none: faults bring what is wanted, and a table that was made for nothing can be given back.
fn fill<M: Machine>(child: &Table<'_, M>, word: Word<M::Arch>) {
    if !word.bits().has(PageBits::SPECIAL) {
        child.fill(word, word.further(child.pages()));
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

    /// Makes `child` the entry of a slot which shows nothing to a processor.
    fn publish(&self, index: usize, child: &Table<'_, M>) {
        self.assert_how(self.table.entry(index), Word::of_table(child.pfn), How::Published);
        self.table.slot(index).store(Word::of_table(child.pfn), Release);
    }
}
