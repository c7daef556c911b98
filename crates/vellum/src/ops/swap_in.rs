//! Faults on pages that are absent: in swap, being moved, or lost.
//!
//! A page that comes back enters the swap cache first, and only one CPU reads it (E11). From there it is mapped under
//! its folio lock: so it is still the page of that slot (E12), it is not being written out (E15), and its tags are
//! restored before the slot may go (E8). A page that belongs to the entry alone stays exclusive (D7).

use super::fault::{Plan, Step, bits_for, commit, plan_at};
use super::{FaultError, FaultKind};
use crate::arch::{Absent, Arch, PageBits, SwapSlot, Word};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, PageError};
use crate::phys::{Pfn, folio};
use crate::rmap::Seek;
use crate::space::absent::migrating;
use crate::space::{Inner, RssKind, Space};
pub(super) use crate::swap::leave_cache;
use crate::swap::{self, Cached, SwapIn, leave_cache_locked};
use core::sync::atomic::Ordering::Relaxed;

/// The entry says something of an absent page.
#[cold]
#[inline(never)]
pub(super) fn absent<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>) -> Result<Step<M>, PageError> {
    match plan.word.absent() {
        Some(Absent::Swap { slot, is_exclusive }) => Ok(swapped(cx, space, plan, slot, is_exclusive)),
        Some(Absent::Migration { pfn, .. }) => Ok(Step::AwaitFolio(pfn, plan.word)),
        Some(Absent::Poison) => Err(PageError::Io { index: plan.offset(M::Arch::PAGE_SHIFT) }),
        Some(Absent::Splitting) | None => Ok(Step::Retry),
    }
}

fn swapped<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    slot: SwapSlot,
    is_exclusive: bool,
) -> Step<M> {
    let Some(cached) = cx.swap_lookup(slot) else { return Step::SwapIn(slot) };
    let lock = cx.vm().physical().frame(cached.head).folio_lock();
    let is_locked = lock.try_acquire();
    if !is_locked && M::guard(Guard::StableWhileWritten) {
        object::release(cx, cached.head);
        return Step::AwaitFolio(cached.head, plan.word);
    }
    let step = map_cached(cx, space, plan, slot, cached, is_exclusive);
    if is_locked {
        lock.release(cx.vm());
    }
    if !matches!(step, Step::Done(_)) {
        object::release(cx, cached.head);
    }
    match step {
        // It could only be mapped for loads: the copy is made as for any page that is there.
        Step::Done(_) if plan.access == super::Access::Write && !is_writable(plan) => Step::Retry,
        step => step,
    }
}

/// Whether the plan's entry can be stored through by now.
fn is_writable<M: Machine>(plan: &Plan<'_, M>) -> bool {
    let word = plan.leaf.entry(plan.index);
    word.is_page() && word.bits().has(PageBits::WRITE)
}

/// Maps the page of the swap cache, whose folio lock is held, alone or of a folio. When done, the caller's reference is
/// the mapping's.
fn map_cached<M: Machine>(
    cx: &Cx<'_, M>,
    space: &Inner<M>,
    plan: &Plan<'_, M>,
    slot: SwapSlot,
    Cached { page: pfn, head }: Cached,
    is_exclusive: bool,
) -> Step<M> {
    let frame = cx.vm().physical().frame(head);
    let is_uncached = !M::guard(Guard::SlotUnderLock) || !M::guard(Guard::SlotCacheMutex);
    if !(is_uncached || cx.swap_is_cached(slot, pfn)) || frame.flags() & folio::UP_TO_DATE == 0 {
        return Step::Retry;
    }
    // Nobody else has the page: this entry is the slot's last, and there are no references but the cache's and ours.
    let is_last = || cx.swap_is_last_use(slot) && frame.references() == 2;
    let was_last = !M::guard(Guard::LastUseUnderLock) && is_last();
    if M::guard(Guard::TagsBeforeSlotFree) {
        restore_tags(cx, space, plan, slot, pfn);
    }
    let Some(locked) = commit(cx, space, plan) else { return Step::Retry };
    // Under the lock: a fork would give a child such an entry, and leave this one as it is.
    let is_exclusive = is_exclusive || if M::guard(Guard::LastUseUnderLock) { is_last() } else { was_last };
    // A folio of several keeps its name, by which each page is found wherever it is mapped.
    if frame.mappings() == 0 && frame.order() == 0 {
        let owner = if is_exclusive { space.owner() } else { cx.swap_owner(slot) };
        frame.words[0].store(owner, Relaxed);
        frame.words[1].store(plan.anonymous_offset(), Relaxed);
    }
    let bits = bits_for::<M::Arch>(plan.attributes.prot, is_exclusive, plan.access) | plan.tag_bit();
    let bits = if is_exclusive { bits | PageBits::EXCLUSIVE } else { bits.without(PageBits::DIRTY) };
    frame.add_mapping_of_reference();
    locked.update(plan.index, |_| Word::of_page(pfn, bits));
    drop(locked);
    space.add_rss(cx, RssKind::Anonymous, 1);
    space.add_rss(cx, RssKind::Swap, -1);
    cx.swap_put(slot);
    if bits.has(PageBits::DIRTY) {
        // What is in the slot is out of date.
        leave_cache_locked(cx, head);
    }
    if !M::guard(Guard::TagsBeforeSlotFree) {
        restore_tags(cx, space, plan, slot, pfn);
    }
    Step::Done(FaultKind::Swapped)
}

