//! Fork: a snapshot of a space.
//!
//! Fork claims the whole space, so no range operation runs beside it. It copies table by table, under one table lock at
//! a time; private pages lose the right to be written on both sides, without a flush. Each leaf is stamped with the
//! fork's number as it begins to be copied, and a fault that would change a stamped leaf, or needs a new table, waits
//! until fork has flushed, once, at the end. So no thread can store to a copied page *through a fault* and then to one
//! not yet copied; and what a thread stores to a copied page through a translation it still has, before the flush
//! reaches its CPU, goes to the page that both sides share. The child therefore is the parent as it was at one moment:
//! that of the flush. (D10)

use crate::arch::{Arch, PageBits, Word};
use crate::cpu::Cx;
use crate::error::Error;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::overcommit::Ticket;
use crate::phys::Kind;
use crate::space::claim::Claim;
use crate::space::cursor::{Begun, Cursor, Slots, Step};
use crate::space::table::{Locked, Table};
use crate::space::{Attributes, ClassFlags, ClassId, Inner, RssKind, Runs, Space, Spares};
use crate::stat::Event;
use crate::tlb::Flush;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

impl<'vm, M: Machine> Space<'vm, M> {
    /// A copy of the space, as `fork` makes it: private memory is shared until one side stores to it; mappings advised
    /// [`DontFork`](super::Advice::DontFork) are left out.
    ///
    /// The copy is one moment's state, also while other threads run in the space; their faults in parts already copied
    /// wait. Sleeps while a range operation is under way; allocates the child's page tables.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::CommitLimit`] if what the child would have may not be promised. There is no
    /// child then, and the space is as before.
    pub fn fork(&self) -> Result<Space<'vm, M>, Error> {
        self.vm().with_room(|| self.fork_once())
    }

    fn fork_once(&self) -> Result<Space<'vm, M>, Error> {
        let child = Space::create(self.vm(), Some(self.inner()), self.inner().group())?;
        let parent = self.inner();
        let all = || Claim::acquire(self.vm(), parent, M::Arch::USER_START, M::Arch::USER_END);
        let claim = M::guard(Guard::ForkUnderClaim).then(all);
        claim.iter().for_each(Claim::begin_commit);
        // 0 stands for no fork.
        let number = parent.fork_begun.load(Relaxed).wrapping_add(1).max(1);
        parent.fork_begun.store(number, Relaxed);
        let mut fork = Fork { parent, child: child.inner(), number, changed: false };
        let ticket = self.may_fork();
        let copied = match &ticket {
            Ok(_) => fork.copy(self.vm()),
            Err(refused) => Err(*refused),
        };
        if fork.changed {
            let cx = Cx::enter(self.vm());
            cx.flush(parent.id(), parent.tlb(), Flush { start: 0, pages: u64::MAX, tables_freed: false });
        }
        parent.fork_done.store(number, SeqCst);
        self.vm().machine().wake(parent.fork_done.as_core());
        for (from, to) in [(&parent.brk_base, &child.inner().brk_base), (&parent.brk_end, &child.inner().brk_end)] {
            to.store(from.load(Relaxed), Relaxed);
        }
        let (low, high) = parent.stacks();
        child.inner().note_stack(low, high);
        child.inner().stack_limit.store(parent.stack_limit.load(Relaxed), Relaxed);
        child.set_huge_pages(self.huge_pages());
        child.inner().mapped_limit.store(parent.mapped_limit.load(Relaxed), Relaxed);
        claim.into_iter().for_each(Claim::release);
        copied.map(|()| child)
    }
}

impl<'vm, M: Machine> Space<'vm, M> {
    /// Lets the caller commit what a child will have, as long as the result lives. Everything is claimed.
    fn may_fork(&self) -> Result<Ticket<'vm, M>, Error> {
        if !self.vm().reserves_always() {
            return Ok(self.vm().no_ticket());
        }
        let pages = self.committed_within(M::Arch::USER_START, M::Arch::USER_END, ClassFlags::DONT_FORK);
        self.vm().may_commit(pages, || 0)
    }
}

/// What it is to copy a table, beside the pages that it shows, in entries.
const TABLE: usize = 32;

/// A fork in progress.
struct Fork<'a, M: Machine> {
    parent: &'a Inner<M>,
    child: &'a Inner<M>,
    number: u32,
    /// Whether an entry of the parent lost a right.
    changed: bool,
}

/// What the child gets of a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inherit {
    Nothing,
    /// The mapping, without pages: it gets them by faults.
    Mapping,
    /// The mapping and its anonymous pages; `all` if all its pages are anonymous.
    Pages {
        all: bool,
    },
}

