//! The short way: an operation on a range within one leaf and of one class; or on whole slots of one upper table that
//! have no lower ones, of one class: huge pages, or nothing.
//!
//! It holds the table's lock from beginning to end instead of a claim. After it has taken the lock it looks for claims
//! on the table and on the way to it; if there is one, or the range is not that simple, nothing is done here and the
//! operation takes the long way. Below slots without lower tables nobody can have claims, nor make any as long as the
//! lock is held; who has claimed above waits for the locks of all tables in his range, upper ones and leaves alike.

use super::apply::{PageChange, reprotect, zap};
use super::claim::covers;
use super::table::{Locked, Table};
use super::{ClassId, Inner, Runs, stack_guard_pages};
use crate::arch::{Arch, LEVELS_MAX, index};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::Pfn;
use crate::tlb::Gather;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// Slots of an upper table that go the short way at most: what is done to their pages is done with pre-emption off.
const SLOTS_MAX: u64 = 32;

/// Whether `length` bytes are no more than what a leaf covers.
#[inline(always)]
pub(crate) fn may_fit_in_leaf<A: Arch>(length: u64) -> bool {
    length <= 1 << (A::shift(0) + A::index_bits(0))
}

/// The way from the root to a table: the tables of each level.
#[derive(Clone, Copy)]
struct Path([Pfn; LEVELS_MAX]);

/// What to do with a range that is all of one class.
pub(crate) struct Simple {
    /// The class it gets, held by the caller.
    pub(crate) class: ClassId,
    /// What happens to its pages.
    pub(crate) pages: PageChange,
}

/// What came of the short way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Short {
    /// Done.
    Done,
    /// Done, and the leaf is empty now: [`Inner::leaf_emptied`] gives it back.
    Emptied,
    /// Nothing done: take the long way.
    No,
}

impl<M: Machine> Inner<M> {
    /// The lowest table that covers `address`, its level, and the way to it.
    #[inline(always)]
    fn path(&self, cx: &Cx<'_, M>, address: u64) -> (Pfn, usize, Path) {
        let mut path = Path([self.root(); LEVELS_MAX]);
        let lowest = self.descend(cx.vm().machine(), address, |level, pfn| path.0[level] = pfn);
        (lowest.pfn, lowest.level, path)
    }

