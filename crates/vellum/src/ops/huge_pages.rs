//! Which memory gets huge pages.

use crate::machine::Machine;
use crate::vm::Vm;
use core::sync::atomic::Ordering::Relaxed;

/// Which private anonymous memory gets huge pages as it is first stored to, if there are free ones: what Linux has in
/// `/sys/kernel/mm/transparent_hugepage/enabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum HugePages {
    /// What was advised [`HugePage`](super::Advice::HugePage).
    #[default]
    Advised = 0,
    /// All but what was advised [`NoHugePage`](super::Advice::NoHugePage).
    Always,
    /// None.
    Never,
}

impl<M: Machine> Vm<M> {
    /// Says which memory gets huge pages from now on; at first, what was advised so. What there is stays as it is.
    pub fn set_huge_pages(&self, policy: HugePages) {
        self.huge_pages.store(policy as u32, Relaxed);
    }

    /// Which memory gets huge pages.
    pub fn huge_pages(&self) -> HugePages {
        match self.huge_pages.load(Relaxed) {
            policy if policy == HugePages::Always as u32 => HugePages::Always,
            policy if policy == HugePages::Never as u32 => HugePages::Never,
            _ => HugePages::Advised,
        }
    }
}