fn inherit<M: Machine>(cx: &Cx<'_, M>, class: ClassId) -> Inherit {
    if class == ClassId::NONE {
        return Inherit::Nothing;
    }
    let attributes: Attributes<M> = cx.attributes(class);
    if attributes.flags.has(ClassFlags::DONT_FORK) {
        Inherit::Nothing
    } else if attributes.flags.has(ClassFlags::WIPE_ON_FORK) || !attributes.is_private() {
        Inherit::Mapping
    } else {
        Inherit::Pages { all: attributes.object.is_none() }
    }
}

impl<M: Machine> Fork<'_, M> {
    /// Copies table by table. The tables stay where they are: the claim sees to that in the parent, and nobody knows
    /// the child.
    fn copy(&mut self, vm: &Vm<M>) -> Result<(), Error> {
        let (mut here, mut begun) = (M::Arch::USER_START, Begun::default());
        loop {
            let cx = Cx::enter(vm);
            let mut cursor = self.parent.cursor_over_all(&cx, here).by_plain_leaves();
            self.section(&cx, &mut cursor, &mut begun)?;
            if cursor.is_through() {
                return Ok(());
            }
            here = cursor.here();
        }
    }

    /// Copies what the cursor comes to.
    fn section(&mut self, cx: &Cx<'_, M>, cursor: &mut Cursor<'_, '_, M>, begun: &mut Begun) -> Result<(), Error> {
        while let Some(step) = cursor.next() {
            match step {
                Step::Down(table) => {
                    cursor.spend(TABLE);
                    if cursor.is_fresh(&table) && !begun.is_more() {
                        self.table(cx, &table, cursor.here(), cursor.slots_of(&table))?;
                    }
                    if table.level > 0
                        && let Some(slots) = cursor.part_of(&table, begun)
                    {
                        self.upper_classes(cx, table, cursor.here(), slots)?;
                        if begun.is_more() {
                            return Ok(());
                        }
                    }
                }
                // Huge pages went with the classes of their table.
                Step::Leaf(slots) if slots.leaf.level > 0 => {}
                Step::Leaf(slots) => {
                    cursor.spend_all(&slots.leaf, slots.high - slots.low + 1);
                    self.leaf(cx, &slots)?;
                }
                Step::Up { .. } => {}
            }
        }
        Ok(())
    }

    /// Gives the child a table in place of `table`, which covers `address`, unless that is the root: empty yet.
    fn table(
        &mut self,
        cx: &Cx<'_, M>,
        table: &Table<'_, M>,
        address: u64,
        slots: (usize, usize),
    ) -> Result<(), Error> {
        if table.level == M::Arch::LEVELS - 1 {
            return Ok(());
        }
        let copy = self.child.table_at(cx, address, table.level + 1);
        let fresh = Table::allocate(cx, table.level, ClassId::NONE)?;
        // It hangs before anything is copied, so that a reverse-mapping walk which comes after the copy of an entry
        // finds that (F1); after a failure the child's end frees what is there.
        let is_late = table.level == 0 && !M::guard(Guard::HungFirst);
        let result = if is_late { self.leaf_slots(cx, *table, fresh, address, slots) } else { Ok(()) };
        self.hang(cx, copy, fresh, address);
        result
    }

    /// Copies slots of a leaf whose copy hangs in its place, and is empty there.
    fn leaf(&mut self, cx: &Cx<'_, M>, slots: &Slots<'_, M>) -> Result<(), Error> {
        if !M::guard(Guard::HungFirst) {
            return Ok(());
        }
        let copy = self.child.lowest(cx, slots.start);
        self.leaf_slots(cx, slots.leaf, copy, slots.start, (slots.low, slots.high))
    }

    /// Gives the child's table the classes of the parent's slots `low..=high` that have no lower table, and shares the
    /// huge pages there.
    fn upper_classes(
        &mut self,
        cx: &Cx<'_, M>,
        table: Table<'_, M>,
        address: u64,
        (low, high): (usize, usize),
    ) -> Result<(), Error> {
        let copy = self.child.table_at(cx, address, table.level);
        let Some(locked) = table.lock(cx, self.parent, address) else { return Ok(()) };
        let Some(target) = copy.lock(cx, self.child, address) else { return Ok(()) };
        self.changed |= locked.has_pending_flush(Guard::SettledByFork);
        let runs = table.runs(cx);
        let mut slot = low;
        while slot <= high {
            let (class, end) = runs.run(slot, high + 1);
            let inherited = inherit(cx, class);
            if inherited != Inherit::Nothing {
                self.childless(cx, &table, &target, (slot, end), class)?;
            }
            if table.used() > 0 && table.level <= M::Arch::HUGE_LEVEL && matches!(inherited, Inherit::Pages { .. }) {
                self.huge_pages(cx, &locked, &target, (slot, end))?;
            }
            slot = end;
        }
        Ok(())
    }

    /// Shares the huge pages that slots of an upper table show, or say are being moved. The table is stamped, as a leaf
    /// is, before the first of them.
    fn huge_pages(
        &mut self,
        cx: &Cx<'_, M>,
        locked: &Locked<'_, M>,
        target: &Locked<'_, M>,
        (low, end): (usize, usize),
    ) -> Result<(), Error> {
        let mut shared = [0; RssKind::COUNT];
        let mut result = Ok(());
        // The huge page of zeroes comes by faults.
        let is_counted =
            |word: Word<M::Arch>| !(word.is_empty() || word.is_page() && word.bits().has(PageBits::SPECIAL));
        let is_shared = |&index: &usize| is_counted(locked.table.page(index));
        for index in locked.table.own_entries(low, end).filter(is_shared) {
            locked.set_fork_stamp(self.number);
            if locked.table.page(index).is_page() {
                let (old, word) = locked.update(index, Word::shared_copy);
                cx.vm().physical().folio(word.pfn()).add_mapping();
                self.changed |= old != word;
                target.install(index, word);
                shared[RssKind::Anonymous as usize] += 1;
                continue;
            }
            match self.share_absent(cx, locked, index) {
                Ok((word, kind)) => {
                    target.install(index, word);
                    kind.into_iter().for_each(|kind| shared[kind as usize] += 1);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        for (kind, entries) in RssKind::ALL.into_iter().zip(shared) {
            self.child.add_rss(cx, kind, (entries * locked.table.pages()) as i64);
        }
        cx.count(Event::ForkPage, shared.iter().sum());
        result
    }

    /// Gives the child those slots of `low..end`, which are of `class`, that have no lower table.
    fn childless(
        &self,
        cx: &Cx<'_, M>,
        table: &Table<'_, M>,
        target: &Locked<'_, M>,
        (low, end): (usize, usize),
        class: ClassId,
    ) -> Result<(), Error> {
        let mut slot = low;
        while slot < end {
            let is_childless = |slot: usize| table.is_childless(slot);
            let is_this = is_childless(slot);
            let next = (slot + 1..end).find(|&next| is_childless(next) != is_this).unwrap_or(end);
            if is_this {
                self.set_class(cx, target, slot, next - 1, class)?;
            }
            slot = next;
        }
        Ok(())
    }

    /// Gives slots of the child, which have none, the class that the parent's `class` is there, and counts them.
    fn set_class(
        &self,
        cx: &Cx<'_, M>,
        target: &Locked<'_, M>,
        low: usize,
        high: usize,
        class: ClassId,
    ) -> Result<(), Error> {
        let mut spares = Spares::default();
        let table = target.table;
        if Runs::needs_spare(cx, table.frame, table.len(), low, high) {
            Runs::allocate_spare(cx, &table, &mut spares)?;
        }
        let attributes = cx.attributes(class);
        // What is wiped comes as if it was new.
        let is_wiped = attributes.flags.has(ClassFlags::WIPE_ON_FORK);
        let inherited = if is_wiped { attributes.unguarded() } else { attributes };
        let held = match cx.intern(&inherited.within(self.child), cx.extent_of(class)) {
            Ok(held) => held,
            Err(error) => {
                spares.free(cx);
                return Err(error);
            }
        };
        target.set_counted_class(cx, low, high, held, &mut spares);
        cx.release_class(held, 1);
        spares.free(cx);
        Ok(())
    }

    /// Puts a table of the child into its slot of `copy`.
    fn hang(&self, cx: &Cx<'_, M>, copy: Table<'_, M>, fresh: Table<'_, M>, address: u64) {
        if let Some(locked) = copy.lock(cx, self.child, address) {
            locked.hang(copy.index(address), &fresh);
        }
    }

    /// Copies the slots `low..=high` of a leaf, which covers `address`. With the first of them it is stamped: so faults
    /// change none of those that come later, and what others take away meanwhile, page by page, goes from one place or
    /// from both.
    fn leaf_slots(
        &mut self,
        cx: &Cx<'_, M>,
        leaf: Table<'_, M>,
        fresh: Table<'_, M>,
        address: u64,
        (low, high): (usize, usize),
    ) -> Result<(), Error> {
        let Some(locked) = leaf.lock(cx, self.parent, address) else { return Ok(()) };
        locked.set_fork_stamp(self.number);
        // What an unmap batch has taken can still be stored to, until fork's flush (D10).
        self.changed |= locked.has_pending_flush(Guard::SettledByFork);
        let Some(target) = fresh.lock(cx, self.child, address) else { return Ok(()) };
        let runs = leaf.runs(cx);
        let mut slot = low;
        let mut copied = [0; RssKind::COUNT];
        let mut result = Ok(());
        while slot <= high && result.is_ok() {
            let (class, end) = runs.run(slot, high + 1);
            let inherited = inherit(cx, class);
            if inherited != Inherit::Nothing {
                result = self.set_class(cx, &target, slot, end - 1, class);
            }
            if let (Inherit::Pages { all }, Ok(())) = (inherited, &result) {
                result = if all {
                    self.pages::<true>(cx, &locked, &target, slot, end, &mut copied)
                } else {
                    self.pages::<false>(cx, &locked, &target, slot, end, &mut copied)
                };
            }
            slot = end;
        }
        for (kind, entries) in RssKind::ALL.into_iter().zip(copied) {
            self.child.add_rss(cx, kind, entries as i64);
        }
        cx.count(Event::ForkPage, copied.iter().sum());
        result
    }

    /// Shares the anonymous pages of `low..high` with the child, counting them by kind. `ALL`: no page of an object is
    /// among them.
    #[inline(always)]
    fn pages<const ALL: bool>(
        &mut self,
        cx: &Cx<'_, M>,
        locked: &Locked<'_, M>,
        target: &Locked<'_, M>,
        low: usize,
        high: usize,
        copied: &mut [u64; RssKind::COUNT],
    ) -> Result<(), Error> {
        let fresh = target.table;
        let (mut pages, mut unchanged) = (0, 0);
        let mut absent = 0;
        let mut result = Ok(());
        for index in low..high {
            let word = locked.table.slot(index).load(Relaxed);
            // In this order: most are pages.
            if word.usual_page().is_none() && word.is_empty() {
                continue;
            }
            let pfn = if let Some(pfn) = word.usual_page() {
                pfn
            } else if let Some(pfn) = word.page() {
                pfn
            } else {
                result = self.absent(cx, locked, fresh, index, copied);
                if result.is_err() {
                    break;
                }
                absent += i64::from(!fresh.entry(index).is_empty());
                continue;
            };
            if word.bits().has(PageBits::SPECIAL) {
                continue;
            }
            let mut frame = cx.vm().physical().frame(pfn);
            if !frame.is_single(Kind::Anonymous) {
                frame = cx.vm().physical().folio(pfn);
                if !ALL && frame.kind() != Kind::Anonymous {
                    continue;
                }
            }
            frame.add_mapping();
            let mut shared = word.shared_copy();
            if shared != word {
                shared = locked.update_from(index, word, Word::shared_copy).1;
            } else {
                unchanged += 1;
            }
            fresh.slot(index).store(shared, Relaxed);
            pages += 1;
        }
        self.changed |= unchanged < pages;
        if result.is_err() && !M::guard(Guard::PartialForkCounted) {
            return result;
        }
        target.add_used(pages as i64 + absent);
        copied[RssKind::Anonymous as usize] += pages;
        result
    }

    /// Shares what the entry of slot `index`, no page, says with the child.
    #[cold]
    #[inline(never)]
    fn absent(
        &mut self,
        cx: &Cx<'_, M>,
        locked: &Locked<'_, M>,
        fresh: Table<'_, M>,
        index: usize,
        copied: &mut [u64; RssKind::COUNT],
    ) -> Result<(), Error> {
        let (shared, kind) = self.share_absent(cx, locked, index)?;
        fresh.slot(index).store(shared, Relaxed);
        if let Some(kind) = kind {
            copied[kind as usize] += 1;
        }
        Ok(())
    }

    /// Counts what the entry of slot `index`, no page, says once more, for the child, which gets what is returned; and
    /// what it counts as.
    fn share_absent(
        &self,
        cx: &Cx<'_, M>,
        locked: &Locked<'_, M>,
        index: usize,
    ) -> Result<(Word<M::Arch>, Option<RssKind>), Error> {
        let kind = cx.share_absent(locked.table.page(index))?;
        // Neither side has it alone from here on (E18, F1).
        let shared = |word: Word<_>| if M::guard(Guard::SharedAbsent) { word.shared_absent() } else { word };
        Ok((locked.update(index, shared).1, kind))
    }
}
