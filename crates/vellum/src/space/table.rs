//! A page table and its descriptor.
//!
//! The entries are what the hardware walks; the descriptor, in the metadata of the table's frame, says the rest:
//!
//! | where | what | protected by |
//! |---|---|---|
//! | `counts` | low half: 0, so that no lookup takes a reference; high half: flushes owed, see below | added to under T |
//! | `lock` | the table lock, T | – |
//! | `words[0]` | used slots (bits 0-15), level (16-23), stale (24), unpaid (25), the last fork that copied the table
//! (32-63) | T |
//! | `words[1..4]` | classes of the slots, see [`super::runs`] | T, read optimistically under the sequence |
//! | `halves[0]` | sequence count of the classes: odd while they change | T |
//! | `halves[1]` | claim: slots claimed by a range operation, see [`super::claim`] | T to set, owner to clear |
//!
//! A flush is owed for each unmap batch that has taken entries of the leaf and not flushed yet; it takes its own back
//! without the lock. It is *unpaid* if nobody has flushed the leaf since the last of those entries was taken. The
//! lookups that get none are those that saw a page in this frame before.
//!
//! *Used* slots are those with an entry. A table is freed when it has none, all its slots are of one class, and that
//! class has been written to the slot which named it. It is marked stale first, under its own lock and its parent's;
//! whoever takes a table's lock checks that mark (B16).

use super::rules::{How, how};
use super::runs::{Place, Runs, RunsView};
use super::slot::{self, Slot};
use super::{ClassId, Inner, Spares};
use crate::arch::{Arch, Word, entries, index, table_order};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Frame, Kind, Pfn};
use crate::stat::Event;
use crate::structure::Change;
use crate::sync::{AtomicU32, LockGuard, Rank, Sequence};
use crate::vm::Vm;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

const USED: u64 = 0xffff;
const LEVEL_SHIFT: u32 = 16;
const STALE: u64 = 1 << 24;
const UNPAID: u64 = 1 << 25;
const FORK_SHIFT: u32 = 32;

/// What it means that the header of a table changes, if more than the number of used slots does.
pub(crate) fn header_change(old: u64, new: u64) -> Option<Change> {
    if new & !old & STALE != 0 {
        return Some(Change::Stale);
    }
    (old >> FORK_SHIFT != new >> FORK_SHIFT).then_some(Change::Forked((new >> FORK_SHIFT) as u32))
}

/// In `counts` of a leaf: one unmap batch that has not flushed yet.
const ONE_PENDING: u64 = 1 << 32;

impl<M: Machine> Frame<M> {
    /// Notes, of a leaf, that an unmap batch which was counted has flushed.
    pub(crate) fn flush_settled(&self) {
        if M::guard(Guard::PendingCounted) {
            self.counts().fetch_sub(ONE_PENDING, SeqCst);
        } else {
            self.counts().store(0, SeqCst);
        }
    }

    /// The level of the table in the frame, which has one.
    pub(crate) fn table_level(&self) -> u8 {
        (self.words[0].load(Relaxed) >> LEVEL_SHIFT) as u8
    }
}

/// A live table reached within `'a`, the read-side section or claim that keeps it allocated.
pub(crate) struct Table<'a, M> {
    pub(crate) pfn: Pfn,
    pub(crate) frame: &'a Frame<M>,
    slots: *const Slot<M>,
    pub(crate) level: usize,
}

impl<M> Clone for Table<'_, M> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Table<'_, M> {}

/// A table whose lock is held and which is not stale.
pub(crate) struct Locked<'a, M: Machine> {
    pub(crate) table: Table<'a, M>,
    _guard: LockGuard<'a, M>,
}

impl<M: Machine> core::ops::Deref for Locked<'_, M> {
    type Target = Frame<M>;
    fn deref(&self) -> &Frame<M> {
        self.table.frame
    }
}

impl<'a, M: Machine> Table<'a, M> {
    /// The table in frame `pfn`, of `level`.
    #[inline(always)]
    pub(crate) fn at(cx: &'a Cx<'_, M>, pfn: Pfn, level: usize) -> Self {
        Self::owned(cx.vm(), pfn, level)
    }

