//! Moving a list of pages.

use super::page::{Move, carry_out, copy, prepare, unprepare};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::phys::{Kind, Pfn};
use crate::reclaim::Isolated;
use crate::rmap::{Into, Unmapped};
use crate::stat::Event;
use crate::tlb::UnmapBatch;
use crate::vm::Vm;

/// Pages that are moved with one flush.
pub(crate) const LENGTH: usize = 256;

/// What came of moving a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// Where the frames come from to which pages are moved: given the old one, a frame just allocated.
pub(crate) type Target<'t, M> = dyn FnMut(&Cx<'_, M>, Pfn) -> Option<Pfn> + 't;

/// Moves the pages of the list to frames from `target`. Without a [`Cx`]; the list's references are dropped. Pages that are
/// there already, or cannot be moved, are passed over.
pub(crate) fn migrate<M: Machine>(vm: &Vm<M>, list: &Isolated<LENGTH>, target: &mut Target<'_, M>) -> Moved {
    let mut moves: [Option<Move<'_, M>>; LENGTH] = [const { None }; LENGTH];
    let mut busy = Isolated::<LENGTH>::new();
    let mut moved = Moved::default();
    unmap(vm, list, target, &mut moves, &mut busy, &mut moved);
    for this in moves.iter_mut().filter_map(Option::take) {
        let cx = Cx::enter(vm);
        count(&cx, &mut moved, carry_out(&cx, this));
    }
    // No lock is held now: each of these can be waited for.
    for &pfn in busy.pages() {
        let frame = vm.physical().frame(pfn);
        frame.folio_lock().acquire(vm);
        let this = {
            let cx = Cx::enter(vm);
            let mut batch = UnmapBatch::new(&cx);
            let this = begin(&cx, &mut batch, pfn, target);
            batch.flush();
            this
        };
        let cx = Cx::enter(vm);
        let done = this.is_some_and(|this| carry_out(&cx, this));
        count(&cx, &mut moved, done);
    }
    moved
}

fn count<M: Machine>(cx: &Cx<'_, M>, moved: &mut Moved, is_done: bool) {
    cx.count(if is_done { Event::MigrateSuccess } else { Event::MigrateFail }, 1);
    *(if is_done { &mut moved.done } else { &mut moved.failed }) += 1;
}

/// Unmaps what can be, with one flush. Pages whose folio lock somebody has are put into `busy`.
fn unmap<'vm, M: Machine>(
    vm: &'vm Vm<M>,
    list: &Isolated<LENGTH>,
    target: &mut Target<'_, M>,
    moves: &mut [Option<Move<'vm, M>>; LENGTH],
    busy: &mut Isolated<LENGTH>,
    moved: &mut Moved,
) {
    let cx = Cx::enter(vm);
    let mut batch = UnmapBatch::new(&cx);
    for (&pfn, place) in list.pages().iter().zip(moves.iter_mut()) {
        let lock = vm.physical().frame(pfn).folio_lock();
        if !M::guard(Guard::LocksTried) {
            lock.acquire(vm);
        } else if !lock.try_acquire() {
            busy.push(pfn);
            continue;
        }
        *place = begin(&cx, &mut batch, pfn, target);
        if place.is_none() {
            count(&cx, moved, false);
        }
    }
    if !M::guard(Guard::FlushBeforeCopy) {
        for this in moves.iter_mut().flatten() {
            copy(&cx, this.from, this.to);
            this.is_copied = true;
        }
    }
    batch.flush();
}

/// Unmaps a page whose folio lock the caller has, and gets a frame for it; else gives up the lock and the reference.
fn begin<'vm, 'a, M: Machine>(
    cx: &'a Cx<'vm, M>,
    batch: &mut UnmapBatch<'a, M>,
    pfn: Pfn,
    target: &mut Target<'_, M>,
) -> Option<Move<'vm, M>> {
    let frame = cx.vm().physical().frame(pfn);
    let into = match frame.kind() {
        Kind::Anonymous => Some(Into::Migration),
        Kind::File => Some(Into::Nothing),
        _ => None,
    };
    let to = into.and_then(|_| target(cx, pfn));
    let unmapped = match (into, to) {
        (Some(into), Some(to)) => {
            prepare(cx, pfn, to);
            Unmapped::begin(cx, batch, pfn, into)
        }
        _ => None,
    };
    if let (Some(to), true) = (to, unmapped.is_some()) {
        return Some(Move { from: pfn, to, unmapped, is_copied: false });
    }
    if let Some(to) = to {
        unprepare(cx, to);
    }
    frame.folio_lock().release(cx.vm());
    object::release(cx, pfn);
    None
}
