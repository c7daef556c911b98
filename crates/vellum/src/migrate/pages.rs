//! Moving a list of pages.

use super::page::{Move, carry_out, carry_out_in_parts, copy, give_up, let_go, prepare, takes_long};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object::{self, Dying};
use crate::phys::{Folio, Frame, Kind, Pfn, Stock};
use crate::reclaim::{Isolated, split_cached};
use crate::rmap::{self, FLUSHED, PART, Placeholder, Unmapped};
use crate::space::UnmapBatch;
use crate::stat::Event;
use crate::vm::Vm;

/// Pages that are moved with one flush.
pub(crate) const LENGTH: usize = 104;

/// What came of moving a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// What is to become of a page.
pub(crate) enum Goal {
    /// It is where it is wanted.
    Stay,
    /// It goes to this frame, or folio, just allocated.
    To(Pfn),
    /// It goes to that memory node, if there is a frame.
    Node(u8),
    /// There is no frame for it.
    Nowhere,
}

/// Says what is to become of a page.
pub(crate) type Target<'t, M> = dyn FnMut(&Cx<'_, M>, Pfn) -> Goal + 't;

/// What becomes of the pages of a list. Those that are unmapped and on their way, with their folio locks and a
/// reference to each, are put back if they are not carried out. A word for each page, as there are many and this is on
/// the stack.
struct Moves<'a, M: Machine> {
    vm: &'a Vm<M>,
    list: &'a Isolated<LENGTH>,
    /// The frame to which the page in that place goes; else [`STAYS`] or [`BUSY`].
    to: [Pfn; LENGTH],
    /// The first that was not begun.
    begun: usize,
    /// The first that was not carried out.
    first: usize,
    /// The contents are in the new frames already, where [`Guard::FlushBeforeCopy`] is off.
    are_copied: bool,
}

/// In [`Moves::to`], for no frame: the page is not on its way.
const STAYS: Pfn = Pfn(u64::MAX);
/// Nor is it, since somebody has its folio lock, it has too many entries to be taken with others, or there is no place
/// for the folio as a whole.
const BUSY: Pfn = Pfn(u64::MAX - 1);

impl<'a, M: Machine> Moves<'a, M> {
    fn new(vm: &'a Vm<M>, list: &'a Isolated<LENGTH>) -> Self {
        Moves { vm, list, to: [STAYS; LENGTH], begun: 0, first: 0, are_copied: false }
    }

    /// The next page that is on its way, and the frame to which it goes.
    fn next_pair(&mut self) -> Option<(Pfn, Pfn)> {
        while self.first < self.begun {
            let (from, to) = (self.list.pages()[self.first], self.to[self.first]);
            self.first += 1;
            if to != STAYS && to != BUSY {
                return Some((from, to));
            }
        }
        None
    }

    fn next(&mut self) -> Option<Move<'a, M>> {
        let (from, to) = self.next_pair()?;
        let into = way_of(self.vm.physical().frame(from))?;
        Some(Move::new(self.vm, (from, to), into, self.are_copied))
    }
}

impl<M: Machine> Drop for Moves<'_, M> {
    fn drop(&mut self) {
        while let Some(this) = self.next() {
            give_up(&Cx::enter(self.vm), this);
        }
    }
}

/// What the entries of a page say while it is moved; `None` for what is no page.
#[inline(always)]
fn way_of<M: Machine>(frame: &Frame<M>) -> Option<Placeholder> {
    if frame.is_kind(Kind::Anonymous) {
        return Some(Placeholder::Migration);
    }
    frame.is_kind(Kind::File).then_some(Placeholder::Nothing)
}

/// Moves the pages of the list to where `target` says. Without a [`Cx`]; the list's references are dropped.
pub(crate) fn migrate<M: Machine>(vm: &Vm<M>, list: &Isolated<LENGTH>, target: &mut Target<'_, M>) -> Moved {
    let mut moves = Moves::new(vm, list);
    let mut moved = Moved::default();
    // Objects that came to their end: writing them back waits for folio locks, so not while there are any in this hand.
    let dying = Dying::new();
    while moves.begun < list.pages().len() {
        let first = moves.begun;
        choose(target, &mut moves, &mut moved, &dying);
        unmap(first, &mut moves, &mut moved, &dying);
        while let Some(this) = moves.next() {
            finish(vm, this, &mut moved, &dying);
        }
    }
    dying.destroy(vm);
    // No lock is held now: each of these can be waited for.
    for (&pfn, _) in list.pages().iter().zip(&moves.to).filter(|(_, to)| **to == BUSY) {
        move_busy(vm, pfn, target, &mut moved);
    }
    moved
}

