//! An address space and the handle to it.

use super::ClassId;
use super::ends::Ends;
use super::lineage::{Lineage, OwnerName};
use super::lines::Lines;
use super::members::{self, Members};
use super::table::Table;
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::structure::holds;
use crate::sync::{AtomicU32, AtomicU64, Rank, RawLock, SleepLock};
use crate::tlb::SpaceTlb;
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

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

/// In [`Inner::walks`]: the space ends.
const ENDING: u32 = 1 << 31;

/// An address space. Fields: `H` written with the handle count, `R` under the registry's lock, `C` under a claim of
/// the range they describe, unmarked ones never change.
#[repr(C)]
pub(crate) struct Inner<M: Machine> {
    /// Written when the space is retired; nobody reads it before.
    _retired: [u64; 2],
    tlb: SpaceTlb<M>,
    lines: Lines<M>,
    id: u64,
    root: Pfn,
    /// The group it is a member of, with a reference.
    group: Option<NonNull<Members<M>>>,
    /// Number of the last fork whose flush is complete; waited on by faults in copied leaves.
    pub(crate) fork_done: AtomicU32<M>,
    /// Number of the last fork begun; written under the root claim.
    pub(crate) fork_begun: AtomicU32<M>,
    /// Furthest a grows-down mapping may extend, in bytes.
    pub(crate) stack_limit: AtomicU64<M>,
    /// Where grows-down mappings are or have been: lowest address, and end. Between operations within claims.
    stack_low: AtomicU64<M>,
    stack_high: AtomicU64<M>,
    /// How many bytes may be mapped.
    pub(crate) mapped_limit: AtomicU64<M>,
    /// Held by who maps more where there is such a limit.
    pub(crate) mapping: SleepLock<M>,
    /// H: handles.
    handles: AtomicU64<M>,
    /// Its place among its ancestors and descendants.
    lineage: NonNull<Lineage<M>>,
    /// What its pages are named by: its place, or one above that leads to the same spaces.
    name: OwnerName<M>,
    /// Reverse-mapping walks under way in the space, and whether it ends; see [`Inner::pin`].
    walks: AtomicU32<M>,
    /// Once it ends: which end of all it is; written before [`ENDING`].
    end_number: AtomicU32<M>,
    /// How often entries began to move within the space, and how often that was done: for walks (F4).
    pub(crate) moves_begun: AtomicU32<M>,
    pub(crate) moves_done: AtomicU32<M>,
    /// Walks that hold further moves back.
    moves_held_back: AtomicU32<M>,
    /// The first of the classes that show objects or moved memory; under the lock of their part of the registry,
    /// read without.
    pub(crate) classes: AtomicU32<M>,
    /// C: where the heap begins, and where it ends.
    pub(crate) brk_base: AtomicU64<M>,
    pub(crate) brk_end: AtomicU64<M>,
    /// R: neighbours in the registry.
    next: AtomicU64<M>,
    previous: AtomicU64<M>,
}

/// See [`Inner::hold_moves_back`].
pub(crate) struct HeldBack<'a, M: Machine>(&'a AtomicU32<M>);

impl<M: Machine> Drop for HeldBack<'_, M> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The registry of all spaces, for audits.
pub(crate) struct Spaces<M> {
    /// Also protects the links of the lineages.
    pub(crate) lock: RawLock<M>,
    head: AtomicU64<M>,
    count: AtomicU64<M>,
    ends: Ends<M>,
}

impl<M: Machine> Spaces<M> {
    pub(crate) const fn new() -> Self {
        Spaces { lock: RawLock::new(), head: AtomicU64::new(0), count: AtomicU64::new(0), ends: Ends::new() }
    }

    /// The spaces that are at their end.
    pub(crate) fn ends(&self) -> &Ends<M> {
        &self.ends
    }

