//! The classes of a table's slots, stored in 24 bytes of its descriptor or in a side array.
//!
//! `words[3]` says which: its top 16 bits are the number of runs, 1 to 4, or [`SIDE`]. Inline, the run identities are
//! the four halves of `words[1]` and `words[2]`, and the starts of the second to fourth run the low three quarters of
//! `words[3]`, [`NO_RUN`] for those there are not. With a side array, the low 48 bits are the frame of an array of one
//! `u32` a slot, and `words[2]` is the number of borders between runs, so that the way back is found without a search.
//!
//! Readers without the lock may see the words of two states mixed: the result is then some wrong class, which the
//! sequence count exposes; the side array's address is in one word with its mark, so no stray pointer is followed.

use super::ClassId;
use crate::arch::LEVELS_MAX;
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::phys::{AllocFlags, Frame, Kind, Pfn};
use crate::sync::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

const INLINE: usize = 4;
const SIDE: u64 = 0xffff;
const COUNT_SHIFT: u32 = 48;
/// The start of a run that there is not: beyond every slot.
const NO_RUN: u64 = 0xffff;
const UNIFORM: u64 = 1 << COUNT_SHIFT | NO_RUN << 32 | NO_RUN << 16 | NO_RUN;
const PFN: u64 = (1 << COUNT_SHIFT) - 1;

/// A run of slots with one class: first slot in the high half, class in the low.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run(u64);

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

/// Side arrays prepared for an operation's edge tables: at most one for each table on the paths to its two ends.
#[derive(Default)]
pub(crate) struct Spares {
    frames: [Option<Pfn>; 2 * LEVELS_MAX],
}

impl Spares {
    fn take(&mut self) -> Option<Pfn> {
        self.frames.iter_mut().find_map(Option::take)
    }

    /// Adds one more. There is room for one a table on the two paths.
    pub(crate) fn add(&mut self, pfn: Pfn) {
        if let Some(place) = self.frames.iter_mut().find(|place| place.is_none()) {
            *place = Some(pfn);
        }
    }

    /// Frees what was not used.
    pub(crate) fn free<M: Machine>(&mut self, cx: &Cx<'_, M>) {
        while let Some(pfn) = self.take() {
            cx.free_frame(pfn);
        }
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
        frame.words[3].store(UNIFORM, Relaxed);
    }

    /// The one class of all slots. Under the lock.
    #[inline(always)]
    pub(crate) fn uniform<M: Machine>(frame: &Frame<M>) -> Option<ClassId> {
        (frame.words[3].load(Relaxed) == UNIFORM).then(|| ClassId(frame.words[1].load(Relaxed) as u32))
    }

