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
}

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

    pub(crate) fn word(&self, address: usize) -> Option<WordId> {
        let region = self.0.iter().position(|region| region.contains(&address))?;
        let offset = (address - self.0[region].start) >> WORD_SHIFT;
        Some(WordId((region as u64) << REGION_SHIFT | offset as u64))
    }
}

/// The words that two CPUs touched, one of them writing, in some execution of the search so far; only accesses to these
/// are worth a choice.
#[derive(Default)]
pub(crate) struct Visible {
    /// Everything is.
    pub(crate) all: bool,
    words: FxHashSet<WordId>,
    /// Who read and wrote each word in the execution under way, as bit sets of CPUs.
    touched: FxHashMap<WordId, (u32, u32)>,
    /// A word has become visible since the search began anew.
    pub(crate) grown: bool,
}

impl Visible {
    /// Whether accesses to `word` are worth a choice.
    pub(crate) fn is_visible(&self, word: WordId) -> bool {
        self.all || self.is_shared(word)
    }

    /// Whether two CPUs are known to touch `word`, one of them writing.
    pub(crate) fn is_shared(&self, word: WordId) -> bool {
        self.words.contains(&word)
    }

    /// Forgets who touched what, for the next execution.
    pub(crate) fn begin(&mut self) {
        self.touched.clear();
    }

    /// Notes an access.
    pub(crate) fn touch(&mut self, word: WordId, cpu: usize, writes: bool) {
        let (readers, writers) = self.touched.entry(word).or_default();
        let bit = 1 << cpu;
        let before = (*readers, *writers);
        *readers |= bit;
        if writes {
            *writers |= bit;
        }
        if (*readers, *writers) != before && *writers != 0 && readers.count_ones() > 1 {
            self.grown |= self.words.insert(word);
        }
    }

    /// How many words are visible.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }
}