    /// Locks the table at the end of a way, unless somebody has claimed it or a slot on the way to it.
    #[inline(always)]
    fn lock_unclaimed<'a>(
        &self,
        cx: &'a Cx<'_, M>,
        table: Table<'a, M>,
        path: &Path,
        address: u64,
    ) -> Option<Locked<'a, M>> {
        let locked = table.lock(cx, self, address)?;
        if M::guard(Guard::LeafClaimSeen) && table.claim().load(SeqCst) != 0 {
            return None;
        }
        for level in table.level + 1..M::Arch::LEVELS {
            let claim = cx.vm().physical().frame(path.0[level]).halves[1].load(SeqCst);
            if claim != 0 && covers(claim, index::<M::Arch>(address, level)) {
                return None;
            }
        }
        Some(locked)
    }

    /// Tries `start..end` the short way. `decide` says what to do with a range of the class it is given, or that the
    /// operation fails; it is called with the table's lock held.
    #[inline(always)]
    pub(crate) fn change_in_leaf(
        &self,
        cx: &Cx<'_, M>,
        start: u64,
        end: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        self.change_in::<true>(cx, start, end, decide)
    }

    /// [`Inner::change_in_leaf`] for the place of one huge page, which begins at `start`, if there is no leaf: a piece
    /// of code by itself, with nothing left to be gone through but one slot.
    #[inline(always)]
    pub(crate) fn change_one_slot(
        &self,
        cx: &Cx<'_, M>,
        start: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        let span = 1 << M::Arch::shift(1);
        // What is so anyway, for the compiler.
        let start = start & !(span - 1);
        let (lowest, level, path) = self.path(cx, start);
        match level {
            1 => self.change_slots(cx, &Table::at(cx, lowest, 1), &path, start, start + span, decide),
            0 => self.change_in::<false>(cx, start, start + span, decide),
            _ => self.change_above_leaf(cx, start, start + span, decide),
        }
    }

    /// [`Inner::change_in_leaf`]; without `ABOVE` in leaves only, which spares what `decide` has captured the way to
    /// memory.
    #[inline(always)]
    fn change_in<const ABOVE: bool>(
        &self,
        cx: &Cx<'_, M>,
        start: u64,
        end: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        let leaf_shift = M::Arch::shift(0) + M::Arch::index_bits(0);
        if start >> leaf_shift != (end - 1) >> leaf_shift {
            // Most ranges that are larger are none of whole slots.
            let are_whole = (start | end) & ((1 << M::Arch::shift(1)) - 1) == 0;
            return if ABOVE && are_whole { self.change_above_leaf(cx, start, end, decide) } else { Ok(Short::No) };
        }
        let (lowest, level, path) = self.path(cx, start);
        match level {
            0 => {}
            1 if ABOVE => return self.change_beside_leaves(cx, lowest, path, start, end, decide),
            _ => return Ok(Short::No),
        }
        let leaf = Table::at(cx, lowest, 0);
        let Some(locked) = self.lock_unclaimed(cx, leaf, &path, start) else { return Ok(Short::No) };
        self.change_locked(cx, &locked, start, end, decide)
    }

    /// [`Inner::change_in_leaf`], of a range that is larger than a leaf's.
    #[inline(never)]
    fn change_above_leaf(
        &self,
        cx: &Cx<'_, M>,
        start: u64,
        end: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        let (lowest, level, path) = self.path(cx, start);
        match level {
            0 => Ok(Short::No),
            _ => self.change_slots(cx, &Table::at(cx, lowest, level), &path, start, end, decide),
        }
    }

    /// [`Inner::change_in_leaf`], where there is no leaf but could be one.
    #[inline(never)]
    fn change_beside_leaves(
        &self,
        cx: &Cx<'_, M>,
        lowest: Pfn,
        path: Path,
        start: u64,
        end: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        // The level is known to the compiler.
        self.change_slots(cx, &Table::at(cx, lowest, 1), &path, start, end, decide)
    }

    /// Changes whole slots of an upper table, if none of them has a lower one.
    #[inline(always)]
    fn change_slots(
        &self,
        cx: &Cx<'_, M>,
        table: &Table<'_, M>,
        path: &Path,
        start: u64,
        end: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        let slots = (end - start) >> M::Arch::shift(table.level);
        let (low, are_whole) = (table.index(start), (start | end) & (table.span() - 1) == 0);
        if !are_whole || slots > SLOTS_MAX || low + slots as usize > table.len() {
            return Ok(Short::No);
        }
        let Some(locked) = self.lock_unclaimed(cx, *table, path, start) else { return Ok(Short::No) };
        if !(low..low + slots as usize).all(|slot| table.is_childless(slot)) {
            return Ok(Short::No);
        }
        self.change_locked(cx, &locked, start, end, decide)
    }

    #[inline(always)]
    fn change_locked(
        &self,
        cx: &Cx<'_, M>,
        locked: &Locked<'_, M>,
        start: u64,
        end: u64,
        decide: impl FnOnce(ClassId) -> Result<Option<Simple>, Error>,
    ) -> Result<Short, Error> {
        let leaf = locked.table;
        let (low, high) = (leaf.index(start), leaf.index(end - 1));
        let Some((class, place)) = Runs::common(cx, leaf.frame, low, high) else { return Ok(Short::No) };
        let Some(simple) = decide(class)? else { return Ok(Short::No) };
        if simple.class != class {
            if !locked.set_common_class(cx, (low, high), simple.class, place) {
                cx.release_class(simple.class, 1);
                return Ok(Short::No);
            }
            cx.retain_class(simple.class, (high - low + 1) as u64);
        }
        // The flush comes under the lock, in place of a claim: nobody may map the range anew before.
        match simple.pages {
            // Advice takes the long way.
            PageChange::Keep | PageChange::GiveUp => {}
            _ if leaf.used() == 0 && !locked.has_pending_flush(Guard::EmptyLeafSettledInPlace) => {}
            PageChange::Reprotect(prot) => {
                if let Some(flush) = reprotect(cx, locked, (low, high), start, prot) {
                    cx.flush(self.id(), self.tlb(), flush);
                }
            }
            PageChange::Zap if leaf.is_empty(low, high) && !locked.has_pending_flush(Guard::SettledByZap) => {}
            PageChange::Zap => {
                let mut gather = Gather::new(cx, self.id(), self.tlb());
                zap(cx, self, locked, low, high, start, &mut gather);
            }
        }
        if simple.class != class {
            // After the pages: as long as there are entries, a walk is led to them by the class (B22).
            leaf.end_slots(cx, class, simple.class, (high - low + 1) as u64);
        }
        let is_empty = simple.pages == PageChange::Zap && leaf.used() == 0 && locked.uniform_class().is_some();
        Ok(if is_empty { Short::Emptied } else { Short::Done })
    }

    /// Maps `length` bytes at this CPU's cursor, the short way, if there is room in one leaf: the address.
    #[inline(always)]
    pub(crate) fn map_at_cursor(
        &self,
        cx: &Cx<'_, M>,
        length: u64,
        class: impl FnOnce(u64) -> Result<ClassId, Error>,
    ) -> Result<Option<(u64, ClassId)>, Error> {
        let cursor = self.cursor(cx);
        let start = cursor.load(Relaxed);
        let Some(end) = start.checked_add(length).filter(|&end| end <= M::Arch::SEARCH_END) else { return Ok(None) };
        let is_early = !M::guard(Guard::StackAskedUnderLock);
        if is_early && self.is_near_stack(start, end) {
            return Ok(None);
        }
        let mut held = ClassId::NONE;
        let short = self.change_in::<false>(
            cx,
            start,
            end,
            #[inline(always)]
            |old| {
                // Under the lock: a stack that has grown is seen here, and one that is about to waits and finds this
                // (G19).
                if old != ClassId::NONE || !is_early && self.is_near_stack(start, end) {
                    return Ok(None);
                }
                held = class(start)?;
                Ok(Some(Simple { class: held, pages: PageChange::Keep }))
            },
        )?;
        Ok((short != Short::No).then(|| {
            // The next search begins behind it.
            cursor.store(end, Relaxed);
            (start, held)
        }))
    }

    /// Whether a grows-down mapping may begin within the guard gap behind `end`.
    #[inline(always)]
    pub(crate) fn is_near_stack(&self, start: u64, end: u64) -> bool {
        let (low, high) = self.stacks();
        let guard = stack_guard_pages::<M::Arch>() << M::Arch::PAGE_SHIFT;
        end.saturating_add(guard) > low && start < high
    }
}