    /// As [`Table::at`], of a table whose first slot is known.
    #[inline(always)]
    pub(super) fn with_slots(cx: &'a Cx<'_, M>, pfn: Pfn, first: NonNull<Slot<M>>, level: usize) -> Self {
        Table { pfn, frame: cx.vm().physical().frame(pfn), slots: first.as_ptr(), level }
    }

    /// Where its slots begin, for [`Table::with_slots`].
    pub(super) fn first_slot(&self) -> NonNull<Slot<M>> {
        // SAFETY: a frame of the machine does not lie at address 0.
        unsafe { NonNull::new_unchecked(self.slots.cast_mut()) }
    }

    /// As [`Table::at`], of a table that is the caller's own: it was taken out of the tree, and he has not retired it.
    #[inline(always)]
    pub(super) fn owned(vm: &'a Vm<M>, pfn: Pfn, level: usize) -> Self {
        Table { pfn, frame: vm.physical().frame(pfn), slots: vm.machine().frame(pfn).cast(), level }
    }

    /// Allocates an empty table of `level` whose slots are all of `class`. Nobody else knows it yet.
    pub(crate) fn allocate(cx: &'a Cx<'_, M>, level: usize, class: ClassId) -> Result<Self, Error> {
        Self::allocate_with(cx, level, class, AllocFlags::NONE)
    }

    /// As [`Table::allocate`], with flags.
    pub(crate) fn allocate_with(
        cx: &'a Cx<'_, M>,
        level: usize,
        class: ClassId,
        flags: AllocFlags,
    ) -> Result<Self, Error> {
        let pfn = match table_order::<M::Arch>(level) {
            0 => cx.alloc_table_frame(flags)?,
            order => cx.alloc_zeroed(order, flags)?,
        };
        let table = Table::at(cx, pfn, level);
        table.frame.set_kind(Kind::Table, table_order::<M::Arch>(level));
        table.frame.words[0].store((level as u64) << LEVEL_SHIFT, Relaxed);
        table.frame.halves[0].store(0, Relaxed);
        table.frame.halves[1].store(0, Relaxed);
        Runs::init(table.frame, class);
        cx.count(Event::TableAlloc, 1);
        Ok(table)
    }

    /// Makes the slots of a table that nobody knows show the pages of a huge one, of which `first` and `second` are the
    /// first two as they would stand in a leaf, both as they are made here; or all of them one page, if these are one.
    /// So with the slots of swap that they are in.
    pub(crate) fn fill(&self, first: Word<M::Arch>, second: Word<M::Arch>) {
        let (mut next, second) = (first.at_level(self.level), second.at_level(self.level));
        let step = next.step_to(second);
        debug_assert!(
            step == 0 || !first.is_page() || {
                let last = self.len() as u64 - 1;
                next.stepped(step, last) == first.further(last * self.pages()).at_level(self.level)
            }
        );
        for slot in self.slots(0, self.len()) {
            slot.store(next, Relaxed);
            next = next.stepped(step, 1);
        }
        self.frame.words[0].store((self.level as u64) << LEVEL_SHIFT | self.len() as u64, Relaxed);
    }

    /// Gives back a table that never became visible.
    pub(crate) fn discard(self, cx: &Cx<'_, M>) {
        Runs::clear(cx, self.frame);
        cx.count(Event::TableFree, 1);
        cx.free_table_frame(self.pfn);
    }