    /// The class of slot `index`.
    #[inline(always)]
    pub(crate) fn class_at<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, index: usize) -> ClassId {
        let word = frame.words[3].load(Relaxed);
        if word == UNIFORM {
            return ClassId(frame.words[1].load(Relaxed) as u32);
        }
        if word >> COUNT_SHIFT == SIDE {
            return ClassId(side_array(cx, Pfn(word & PFN))[index].load(Relaxed));
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
        let word = frame.words[3].load(Relaxed);
        if word >> COUNT_SHIFT == SIDE {
            let array = side_array(cx, Pfn(word & PFN));
            let class = array[low].load(Relaxed);
            let is_common = array[low + 1..=high].iter().all(|slot| slot.load(Relaxed) == class);
            return is_common.then_some((ClassId(class), Place { run: 0, start: 0, end: 0 }));
        }
        let (run, start, end) = locate(word, low);
        (high < end).then(|| (inline_class(frame, run), Place { run, start, end }))
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
        let word = frame.words[3].load(Relaxed);
        if word >> COUNT_SHIFT == SIDE {
            Self::set_side(cx, frame, Pfn(word & PFN), len, (low, high), class);
            return true;
        }
        let inline = Inline::load(frame, word);
        let Some(next) = inline.replaced(len, (low, high), class, place) else { return false };
        next.store(frame);
        true
    }

    /// All runs; `len` is the number of slots.
    pub(crate) fn view<'a, M: Machine>(cx: &'a Cx<'_, M>, frame: &'a Frame<M>, len: usize) -> RunsView<'a, M> {
        let word = frame.words[3].load(Relaxed);
        if word >> COUNT_SHIFT == SIDE {
            return RunsView::Side(side_array(cx, Pfn(word & PFN)));
        }
        let runs = inline_runs(frame, word);
        RunsView::Inline { runs, count: ((word >> COUNT_SHIFT) as usize).clamp(1, INLINE), len }
    }

    /// Whether changing the class of `low..=high`, at once or part by part from one end to the other, may need a side
    /// array the table does not have yet.
    pub(crate) fn needs_spare<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, len: usize, low: usize, high: usize) -> bool {
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

    /// A side array for [`Runs::set`], not yet in use.
    pub(crate) fn allocate_spare<M: Machine>(cx: &Cx<'_, M>, len: usize) -> Result<Pfn, Error> {
        let page = 1usize << <M::Arch as crate::arch::Arch>::PAGE_SHIFT;
        let order = (len * 4).div_ceil(page).next_power_of_two().trailing_zeros() as u8;
        let pfn = cx.alloc_frame(order, AllocFlags::NONE)?;
        cx.vm().physical().frame(pfn).set_kind(Kind::ClassArray, order);
        Ok(pfn)
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
                Self::set_side(cx, frame, side, len, (low, high), class);
            }
            RunsView::Inline { runs, count, .. } => {
                let (next, fresh) = replace(&runs[..count], len, low, high, class);
                if fresh <= INLINE {
                    encode(frame, &next[..fresh]);
                } else if let Some(pfn) = spares.and_then(Spares::take) {
                    Self::spill(cx, frame, pfn, &next[..fresh], len);
                } else {
                    debug_assert!(false, "no side array for slots {low}..={high} of {len}: {:?} {class:?}", &runs[..count]);
                }
            }
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
    ) {
        let array = &side_array(cx, side)[..len];
        let is_border = |slot: usize| {
            slot > 0 && slot < len && array[slot - 1].load(Relaxed) != array[slot].load(Relaxed)
        };
        let before = (low..=high + 1).filter(|&slot| is_border(slot)).count();
        array[low..=high].iter().for_each(|slot| slot.store(class.0, Relaxed));
        let after = usize::from(is_border(low)) + usize::from(is_border(high + 1));
        let borders = frame.words[2].load(Relaxed) + after as u64 - before as u64;
        frame.words[2].store(borders, Relaxed);
        if borders < INLINE as u64 / 2 {
            Self::shrink(cx, frame, array, side);
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
        frame.words[3].store(SIDE << COUNT_SHIFT | pfn.0, core::sync::atomic::Ordering::Release);
    }

    /// Goes back to inline runs when there are few, so that what the operation in progress still does fits too; the side
    /// array is freed after a grace period.
    #[cold]
    fn shrink<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>, array: &[AtomicU32<M>], side: Pfn) {
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
        cx.retire_table(side);
    }

    /// Frees the side array of a table which no reader can reach.
    pub(crate) fn clear<M: Machine>(cx: &Cx<'_, M>, frame: &Frame<M>) {
        let word = frame.words[3].load(Relaxed);
        if word >> COUNT_SHIFT == SIDE {
            frame.words[3].store(UNIFORM, Relaxed);
            cx.free_frame(Pfn(word & PFN));
        }
    }

    /// The frame of the side array, if there is one.
    pub(crate) fn side<M: Machine>(frame: &Frame<M>) -> Option<Pfn> {
        let word = frame.words[3].load(Relaxed);
        (word >> COUNT_SHIFT == SIDE).then_some(Pfn(word & PFN))
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

/// The inline runs as two rows of lanes: the classes, 32 bits each, and the starts, 16 bits each, of which the first
/// is 0 and those beyond `count` are [`NO_RUN`].
struct Inline {
    classes: u128,
    starts: u64,
    count: u32,
}

impl Inline {
    #[inline(always)]
    fn load<M: Machine>(frame: &Frame<M>, word: u64) -> Self {
        let (low, high) = (frame.words[1].load(Relaxed), frame.words[2].load(Relaxed));
        Inline {
            classes: low as u128 | (high as u128) << 64,
            starts: word << 16,
            count: (word >> COUNT_SHIFT) as u32,
        }
    }

    #[inline(always)]
    fn store<M: Machine>(&self, frame: &Frame<M>) {
        frame.words[1].store(self.classes as u64, Relaxed);
        frame.words[2].store((self.classes >> 64) as u64, Relaxed);
        frame.words[3].store((self.count as u64) << COUNT_SHIFT | self.starts >> 16, Relaxed);
    }

    #[inline(always)]
    fn class(&self, run: u32) -> u32 {
        (self.classes >> (32 * run)) as u32
    }

    /// The runs after the slots `low..=high`, a part of the run at `place`, became `class`; `None` if there is no room.
    #[inline(always)]
    fn replaced(&self, len: usize, (low, high): (usize, usize), class: ClassId, place: Place) -> Option<Inline> {
        let (run, end) = (place.run as u32, place.end.min(len));
        let old = self.class(run);
        let keeps_left = low > place.start;
        let keeps_right = high + 1 < end;
        let joins_left = !keeps_left && run > 0 && self.class(run.wrapping_sub(1)) == class.0;
        let joins_right = !keeps_right && run + 1 < self.count && self.class(run + 1) == class.0;
        // The lanes that take the place of the run's: what is left of it before, the new part, what is left behind.
        let (mut classes, mut starts, mut fresh) = (0u128, 0u64, 0u32);
        let mut push = |start: usize, class: u32| {
            classes |= (class as u128) << (32 * fresh);
            starts |= (start as u64) << (16 * fresh);
            fresh += 1;
        };
        if keeps_left {
            push(place.start, old);
        }
        if !joins_left {
            push(low, class.0);
        }
        if keeps_right {
            push(high + 1, old);
        }
        let gone = run + 1 + u32::from(joins_right);
        let rest = self.count - gone;
        let count = run + fresh + rest;
        if count > INLINE as u32 {
            return None;
        }
        let lanes = |row: u64, from: u32| row.checked_shr(16 * from).unwrap_or(0);
        let wide = |row: u128, from: u32| row.checked_shr(32 * from).unwrap_or(0);
        let behind = run + fresh;
        let place_narrow = |row: u64, at: u32| row.checked_shl(16 * at).unwrap_or(0);
        let place_wide = |row: u128, at: u32| row.checked_shl(32 * at).unwrap_or(0);
        Some(Inline {
            classes: self.classes & !place_wide(u128::MAX, run)
                | place_wide(classes, run)
                | place_wide(wide(self.classes, gone), behind),
            starts: self.starts & !place_narrow(u64::MAX, run)
                | place_narrow(starts, run)
                | place_narrow(lanes(self.starts, gone), behind)
                | place_narrow(u64::MAX, count),
            count,
        })
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
    frame.words[3].store((runs.len() as u64) << COUNT_SHIFT | start(1) | start(2) << 16 | start(3) << 32, Relaxed);
}

fn side_array<'a, M: Machine>(cx: &'a Cx<'_, M>, pfn: Pfn) -> &'a [AtomicU32<M>] {
    let page = 1usize << <M::Arch as crate::arch::Arch>::PAGE_SHIFT;
    let bytes = page << cx.vm().physical().frame(pfn).order();
    // SAFETY: the frames of a side array hold `u32`s which are accessed only atomically; whoever reaches it is in a
    // read-side section or holds the table's lock, and it is freed after a grace period.
    unsafe { core::slice::from_raw_parts(cx.vm().machine().frame(pfn).cast(), bytes / 4) }
}
