//! Changing all slots of a claimed, prepared range: the commit of a range operation. Cannot fail.
//!
//! Slots of a leaf pass from the old state to the new under its lock, classes and entries together, so that nobody sees
//! a replaced mapping as a hole: all that the range has there or, if there are many, one half after the other. Locks
//! are held for one table at a time.

use super::claim::Claim;
use super::cursor::{Begun, Cursor, Slots, Step};
use super::detach::{Detached, is_private};
use super::fold::{fold_child, may_unlink, unlink};
use super::give_up::give_up;
use super::huge::wants_break;
use super::table::{Locked, Table};
use super::{Attributes, ClassFlags, ClassId, Inner, RssKind, Runs, Spares};
use crate::arch::{Arch, PageBits, Prot, Word};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Frame, Kind, Pfn, Policy};
use crate::stat::Event;
use crate::tlb::{Flush, Gather};
use crate::vm::Vm;

/// What happens to the classes of the slots.
pub(crate) enum ClassChange<'f, M: Machine> {
    /// They stay.
    Keep,
    /// All become this one.
    Set(ClassId),
    /// Each mapped one becomes what the function makes of it; a class the operation holds. Idempotent.
    Map(&'f dyn Fn(Attributes<M>) -> Attributes<M>),
}

/// What happens to the pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageChange {
    /// They stay.
    Keep,
    /// They are unmapped, and freed if nothing else uses them.
    Zap,
    /// Their rights follow the new class.
    Reprotect(Prot),
    /// They may be dropped until they are stored to again.
    GiveUp,
}

/// Which tables that are empty afterwards are given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    /// None.
    Nothing,
    /// Those below the claimed one.
    Below,
    /// Also the claimed one and those above it: for the last step of an operation.
    Whole,
}

/// What it is to change the classes of a table, in entries.
const TABLE: usize = 8;
/// Pages of a leaf that goes with them for the price of an entry. Nothing is done for them; but their memory is missing
/// until the flush, which comes when the section ends: after some twenty full leaves of 512 pages.
const DETACHED: usize = 256;

impl<M: Machine> Claim<'_, M> {
    /// Changes the whole range, flushes, and frees what was removed and became empty.
    pub(crate) fn apply(
        &mut self,
        vm: &Vm<M>,
        classes: ClassChange<'_, M>,
        pages: PageChange,
        mut spares: Spares,
        fold: Fold,
    ) {
        self.apply_with(vm, classes, pages, &mut spares, fold);
        if !spares.is_empty() {
            spares.free(&Cx::enter(vm));
        }
    }

    /// [`Claim::apply`], one of several steps for which the side arrays are: the caller frees what is left of them.
    pub(crate) fn apply_with(
        &mut self,
        vm: &Vm<M>,
        classes: ClassChange<'_, M>,
        pages: PageChange,
        spares: &mut Spares,
        fold: Fold,
    ) {
        self.begin_commit();
        let (mut here, mut begun) = (self.start, Begun::default());
        let mut detached = Detached::default();
        loop {
            let is_done = {
                let cx = Cx::enter(vm);
                let mut gather = Gather::new(&cx, self.space.id(), self.space.tlb());
                let mut cursor = Cursor::new(&cx, self.table(&cx), (self.start, self.end), here);
                let (space, classes, detached) = (self.space, &classes, &mut detached);
                let mut change = Change { cx: &cx, space, classes, pages, fold, spares, detached };
                change.section(&mut cursor, &mut begun, &mut gather);
                let is_done = cursor.is_through();
                here = cursor.here();
                if is_done && fold == Fold::Whole {
                    self.fold(&cx, &mut gather);
                }
                if !M::guard(Guard::DetachedFlushed) {
                    detached.free_some(&cx, self.space);
                }
                gather.finish();
                self.dying.adopt(cx.dying());
                is_done
            };
            detached.free(vm, self.space);
            if is_done {
                return;
            }
        }
    }
}

