//! Which memory gets huge pages.

use crate::arch::Arch;
use crate::machine::Machine;
use crate::space::{ALL_HUGE_PAGES, Attributes, ClassFlags, Inner, NO_HUGE_PAGES, Space};
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

/// Whether what is mapped can have huge pages, whatever anybody wants.
pub(super) fn can_be_huge<M: Machine>(attributes: &Attributes<M>) -> bool {
    attributes.object.is_none() && attributes.is_private()
}

/// Whether what is mapped is memory that huge pages may show for all who share it.
pub(super) fn is_shared_memory<M: Machine>(attributes: &Attributes<M>) -> bool {
    // SAFETY: the class was read in this section, or is held.
    let is_memory = |object: core::ptr::NonNull<crate::object::Inner<M>>| !unsafe { object.as_ref() }.is_file();
    !attributes.is_private() && attributes.object.is_some_and(is_memory)
}

/// Whether what is mapped in a space is to get huge pages: if the policy says so, and the space lets it.
pub(super) fn is_wanted_huge<M: Machine>(vm: &Vm<M>, space: &Inner<M>, attributes: &Attributes<M>) -> bool {
    let is_wanted = |policy| is_asked_for(policy, attributes);
    is_wanted(vm.huge_pages()) && is_wanted(space.huge_pages()) && can_be_huge(attributes)
}

/// Whether what is mapped in a space may show huge pages of shared memory, where there are any.
pub(super) fn may_show_huge<M: Machine>(space: &Inner<M>, attributes: &Attributes<M>) -> bool {
    !attributes.is_private()
        && is_asked_for(HugePages::Always, attributes)
        && is_asked_for(space.huge_pages(), attributes)
}

/// Whether shared memory that is mapped so is to get huge pages.
pub(super) fn is_shared_wanted_huge<M: Machine>(vm: &Vm<M>, attributes: &Attributes<M>) -> bool {
    is_asked_for(vm.shared_huge_pages(), attributes)
}

/// Whether a policy wants huge pages for what is mapped so.
fn is_asked_for<M: Machine>(policy: HugePages, attributes: &Attributes<M>) -> bool {
    match policy {
        HugePages::Always => !attributes.flags.has(ClassFlags::NO_HUGE_PAGES),
        HugePages::Advised => attributes.flags.has(ClassFlags::HUGE_PAGES),
        HugePages::Never => false,
    }
}

/// A new space lets all memory have them, and a new instance no shared memory.
const _: () = assert!(HugePages::Always as u32 == ALL_HUGE_PAGES && HugePages::Never as u32 == NO_HUGE_PAGES);

impl HugePages {
    fn of(number: u32) -> Self {
        match number {
            number if number == HugePages::Always as u32 => HugePages::Always,
            number if number == HugePages::Never as u32 => HugePages::Never,
            _ => HugePages::Advised,
        }
    }
}

impl<M: Machine> Inner<M> {
    /// Which memory the space lets have huge pages.
    pub(super) fn huge_pages(&self) -> HugePages {
        HugePages::of(self.huge_pages.load(Relaxed))
    }
}

impl<M: Machine> Space<'_, M> {
    /// Says which of the space's memory may have huge pages from now on, at most: [`HugePages::Always`], as at first,
    /// is what the policy of the instance gives ([`Vm::set_huge_pages`]); [`HugePages::Advised`], of that what was
    /// advised so, or is being collapsed on advice; [`HugePages::Never`] none, whatever is advised. What there is stays
    /// as it is. Children of fork inherit it. It is what Linux has as `PR_SET_THP_DISABLE`.
    pub fn set_huge_pages(&self, policy: HugePages) {
        self.inner().huge_pages.store(policy as u32, Relaxed);
    }

    /// Which of the space's memory may have huge pages: see [`Space::set_huge_pages`].
    pub fn huge_pages(&self) -> HugePages {
        self.inner().huge_pages()
    }

    /// Whether the space's group, if it is in one, has room for so many pages more.
    pub(super) fn has_room_in_group(&self, pages: u64) -> bool {
        // SAFETY: the space's reference.
        let is_full =
            |more| self.inner().group().is_some_and(|group| unsafe { group.as_ref() }.is_full_with(self.vm(), more));
        // The last of them may reach the limit.
        pages.checked_sub(1).is_none_or(|before| !is_full(before))
    }
}

impl<M: Machine> Vm<M> {
    /// Says which memory gets huge pages from now on; at first, what was advised so. What there is stays as it is.
    pub fn set_huge_pages(&self, policy: HugePages) {
        self.huge_pages.store(policy as u32, Relaxed);
    }

    /// Which memory gets huge pages.
    pub fn huge_pages(&self) -> HugePages {
        HugePages::of(self.huge_pages.load(Relaxed))
    }

    /// Says which shared memory gets huge pages from now on, at an access by a mapping that can show all of one by one
    /// entry: shared, at a place that lies as the huge page does, and wholly before the end of the object; at first,
    /// none. What there is stays as it is, and is shown as it can be, but not as huge pages where
    /// [`Advice::NoHugePage`](super::Advice::NoHugePage) was given. It is what Linux has in
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled`, where *within_size* is as [`HugePages::Always`] here.
    pub fn set_shared_huge_pages(&self, policy: HugePages) {
        self.shared_huge_pages.store(policy as u32, Relaxed);
    }

    /// Which shared memory gets huge pages: see [`Vm::set_shared_huge_pages`].
    pub fn shared_huge_pages(&self) -> HugePages {
        HugePages::of(self.shared_huge_pages.load(Relaxed))
    }

    /// Says of which sizes folios may be that are mapped page by page, where the policy lets huge pages come: bit *n*
    /// is for 2^*n* pages, fewer than a huge page has; at first, none. A fault then brings as many pages at once, the
    /// most for which there is room. What Linux has in `hugepages-<size>kB/enabled`. Other bits are ignored.
    pub fn set_folio_orders(&self, orders: u32) {
        let huge = 1u32.unbounded_shl(M::Arch::index_bits(0));
        self.folio_orders.store(orders & huge.wrapping_sub(1) & !1, Relaxed);
    }

    /// Of which sizes folios may be: see [`Vm::set_folio_orders`].
    #[inline(always)]
    pub fn folio_orders(&self) -> u32 {
        self.folio_orders.load(Relaxed)
    }
}
