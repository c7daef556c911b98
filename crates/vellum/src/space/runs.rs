//! The classes of a table's slots, stored in 24 bytes of its descriptor or in a side array.
//!
//! `words[3]` says which: its top 16 bits are the number of runs, 1 to 4, or [`SIDE`]. Inline, the run identities are
//! the four halves of `words[1]` and `words[2]`, and the starts of the second to fourth run the low three quarters of
//! `words[3]`, [`NO_RUN`] for those there are not. With a side array, the low 48 bits are the frame of an array of one
//! `u32` a slot, and `words[2]` is the number of borders between runs, so that the way back is found without a search.
//!
//! Neighbouring runs may have one class.
//!
//! Readers without the lock may see the words of two states mixed: the result is then some wrong class, which the
//! sequence count exposes; the side array's address is in one word with its mark, so no stray pointer is followed.

use super::table::Table;
use super::{ClassId, Spares};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Frame, Kind, Pfn};
use crate::sync::AtomicU32;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const INLINE: usize = 4;
const SIDE: u64 = 0xffff;
const COUNT_SHIFT: u32 = 48;
/// The start of a run that there is not: beyond every slot.
const NO_RUN: u64 = 0xffff;
const UNIFORM: u64 = 1 << COUNT_SHIFT | NO_RUN << 32 | NO_RUN << 16 | NO_RUN;
const PFN: u64 = (1 << COUNT_SHIFT) - 1;

/// A run of slots with one class: first slot in the high half, class in the low.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run(u64);

impl Run {
    #[inline(always)]
    fn new(start: usize, class: ClassId) -> Run {
        Run((start as u64) << 32 | class.0 as u64)
    }
    #[inline(always)]
    fn start(self) -> usize {
        (self.0 >> 32) as usize
    }
    #[inline(always)]
    fn class(self) -> ClassId {
        ClassId(self.0 as u32)
    }
}

impl core::fmt::Debug for Run {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {:?}", self.start(), self.class())
    }
}

/// The operations on the class words of a table's descriptor.
pub(crate) struct Runs;

/// A copy of the inline words, or the address of the side array.
pub(crate) enum RunsView<'a, M> {
    Inline { runs: [Run; INLINE], count: usize, len: usize },
    Side(&'a [AtomicU32<M>]),
}

impl Runs {
    /// Makes all slots `class`; for a table nobody else knows.
    #[inline(always)]
    pub(crate) fn init<M: Machine>(frame: &Frame<M>, class: ClassId) {
        frame.words[1].store(class.0 as u64, Relaxed);
        frame.words[2].store(0, Relaxed);
        frame.words[3].store(UNIFORM, Release);
    }

    /// The one class of all slots. Under the lock.
    #[inline(always)]
    pub(crate) fn uniform<M: Machine>(frame: &Frame<M>) -> Option<ClassId> {
        let word = frame.words[3].load(Acquire);
        let first = inline_class(frame, 0);
        let is_uniform = word == UNIFORM
            || word >> COUNT_SHIFT != SIDE
                && (1..(word >> COUNT_SHIFT) as usize).all(|run| inline_class(frame, run) == first);
        is_uniform.then_some(first)
    }

