//! What the spaces of a group have in common: a limit of resident pages, and how many there are.
//!
//! A CPU counts a few pages of a group for itself before it tells the group, so that CPUs that fault in one group write
//! no common line. Where the number is so near to the limit that it matters, whoever asks collects what is untold, and
//! whoever counts tells the group at once: there the count is exact, as far as a sum can be that others change. What
//! has been collected need not be again, until a CPU counts for itself once more.

use crate::cpu::{Cpu, Cx};
use crate::machine::Machine;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::ptr::{NonNull, with_exposed_provenance};
use core::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

/// log2 of the alignment of groups.
const ALIGN_SHIFT: u32 = 6;
/// The most pages, more or fewer, that a CPU keeps untold.
const UNTOLD_MAX: i64 = (1 << (ALIGN_SHIFT - 1)) - 1;

/// What a CPU has counted for a group and not told it: the group's address and, in the bits that are free below it, the
/// pages plus [`Untold::ZERO`]. 0 for no group. Taken by other CPUs, too: changed by compare and exchange.
#[repr(align(64))]
pub(crate) struct Untold<M>(AtomicU64<M>);

impl<M: Machine> Untold<M> {
    /// No page.
    const ZERO: u64 = 1 << (ALIGN_SHIFT - 1);
    const BELOW: u64 = (1 << ALIGN_SHIFT) - 1;

    pub(crate) const fn new() -> Self {
        Untold(AtomicU64::new(0))
    }

    /// The word for `pages` of the group at `group`.
    #[inline(always)]
    fn word(group: u64, pages: i64) -> u64 {
        group | Self::ZERO.wrapping_add(pages as u64)
    }

    /// The group's address, and the pages.
    #[inline(always)]
    fn parts(word: u64) -> (u64, i64) {
        match word {
            0 => (0, 0),
            _ => (word & !Self::BELOW, (word & Self::BELOW) as i64 - Self::ZERO as i64),
        }
    }

    /// Tells the group what this has for it, if it is `only` or that is not said. Whoever adds up meanwhile finds
    /// rather too many pages than too few: what is more is told before it goes from here, what is less afterwards.
    fn tell(&self, _cx: &Cx<'_, M>, only: Option<u64>) {
        loop {
            let seen = self.0.load(SeqCst);
            let (group, pages) = Self::parts(seen);
            if only.is_some_and(|only| only != group) {
                return;
            }
            // SAFETY: the word does not name a group at its end, and did not in this section: so it is freed after that.
            let Some(group) = (unsafe { with_exposed_provenance::<Members<M>>(group as usize).as_ref() }) else {
                return;
            };
            group.count(pages.max(0));
            if self.0.compare_exchange(seen, 0, AcqRel).is_ok() {
                return group.count(pages.min(0));
            }
            group.count(-pages.max(0));
        }
    }
}

/// Whether all CPUs have told what they had: in the lowest bits; above them a number that every change makes another.
///
/// A CPU counts for itself, then looks here, and undoes what it finds; who collects says so here, then looks at each
/// CPU. All sequentially consistent, so one of the two sees the other. It is done only if nobody has undone it since it
/// began, nor begun it anew.
struct Collection<M>(AtomicU64<M>);

impl<M: Machine> Collection<M> {
    const STATE: u64 = 3;
    const BEGUN: u64 = 1;
    const DONE: u64 = 2;

    const fn new() -> Self {
        Collection(AtomicU64::new(0))
    }

    fn after(seen: u64, state: u64) -> u64 {
        (seen | Self::STATE).wrapping_add(1) | state
    }

    #[inline(always)]
    fn is_done(&self) -> bool {
        self.0.load(SeqCst) & Self::STATE == Self::DONE
    }

    /// What [`Collection::end`] is to be told.
    fn begin(&self) -> u64 {
        let mut seen = self.0.load(SeqCst);
        loop {
            let begun = Self::after(seen, Self::BEGUN);
            match self.0.compare_exchange(seen, begun, SeqCst) {
                Ok(_) => return begun,
                Err(now) => seen = now,
            }
        }
    }

    fn end(&self, begun: u64) {
        // If it has changed, there is something untold again, or another collects it.
        let _ = self.0.compare_exchange(begun, Self::after(begun, Self::DONE), SeqCst);
    }