    /// Calls `visit` with every space, under the registry's lock: none of them ends meanwhile.
    pub(crate) fn for_each(&self, cx: &Cx<'_, M>, mut visit: impl FnMut(&Inner<M>)) {
        let _guard = self.lock.lock(cx, Rank::Spaces);
        let mut next = self.head.load(Relaxed);
        while let Some(space) = Inner::from_address(next) {
            // SAFETY: a space leaves the registry before it ends.
            let space = unsafe { space.as_ref() };
            visit(space);
            next = space.next.load(Relaxed);
        }
    }
}

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
        // SAFETY: the allocation is large enough, aligned (slab objects are aligned to their size class) and unused.
        unsafe { inner.write(Inner::new(vm, root.pfn, (lineage, name), group)) };
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
        Self::first_alive(vm, |spaces| spaces.head.load(Relaxed))
    }

    /// The one that was registered before this one. Whoever goes from one to the next comes to all that were there when he
    /// began, unless they end meanwhile; in time, this is one step for each.
    pub(crate) fn older(&self) -> Option<Self> {
        Self::first_alive(self.vm, |_| self.inner().next.load(Relaxed))
    }

    /// The first that has not begun to end, from the one on whose address `from` says under the registry's lock.
    fn first_alive(vm: &'vm Vm<M>, from: impl FnOnce(&Spaces<M>) -> u64) -> Option<Self> {
        let cx = Cx::enter(vm);
        let spaces = vm.spaces();
        let _guard = spaces.lock.lock(&cx, Rank::Spaces);
        let mut next = from(spaces);
        while let Some(inner) = Inner::from_address(next) {
            // SAFETY: a space leaves the registry before it ends.
            let space = unsafe { inner.as_ref() };
            if space.try_get() {
                return Some(Space { vm, inner });
            }
            next = space.next.load(Relaxed);
        }
        None
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

impl<M: Machine> Inner<M> {
    fn new(
        vm: &Vm<M>,
        root: Pfn,
        (lineage, name): (NonNull<Lineage<M>>, OwnerName<M>),
        group: Option<NonNull<Members<M>>>,
    ) -> Self {
        Inner {
            _retired: [0; 2],
            tlb: SpaceTlb::new(),
            lines: Lines::new(vm),
            id: vm.next_id(),
            root,
            fork_done: AtomicU32::new(0),
            fork_begun: AtomicU32::new(0),
            stack_limit: AtomicU64::new(8 << 20),
            stack_low: AtomicU64::new(u64::MAX),
            stack_high: AtomicU64::new(0),
            mapped_limit: AtomicU64::new(u64::MAX),
            mapping: SleepLock::new(),
            handles: AtomicU64::new(1),
            lineage,
            name,
            group,
            walks: AtomicU32::new(0),
            end_number: AtomicU32::new(0),
            moves_begun: AtomicU32::new(0),
            moves_done: AtomicU32::new(0),
            moves_held_back: AtomicU32::new(0),
            classes: AtomicU32::new(0),
            brk_base: AtomicU64::new(0),
            brk_end: AtomicU64::new(0),
            next: AtomicU64::new(0),
            previous: AtomicU64::new(0),
        }
    }

    fn from_address(address: u64) -> Option<NonNull<Self>> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
    }

    fn register(&self, cx: &Cx<'_, M>, parent: Option<&Inner<M>>) {
        let spaces = cx.vm().spaces();
        let _guard = spaces.lock.lock(cx, Rank::Spaces);
        let address = (&raw const *self).expose_provenance() as u64;
        let head = spaces.head.load(Relaxed);
        self.next.store(head, Relaxed);
        if let Some(head) = Self::from_address(head) {
            // SAFETY: spaces in the registry are alive; their links are under its lock.
            unsafe { head.as_ref() }.previous.store(address, Relaxed);
        }
        spaces.head.store(address, Relaxed);
        spaces.count.add_owned(1);
        self.lineage().begin(cx, address, parent.map(Inner::lineage));
    }

    /// Its place among its ancestors and descendants.
    #[inline(always)]
    pub(crate) fn lineage(&self) -> &Lineage<M> {
        // SAFETY: it is freed after the space, see `Lineage::end`.
        unsafe { self.lineage.as_ref() }
    }

    /// What pages that the space creates name as their owner.
    #[inline(always)]
    pub(crate) fn owner(&self) -> u64 {
        self.name.address()
    }

    /// Keeps the space from ending until [`Inner::unpin`], unless it ends already. For walks that found it by reverse
    /// mapping, in a read-side section; they must not sleep.
    pub(crate) fn pin(&self) -> bool {
        let is_alive = self.walks.fetch_add(1, SeqCst) & ENDING == 0;
        if !is_alive {
            self.walks.fetch_sub(1, SeqCst);
        }
        is_alive
    }

    /// Ends [`Inner::pin`].
    pub(crate) fn unpin(&self) {
        self.walks.fetch_sub(1, SeqCst);
    }

    /// One more handle, unless the last is gone.
    fn try_get(&self) -> bool {
        let mut seen = self.handles.load(Relaxed);
        while seen != 0 {
            match self.handles.compare_exchange(seen, seen + 1, AcqRel) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Lets no further entries begin to move as long as the result lives: for a walk, which has pre-emption off.
    pub(crate) fn hold_moves_back(&self) -> HeldBack<'_, M> {
        self.moves_held_back.fetch_add(1, SeqCst);
        HeldBack(&self.moves_held_back)
    }

    /// By how many walks moves are held back.
    pub(crate) fn moves_held_back(&self) -> u32 {
        self.moves_held_back.load(SeqCst)
    }

    /// Enters the core when no walk holds moves back. Whoever holds them back has pre-emption off; who waits for it has not,
    /// but for a moment each turn.
    pub(super) fn enter_between_walks<'vm>(&self, vm: &'vm Vm<M>) -> Cx<'vm, M> {
        loop {
            let cx = Cx::enter(vm);
            let seen = self.moves_held_back();
            if seen == 0 {
                return cx;
            }
            cx.serve_mailbox();
            vm.machine().wait_change(self.moves_held_back.as_core(), seen);
        }
    }

    /// Which of all ends of spaces that of this one is, once no walk finds its way in any more.
    pub(super) fn number_of_end(&self) -> Option<u32> {
        (self.walks.load(SeqCst) & ENDING != 0).then(|| self.end_number.load(Relaxed))
    }

    /// Takes a number among the ends of spaces, before [`Inner::end_walks`].
    pub(super) fn begin_end(&self, cx: &Cx<'_, M>) {
        self.end_number.store(cx.vm().spaces().ends().begin(), Relaxed);
    }

    /// Keeps further walks out and waits for those under way.
    pub(super) fn end_walks(&self, cx: &Cx<'_, M>) {
        let mut seen = self.walks.fetch_or(ENDING, SeqCst) | ENDING;
        while seen != ENDING {
            cx.serve_mailbox();
            cx.vm().machine().wait_change(self.walks.as_core(), seen);
            seen = self.walks.load(SeqCst);
        }
    }

    fn unregister(&self, cx: &Cx<'_, M>) {
        let spaces = cx.vm().spaces();
        let _guard = spaces.lock.lock(cx, Rank::Spaces);
        let (next, previous) = (self.next.load(Relaxed), self.previous.load(Relaxed));
        match Self::from_address(previous) {
            // SAFETY: as in `register`.
            Some(space) => unsafe { space.as_ref() }.next.store(next, Relaxed),
            None => spaces.head.store(next, Relaxed),
        }
        if let Some(space) = Self::from_address(next) {
            // SAFETY: as in `register`.
            unsafe { space.as_ref() }.previous.store(previous, Relaxed);
        }
        spaces.count.add_owned(u64::MAX);
    }

    #[inline(always)]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline(always)]
    pub(crate) fn root(&self) -> Pfn {
        self.root
    }

    #[inline(always)]
    pub(crate) fn tlb(&self) -> &SpaceTlb<M> {
        &self.tlb
    }

    /// Whether the word that counts walks lies at `address`.
    pub(crate) fn is_walks_at(&self, address: usize) -> bool {
        holds(&self.walks, address)
    }

    /// The CPU whose line of the space contains `address`.
    pub(crate) fn line_at(&self, vm: &Vm<M>, address: usize) -> Option<usize> {
        self.lines.cpu_at(vm, address)
    }

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

    #[cfg(test)]
    pub(super) fn lines(&self) -> &Lines<M> {
        &self.lines
    }

    /// The group it is a member of.
    #[inline(always)]
    pub(crate) fn group(&self) -> Option<NonNull<Members<M>>> {
        self.group
    }

    /// Resident pages of one kind.
    pub(crate) fn rss_of(&self, vm: &Vm<M>, kind: RssKind) -> u64 {
        // Beside changes the CPUs' parts are not of one moment: what one has removed another may not have added yet.
        (self.lines.sum(vm, kind) as i64).max(0) as u64
    }

    /// Where this CPU looks for free addresses first.
    #[inline(always)]
    pub(crate) fn cursor(&self, cx: &Cx<'_, M>) -> &AtomicU64<M> {
        self.lines.cursor(cx)
    }

    /// As [`Inner::cursor`], and where this CPU has seen that there is no room.
    #[inline(always)]
    pub(super) fn cursor_and_stretch(&self, cx: &Cx<'_, M>) -> (&AtomicU64<M>, &[AtomicU64<M>; 2]) {
        self.lines.cursor_and_stretch(cx)
    }

    /// Where this CPU emptied a table last.
    pub(super) fn emptied(&self, cx: &Cx<'_, M>) -> &AtomicU64<M> {
        self.lines.emptied(cx)
    }

    /// Whether fork number `stamp` still has its flush before it.
    #[inline(always)]
    pub(crate) fn fork_pending(&self, stamp: u32) -> bool {
        // By difference: after very many forks the numbers begin anew.
        M::guard(Guard::ForkGate) && stamp != 0 && stamp.wrapping_sub(self.fork_done.load(SeqCst)) as i32 > 0
    }

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
