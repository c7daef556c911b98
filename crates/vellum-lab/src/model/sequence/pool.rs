//! The addresses sequences play with: few, so that operations meet, and at the places where tables end.

use super::op::{Length, Spot};
use vellum::arch::Arch;

/// Page addresses in ascending order.
#[derive(Clone, Debug)]
pub struct Pool {
    pages: Vec<u64>,
    page_shift: u32,
}

impl Pool {
    /// The pool of an architecture: all of a small one; of a large one the beginning, both sides of each level's
    /// boundaries, the end, and pages at the distances that matter to stacks with a guard gap of `guard_pages`.
    pub fn of<A: Arch>(guard_pages: u64) -> Pool {
        let page = 1u64 << A::PAGE_SHIFT;
        let mut pages = Vec::new();
        if A::USER_END >> A::PAGE_SHIFT <= 256 {
            pages.extend((0..=A::USER_END >> A::PAGE_SHIFT).map(|number| number * page));
            return Pool { pages, page_shift: A::PAGE_SHIFT };
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
        Pool { pages, page_shift: A::PAGE_SHIFT }
    }

    /// Number of pages.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// All pages.
    pub fn pages(&self) -> &[u64] {
        &self.pages
    }

    /// The address a spot stands for, given the addresses the core has chosen up to now.
    pub fn address(&self, spot: Spot, answers: &[u64]) -> u64 {
        match spot {
            Spot::Pool(index) => self.pages[index as usize % self.pages.len()],
            Spot::Answer { back, page } => match answers.len() {
                0 => self.address(Spot::Pool(page.into()), answers),
                count => {
                    answers[count - 1 - back as usize % count].wrapping_add(u64::from(page) << self.page_shift)
                }
            },
            Spot::Raw(address) => address,
        }
    }

    /// The bytes a length stands for, from `start`.
    pub fn bytes(&self, length: Length, start: u64) -> u64 {
        match length {
            Length::Pages(pages) => u64::from(pages) << self.page_shift,
            Length::To(index) => match self.address(Spot::Pool(index), &[]).checked_sub(start) {
                None | Some(0) => 1 << self.page_shift,
                Some(bytes) => bytes,
            },
            Length::Bytes(bytes) => bytes,
        }
    }
}
