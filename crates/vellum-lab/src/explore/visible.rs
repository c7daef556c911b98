//! Which words several CPUs touch.

use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// A shared word of eight bytes, by its place in the execution's memory: the same in every execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WordId(pub u64);

impl WordId {
    /// The word that stands for the TLB of `cpu`.
    pub const fn of_tlb(cpu: usize) -> WordId {
        WordId(HARDWARE << REGION_SHIFT | cpu as u64)
    }

    /// The word that stands for all that was stored to files through mappings.
    pub(crate) const FILE_STORES: WordId = WordId(HARDWARE << REGION_SHIFT | WORLD);

    /// The word that stands for the length of the world's file.
    pub(crate) const FILE_LENGTH: WordId = WordId(HARDWARE << REGION_SHIFT | WORLD | 1);

    /// The word that stands for page `index` of what backs the world's file.
    pub(crate) const fn of_backing(index: u64) -> WordId {
        WordId(WordId::FILE_LENGTH.0 + 1 + index)
    }

    /// The word that stands for whether `cpu` has been interrupted.
    pub(crate) const fn of_interrupts(cpu: usize) -> WordId {
        WordId(HARDWARE << REGION_SHIFT | INTERRUPTS | cpu as u64)
    }
}

const INTERRUPTS: u64 = 0x100;
const WORLD: u64 = 0x200;
const REGION_SHIFT: u32 = 56;
const HARDWARE: u64 = 0xff;
const WORD_SHIFT: u32 = 3;

/// Finds the [`WordId`] of an address.
#[derive(Default)]
pub(crate) struct Regions(Vec<Range<usize>>);

impl Regions {
    pub(crate) fn new(memory: Vec<Range<usize>>) -> Regions {
        Regions(memory)
    }

    pub(crate) fn address(&self, word: WordId) -> Option<usize> {
        let offset = (word.0 & ((1 << REGION_SHIFT) - 1)) << WORD_SHIFT;
        Some(self.0.get((word.0 >> REGION_SHIFT) as usize)?.start + offset as usize)
    }

    pub(crate) fn word(&self, address: usize) -> Option<WordId> {
        let region = self.0.iter().position(|region| region.contains(&address))?;
        let offset = (address - self.0[region].start) >> WORD_SHIFT;
        Some(WordId((region as u64) << REGION_SHIFT | offset as u64))
    }
}

/// In what a CPU touches a word: its interrupt handler may come between two accesses of the CPU itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Interrupts are on.
    Interruptible,
    /// Interrupts are off.
    InterruptsOff,
    /// In the handler of an interrupt.
    Handler,
}

/// Who touched a word in the execution under way: bit sets of CPUs.
#[derive(Default)]
struct Touched {
    by: u32,
    interruptible: u32,
    handlers: u32,
    written: bool,
}

/// The words that two CPUs touched, or a CPU and its interrupt handler, one of them writing, in some execution of the
/// search so far; only accesses to these are worth a choice.
#[derive(Default)]
pub(crate) struct Visible {
    /// Everything is.
    pub(crate) all: bool,
    /// Those known when the execution under way began: what is visible does not change while it runs.
    words: FxHashSet<WordId>,
    /// Those found since.
    found: Vec<WordId>,
    touched: FxHashMap<WordId, Touched>,
    /// A word has become visible since the search began anew.
    pub(crate) grown: bool,
}

impl Visible {
    /// Whether accesses to `word` are worth a choice.
    pub(crate) fn is_visible(&self, word: WordId) -> bool {
        self.all || self.is_shared(word)
    }

    /// Whether two are known to touch `word`, one of them writing.
    pub(crate) fn is_shared(&self, word: WordId) -> bool {
        self.words.contains(&word)
    }

    /// Forgets who touched what, for the next execution.
    pub(crate) fn begin(&mut self) {
        self.words.extend(self.found.drain(..));
        self.touched.clear();
    }

    /// Notes an access.
    pub(crate) fn touch(&mut self, word: WordId, cpu: usize, context: Context, writes: bool) {
        if self.is_shared(word) {
            return;
        }
        let touched = self.touched.entry(word).or_default();
        let bit = 1 << cpu;
        touched.by |= bit;
        touched.written |= writes;
        match context {
            Context::Interruptible => touched.interruptible |= bit,
            Context::InterruptsOff => (),
            Context::Handler => touched.handlers |= bit,
        }
        let is_shared = touched.by.count_ones() > 1 || touched.handlers & touched.interruptible != 0;
        if is_shared && touched.written && !self.found.contains(&word) {
            self.found.push(word);
            self.grown = true;
        }
    }

    /// How many words are visible.
    pub(crate) fn len(&self) -> usize {
        self.words.len() + self.found.len()
    }
}