/// One range operation's commit, within a read-side section.
struct Change<'a, 'c, 's, M: Machine> {
    cx: &'a Cx<'c, M>,
    space: &'a Inner<M>,
    classes: &'s ClassChange<'s, M>,
    pages: PageChange,
    fold: Fold,
    spares: &'s mut Spares,
    detached: &'s mut Detached,
}

impl<'a, 'c, M: Machine> Change<'a, 'c, '_, M> {
    /// Changes what the cursor comes to.
    fn section(&mut self, cursor: &mut Cursor<'a, 'c, M>, begun: &mut Begun, gather: &mut Gather<'a, M>) {
        while let Some(step) = cursor.next() {
            match step {
                // The classes of an upper table change once, for all sections: half-changed it might need more runs
                // than before or after.
                Step::Down(table) if table.level > 0 => {
                    if !self.keeps_classes()
                        && let Some(slots) = cursor.part_of(&table, begun)
                    {
                        self.upper(table, cursor.here(), slots, gather);
                        if begun.is_more() {
                            return;
                        }
                    }
                }
                Step::Down(leaf) => {
                    if self.detach(cursor, &leaf, gather) {
                        continue;
                    }
                    cursor.spend(TABLE);
                    // As an upper table, but where there is room for the run that it has more when it is half-changed.
                    cursor.set_in_parts(self.keeps_classes() || Runs::may_change_in_parts(leaf.frame));
                }
                // A huge page went with the classes of its table, if these change.
                Step::Leaf(slots) if slots.leaf.level > 0 && !self.keeps_classes() => {}
                Step::Leaf(slots) => {
                    cursor.spend_all(&slots.leaf, slots.high - slots.low + 1);
                    if !self.leaf(&slots, gather) {
                        cursor.look_again(&slots);
                    }
                }
                Step::Up { child, parent, address } if self.fold != Fold::Nothing => {
                    fold_child(self.cx, self.space, &parent, &child, address, self.spares, gather);
                }
                Step::Up { .. } => {}
            }
        }
    }

    /// Takes a leaf of which nothing is to stay out of the tree, with its entries, if that is possible; whether it was.
    fn detach(&mut self, cursor: &mut Cursor<'a, 'c, M>, leaf: &Table<'a, M>, gather: &mut Gather<'a, M>) -> bool {
        let takes_tables = self.pages == PageChange::Zap && self.fold != Fold::Nothing;
        // Many classes are given up a few at a time.
        if !takes_tables
            || Cursor::has_many_runs(leaf)
            || leaf.used() == 0
            || cursor.slots_of(leaf) != (0, leaf.len() - 1)
        {
            return false;
        }
        let Some(parent) = cursor.parent_of(leaf) else { return false };
        let (cx, address) = (self.cx, cursor.here());
        let index = parent.index(address);
        let Some(upper) = parent.lock(cx, self.space, address) else { return false };
        let Some(lower) = leaf.lock(cx, self.space, address) else { return false };
        let class = self.common_class_after(&lower).filter(|_| is_private(cx, &lower));
        let Some(class) = class.filter(|&class| may_unlink(cx, &parent, index, leaf, class)) else { return false };
        cursor.spend_runs(leaf, leaf.len());
        cursor.spend(leaf.used() / DETACHED);
        self.classes(&lower, (0, leaf.len() - 1));
        unlink(cx, &upper, index, &lower, class, self.spares);
        gather.touch_table(address, leaf.len() as u64);
        self.detached.add(leaf);
        cursor.pass_by();
        true
    }

    /// The class that all slots of a leaf are going to have, if it is one.
    fn common_class_after(&self, leaf: &Locked<'a, M>) -> Option<ClassId> {
        match self.classes {
            ClassChange::Keep => leaf.uniform_class(),
            ClassChange::Set(new) => Some(*new),
            ClassChange::Map(change) => leaf.uniform_class().map(|class| self.mapped(class, *change)),
        }
    }

    /// What a class becomes.
    fn mapped(&self, class: ClassId, change: &dyn Fn(Attributes<M>) -> Attributes<M>) -> ClassId {
        if class == ClassId::NONE { class } else { self.cx.known_class(&change(self.cx.attributes(class))) }
    }

    fn keeps_classes(&self) -> bool {
        matches!(self.classes, ClassChange::Keep)
    }

    /// Changes the classes of the slots of an upper table that have no lower one, and the huge pages there.
    fn upper(&mut self, table: Table<'a, M>, address: u64, slots: (usize, usize), gather: &mut Gather<'a, M>) {
        if let Some(locked) = table.lock(self.cx, self.space, address) {
            if table.used() > 0 && table.level <= M::Arch::HUGE_LEVEL {
                self.entries(&locked, slots, table.base(address) + table.span() * slots.0 as u64, gather);
            }
            self.classes(&locked, slots);
            if let ClassChange::Set(new) = self.classes {
                self.foretell(&locked, slots, *new);
            }
        }
    }

    /// Has slots of an upper table, if all of them have lower ones, say what these are going to say: so that each of
    /// these can be unlinked without saying it here slot by slot, for which there may be no room.
    fn foretell(&mut self, upper: &Locked<'a, M>, (low, high): (usize, usize), class: ClassId) {
        let table = &upper.table;
        let has_room = self.spares.has_for_full || !Runs::needs_spare(self.cx, table.frame, table.len(), low, high);
        if self.fold != Fold::Nothing && has_room && table.childless(low, high + 1) == 0 {
            upper.set_class(self.cx, low, high, class, Some(self.spares));
        }
    }

    /// Changes the classes of slots of a locked table.
    fn classes(&mut self, locked: &Locked<'a, M>, (low, high): (usize, usize)) {
        match self.classes {
            ClassChange::Keep => {}
            ClassChange::Set(new) => locked.set_counted_class(self.cx, low, high, *new, self.spares),
            ClassChange::Map(change) => {
                // Run by run: a slot with a lower table, whose class says nothing, goes along with its run, so that
                // there are never more runs than before. A table between the edges of the range has no side array
                // prepared.
                let mut slot = low;
                while slot <= high {
                    let (class, end) = locked.table.runs(self.cx).run(slot, high + 1);
                    // What only slots say that have lower tables may be no class any more.
                    if class != ClassId::NONE && locked.table.childless(slot, end) > 0 {
                        let new = self.mapped(class, *change);
                        if new != class {
                            locked.set_counted_class(self.cx, slot, end - 1, new, self.spares);
                        }
                    }
                    slot = end;
                }
            }
        }
    }

    /// Whether what was removed from a leaf is flushed before the leaf's lock is free. Where another mapping replaces
    /// it, no CPU may still load the old page when a store to the new one is seen (B23). Where the mapping stays, a
    /// load that races with the operation may find either, but entries may have to be broken before they are made.
    fn flushes_leaf(&self, level: usize) -> bool {
        match self.classes {
            ClassChange::Set(new) if *new == ClassId::NONE => false,
            ClassChange::Set(_) if M::guard(Guard::ReplacedUnderLock) => true,
            // Small pages may come where a huge one was.
            _ if level > 0 => wants_break::<M::Arch>(),
            _ => M::Arch::semantics().break_before_make,
        }
    }

    /// Changes slots of a leaf, or one that shows a huge page; not if a fault which had the lock when the commit began
    /// has put a table there.
    fn leaf(&mut self, slots: &Slots<'a, M>, gather: &mut Gather<'a, M>) -> bool {
        let Some(locked) = slots.leaf.lock(self.cx, self.space, slots.start) else { return true };
        if !slots.leaf.is_childless(slots.low) && M::guard(Guard::SplitSeen) {
            return false;
        }
        self.entries(&locked, (slots.low, slots.high), slots.start, gather);
        self.classes(&locked, (slots.low, slots.high));
        true
    }

    /// Changes the pages that the slots `low..=high` of a locked table show; `first` is the address of slot `low`.
    fn entries(&mut self, locked: &Locked<'a, M>, (low, high): (usize, usize), first: u64, gather: &mut Gather<'a, M>) {
        let has_some = || locked.table.used() > 0 || locked.has_pending_flush(Guard::EmptyLeafSettled);
        if self.pages == PageChange::Keep || !has_some() {
            return;
        }
        match self.pages {
            PageChange::Reprotect(prot) => {
                if let Some(flush) = reprotect(self.cx, locked, (low, high), first, prot) {
                    gather.touch_range(flush);
                }
            }
            PageChange::GiveUp => give_up(self.cx, self.space, locked, (low, high), first, gather),
            _ => {
                zap(self.cx, self.space, locked, low, high, first, gather);
                if self.flushes_leaf(locked.table.level) {
                    // Under the lock: a fault may put another page there as soon as that goes.
                    gather.finish();
                }
            }
        }
    }
}