    /// The slot `index`.
    #[inline(always)]
    pub(crate) fn slot(&self, index: usize) -> &'a Slot<M> {
        debug_assert!(index < entries::<M::Arch>(self.level));
        // SAFETY: the frame holds a table of that many entries, kept allocated for `'a`, accessed only atomically;
        // `Slot` is transparent over the processor's.
        unsafe { &*self.slots.add(index) }
    }

    /// The slots `low..end`.
    #[inline(always)]
    pub(crate) fn slots(&self, low: usize, end: usize) -> &'a [Slot<M>] {
        debug_assert!(low <= end && end <= self.len());
        // SAFETY: as in `Table::slot`.
        unsafe { core::slice::from_raw_parts(self.slots.add(low), end - low) }
    }

    /// The first of the slots `low..end` that has an entry, and that; `end`, and none, if there is none.
    #[inline(always)]
    pub(crate) fn first_entry(&self, low: usize, end: usize) -> (usize, Word<M::Arch>) {
        let mut slot = low;
        while slot < end {
            slot += slot::skip_empty(self.slots(slot, end));
            let word = if slot < end { self.entry(slot) } else { break };
            if !word.is_empty() {
                return (slot, word);
            }
            slot += 1;
        }
        (end, Word::EMPTY)
    }

    /// Those slots of `low..end`, of an upper table, that have an entry and no lower table: huge pages, most often.
    /// Without the lock, what comes meanwhile may be missed.
    pub(crate) fn own_entries(self, low: usize, end: usize) -> impl Iterator<Item = usize> + 'a {
        // Most tables with few entries have them side by side, and need not be gone through to the end.
        let (mut next, mut left) = (low, self.used());
        core::iter::from_fn(move || {
            while left > 0 {
                let (slot, word) = self.first_entry(next, end);
                if word.is_empty() {
                    return None;
                }
                (next, left) = (slot + 1, left - 1);
                if word.table().is_none() {
                    return Some(slot);
                }
            }
            None
        })
    }

    /// Loads the entry of slot `index`.
    #[inline(always)]
    pub(crate) fn entry(&self, index: usize) -> Word<M::Arch> {
        self.slot(index).load(Acquire)
    }

    /// The entry of slot `index`, as it would stand in a leaf; see [`Word::as_small`]. Empty if there is a lower table.
    #[inline(always)]
    pub(crate) fn page(&self, index: usize) -> Word<M::Arch> {
        let word = self.entry(index);
        match self.level {
            0 => word,
            _ if word.table().is_some() => Word::EMPTY,
            level => word.as_small(level),
        }
    }

    /// Whether slot `index` has no lower table, so that its class says something.
    #[inline(always)]
    pub(crate) fn is_childless(&self, index: usize) -> bool {
        self.level == 0 || self.entry(index).table().is_none()
    }

    /// The lower table that slot `index` names, if it does.
    #[inline(always)]
    pub(crate) fn child(&self, cx: &'a Cx<'_, M>, index: usize) -> Option<Table<'a, M>> {
        debug_assert!(self.level > 0);
        self.entry(index).table().map(|pfn| Table::at(cx, pfn, self.level - 1))
    }

    /// The index of the slot covering `address`.
    #[inline(always)]
    pub(crate) fn index(&self, address: u64) -> usize {
        index::<M::Arch>(address, self.level)
    }

    /// Bytes a slot spans.
    #[inline(always)]
    pub(crate) fn span(&self) -> u64 {
        1 << M::Arch::shift(self.level)
    }

    /// First address behind the slot that covers `address`; the last one there is, if there is none behind it.
    #[inline(always)]
    pub(crate) fn slot_end(&self, address: u64) -> u64 {
        (address & !(self.span() - 1)).saturating_add(self.span())
    }

    /// First address the table covers, given one it covers.
    #[inline(always)]
    pub(crate) fn base(&self, address: u64) -> u64 {
        let bits = M::Arch::shift(self.level) + M::Arch::index_bits(self.level);
        if bits >= 64 { 0 } else { address >> bits << bits }
    }

    /// Pages a slot spans.
    #[inline(always)]
    pub(crate) fn pages(&self) -> u64 {
        1 << (M::Arch::shift(self.level) - M::Arch::PAGE_SHIFT)
    }

    /// [`Cx::end_slots`] for slots without lower tables.
    #[inline(always)]
    pub(crate) fn end_slots(&self, cx: &Cx<'_, M>, old: ClassId, new: ClassId, slots: u64) {
        cx.end_slots(old, new, slots, self.pages());
    }

    /// Number of slots.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        entries::<M::Arch>(self.level)
    }

    /// Takes the lock, unless the table is stale. `address` is one it covers, for the lock order.
    #[inline(always)]
    pub(crate) fn lock(&self, cx: &'a Cx<'_, M>, space: &Inner<M>, address: u64) -> Option<Locked<'a, M>> {
        let rank = Rank::Table((M::Arch::LEVELS - self.level) as u8, self.base(address), space.id());
        let guard = self.frame.lock.lock(cx, rank);
        if M::guard(Guard::StaleCheck) && self.frame.words[0].load(Relaxed) & STALE != 0 {
            return None;
        }
        Some(Locked { table: *self, _guard: guard })
    }

    /// Puts a table that the caller has marked stale back to use, with its lock: he is about to link it where it was.
    pub(super) fn revive(&self, cx: &'a Cx<'_, M>, space: &Inner<M>, address: u64) -> Locked<'a, M> {
        let rank = Rank::Table((M::Arch::LEVELS - self.level) as u8, self.base(address), space.id());
        let locked = Locked { table: *self, _guard: self.frame.lock.lock(cx, rank) };
        locked.change_header(STALE, 0);
        locked
    }

    /// The sequence count of the classes, to be compared later; `None` while they change.
    #[inline(always)]
    pub(crate) fn sequence(&self) -> Option<u32> {
        Sequence(&self.frame.halves[0]).begin()
    }

    /// Waits while the classes change. Whoever changes them has the lock and pre-emption off.
    // By value, so that a table need not lie in memory for it.
    #[cold]
    pub(crate) fn await_sequence(self, cx: &Cx<'_, M>) {
        let word = &self.frame.halves[0];
        let seen = word.load(Relaxed);
        if seen & 1 != 0 {
            cx.serve_mailbox();
            cx.vm().machine().wait_change(word.as_core(), seen);
        }
    }

    /// Whether nothing that was read since `sequence` can have changed.
    #[inline(always)]
    pub(crate) fn sequence_is(&self, sequence: u32) -> bool {
        Sequence(&self.frame.halves[0]).is_still(sequence)
    }

    /// The class of slot `index`, read without a lock: to be confirmed by the sequence or the lock.
    #[inline(always)]
    pub(crate) fn class(&self, cx: &Cx<'_, M>, index: usize) -> ClassId {
        Runs::class_at(cx, self.frame, index)
    }

    /// The classes as runs, read without a lock.
    pub(crate) fn runs(&self, cx: &'a Cx<'_, M>) -> RunsView<'a, M> {
        Runs::view(cx, self.frame, self.len())
    }

    /// Whether the slots `low..=high` have no entries.
    #[inline(always)]
    pub(crate) fn is_empty(&self, low: usize, high: usize) -> bool {
        self.slots(low, high + 1).iter().all(|slot| slot.load(Acquire).is_empty())
    }

    /// How many of the slots `low..end` have no lower table, so that their class says something.
    #[inline(always)]
    pub(crate) fn childless(&self, low: usize, end: usize) -> usize {
        match self.level == 0 || self.used() == 0 {
            true => end - low,
            false => self.slots(low, end).iter().filter(|slot| slot.load(Acquire).table().is_none()).count(),
        }
    }

    /// Calls `each` with the classes of the slots `low..=high` and how many say so side by side, those with a lower
    /// table left out. Under the lock, or where nobody else has the table.
    pub(crate) fn each_class(&self, cx: &Cx<'_, M>, low: usize, high: usize, each: &mut dyn FnMut(ClassId, u64)) {
        let runs = self.runs(cx);
        let mut slot = low;
        while slot <= high {
            let (class, end) = runs.run(slot, high + 1);
            let counted = self.childless(slot, end);
            if counted > 0 {
                each(class, counted as u64);
            }
            slot = end;
        }
    }

    /// The claim word.
    pub(crate) fn claim(&self) -> &'a AtomicU32<M> {
        &self.frame.halves[1]
    }

    /// Whether the table has been unlinked. For the audit; others take the lock.
    pub(crate) fn is_stale(&self) -> bool {
        self.frame.words[0].load(Relaxed) & STALE != 0
    }

    /// Number of slots with an entry.
    #[inline(always)]
    pub(crate) fn used(&self) -> usize {
        (self.frame.words[0].load(Relaxed) & USED) as usize
    }

    /// Number of the fork that last copied this table.
    #[inline(always)]
    pub(crate) fn fork_stamp(&self) -> u32 {
        (self.frame.words[0].load(Relaxed) >> FORK_SHIFT) as u32
    }
}