/// Restores the tags that are saved with `slot`: to whoever gets the page, wherever (E5, E6).
fn restore_tags<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, slot: SwapSlot, pfn: Pfn) {
    let is_where_it_was = || plan.attributes.delta == 0 && cx.swap_owner(slot) == space.owner();
    if M::guard(Guard::TagsBySlot) || is_where_it_was() {
        cx.restore_tags(slot, pfn);
    }
}

/// Makes a page that cannot be read one that is lost: every access gets a bus error from now on.
fn poison<M: Machine>(cx: &Cx<'_, M>, space: &Inner<M>, plan: &Plan<'_, M>, slot: SwapSlot) {
    let Some(locked) = commit(cx, space, plan) else { return };
    locked.update(plan.index, |_| Word::of_absent(Absent::Poison));
    drop(locked);
    space.add_rss(cx, RssKind::Swap, -1);
    cx.drop_swap_entry(slot);
}

impl<M: Machine> Space<'_, M> {
    /// Brings the page at `address` back from swap, if it is there, whatever the mapping allows; if it cannot be read
    /// it is lost. Sleeps.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn bring_back(&self, address: u64) -> Result<(), Error> {
        loop {
            let step = {
                let cx = Cx::enter(self.vm());
                let Some(plan) = plan_at(&cx, self.inner(), address) else {
                    if self.await_mapping(&cx, address) {
                        continue;
                    }
                    return Ok(());
                };
                let Some(Absent::Swap { slot, is_exclusive }) = plan.word.absent() else { return Ok(()) };
                let stamp = plan.leaf.fork_stamp();
                if self.inner().fork_pending(stamp) {
                    Step::AwaitFork(stamp)
                } else {
                    swapped(&cx, self.inner(), &plan, slot, is_exclusive)
                }
            };
            match step {
                Step::AwaitFolio(pfn, word) => self.await_folio(address, pfn, word),
                Step::AwaitFork(stamp) => self.await_fork(stamp),
                Step::SwapIn(slot) => match swap::bring_in(self.vm(), slot) {
                    Ok(_) => {}
                    Err(PageError::OutOfMemory) => return Err(Error::OutOfMemory),
                    Err(_) => {
                        let cx = Cx::enter(self.vm());
                        let names_it = |plan: &Plan<'_, M>| Seek::swap(slot, 1).is_named_by::<M::Arch>(plan.word);
                        if let Some(plan) = plan_at(&cx, self.inner(), address).filter(names_it) {
                            poison(&cx, self.inner(), &plan, slot);
                        }
                    }
                },
                _ => {}
            }
        }
    }

    /// Waits, if the entry at `address` says that its page is in swap, for whoever has the leaf's lock; whether it says
    /// so. Where no mapping covers such an entry, that is somebody who unmaps it, or has moved it there (E20).
    fn await_mapping(&self, cx: &Cx<'_, M>, address: u64) -> bool {
        let leaf = self.inner().lowest(cx, address);
        if leaf.level > 0 || !M::guard(Guard::UnmappedEntryAwaited) {
            return false;
        }
        let word = leaf.entry(leaf.index(address));
        let is_swapped = matches!(word.absent(), Some(Absent::Swap { .. }));
        if is_swapped {
            leaf.frame.lock.wait_free(cx);
        }
        is_swapped
    }

    /// Sleeps until the folio lock of `pfn` may be free, which was held when the entry at `address` was `word`. Takes
    /// no reference, lest those who wait keep the page from being moved (F6).
    #[cold]
    pub(super) fn await_folio(&self, address: u64, pfn: Pfn, word: Word<M::Arch>) {
        let vm = self.vm();
        let frame = vm.physical().frame(pfn);
        let is_still_it = || {
            if !M::guard(Guard::WaitLooksAgain) {
                return true;
            }
            let cx = Cx::enter(vm);
            let table = self.inner().lowest(&cx, address);
            if table.page(table.index(address)) != word {
                return false;
            }
            if migrating::<M>(word).is_some() {
                return true;
            }
            let Some(Absent::Swap { slot, .. }) = word.absent() else { return false };
            let cached = cx.swap_lookup(slot).map(|cached| cached.head);
            cached.inspect(|&head| object::release(&cx, head));
            cached == Some(pfn)
        };
        if M::guard(Guard::WaitWithoutReference) {
            return frame.folio_lock().wait(vm, is_still_it);
        }
        if is_still_it() && frame.try_get() {
            frame.folio_lock().wait(vm, is_still_it);
            object::release(&Cx::enter(vm), pfn);
        }
    }

    /// Where [`Guard::SlotCacheMutex`] is off: reads `slot` into a page that nobody else knows, and maps that if the
    /// entry says then what it said before; whether it was read.
    #[cold]
    fn read_uncached(&self, address: u64, slot: SwapSlot) -> Result<bool, Error> {
        let vm = self.vm();
        let pfn = swap::new_page(&Cx::enter(vm))?;
        let is_read = swap::read_page(vm, slot, pfn).is_ok();
        let cx = Cx::enter(vm);
        let frame = vm.physical().frame(pfn);
        frame.set_flags(folio::UP_TO_DATE);
        let plan = plan_at(&cx, self.inner(), address >> M::Arch::PAGE_SHIFT << M::Arch::PAGE_SHIFT);
        let step = plan.filter(|_| is_read).and_then(|plan| match plan.word.absent() {
            Some(Absent::Swap { slot: named, is_exclusive }) if named == slot => {
                Some(map_cached(&cx, self.inner(), &plan, slot, Cached { page: pfn, head: pfn }, is_exclusive))
            }
            _ => None,
        });
        frame.folio_lock().release(vm);
        if !matches!(step, Some(Step::Done(_))) {
            object::release(&cx, pfn);
        }
        Ok(is_read)
    }

    /// Whether the entry at `address` says that its page is in `slot`.
    pub(super) fn names_slot(&self, address: u64, slot: SwapSlot) -> bool {
        let cx = Cx::enter(self.vm());
        let leaf = self.inner().lowest(&cx, address);
        leaf.level == 0 && Seek::swap(slot, 1).is_named_by::<M::Arch>(leaf.entry(leaf.index(address)))
    }

    /// Brings the page of `slot` into the swap cache; whether it was read.
    #[cold]
    pub(super) fn read_swap(&self, address: u64, slot: SwapSlot) -> Result<bool, FaultError> {
        if !M::guard(Guard::SlotCacheMutex) {
            return self.read_uncached(address, slot).map_err(|_| FaultError::OutOfMemory { address });
        }
        match swap::bring_in(self.vm(), slot) {
            Ok(SwapIn::Read) => Ok(true),
            Ok(SwapIn::LookAgain) => Ok(false),
            Err(PageError::OutOfMemory) => Err(FaultError::OutOfMemory { address }),
            Err(PageError::Io { .. } | PageError::BeyondEnd { .. }) => {
                Err(FaultError::Bus { address, index: address >> M::Arch::PAGE_SHIFT })
            }
        }
    }
}