    #[inline(always)]
    fn undo(&self) {
        let mut seen = self.0.load(SeqCst);
        while seen & Self::STATE != 0 {
            match self.0.compare_exchange(seen, Self::after(seen, 0), SeqCst) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

/// What a group consists of. Fields: all atomics of their own.
#[repr(C, align(64))]
pub(crate) struct Members<M> {
    /// Written when the group is retired.
    _retired: [u64; 2],
    /// Handles, and spaces.
    references: AtomicU64<M>,
    limit: AtomicU64<M>,
    /// Resident pages of the members, but for what CPUs have not told.
    pages: AtomicU64<M>,
    collection: Collection<M>,
}

impl<M: Machine> Members<M> {
    /// A group with one handle and no space.
    pub(crate) fn new(limit: u64) -> Self {
        Members {
            _retired: [0; 2],
            references: AtomicU64::new(1),
            limit: AtomicU64::new(limit),
            pages: AtomicU64::new(0),
            collection: Collection::new(),
        }
    }

    /// The limit, in pages.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Sets the limit, in pages.
    pub(crate) fn set_limit(&self, pages: u64) {
        self.limit.store(pages, Relaxed);
    }

    fn address(&self) -> u64 {
        (&raw const *self).expose_provenance() as u64
    }

    /// Counts `pages` more resident pages, or, negative, fewer.
    #[cold]
    #[inline(never)]
    pub(crate) fn add(&self, cx: &Cx<'_, M>, pages: i64) {
        let own = &cx.cpu().untold;
        let seen = own.0.load(Relaxed);
        let (group, untold) = Untold::<M>::parts(seen);
        let sum = untold + pages;
        let may_wait = sum.abs() <= UNTOLD_MAX && !self.is_near(cx.vm(), 0);
        if group == self.address() && may_wait {
            let word = Untold::<M>::word(group, sum);
            if own.0.compare_exchange(seen, word, SeqCst).is_ok() {
                return self.collection.undo();
            }
        }
        self.add_told(cx, pages);
    }

    /// As [`Members::add`], where the CPU tells what it has counted until now.
    #[inline(never)]
    fn add_told(&self, cx: &Cx<'_, M>, pages: i64) {
        let own = &cx.cpu().untold;
        own.tell(cx, None);
        if pages.abs() <= UNTOLD_MAX && !self.is_near(cx.vm(), 0) {
            // Nobody else writes there as long as it names no group.
            own.0.swap(Untold::<M>::word(self.address(), pages), SeqCst);
            self.collection.undo();
        } else {
            self.count(pages);
        }
    }

    fn count(&self, pages: i64) {
        if pages != 0 {
            self.pages.fetch_add(pages as u64, Relaxed);
        }
    }

    /// Whether what is untold may decide on which side of the limit the group is with `pages` more.
    #[inline(always)]
    fn is_near(&self, vm: &Vm<M>, pages: u64) -> bool {
        let untold = vm.cpu_count() as u64 * UNTOLD_MAX as u64;
        self.told().saturating_add(pages).abs_diff(self.limit()) <= untold
    }

    /// Resident pages, but for what is untold. Changes of different CPUs may arrive in another order than they were
    /// made in.
    #[inline(always)]
    fn told(&self) -> u64 {
        (self.pages.load(Relaxed) as i64).max(0) as u64
    }

    /// Whether `pages` more reach the limit. Looks at each CPU's part if that is nearly so and nobody has looked since
    /// one counted for itself.
    pub(crate) fn is_full_with(&self, vm: &Vm<M>, pages: u64) -> bool {
        if self.is_near(vm, pages) && !self.collection.is_done() {
            let cx = Cx::enter(vm);
            let begun = self.collection.begin();
            vm.cpus().for_each(|cpu| cpu.untold.tell(&cx, Some(self.address())));
            self.collection.end(begun);
        }
        self.told().saturating_add(pages) >= self.limit()
    }

    /// Whether the limit is reached.
    pub(crate) fn is_full(&self, vm: &Vm<M>) -> bool {
        self.is_full_with(vm, 0)
    }

    /// Resident pages.
    pub(crate) fn resident(&self, vm: &Vm<M>) -> u64 {
        let told = self.pages.load(Relaxed) as i64;
        let untold = |cpu: &Cpu<M>| match Untold::<M>::parts(cpu.untold.0.load(Relaxed)) {
            (group, pages) if group == self.address() => pages,
            _ => 0,
        };
        vm.cpus().map(untold).fold(told, i64::wrapping_add).max(0) as u64
    }

    /// One more handle or space.
    pub(crate) fn get(&self) {
        self.references.fetch_add(1, Relaxed);
    }
}

/// One handle or space less.
pub(crate) fn put<M: Machine>(cx: &Cx<'_, M>, group: NonNull<Members<M>>) {
    // SAFETY: the caller's reference.
    let members = unsafe { group.as_ref() };
    if members.references.fetch_sub(1, AcqRel) == 1 {
        // Nobody counts for it any more; another group may lie there soon.
        cx.vm().cpus().for_each(|cpu| cpu.untold.tell(cx, Some(members.address())));
        cx.retire(group.cast(), size_of::<Members<M>>());
    }
}

#[cfg(test)]
mod tests;