impl<'a, M: Machine> Locked<'a, M> {
    /// Changes the number of used slots.
    #[inline(always)]
    pub(crate) fn add_used(&self, change: i64) {
        let header = &self.table.frame.words[0];
        let word = header.load(Relaxed);
        header.store(word & !USED | (word.wrapping_add(change as u64) & USED), Relaxed);
    }

    /// Writes an entry into an empty slot: nothing else writes there, the lock being held. A page is given as it would
    /// stand in a leaf, here as in [`Locked::update`], whatever the table's level.
    #[inline(always)]
    pub(crate) fn install(&self, index: usize, word: Word<M::Arch>) {
        debug_assert!(self.table.entry(index).is_empty() || !M::guard(Guard::Recheck));
        let word = word.at_level(self.table.level);
        self.assert_how(Word::EMPTY, word, How::Published);
        self.table.slot(index).store(word, Release);
        self.add_used(1);
    }

    /// Hangs a lower table into an empty slot.
    pub(crate) fn hang(&self, index: usize, child: &Table<'_, M>) {
        debug_assert!(self.table.entry(index).is_empty() || !M::guard(Guard::RecheckAbove));
        self.assert_how(Word::EMPTY, Word::of_table(child.pfn), How::Published);
        self.table.slot(index).store(Word::of_table(child.pfn), Release);
        self.add_used(1);
    }