    /// The class of slot `index`.
    #[inline(always)]
    pub(crate) fn class_at<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, index: usize) -> ClassId {
        let word = frame.words[3].load(Acquire);
        if word == UNIFORM {
            return ClassId(frame.words[1].load(Relaxed) as u32);
        }
        if word >> COUNT_SHIFT == SIDE {
            return ClassId(side_slot(cx, Pfn(word & PFN), index).load(Relaxed));
        }
        inline_class(frame, locate(word, index).0)
    }

    /// The class of the slots `low..=high`, if they have one in common, and where its run lies.
    #[inline(always)]
    pub(crate) fn common<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        low: usize,
        high: usize,
    ) -> Option<(ClassId, Place)> {
        let word = frame.words[3].load(Acquire);
        if word >> COUNT_SHIFT == SIDE {
            let side = Pfn(word & PFN);
            let class = side_slot(cx, side, low).load(Relaxed);
            let mut slot = low + 1;
            while slot <= high && side_slot(cx, side, slot).load(Relaxed) == class {
                slot += 1;
            }
            let is_common = slot > high;
            return is_common.then_some((ClassId(class), Place { run: 0, start: 0, end: 0 }));
        }
        let (run, start, end) = locate(word, low);
        // No closure, which might become a function.
        if high < end { Some((inline_class(frame, run), Place { run, start, end })) } else { None }
    }

    /// Makes the slots `low..=high`, which are of one class and lie at `place`, of another class `class`, if that needs
    /// no side array; whether it did. Under the lock, with the sequence odd.
    #[inline(always)]
    pub(crate) fn set_common<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        len: usize,
        (low, high): (usize, usize),
        class: ClassId,
        place: Place,
    ) -> bool {
        let word = frame.words[3].load(Acquire);
        if word >> COUNT_SHIFT == SIDE {
            Self::set_side_common(cx, frame, Pfn(word & PFN), len, (low, high), class);
            return true;
        }
        if (Inline { frame, word }).replace(len, (low, high), class, place) {
            return true;
        }
        // Neighbours of one class may have been left apart.
        let (next, fresh) = replace(&inline_runs(frame, word)[..(word >> COUNT_SHIFT) as usize], len, low, high, class);
        if fresh <= INLINE {
            encode(frame, &next[..fresh]);
        }
        fresh <= INLINE
    }

    /// All runs; `len` is the number of slots.
    pub(crate) fn view<'a, M: Machine>(cx: &'a Cx<'_, M>, frame: &'a Frame<M>, len: usize) -> RunsView<'a, M> {
        let word = frame.words[3].load(Acquire);
        if word >> COUNT_SHIFT == SIDE {
            return RunsView::Side(side_array(cx, Pfn(word & PFN)));
        }
        let runs = inline_runs(frame, word);
        RunsView::Inline { runs, count: ((word >> COUNT_SHIFT) as usize).clamp(1, INLINE), len }
    }

    /// Whether changing the class of `low..=high`, at once or part by part from one end to the other, may need a side
    /// array the table does not have yet.
    pub(crate) fn needs_spare<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        len: usize,
        low: usize,
        high: usize,
    ) -> bool {
        match Self::view(cx, frame, len) {
            RunsView::Side(_) => false,
            RunsView::Inline { runs, count, .. } => {
                let is_start = |slot: usize| slot == len || runs[..count].iter().any(|run| run.start() == slot);
                // The third is the border between the parts done and those to do.
                let border = usize::from(low < high);
                count + usize::from(!is_start(low)) + usize::from(!is_start(high + 1)) + border > INLINE
            }
        }
    }

    /// Whether there is a side array.
    pub(crate) fn has_side<M: Machine>(frame: &Frame<M>) -> bool {
        frame.words[3].load(Acquire) >> COUNT_SHIFT == SIDE
    }

    /// How many runs there are.
    #[inline(always)]
    pub(crate) fn count<M: Machine>(frame: &Frame<M>) -> usize {
        match frame.words[3].load(Acquire) >> COUNT_SHIFT {
            SIDE => frame.words[2].load(Relaxed) as usize + 1,
            count => count as usize,
        }
    }

    /// Whether all slots may be changed part by part, from one end to the other, without a side array: there is one
    /// more run in between.
    pub(crate) fn may_change_in_parts<M: Machine>(frame: &Frame<M>) -> bool {
        let count = frame.words[3].load(Acquire) >> COUNT_SHIFT;
        count == SIDE || count < INLINE as u64
    }

    /// Adds a side array for [`Runs::set`] on `table` to `spares`.
    pub(crate) fn allocate_spare<M: Machine>(
        cx: &Cx<'_, M>,
        table: &Table<'_, M>,
        spares: &mut Spares,
    ) -> Result<(), Error> {
        let order = array_order::<M>(table.len());
        let pfn = cx.alloc_frame(order, AllocFlags::NONE)?;
        cx.vm().physical().frame(pfn).set_kind(Kind::ClassArray, order);
        spares.add(cx, table.level, pfn);
        Ok(())
    }

    /// Makes the slots `low..=high` of `class`. Under the lock, with the sequence odd. When the runs no longer fit, the
    /// side array is taken from `spares`; without one the change is not possible, and the caller has made sure it is.
    pub(crate) fn set<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        len: usize,
        low: usize,
        high: usize,
        class: ClassId,
        spares: Option<&mut Spares>,
    ) {
        match Self::view(cx, frame, len) {
            RunsView::Side(_) => {
                let side = Pfn(frame.words[3].load(Relaxed) & PFN);
                Self::set_side(cx, frame, side, len, (low, high), class, spares);
            }
            RunsView::Inline { runs, count, .. } => {
                let (next, fresh) = replace(&runs[..count], len, low, high, class);
                if fresh <= INLINE {
                    encode(frame, &next[..fresh]);
                } else if let Some(pfn) = spares.and_then(|spares| spares.take(cx, level_of(frame))) {
                    Self::spill(cx, frame, pfn, &next[..fresh], len);
                } else {
                    // To go on would leave rights that somebody has been told are gone.
                    unreachable!("no side array for slots {low}..={high} of {len}: {:?} {class:?}", &runs[..count]);
                }
            }
        }
    }

    /// Makes the slots `low..=high`, which are of one class, of `class` in the side array.
    #[inline(always)]
    fn set_side_common<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        side: Pfn,
        len: usize,
        (low, high): (usize, usize),
        class: ClassId,
    ) {
        let at = |slot: usize| side_slot(cx, side, slot);
        let old = at(low).load(Relaxed);
        let mut borders = frame.words[2].load(Relaxed) as i64;
        if low > 0 {
            borders += border_change(at(low - 1).load(Relaxed), old, class.0);
        }
        if high + 1 < len {
            borders += border_change(at(high + 1).load(Relaxed), old, class.0);
        }
        at(low).store(class.0, Relaxed);
        if low < high {
            fill_side(cx, side, low + 1, high, class);
        }
        frame.words[2].store(borders as u64, Relaxed);
        if borders < INLINE as i64 / 2 {
            Self::shrink(cx, frame, &side_array(cx, side)[..len], side, None);
        }
    }

    /// Makes the slots `low..=high` of `class` in the side array.
    fn set_side<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        side: Pfn,
        len: usize,
        (low, high): (usize, usize),
        class: ClassId,
        spares: Option<&mut Spares>,
    ) {
        let array = &side_array(cx, side)[..len];
        let is_border =
            |slot: usize| slot > 0 && slot < len && array[slot - 1].load(Relaxed) != array[slot].load(Relaxed);
        let before = (low..=high + 1).filter(|&slot| is_border(slot)).count();
        array[low..=high].iter().for_each(|slot| slot.store(class.0, Relaxed));
        let after = usize::from(is_border(low)) + usize::from(is_border(high + 1));
        let borders = frame.words[2].load(Relaxed) + after as u64 - before as u64;
        frame.words[2].store(borders, Relaxed);
        if borders < INLINE as u64 / 2 {
            Self::shrink(cx, frame, array, side, spares);
        }
    }

    /// Moves the runs into the side array `pfn`.
    fn spill<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, pfn: Pfn, runs: &[Run], len: usize) {
        let array = &side_array(cx, pfn)[..len];
        for (place, run) in runs.iter().enumerate() {
            let end = runs.get(place + 1).map_or(len, |next| next.start());
            array[run.start()..end].iter().for_each(|slot| slot.store(run.class().0, Relaxed));
        }
        frame.words[2].store(runs.len() as u64 - 1, Relaxed);
        frame.words[3].store(SIDE << COUNT_SHIFT | pfn.0, Release);
    }

    /// Goes back to inline runs when there are few, so that what the operation in progress still does fits too, or
    /// finds the side array in its pool; else that is freed after a grace period.
    #[cold]
    fn shrink<M: Machine>(
        cx: &Cx<'_, M>,
        frame: &Frame<M>,
        array: &[AtomicU32<M>],
        side: Pfn,
        spares: Option<&mut Spares>,
    ) {
        let mut runs = [Run(0); INLINE];
        let mut count = 0;
        for (slot, class) in array.iter().enumerate() {
            let class = ClassId(class.load(Relaxed));
            if count == 0 || runs[count - 1].class() != class {
                runs[count] = Run::new(slot, class);
                count += 1;
            }
        }
        encode(frame, &runs[..count]);
        match spares {
            Some(spares) => spares.give_back(cx, level_of(frame), side),
            None => cx.retire_table(side),
        }
    }

    /// Frees the side array of a table which no reader can reach.
    pub(crate) fn clear<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>) {
        let word = frame.words[3].load(Acquire);
        if word >> COUNT_SHIFT == SIDE {
            frame.words[3].store(UNIFORM, Relaxed);
            cx.free_frame(Pfn(word & PFN));
        }
    }
}

