//! The handle that embedders have of an address space: how it begins, and how it ends.

use super::lineage::Lineage;
use super::members::{self, Members};
use super::table::Table;
use super::{ClassId, Inner};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Relaxed};

/// A counted handle to an address space.
///
/// Cloning counts one more; the last drop ends the space: its memory is freed at once, every CPU that still has it
/// loaded leaves it, so no user code may run in it then. Dropping may sleep when it ends the last use of a file.
pub struct Space<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    inner: NonNull<Inner<M>>,
}

// SAFETY: the space is shared state that is accessed through atomics and locks, on any CPU.
unsafe impl<M: Machine> Send for Space<'_, M> {}
// SAFETY: as above.
unsafe impl<M: Machine> Sync for Space<'_, M> {}

impl<M: Machine> Clone for Space<'_, M> {
    fn clone(&self) -> Self {
        self.inner().handles.fetch_add(1, Relaxed);
        Space { vm: self.vm, inner: self.inner }
    }
}

impl<M: Machine> Drop for Space<'_, M> {
    fn drop(&mut self) {
        /// The structure, which is freed also if the backing of a file panics that comes to its end here.
        struct Structure<'a, 'vm, M: Machine>(&'a Space<'vm, M>);
        impl<M: Machine> Drop for Structure<'_, '_, M> {
            fn drop(&mut self) {
                self.0.free();
            }
        }
        if self.inner().handles.fetch_sub(1, AcqRel) == 1 {
            self.inner().unregister(&Cx::enter(self.vm));
            // Only now may the structure go: before, CPUs may have the space loaded.
            let dying = self.inner().end(self.vm);
            let _structure = Structure(self);
            dying.destroy(self.vm);
        }
    }
}

impl<M: Machine> core::fmt::Debug for Space<'_, M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Space({})", self.id())
    }
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// A new space, see [`Vm::create_space`]; a descendant of `parent`, before anything of it is copied, or the first
    /// of its line.
    pub(crate) fn create(
        vm: &'vm Vm<M>,
        parent: Option<&Inner<M>>,
        group: Option<NonNull<Members<M>>>,
    ) -> Result<Self, Error> {
        let cx = Cx::enter(vm);
        let inner = cx.slab_alloc(size_of::<Inner<M>>())?.cast::<Inner<M>>();
        let give_back = |error| {
            cx.slab_free(inner.cast(), size_of::<Inner<M>>());
            error
        };
        let root = Table::allocate(&cx, M::Arch::LEVELS - 1, ClassId::NONE).map_err(give_back)?;
        let lineage = Lineage::allocate(&cx).map_err(|error| {
            root.discard(&cx);
            give_back(error)
        })?;
        let address = inner.as_ptr().expose_provenance() as u64;
        // SAFETY: just allocated, and the space's from now on.
        let name = unsafe { lineage.as_ref() }.choose_name(&cx, address, parent.map(Inner::lineage));
        // SAFETY: the table is private to this function; it has that many entries.
        vm.machine()
            .prepare_root(unsafe { core::slice::from_raw_parts_mut(vm.machine().frame(root.pfn).cast(), root.len()) });
        let top = root.first_slot();
        // SAFETY: the allocation is large enough, aligned (slab objects are aligned to their size class) and unused.
        unsafe { inner.write(Inner::new(vm, (root.pfn, top), (lineage, name), group)) };
        if let Some(group) = group {
            // SAFETY: the caller's reference.
            unsafe { group.as_ref() }.get();
        }
        // SAFETY: just written.
        let space = unsafe { inner.as_ref() };
        space.register(&cx, parent);
        Ok(Space { vm, inner })
    }

    /// The space that was registered last, of those that have not begun to end.
    pub(crate) fn youngest(vm: &'vm Vm<M>) -> Option<Self> {
        vm.spaces().first_alive(&Cx::enter(vm), None).map(|inner| Space { vm, inner })
    }

    /// The one that was registered before this one. Whoever goes from one to the next comes to all that were there when
    /// he began, unless they end meanwhile; in time, this is one step for each.
    pub(crate) fn older(&self) -> Option<Self> {
        let cx = Cx::enter(self.vm);
        self.vm.spaces().first_alive(&cx, Some(self.inner())).map(|inner| Space { vm: self.vm, inner })
    }

    /// Frees the structure itself, after the end of the space.
    fn free(&self) {
        let cx = Cx::enter(self.vm);
        self.inner().lines.free(&cx);
        self.inner().lineage().end(&cx, self.inner().name);
        if let Some(group) = self.inner().group {
            members::put(&cx, group);
        }
        // Flush requests naming the space were all answered when its CPUs left it; lockless readers of the registry
        // do not exist. The grace period is for those who compare generations.
        cx.retire(self.inner.cast(), size_of::<Inner<M>>());
    }

    #[inline(always)]
    pub(crate) fn inner(&self) -> &Inner<M> {
        // SAFETY: a handle keeps the space allocated.
        unsafe { self.inner.as_ref() }
    }

    /// The instance this space belongs to.
    #[inline(always)]
    pub fn vm(&self) -> &'vm Vm<M> {
        self.vm
    }

    /// The space's identity, never used twice by one instance.
    pub fn id(&self) -> u64 {
        self.inner().id
    }

    /// The frame of the root table.
    pub fn root(&self) -> Pfn {
        self.inner().root
    }

    /// Sets how far grows-down mappings may extend, in bytes (`RLIMIT_STACK`); 8 MiB at first.
    pub fn set_stack_limit(&self, bytes: u64) {
        self.inner().stack_limit.store(bytes, Relaxed);
    }
}
