//! The figures of an architecture that the rules depend on.

use vellum::arch::{Arch, Prot};

/// Figures the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// log2 of the page size.
    pub page_shift: u32,
    /// log2 of the size of a huge page.
    pub huge_shift: u32,
    /// First address that may be mapped.
    pub user_start: u64,
    /// End of what may be mapped, exclusive.
    pub user_end: u64,
    /// End of where room is sought for who gives no address, or one below it.
    pub search_end: u64,
    /// Pages that stay free below a grows-down mapping (Linux's `stack_guard_gap`).
    pub stack_guard_pages: u64,
    /// How large a grows-down mapping may grow, in bytes, unless the space says otherwise.
    pub stack_limit: u64,
    /// The hardware lets loads through wherever it lets instruction fetches through.
    pub execute_is_readable: bool,
}

impl Limits {
    /// The limits of an architecture, with the guard gap the core uses on it.
    pub fn of<A: Arch>(stack_guard_pages: u64) -> Self {
        Limits {
            page_shift: A::PAGE_SHIFT,
            huge_shift: A::shift(1),
            user_start: A::USER_START,
            user_end: A::USER_END,
            search_end: A::SEARCH_END,
            stack_guard_pages,
            stack_limit: 8 << 20,
            execute_is_readable: A::semantics().execute_implies_read,
        }
    }

    /// Bytes of a page.
    pub fn page_size(&self) -> u64 {
        1 << self.page_shift
    }

    pub(super) fn is_aligned(&self, value: u64) -> bool {
        value & (self.page_size() - 1) == 0
    }

    /// The number of the page that holds `address`.
    pub(super) fn page(&self, address: u64) -> u64 {
        address >> self.page_shift
    }

    /// `value` rounded up to whole pages.
    pub(super) fn round_up(&self, value: u64) -> Option<u64> {
        value.checked_add(self.page_size() - 1).map(|sum| sum & !(self.page_size() - 1))
    }

    pub(super) fn round_down(&self, value: u64) -> u64 {
        value & !(self.page_size() - 1)
    }

    pub(super) fn guard_bytes(&self) -> u64 {
        self.stack_guard_pages << self.page_shift
    }

    /// End of where room is sought for who would like to be at `hint`.
    pub(super) fn end_of_search(&self, hint: u64) -> u64 {
        if hint > self.search_end { self.user_end } else { self.search_end }
    }

    /// Whether `[start, start + length)` lies below the end of the user range.
    pub(super) fn fits(&self, start: u64, length: u64) -> bool {
        length <= self.user_end && start <= self.user_end - length
    }

    /// Whether a mapping with `prot` may be accessed so.
    pub(super) fn allows(&self, prot: Prot, access: vellum::ops::Access) -> bool {
        use vellum::ops::Access;
        match access {
            Access::Write => prot.has(Prot::WRITE),
            Access::Execute => prot.has(Prot::EXECUTE),
            Access::Read => {
                prot.has_any(Prot::READ | Prot::WRITE) || (self.execute_is_readable && prot.has(Prot::EXECUTE))
            }
        }
    }
}