impl<M: Machine> RunsView<'_, M> {
    /// The class of slot `index`.
    pub(crate) fn class(&self, index: usize) -> ClassId {
        match self {
            RunsView::Side(array) => array.get(index).map_or(ClassId::NONE, |slot| ClassId(slot.load(Relaxed))),
            RunsView::Inline { runs, count, .. } => {
                runs[..*count].iter().rev().find(|run| run.start() <= index).map_or(ClassId::NONE, |run| run.class())
            }
        }
    }

    /// The class of slot `index` and the end, exclusive, of the run of that class from there, at most `limit`.
    pub(crate) fn run(&self, index: usize, limit: usize) -> (ClassId, usize) {
        let class = self.class(index);
        let end = match self {
            RunsView::Side(array) => (index + 1..limit.min(array.len()))
                .find(|&slot| array[slot].load(Relaxed) != class.0)
                .unwrap_or(limit.min(array.len())),
            RunsView::Inline { runs, count, len } => {
                runs[..*count].iter().map(|run| run.start()).find(|&start| start > index).unwrap_or(*len)
            }
        };
        (class, end.min(limit).max(index + 1))
    }

    /// Whether slot `index` is mapped, and the end, exclusive, of the slots from there of which that is true: at most
    /// `len`, or `limit` if they are free.
    pub(crate) fn alike(&self, index: usize, limit: usize, len: usize) -> (bool, usize) {
        let is_mapped = self.class(index) != ClassId::NONE;
        let limit = if is_mapped { len } else { limit };
        let differs = |class: ClassId| (class != ClassId::NONE) != is_mapped;
        let end = match self {
            RunsView::Side(array) => (index + 1..limit.min(array.len()))
                .find(|&slot| differs(ClassId(array[slot].load(Relaxed))))
                .unwrap_or(limit.min(array.len())),
            RunsView::Inline { runs, count, .. } => {
                let further = runs[..*count].iter().filter(|run| run.start() > index);
                further.into_iter().find(|run| differs(run.class())).map_or(limit, |run| run.start())
            }
        };
        (is_mapped, end.min(limit).max(index + 1))
    }
}

