//! The addresses sequences play with: few, so that operations meet, and at the places where tables end.

use vellum::arch::Arch;

/// Page addresses in ascending order.
#[derive(Clone, Debug)]
pub struct Pool {
    pages: Vec<u64>,
}

impl Pool {
    /// The pool of an architecture: all of a small one; of a large one the beginning, both sides of each level's
    /// boundaries, the end, and pages at the distances that matter to stacks with a guard gap of `guard_pages`.
    pub fn of<A: Arch>(guard_pages: u64) -> Pool {
        let page = 1u64 << A::PAGE_SHIFT;
        let mut pages = Vec::new();
        if A::USER_END >> A::PAGE_SHIFT <= 256 {
            pages.extend((0..=A::USER_END >> A::PAGE_SHIFT).map(|number| number * page));
            return Pool { pages };
        }
        let mut around = |center: u64, below: u64, above: u64| {
            pages.extend((0..below + above).map(|number| center + number * page - below * page));
        };
        around(A::USER_START, 1, 10);
        around(2 << A::shift(1), 7, 7);
        for level in 2..A::LEVELS {
            around(1 << A::shift(level), 4, 5);
        }
        let stack = 7 << A::shift(1);
        for distance in [0, guard_pages, 2 * guard_pages] {
            around(stack + distance * page, 2, 4);
        }
        around(A::USER_END, 5, 1);
        pages.sort_unstable();
        pages.dedup();
        Pool { pages }
    }

    /// Number of pages.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// All pages.
    pub fn pages(&self) -> &[u64] {
        &self.pages
    }

    /// Which pages begin where a huge page may.
    pub fn huge_borders<A: Arch>(&self) -> Vec<u16> {
        let is_border = |page: &u64| page & ((1 << A::shift(1)) - 1) == 0;
        (0..).zip(&self.pages).filter(|(_, page)| is_border(page)).map(|(index, _)| index).collect()
    }

    /// Page `index`, modulo their count.
    pub fn page(&self, index: u16) -> u64 {
        self.pages[index as usize % self.pages.len()]
    }
}
