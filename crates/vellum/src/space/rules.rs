//! Which changes of an entry there are, and how each is made: one table for all operations, asked by debug builds
//! wherever an entry changes. `docs/ARCHITECTURE.md`, "Huge pages", has it in words.
//!
//! Walkers without a lock rely on it: a slot of an upper table may come to hold a page, a table or nothing at any
//! moment, but not all can follow upon all; and where the same page is mapped before and after, nobody finds none.

use crate::arch::{Absent, Arch, Entry, Word};
use crate::pfn::Pfn;

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Empty,
    /// A page that is in swap, moving or lost.
    Absent,
    /// A page, in an upper table a huge one: its first frame.
    Page(Pfn),
    /// A huge page that becomes a table ([`Absent::Splitting`]).
    Busy,
    Table,
}

/// How an entry is changed, its table's lock being held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By a store with release order, of what is complete: nothing is there to be flushed.
    Published,
    /// By an exchange of whatever it is; flushed before the frame or the table is used for something else.
    Taken,
    /// By an exchange of what it was, repeated if the hardware has noted something; flushed if a right went.
    Changed,
    /// By a filled table, in one exchange of what the table was filled by; flushed under the lock.
    Split,
}

fn standing<A: Arch>(word: Word<A>, level: usize) -> Standing {
    match word.decode(level) {
        Entry::Empty => Standing::Empty,
        Entry::Absent(Absent::Splitting) => Standing::Busy,
        Entry::Absent(_) => Standing::Absent,
        Entry::Page(pfn, _) => Standing::Page(pfn),
        Entry::Table(_) => Standing::Table,
    }
}

/// How an entry of a table of `level` is changed from one word to another; `None` if it never is.
///
/// Not asked: a table becomes a huge page, and back if that fails ([`super::collapse`], by [`Locked::exchange`]): the
/// leaf is stale and locked, and flushed.
///
/// [`Locked::exchange`]: super::table::Locked::exchange
pub(super) fn how<A: Arch>(level: usize, from: Word<A>, to: Word<A>) -> Option<How> {
    use Standing::{Absent, Busy, Empty, Page, Table};
    let (is_leaf, may_be_huge) = (level == 0, (1..=A::HUGE_LEVEL).contains(&level));
    let wants_break = super::huge::wants_break::<A>();
    match (standing(from, level), standing(to, level)) {
        (Empty, Page(_)) if is_leaf || may_be_huge => Some(How::Published),
        (Empty, Absent) if is_leaf || may_be_huge => Some(How::Published),
        (Empty, Table) if !is_leaf => Some(How::Published),
        (Page(_) | Absent | Table, Empty) => Some(How::Taken),
        // Another frame comes by way of an entry that is none.
        (Page(old), Page(new)) if old == new => Some(How::Changed),
        (Page(_), Absent) | (Absent, Page(_)) | (Absent, Absent) if is_leaf || may_be_huge => Some(How::Changed),
        (Page(_), Busy) if may_be_huge && wants_break => Some(How::Changed),
        (Page(_), Table) if may_be_huge && !wants_break => Some(How::Split),
        (Busy, Table) => Some(How::Published),
        // Of a huge page that is being moved.
        (Absent, Table) if may_be_huge => Some(How::Published),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{How, how};
    use crate::arch::{
        Aarch64, Absent, Arch, PageBits, Ppc64, Prot, Riscv64, Sparc64, SwapSlot, Tiny, TinyAssist, TinyBroadcast,
        Word, X86_64,
    };
    use crate::pfn::Pfn;
    use std::string::String;
    use std::vec::Vec;

    /// A letter for each change between what may stand in a slot of `level`, in rows from one and in columns to
    /// another: empty, absent, a page, a page in another frame, being split, a table.
    fn table<A: Arch>(level: usize) -> String {
        let bits = PageBits::of(Prot::READ) | PageBits::ACCESSED;
        let page = |pfn| Word::<A>::of_page(Pfn(pfn), bits).at_level(level);
        let pages = 1 << (A::shift(level) - A::PAGE_SHIFT);
        let words = [
            Word::EMPTY,
            Word::of_absent(Absent::Swap { slot: SwapSlot::new(1, 2), is_exclusive: false }),
            page(pages),
            page(2 * pages),
            Word::of_absent(Absent::Splitting),
            Word::of_table(Pfn(7)),
        ];
        let letter = |from, to| match how::<A>(level, from, to) {
            None => '.',
            Some(How::Published) => 'p',
            Some(How::Taken) => 't',
            Some(How::Changed) => 'c',
            Some(How::Split) => 's',
        };
        // A leaf's words name no tables.
        let count = if level == 0 { 5 } else { 6 };
        let row = |from| words[..count].iter().map(|&to| letter(from, to)).collect::<String>();
        words[..count].iter().map(|&from| row(from)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_table_is_as_written() {
        fn check<A: Arch>(upper: &str) {
            assert_eq!(table::<A>(0), ".ppp. tccc. tcc.. tc.c. .....", "{}, leaves", A::NAME);
            assert_eq!(table::<A>(1), upper, "{}, upper tables", A::NAME);
        }
        let in_place = ".ppp.p tccc.p tcc..s tc.c.s .....p t.....";
        let broken_first = ".ppp.p tccc.p tcc.c. tc.cc. .....p t.....";
        check::<X86_64>(in_place);
        check::<Riscv64>(in_place);
        check::<TinyAssist>(in_place);
        check::<Aarch64>(broken_first);
        check::<Ppc64>(broken_first);
        check::<Sparc64>(broken_first);
        check::<Tiny>(broken_first);
        check::<TinyBroadcast>(broken_first);
    }

    #[test]
    fn no_huge_page_stands_too_high() {
        let upper = ".ppp.p tccc.p tcc..s tc.c.s .....p t.....";
        assert_eq!(table::<X86_64>(2), upper);
        let word = Word::<Tiny>::of_page(Pfn(16), PageBits::of(Prot::READ));
        assert_eq!(how::<Tiny>(2, Word::EMPTY, word.at_level(2)), None);
    }
}
