//! Long arrays of words, in frames, all of whose memory is allocated at once.
//!
//! Two levels: a block that holds the numbers of the frames below it, and frames full of words. Whoever looks a word up
//! has found the array through something that grace periods keep, or owns it.

use super::{AllocFlags, ORDER_MAX, Pfn, Physical};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::sync::AtomicU64;
use crate::vm::Vm;
use core::marker::PhantomData;

/// Frames allocated or freed before the core is left for a moment.
const BATCH: u64 = 16;

/// An array of words, zero at first. A value without the memory's life: it is ended by [`FrameArray::free`] or
/// [`FrameArray::retire`], once.
pub(crate) struct FrameArray<M> {
    /// The upper block; of no meaning while `frames` is 0.
    top: Pfn,
    /// Frames of words.
    frames: u64,
    /// Words.
    length: u64,
    _words: PhantomData<AtomicU64<M>>,
}

impl<M: Machine> FrameArray<M> {
    /// Words in a frame.
    const WORDS: u64 = (Physical::<M>::PAGE / size_of::<u64>()) as u64;

    /// The longest array.
    pub(crate) const LENGTH_MAX: u64 = (Self::WORDS * Self::WORDS) << ORDER_MAX;

    /// An array of `length` words; none for an empty one. Allocates, entering and leaving the core: without a [`Cx`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing is left allocated. [`Error::Invalid`] if it is longer than
    /// [`FrameArray::LENGTH_MAX`].
    pub(crate) fn new(vm: &Vm<M>, length: u64) -> Result<Self, Error> {
        if length > Self::LENGTH_MAX {
            return Err(Error::Invalid { what: "length of an array" });
        }
        let frames = length.div_ceil(Self::WORDS);
        let mut array = FrameArray { top: Pfn(0), frames: 0, length, _words: PhantomData };
        if frames == 0 {
            return Ok(array);
        }
        let order = frames.div_ceil(Self::WORDS).next_power_of_two().ilog2() as u8;
        array.top = Cx::enter(vm).alloc_frame(order, AllocFlags::NONE)?;
        while array.frames < frames {
            let cx = Cx::enter(vm);
            for _ in 0..BATCH.min(frames - array.frames) {
                let Ok(pfn) = cx.alloc_zeroed(0, AllocFlags::NONE) else {
                    drop(cx);
                    array.free(vm);
                    return Err(Error::OutOfMemory);
                };
                // SAFETY: the block has room for `frames` numbers, and nobody else knows it yet.
                unsafe { array.number(vm, array.frames).write(pfn.0) };
                array.frames += 1;
            }
        }
        Ok(array)
    }

    /// Number of words.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The word at `index`, if the array has one there.
    #[inline]
    pub(crate) fn get(&self, vm: &Vm<M>, index: u64) -> Option<&AtomicU64<M>> {
        if index >= self.length {
            return None;
        }
        let place = index % Self::WORDS;
        let words = vm.machine().frame(self.frame(vm, index / Self::WORDS)).cast::<AtomicU64<M>>();
        // SAFETY: the frame is the array's, initialised since it was cleared, and accessed in this way alone; whoever
        // has the array keeps its frames.
        Some(unsafe { &*words.add(place as usize) })
    }

    /// The `length` words from `index` on, if the array has them and they lie in one frame: so do as many as a frame
    /// holds, or a smaller power of two, where they are aligned.
    pub(crate) fn run(&self, vm: &Vm<M>, index: u64, length: u64) -> Option<&[AtomicU64<M>]> {
        let last = index.checked_add(length.checked_sub(1)?)?;
        if index / Self::WORDS != last / Self::WORDS || last >= self.length {
            return None;
        }
        let first = self.get(vm, index)?;
        // SAFETY: as in `FrameArray::get`; the words behind the first one are in the same frame.
        Some(unsafe { core::slice::from_raw_parts(first, length as usize) })
    }

    /// The index of the word at `address`, if the array has one there.
    pub(crate) fn index_at(&self, vm: &Vm<M>, address: usize) -> Option<u64> {
        let index_in = |frame: u64| {
            let words = vm.machine().frame(self.frame(vm, frame)).addr();
            let place = address.checked_sub(words)? / size_of::<u64>();
            ((place as u64) < Self::WORDS).then_some(frame * Self::WORDS + place as u64)
        };
        (0..self.frames).find_map(index_in)
    }

    /// Frees the array, which nobody else knows. Without a [`Cx`]; to be called once.
    pub(crate) fn free(&self, vm: &Vm<M>) {
        self.each_batch(vm, |cx, pfn| cx.free_frame(pfn));
    }

    /// Frees the array, which can no longer be found, when nobody still looks at it. Without a [`Cx`]; to be called
    /// once.
    pub(crate) fn retire(&self, vm: &Vm<M>) {
        self.each_batch(vm, |cx, pfn| cx.retire_table(pfn));
    }

    /// Passes each block to `free`, the upper one, which names the others, last.
    fn each_batch(&self, vm: &Vm<M>, free: impl Fn(&Cx<'_, M>, Pfn)) {
        let mut from = 0;
        while from < self.frames {
            let end = self.frames.min(from + BATCH);
            let cx = Cx::enter(vm);
            (from..end).for_each(|index| free(&cx, self.frame(vm, index)));
            from = end;
        }
        if self.length > 0 {
            free(&Cx::enter(vm), self.top);
        }
    }

    /// Frame number `index` of the words.
    #[inline]
    fn frame(&self, vm: &Vm<M>, index: u64) -> Pfn {
        debug_assert!(index < self.frames, "frame {index} of an array of {}", self.frames);
        // SAFETY: the block has that many numbers, which do not change once they are written.
        Pfn(unsafe { self.number(vm, index).read() })
    }

    /// Where the number of frame `index` stands.
    fn number(&self, vm: &Vm<M>, index: u64) -> *mut u64 {
        vm.machine().frame(self.top).cast::<u64>().wrapping_add(index as usize)
    }
}