/// Moves a page alone, waiting for its folio lock; a folio for which there is no place page by page.
fn move_busy<M: Machine>(vm: &Vm<M>, pfn: Pfn, target: &mut Target<'_, M>, moved: &mut Moved) {
    let Some(folio) = move_alone(vm, pfn, target, moved) else { return };
    for page in (0..folio.pages()).map(|page| folio.head.offset(page)) {
        let frame = vm.physical().frame(page);
        let is_page = || frame.is_single(Kind::Anonymous) || frame.is_single(Kind::File);
        if !is_page() || !frame.try_get() {
            continue;
        }
        // It has become another page meanwhile, perhaps; that is as good as any.
        if is_page() {
            move_alone(vm, page, target, moved);
        } else {
            object::release(&Cx::enter(vm), page);
        }
    }
}

/// Moves a page or folio alone, waiting for its folio lock. A folio for which there is no place is split, and returned.
fn move_alone<M: Machine>(vm: &Vm<M>, pfn: Pfn, target: &mut Target<'_, M>, moved: &mut Moved) -> Option<Folio> {
    let frame = vm.physical().frame(pfn);
    frame.folio_lock().acquire(vm);
    if !takes_long(frame) {
        move_at_once(vm, pfn, target, moved);
        return None;
    }
    let folio = vm.physical().whole(pfn);
    let aim = aim(&Cx::enter(vm), pfn, target, None);
    match aim {
        Aim::Stays => let_go(&Cx::enter(vm), pfn),
        Aim::To(to, into) => move_in_parts(vm, (pfn, to), into, moved),
        Aim::Fails | Aim::Nowhere => {
            let is_split = matches!(aim, Aim::Nowhere) && split_cached(vm, pfn).is_some();
            let cx = Cx::enter(vm);
            let_go(&cx, pfn);
            if is_split {
                return Some(folio);
            }
            count(&cx, moved, folio.pages(), false);
        }
    }
    None
}

/// Moves what takes long, whose folio lock the caller has, from one frame to another.
fn move_in_parts<M: Machine>(vm: &Vm<M>, (from, to): (Pfn, Pfn), into: Placeholder, moved: &mut Moved) {
    let dying = Dying::new();
    match Unmapped::begin_in_parts(vm, from, into) {
        Some(unmapped) => finish(vm, Move::of(unmapped, (from, to)), moved, &dying),
        None => {
            let cx = Cx::enter(vm);
            count(&cx, moved, vm.physical().whole(from).pages(), false);
            let_go(&cx, to);
            let_go(&cx, from);
        }
    }
    dying.destroy(vm);
}

/// Moves a page whose folio lock the caller has, and which does not take long. Its batch is not on the stack otherwise.
#[inline(never)]
fn move_at_once<M: Machine>(vm: &Vm<M>, pfn: Pfn, target: &mut Target<'_, M>, moved: &mut Moved) {
    let cx = Cx::enter(vm);
    let (to, into) = match aim(&cx, pfn, target, None) {
        Aim::To(to, into) => (to, into),
        aim => {
            count(&cx, moved, u64::from(!matches!(aim, Aim::Stays)), false);
            return let_go(&cx, pfn);
        }
    };
    let mut batch = UnmapBatch::new(&cx);
    let is_unmapped = take_out(&cx, &mut batch, (pfn, to), into);
    if M::guard(Guard::FlushBeforeBusyCopy) {
        batch.flush();
    }
    let is_done = is_unmapped && carry_out(&cx, Move::new(vm, (pfn, to), into, false));
    count(&cx, moved, 1, is_done);
}

/// Carries out what was begun.
fn finish<M: Machine>(vm: &Vm<M>, this: Move<'_, M>, moved: &mut Moved, dying: &Dying<M>) {
    if takes_long(vm.physical().frame(this.from)) {
        let pages = vm.physical().whole(this.from).pages();
        let is_done = carry_out_in_parts(vm, this);
        return count(&Cx::enter(vm), moved, pages, is_done);
    }
    let cx = Cx::enter(vm);
    count(&cx, moved, 1, carry_out(&cx, this));
    dying.adopt(cx.dying());
}

/// Counts what came of moving so many pages.
fn count<M: Machine>(cx: &Cx<'_, M>, moved: &mut Moved, pages: u64, is_done: bool) {
    cx.count(if is_done { Event::MigrateSuccess } else { Event::MigrateFail }, pages);
    *(if is_done { &mut moved.done } else { &mut moved.failed }) += pages;
}

