//! Limits of groups of spaces.
//!
//! A group counts the pages that its spaces show: what their resident sets add up to, so a page that two of them show
//! counts twice, and the page cache counts as far as it is mapped. A fault of a member that finds the group at its
//! limit first frees pages of the members, of those that are not in use before others; if none can be freed it fails as
//! if memory had ended. Spaces without a group pay for this with one look at a constant.

use super::list::{Isolated, LENGTH};
use super::range::{Sharers, each_list};
use super::shrink::{Choice, shrink_singly};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::Space;
use crate::space::members::{Members, put};
use crate::stat::Event;
use crate::vm::Vm;
use core::ptr::NonNull;

/// Pages freed at a time when a group is at its limit.
const STEP: u64 = 32;

/// Spaces that share a limit of resident pages; a counted handle. See [`Vm::create_group`].
pub struct Group<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    members: NonNull<Members<M>>,
}

// SAFETY: a handle is a counted pointer to atomics.
unsafe impl<M: Machine> Send for Group<'_, M> {}
// SAFETY: as above.
unsafe impl<M: Machine> Sync for Group<'_, M> {}

impl<'vm, M: Machine> Group<'vm, M> {
    fn members(&self) -> &Members<M> {
        // SAFETY: the handle's reference.
        unsafe { self.members.as_ref() }
    }

    /// The limit, in pages.
    pub fn limit(&self) -> u64 {
        self.members().limit()
    }

    /// Sets the limit, in pages. Below what the members show it takes effect as they fault.
    pub fn set_limit(&self, pages: u64) {
        self.members().set_limit(pages);
    }

    /// Resident pages of the members. Exact while nothing changes them.
    pub fn pages(&self) -> u64 {
        self.members().resident(self.vm)
    }

    /// A new, empty space in the group. Its descendants by fork are members too. Allocates; may sleep to free memory.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn create_space(&self) -> Result<Space<'vm, M>, Error> {
        self.vm.with_room(|| Space::create(self.vm, None, Some(self.members)))
    }
}

impl<M: Machine> Drop for Group<'_, M> {
    fn drop(&mut self) {
        put(&Cx::enter(self.vm), self.members);
    }
}

impl<M: Machine> core::fmt::Debug for Group<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Group").field("pages", &self.pages()).field("limit", &self.limit()).finish()
    }
}

impl<M: Machine> Vm<M> {
    /// A new group of spaces, which may show `limit` pages together. Allocates.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn create_group(&self, limit: u64) -> Result<Group<'_, M>, Error> {
        let members = self.with_room(|| Cx::enter(self).slab_alloc(size_of::<Members<M>>()))?.cast::<Members<M>>();
        // SAFETY: the slab object is large enough, aligned, and nobody else's.
        unsafe { members.write(Members::new(limit)) };
        Ok(Group { vm: self, members })
    }
}

impl<M: Machine> Space<'_, M> {
    /// Frees pages of the members of the space's group until it is below its limit; whether it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn make_room_in_group(&self, group: NonNull<Members<M>>) -> bool {
        // SAFETY: the space's reference.
        let members = unsafe { group.as_ref() };
        Cx::enter(self.vm()).count(Event::GroupLimit, 1);
        // Of a folio the first page goes with the turn that splits it, the others with the next.
        for choice in [Choice::Unused, Choice::Unused, Choice::All, Choice::All] {
            let mut next = Space::youngest(self.vm());
            while let Some(space) = next {
                if space.inner().group() == Some(group) {
                    let (start, end) = (M::Arch::USER_START, M::Arch::USER_END);
                    let mut free = |list: &Isolated<LENGTH>| shrink_singly(self.vm(), list, choice);
                    // Faults have room for a while.
                    let is_enough = || !members.is_full_with(self.vm(), STEP - 1);
                    each_list(self.vm(), space.inner(), start, end, Sharers::Any, &mut free, &is_enough);
                }
                next = space.older();
            }
            if !members.is_full(self.vm()) {
                return true;
            }
        }
        false
    }
}