/// Gives the pages of `low..=high` the rights `prot`, as far as faults need not intervene: a store to a page that is
/// shared with others, or that is clean in a shared mapping, is left to fault. `first` is the address of slot `low`.
/// What has to be flushed for it, if anything.
#[inline(always)]
pub(crate) fn reprotect<M: Machine>(
    cx: &Cx<'_, M>,
    locked: &Locked<'_, M>,
    (low, high): (usize, usize),
    first: u64,
    prot: Prot,
) -> Option<Flush> {
    let rights = |prot: Prot| Word::<M::Arch>::of_page(Pfn(0), PageBits::of(readable::<M::Arch>(prot))).rights();
    let (full, read_only) = (rights(prot), rights(prot.without(Prot::WRITE)));
    let (mut lost_first, mut lost_end) = (usize::MAX, 0);
    if locked.has_pending_flush(Guard::SettledByProtect) {
        // What an unmap batch has taken can still be stored to (A4).
        (lost_first, lost_end) = (low, high + 1);
    }
    for index in low..high + 1 {
        // What is absent gets its rights from the class when it comes back.
        let seen = locked.table.page(index);
        if !seen.is_page() {
            continue;
        }
        let (old, new) = locked.update_from(
            index,
            seen,
            #[inline(always)]
            |word| {
                let bits = word.bits();
                let may_write = bits.has(PageBits::EXCLUSIVE)
                    || (bits.has(PageBits::DIRTY) && full != read_only && shows_shared(cx, locked, index));
                word.with_rights(if may_write { full } else { read_only })
            },
        );
        let lost = old.bits().prot().without(new.bits().prot());
        if lost != Prot::NONE && M::guard(Guard::RevokeFlush) {
            lost_first = lost_first.min(index);
            lost_end = lost_end.max(index + 1);
        }
    }
    (lost_first < lost_end).then(|| Flush {
        start: first + (lost_first - low) as u64 * locked.table.span(),
        pages: (lost_end - lost_first) as u64 * locked.table.pages(),
        tables_freed: false,
    })
}

