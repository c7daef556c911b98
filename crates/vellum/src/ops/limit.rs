//! A limit on how much a space maps.
//!
//! Nobody counts as long as there is none: what is mapped is counted when somebody asks, by looking through the tables,
//! and so without a line that all CPUs write. Where there is a limit, those who map more do so one after the other, and
//! so do those who move: what moves while somebody counts would be counted twice, or not at all.

use crate::arch::Arch;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::{ClassFlags, ClassId, Space};
use crate::sync::SleepGuard;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::Relaxed;

/// What [`Space::set_mapped_limit`] takes for no limit.
pub(super) const NO_LIMIT: u64 = u64::MAX;

impl<M: Machine> Space<'_, M> {
    /// Bytes that are mapped (`VmSize`), whatever is resident of them. Counts them: takes as long as there are page
    /// tables and mappings. Exact while nothing changes them; neither sleeps nor allocates.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapped_within(M::Arch::USER_START, M::Arch::USER_END)
    }

    /// Sets how many bytes the space may map (`RLIMIT_AS`); `u64::MAX`, as at first, for no limit. What is mapped
    /// already stays, and calls under way may heed it or not. Children of fork inherit it.
    ///
    /// A limit has its price: each call that maps more, also a fault that grows a stack, counts what is mapped already,
    /// as [`Space::mapped_bytes`] does; and such calls, and those that move mappings, wait for each other.
    pub fn set_mapped_limit(&self, bytes: u64) {
        self.inner().mapped_limit.store(bytes, Relaxed);
    }

    /// Mapped bytes of a range.
    fn mapped_within(&self, start: u64, end: u64) -> u64 {
        let mut mapped = 0;
        let _ = self.inner().each_span(self.vm(), (start, end), &mut |_, here, span| {
            mapped += if span.class == ClassId::NONE { 0 } else { span.end - here };
            ControlFlow::<()>::Continue(())
        });
        mapped
    }

    /// Committed pages of a range, but for those whose mappings have one of the flags `without`. As
    /// [`Space::mapped_bytes`]; exact under a claim of the range.
    pub(super) fn committed_within(&self, start: u64, end: u64, without: ClassFlags) -> u64 {
        let mut committed = 0;
        let _ = self.inner().each_span(self.vm(), (start, end), &mut |cx, here, span| {
            if span.class != ClassId::NONE && cx.is_committed(span.class) {
                let is_counted = without == ClassFlags::NONE || !cx.attributes(span.class).flags.has_any(without);
                committed += if is_counted { (span.end - here) >> M::Arch::PAGE_SHIFT } else { 0 };
            }
            ControlFlow::<()>::Continue(())
        });
        committed
    }

    /// Whether there is no limit.
    #[inline(always)]
    pub(super) fn is_unlimited(&self) -> bool {
        self.inner().mapped_limit.load(Relaxed) == NO_LIMIT
    }

    /// Lets the caller map `more` bytes, in place of what is mapped in `replaced`, until the result is dropped; or, if
    /// they are 0, move what is mapped, which nobody counts meanwhile. Where there is a limit, sleeps for others who
    /// map or move: without a claim.
    ///
    /// # Errors
    /// [`Error::Limit`].
    #[inline]
    pub(super) fn may_map(&self, more: u64, replaced: (u64, u64)) -> Result<Option<SleepGuard<'_, M>>, Error> {
        if self.is_unlimited() { Ok(None) } else { self.may_map_limited(more, replaced).map(Some) }
    }

    #[cold]
    fn may_map_limited(&self, more: u64, (start, end): (u64, u64)) -> Result<SleepGuard<'_, M>, Error> {
        let guard = self.inner().mapping.lock(self.vm());
        if more == 0 {
            return Ok(guard);
        }
        let (first, last) = (M::Arch::USER_START, M::Arch::USER_END);
        // There are no tables to look through outside.
        let within = |address: u64| address.clamp(first, last);
        let kept = self.mapped_within(first, within(start)) + self.mapped_within(within(end), last);
        let limit = self.inner().mapped_limit.load(Relaxed);
        match kept.checked_add(more) {
            Some(mapped) if mapped <= limit => Ok(guard),
            _ => Err(Error::Limit { length: more }),
        }
    }
}