    /// Asserts that this change of an entry is one that there is, and is made so ([`super::rules`]).
    #[inline(always)]
    pub(super) fn assert_how(&self, from: Word<M::Arch>, to: Word<M::Arch>, made: How) {
        debug_assert!(
            how(self.table.level, from, to) == Some(made)
                || !M::guard(Guard::CopyBreakBeforeMake)
                || !M::guard(Guard::SplitBreakBeforeMake),
            "an entry of level {} becomes {to:?}, and was {from:?}",
            self.table.level
        );
    }

    /// Puts `word`, as it stands in a table of this level, in the place of an entry, either of which may name a lower
    /// table.
    pub(super) fn exchange(&self, index: usize, word: Word<M::Arch>) {
        self.table.slot(index).swap(word, SeqCst);
    }

    /// Removes the entry of a slot; what it was, with what the hardware noted up to then, as it would stand in a leaf.
    #[inline(always)]
    pub(crate) fn take(&self, index: usize) -> Word<M::Arch> {
        let word = self.table.slot(index).swap(Word::EMPTY, SeqCst);
        self.assert_how(word, Word::EMPTY, How::Taken);
        self.add_used(-1);
        word.as_small(self.table.level)
    }

    /// Replaces the entry of a slot by what `change` makes of it, never losing what the hardware sets meanwhile; the
    /// old and the new word.
    #[inline(always)]
    pub(crate) fn update(
        &self,
        index: usize,
        change: impl FnMut(Word<M::Arch>) -> Word<M::Arch>,
    ) -> (Word<M::Arch>, Word<M::Arch>) {
        let old = self.table.slot(index).load(Relaxed).as_small(self.table.level);
        self.update_from(index, old, change)
    }

    /// As [`Locked::update`], by whoever has loaded the entry already: it was `old`, as it would stand in a leaf.
    #[inline(always)]
    pub(crate) fn update_from(
        &self,
        index: usize,
        mut old: Word<M::Arch>,
        mut change: impl FnMut(Word<M::Arch>) -> Word<M::Arch>,
    ) -> (Word<M::Arch>, Word<M::Arch>) {
        let (slot, level) = (self.table.slot(index), self.table.level);
        loop {
            if !M::guard(Guard::ChangedInPlace) {
                old = slot.swap(Word::EMPTY, SeqCst).as_small(level);
            }
            let new = change(old);
            if !M::guard(Guard::ChangedInPlace) || !M::guard(Guard::ChangeRepeated) {
                slot.store(new.at_level(level), SeqCst);
                return (old, new);
            }
            if new == old {
                return (old, new);
            }
            self.assert_how(old.at_level(level), new.at_level(level), How::Changed);
            match slot.compare_exchange(old.at_level(level), new.at_level(level), SeqCst) {
                Ok(_) => return (old, new),
                Err(now) => old = now.as_small(level),
            }
        }
    }