/// Whether the mapping at slot `index` is a shared one.
#[cold]
#[inline(never)]
fn shows_shared<M: Machine>(cx: &Cx<'_, M>, locked: &Locked<'_, M>, index: usize) -> bool {
    let class = locked.table.class(cx, index);
    class != ClassId::NONE && !cx.attributes(class).is_private()
}

/// What the entry of a page grants for rights `prot`: no architecture here has pages that can be written but not read,
/// and some have none that can be executed but not read.
#[inline(always)]
pub(crate) fn readable<A: Arch>(prot: Prot) -> Prot {
    let implies = if A::semantics().execute_implies_read { Prot::WRITE | Prot::EXECUTE } else { Prot::WRITE };
    if prot.has_any(implies) { prot | Prot::READ } else { prot }
}

/// Which count a page belongs to, by what its frame is used for.
#[inline(always)]
pub(crate) fn rss_kind<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn) -> RssKind {
    rss_kind_of(cx.vm().physical().folio(pfn))
}

/// As [`rss_kind`], of the pages of a folio.
#[inline(always)]
pub(crate) fn rss_kind_of<M: Machine>(folio: &Frame<M>) -> RssKind {
    if folio.is_kind(Kind::Anonymous) { RssKind::Anonymous } else { object::rss_kind(folio) }
}

