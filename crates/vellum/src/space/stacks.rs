//! Where grows-down mappings are or have been, so that a fault elsewhere need not look for one.

use super::Inner;
use crate::machine::Machine;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl<M: Machine> Inner<M> {
    /// Notes that a grows-down mapping covers `start..end`.
    pub(crate) fn note_stack(&self, start: u64, end: u64) {
        let mut low = self.stack_low.load(Relaxed);
        while start < low {
            low = self.stack_low.compare_exchange(low, start, SeqCst).err().unwrap_or(start);
        }
        let mut high = self.stack_high.load(Relaxed);
        while end > high {
            high = self.stack_high.compare_exchange(high, end, SeqCst).err().unwrap_or(end);
        }
    }

    /// Where grows-down mappings are or have been.
    #[inline(always)]
    pub(crate) fn stacks(&self) -> (u64, u64) {
        (self.stack_low.load(Relaxed), self.stack_high.load(Relaxed))
    }
}