    /// Sets the class of the slots `low..=high`. `spares` has a side array for when the runs no longer fit the
    /// descriptor; see [`Runs::needs_spare`].
    #[inline]
    pub(crate) fn set_class(
        &self,
        cx: &Cx<'_, M>,
        low: usize,
        high: usize,
        class: ClassId,
        spares: Option<&mut Spares>,
    ) {
        let _change = Sequence(&self.table.frame.halves[0]).change();
        Runs::set(cx, self.table.frame, self.table.len(), low, high, class, spares);
    }

    /// Sets the class of the slots `low..=high`, and counts those that have no lower table, with all that is counted by
    /// class: first for the new class, which the caller holds, lest one that stays is given up in between. If all have
    /// one, what they say means nothing and stays.
    pub(crate) fn set_counted_class(
        &self,
        cx: &Cx<'_, M>,
        low: usize,
        high: usize,
        class: ClassId,
        spares: &mut Spares,
    ) {
        let counted = self.table.childless(low, high + 1);
        if counted == 0 {
            // There may be no side array to say more in.
            return;
        }
        cx.retain_class(class, counted as u64);
        self.table.each_class(cx, low, high, &mut |old, slots| self.table.end_slots(cx, old, class, slots));
        self.set_class(cx, low, high, class, Some(spares));
    }

    /// Sets the class of the slots `low..=high`, which have one in common; whether that was possible without a side
    /// array.
    #[inline(always)]
    pub(crate) fn set_common_class(&self, cx: &Cx<'_, M>, slots: (usize, usize), class: ClassId, place: Place) -> bool {
        let _change = Sequence(&self.table.frame.halves[0]).change();
        Runs::set_common(cx, self.table.frame, self.table.len(), slots, class, place)
    }

    /// The one class of all slots, if they have one.
    #[inline(always)]
    pub(crate) fn uniform_class(&self) -> Option<ClassId> {
        Runs::uniform(self.table.frame)
    }

    /// Notes that fork number `stamp` has copied this table.
    pub(crate) fn set_fork_stamp(&self, stamp: u32) {
        self.change_header(u64::MAX << FORK_SHIFT, u64::from(stamp) << FORK_SHIFT);
    }

    /// Notes that one more unmap batch owes this leaf a flush; [`Frame::flush_settled`] takes it back.
    pub(crate) fn add_pending_flush(&self) {
        self.table.frame.counts().fetch_add(ONE_PENDING, SeqCst);
    }

    /// Notes that an unmap batch which owes this leaf a flush has just taken an entry: what was flushed for it before
    /// does not count any more.
    pub(crate) fn set_unpaid(&self) {
        self.change_header(0, UNPAID);
    }

    /// Notes that the whole leaf was flushed, under the lock that is held still: nobody need do so again for what was
    /// taken until now, though batches count as owing it until they flush, too.
    pub(super) fn set_paid(&self) {
        self.change_header(UNPAID, 0);
    }

    #[inline(always)]
    fn change_header(&self, clear: u64, set: u64) {
        let header = &self.table.frame.words[0];
        header.store(header.load(Relaxed) & !clear | set, Relaxed);
    }

    /// Whether translations of entries that are gone may still be cached, since an unmap batch has not flushed yet. Who
    /// relies on their being gone calls [`Cx::settle`], or flushes as part of his own work; `settled` is the
    /// protection's name.
    #[inline(always)]
    pub(crate) fn has_pending_flush(&self, settled: Guard) -> bool {
        let is_unpaid = || self.table.frame.words[0].load(Relaxed) & UNPAID != 0;
        M::guard(settled) && self.table.frame.counts().load(Acquire) != 0 && is_unpaid()
    }

    /// Marks the table unlinked for good.
    pub(crate) fn set_stale(&self) {
        self.change_header(0, STALE);
    }
}