/// Where a run lies: its number, first slot and end. The end of the last one is [`NO_RUN`].
#[derive(Clone, Copy)]
pub(crate) struct Place {
    run: usize,
    start: usize,
    end: usize,
}

/// The inline run that holds slot `index`, by its `words[3]`: number, first slot, end.
#[inline(always)]
fn locate(word: u64, index: usize) -> (usize, usize, usize) {
    let start = |place: u32| (word >> (16 * place)) as usize & NO_RUN as usize;
    let (second, third, fourth) = (start(0), start(1), start(2));
    if index < second {
        (0, 0, second)
    } else if index < third {
        (1, second, third)
    } else if index < fourth {
        (2, third, fourth)
    } else {
        (3, fourth, NO_RUN as usize)
    }
}

/// The class of inline run `run`.
#[inline(always)]
fn inline_class<M: Machine>(frame: &Frame<M>, run: usize) -> ClassId {
    ClassId((frame.words[1 + run / 2].load(Relaxed) >> (32 * (run % 2))) as u32)
}

#[inline(always)]
fn inline_runs<M: Machine>(frame: &Frame<M>, word: u64) -> [Run; INLINE] {
    let (low, high) = (frame.words[1].load(Relaxed), frame.words[2].load(Relaxed));
    [
        Run(low & 0xffff_ffff),
        Run((word & 0xffff) << 32 | low >> 32),
        Run((word >> 16 & 0xffff) << 32 | high & 0xffff_ffff),
        Run((word >> 32 & 0xffff) << 32 | high >> 32),
    ]
}