/// Unmaps the pages of `low..=high` of a locked table; `first` is the address of slot `low`.
#[inline(always)]
pub(crate) fn zap<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    locked: &Locked<'a, M>,
    low: usize,
    high: usize,
    first: u64,
    gather: &mut Gather<'a, M>,
) {
    let mut gone = [0i64; RssKind::COUNT];
    let mut dirty_file = false;
    let pages = locked.table.pages();
    gather.touch_pending(locked, Guard::SettledByZap, first, (high - low + 1) as u64 * pages);
    for index in low..=high {
        if locked.table.page(index).is_empty() {
            continue;
        }
        if gather.is_full() {
            gather.finish();
        }
        let address = first + (index - low) as u64 * locked.table.span();
        let word = locked.take(index);
        let Some(pfn) = word.page() else {
            if let Some(kind) = cx.drop_absent(word, (address, pages), gather) {
                gone[kind as usize] += pages as i64;
            }
            continue;
        };
        let bits = word.bits();
        if bits.has(PageBits::SPECIAL) {
            gather.touch_range(Flush { start: address, pages, tables_freed: false });
            continue;
        }
        let frame = cx.vm().physical().frame(pfn);
        if frame.is_single(Kind::Anonymous) {
            gone[RssKind::Anonymous as usize] += 1;
            gather.add(pfn, address);
            continue;
        }
        let kind = rss_kind(cx, pfn);
        if kind != RssKind::Anonymous && bits.has(PageBits::DIRTY) {
            object::mark_dirty(cx.vm().physical().folio(pfn));
            dirty_file = true;
        }
        gone[kind as usize] += pages as i64;
        match frame.is_single(Kind::File) {
            true => gather.add(pfn, address),
            false => {
                if pages == 1 {
                    cx.note_partly_mapped(pfn);
                }
                gather.add_folio(pfn, address, pages);
            }
        }
    }
    for kind in RssKind::ALL {
        let pages = gone[kind as usize];
        if pages != 0 {
            space.add_rss(cx, kind, -pages);
            cx.count(Event::Unmapped, if kind == RssKind::Swap { 0 } else { pages as u64 });
        }
    }
    if dirty_file && M::guard(Guard::DirtyFlushedUnderLock) {
        // Before the lock goes, so that a cleaner which gets it and finds no entry knows that nobody stores to the page
        // any more, and that the page's own mark says whether somebody did (B2, B22).
        gather.finish();
    }
}

/// As [`zap`], where an object is shown; but private copies of its pages stay.
pub(crate) fn zap_shown<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    space: &Inner<M>,
    locked: &Locked<'a, M>,
    low: usize,
    high: usize,
    first: u64,
    gather: &mut Gather<'a, M>,
) {
    let is_copy = |index: &usize| {
        let word = locked.table.entry(*index);
        let is_shown = word.is_page() && cx.vm().physical().folio(word.pfn()).is_kind(Kind::File);
        !word.is_empty() && !is_shown
    };
    let mut index = low;
    while index <= high {
        let end = (index..=high).find(is_copy).unwrap_or(high + 1);
        if end > index {
            let address = first + (((index - low) as u64) << M::Arch::PAGE_SHIFT);
            zap(cx, space, locked, index, end - 1, address, gather);
        }
        index = end + 1;
    }
}

impl<M: Machine> Attributes<M> {
    /// These attributes with other rights, and [committed](Attributes::committed) if need be.
    pub(crate) fn with_prot(mut self, prot: Prot) -> Self {
        self.prot = prot;
        self.committed()
    }

    /// These attributes with flags set and others cleared.
    pub(crate) fn with_flags(mut self, set: ClassFlags, clear: ClassFlags) -> Self {
        self.flags = self.flags.without(clear) | set;
        self
    }

    /// These attributes with another policy.
    pub(crate) fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }
}