/// Chooses pages of the list, from where this ended the last time until so many entries are to be taken, and frames for
/// them: in a section of its own, as each takes its time. Pages whose folio lock somebody has are noted, and those with
/// too many entries.
#[inline(never)]
fn choose<M: Machine>(target: &mut Target<'_, M>, moves: &mut Moves<'_, M>, moved: &mut Moved, dying: &Dying<M>) {
    let vm = moves.vm;
    let cx = Cx::enter(vm);
    let (stock, mut entries) = (Stock::new(&cx), 0);
    while entries < LENGTH as u32
        && let Some(&pfn) = moves.list.pages().get(moves.begun)
    {
        let frame = vm.physical().frame(pfn);
        // Those of a huge page of shared memory may be flushed one by one.
        let each = if frame.is_kind(Kind::File) && frame.order() > 0 { FLUSHED } else { 1 };
        let more = frame.mappings().saturating_mul(each).max(1);
        if more <= PART && entries + more > LENGTH as u32 {
            break;
        }
        let wanted = (moves.list.pages().len() - moves.begun) as u64;
        let place = &mut moves.to[moves.begun];
        moves.begun += 1;
        *place = BUSY;
        if !M::guard(Guard::LocksTried) {
            frame.folio_lock().acquire(vm);
        } else if !frame.folio_lock().try_acquire() {
            continue;
        }
        if more > PART {
            frame.folio_lock().release(vm);
            continue;
        }
        entries += more;
        *place = match aim(&cx, pfn, target, Some((&stock, wanted))) {
            Aim::To(to, _) => to,
            Aim::Nowhere => {
                frame.folio_lock().release(vm);
                BUSY
            }
            aim => {
                count(&cx, moved, if let Aim::Stays = aim { 0 } else { vm.physical().whole(pfn).pages() }, false);
                let_go(&cx, pfn);
                STAYS
            }
        };
    }
    drop(stock);
    dying.adopt(cx.dying());
}

/// Takes the pages that were [chosen](choose), from `first` on, out of their entries, with one flush. The batch is off
/// the stack when the pages are copied.
#[inline(never)]
fn unmap<M: Machine>(first: usize, moves: &mut Moves<'_, M>, moved: &mut Moved, dying: &Dying<M>) {
    let vm = moves.vm;
    let cx = Cx::enter(vm);
    let mut batch = UnmapBatch::new(&cx);
    for (&pfn, place) in moves.list.pages()[first..moves.begun].iter().zip(&mut moves.to[first..]) {
        if *place == STAYS || *place == BUSY {
            continue;
        }
        let frame = vm.physical().frame(pfn);
        let pages = vm.physical().whole(pfn).pages();
        if !way_of(frame).is_some_and(|into| take_out(&cx, &mut batch, (pfn, *place), into)) {
            *place = STAYS;
            count(&cx, moved, pages, false);
        }
    }
    if !M::guard(Guard::FlushBeforeCopy) {
        while let Some((from, to)) = moves.next_pair() {
            copy(&cx, from, to);
        }
        (moves.first, moves.are_copied) = (first, true);
    }
    batch.flush();
    dying.adopt(cx.dying());
}

/// Takes a page out of its entries, which goes to another frame; else gives up the folio locks and the references of
/// both.
#[inline(always)]
fn take_out<'a, M: Machine>(
    cx: &'a Cx<'_, M>,
    batch: &mut UnmapBatch<'a, M>,
    (from, to): (Pfn, Pfn),
    into: Placeholder,
) -> bool {
    let is_unmapped = rmap::unmap(cx, batch, from, into);
    if !is_unmapped {
        let_go(cx, to);
        let_go(cx, from);
    }
    is_unmapped
}

/// What is to become of a page, and what its entries say meanwhile.
enum Aim {
    Stays,
    /// It cannot be moved.
    Fails,
    To(Pfn, Placeholder),
    /// There is no place for a folio of so many pages.
    Nowhere,
}

/// Gets a frame for a page whose folio lock the caller has, if it is to be moved: from the stock, if there is one, of
/// which so many are likely to be wanted.
#[inline(always)]
fn aim<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn, target: &mut Target<'_, M>, stock: Option<(&Stock<'_, M>, u64)>) -> Aim {
    let frame = cx.vm().physical().frame(pfn);
    let Some(into) = way_of(frame) else { return Aim::Fails };
    let order = frame.order();
    let found = match (target(cx, pfn), stock) {
        (Goal::Stay, _) => return Aim::Stays,
        (Goal::To(to), _) => Some(to),
        (Goal::Node(node), Some((stock, wanted))) if order == 0 => stock.take(node, wanted).ok(),
        (Goal::Node(node), _) => cx.alloc_folio_on(node, order).ok(),
        (Goal::Nowhere, _) => None,
    };
    match found {
        Some(to) => {
            prepare(cx, frame, to);
            Aim::To(to, into)
        }
        None if order > 0 => Aim::Nowhere,
        None => Aim::Fails,
    }
}
