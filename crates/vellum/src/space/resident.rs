//! How many pages of a space are resident, by kind; and the group that is told.

use super::Inner;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::vm::Vm;

/// What a resident page counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RssKind {
    Anonymous = 0,
    File = 1,
    SharedMemory = 2,
    /// In swap: not resident.
    Swap = 3,
}

impl RssKind {
    /// All of them, in the order of their values.
    pub(crate) const ALL: [RssKind; 4] = [RssKind::Anonymous, RssKind::File, RssKind::SharedMemory, RssKind::Swap];
    pub(crate) const COUNT: usize = Self::ALL.len();
}

impl<M: Machine> Inner<M> {
    /// Counts `pages` more (or, negative, fewer) resident pages.
    #[inline(always)]
    pub(crate) fn add_rss(&self, cx: &Cx<'_, M>, kind: RssKind, pages: i64) {
        self.lines.add(cx, kind, pages);
        if let Some(group) = self.group
            && kind != RssKind::Swap
        {
            // SAFETY: the space's reference.
            unsafe { group.as_ref() }.add(cx, pages);
        }
    }

    /// Resident pages of one kind.
    pub(crate) fn rss_of(&self, vm: &Vm<M>, kind: RssKind) -> u64 {
        // Beside changes the CPUs' parts are not of one moment: what one has removed another may not have added yet.
        (self.lines.sum(vm, kind) as i64).max(0) as u64
    }
}