/// The inline runs, to be changed: the starts of the second to fourth, 16 bits each, with the count above them.
struct Inline<'a, M> {
    frame: &'a Frame<M>,
    word: u64,
}

impl<M: Machine> Inline<'_, M> {
    #[inline(always)]
    fn count(&self) -> usize {
        (self.word >> COUNT_SHIFT) as usize
    }

    /// Makes the slots `low..=high`, a part of the run at `place`, of `class`; whether there was room. A run which is
    /// changed as a whole is not joined with its neighbours, since what changes once often changes back.
    #[inline(always)]
    fn replace(&self, len: usize, (low, high): (usize, usize), class: ClassId, place: Place) -> bool {
        let Place { run, start, .. } = place;
        let behind = high + 1;
        let is_first = low == start;
        let is_last = behind == place.end.min(len);
        if is_first && is_last {
            self.set_class(run, class);
        } else if is_first && run > 0 && inline_class(self.frame, run - 1) == class {
            self.set_start(run, behind);
        } else if is_last && run + 1 < self.count() && inline_class(self.frame, run + 1) == class {
            self.set_start(run + 1, low);
        } else {
            return self.insert((low, behind), class, (run, is_first, is_last));
        }
        true
    }

    #[inline(always)]
    fn set_class(&self, run: usize, class: ClassId) {
        let word = &self.frame.words[1 + run / 2];
        let shift = 32 * (run % 2);
        word.store(word.load(Relaxed) & !(0xffff_ffff << shift) | (class.0 as u64) << shift, Relaxed);
    }

    /// Moves the start of a run other than the first.
    #[inline(always)]
    fn set_start(&self, run: usize, start: usize) {
        let shift = 16 * (run - 1);
        self.frame.words[3].store(self.word & !(NO_RUN << shift) | (start as u64) << shift, Relaxed);
    }

    /// Splits run `run` for a new one: three runs of one, or two where the new one is the first or last part.
    fn insert(
        &self,
        (low, behind): (usize, usize),
        class: ClassId,
        (run, is_first, is_last): (usize, bool, bool),
    ) -> bool {
        let runs = inline_runs(self.frame, self.word);
        let count = self.count();
        let old = runs[run];
        let added = 2 - usize::from(is_first) - usize::from(is_last);
        if count + added > INLINE {
            return false;
        }
        let mut next = [Run(0); INLINE];
        next[..=run].copy_from_slice(&runs[..=run]);
        let mut fresh = run + usize::from(!is_first);
        next[fresh] = Run::new(low, class);
        fresh += 1;
        if !is_last {
            next[fresh] = Run::new(behind, old.class());
            fresh += 1;
        }
        next[fresh..fresh + count - run - 1].copy_from_slice(&runs[run + 1..count]);
        encode(self.frame, &next[..count + added]);
        true
    }
}

/// The runs after `low..=high` became `class`, neighbours of one class merged.
#[inline(always)]
fn replace(runs: &[Run], len: usize, low: usize, high: usize, class: ClassId) -> ([Run; INLINE + 3], usize) {
    let mut next = [Run(0); INLINE + 3];
    let mut count = 0;
    let mut last = None;
    let mut push = |run: Run| {
        if last != Some(run.class()) {
            next[count] = run;
            count += 1;
            last = Some(run.class());
        }
    };
    let mut placed = false;
    for (place, &old) in runs.iter().enumerate() {
        let end = runs.get(place + 1).map_or(len, |run| run.start());
        if old.start() < low {
            push(old);
        }
        if !placed && end > low {
            push(Run::new(low, class));
            placed = true;
        }
        if end > high + 1 {
            push(Run::new(old.start().max(high + 1), old.class()));
        }
    }
    (next, count)
}

#[inline(always)]
fn encode<M: Machine>(frame: &Frame<M>, runs: &[Run]) {
    let run = |place: usize| runs.get(place).map_or(0, |run| run.0);
    let class = |place: usize| run(place) & 0xffff_ffff;
    let start = |place: usize| runs.get(place).map_or(NO_RUN, |run| run.0 >> 32);
    frame.words[1].store(class(0) | class(1) << 32, Relaxed);
    frame.words[2].store(class(2) | class(3) << 32, Relaxed);
    frame.words[3].store((runs.len() as u64) << COUNT_SHIFT | start(1) | start(2) << 16 | start(3) << 32, Release);
}

/// By how much the number of borders changes where a run of class `old` beside a slot of class `neighbour` becomes
/// `new`.
#[inline(always)]
fn border_change(neighbour: u32, old: u32, new: u32) -> i64 {
    i64::from(neighbour != new) - i64::from(neighbour != old)
}

/// The level of the table in `frame`.
fn level_of<M: Machine>(frame: &Frame<M>) -> usize {
    frame.table_level() as usize
}

/// log2 of the frames of a side array for `len` slots.
fn array_order<M: Machine>(len: usize) -> u8 {
    let page = 1usize << <M::Arch as crate::arch::Arch>::PAGE_SHIFT;
    (len * 4).div_ceil(page).next_power_of_two().trailing_zeros() as u8
}

/// The entry of slot `index`, one the table has, in the side array in frame `pfn`.
#[inline(always)]
fn side_slot<'a, M: Machine>(cx: &'a Cx<'_, M>, pfn: Pfn, index: usize) -> &'a AtomicU32<M> {
    // SAFETY: as for `side_array`, which has an entry for each slot of the table.
    unsafe { &*cx.vm().machine().frame(pfn).cast_const().cast::<AtomicU32<M>>().add(index) }
}

/// Makes the slots `low..=high` of `class` in the side array in frame `pfn`. Apart: a loop costs more than its one
/// round where a single slot is changed.
#[inline(never)]
fn fill_side<M: Machine>(cx: &Cx<'_, M>, pfn: Pfn, low: usize, high: usize, class: ClassId) {
    side_array(cx, pfn)[low..=high].iter().for_each(|slot| slot.store(class.0, Relaxed));
}

fn side_array<'a, M: Machine>(cx: &'a Cx<'_, M>, pfn: Pfn) -> &'a [AtomicU32<M>] {
    let page = 1usize << <M::Arch as crate::arch::Arch>::PAGE_SHIFT;
    let bytes = page << cx.vm().physical().frame(pfn).order();
    // SAFETY: the frames of a side array hold `u32`s which are accessed only atomically; whoever reaches it is in a
    // read-side section or holds the table's lock, and it is freed after a grace period.
    unsafe { core::slice::from_raw_parts(cx.vm().machine().frame(pfn).cast(), bytes / 4) }
}
