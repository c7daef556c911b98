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
    pub const FILE_STORES: WordId = WordId(HARDWARE << REGION_SHIFT | WORLD);

    /// The word that stands for the length of the world's file.
    pub const FILE_LENGTH: WordId = WordId(HARDWARE << REGION_SHIFT | WORLD | 1);

    /// The word that stands for page `index` of what backs the world's file.
    pub const fn of_backing(index: u64) -> WordId {
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

/// What is known of a word, and who touched it in an execution: bit sets of CPUs.
#[derive(Clone, Copy, Default)]
struct WordState {
    /// Two are known to touch it, one of them writing.
    is_shared: bool,
    written: bool,
    /// The number of the execution that this is about.
    execution: u32,
    by: u32,
    interruptible: u32,
    handlers: u32,
}

/// log2 of the words of a [`Block`].
const BLOCK_SHIFT: u32 = 6;

type Block = [WordState; 1 << BLOCK_SHIFT];

/// The states of words, by region and block: they are looked up at each access, and words that are touched lie
/// together.
#[derive(Default)]
struct States(Vec<Vec<Option<Box<Block>>>>);

impl States {
    /// The number of a word's region, those that stand for hardware being the first; of its block in that; and its
    /// place.
    fn place(word: WordId) -> (usize, usize, usize) {
        let offset = word.0 & ((1 << REGION_SHIFT) - 1);
        let region = ((word.0 >> REGION_SHIFT) as u8).wrapping_add(1);
        (region.into(), (offset >> BLOCK_SHIFT) as usize, offset as usize % (1 << BLOCK_SHIFT))
    }

    fn get(&self, word: WordId) -> Option<&WordState> {
        let (region, block, place) = States::place(word);
        Some(&self.0.get(region)?.get(block)?.as_ref()?[place])
    }

    fn get_mut(&mut self, word: WordId) -> &mut WordState {
        let (region, block, place) = States::place(word);
        if self.0.get(region).is_none_or(|blocks| blocks.len() <= block) {
            self.extend(region, block);
        }
        &mut self.0[region][block].get_or_insert_with(|| Box::new([WordState::default(); _]))[place]
    }

    #[cold]
    fn extend(&mut self, region: usize, block: usize) {
        if self.0.len() <= region {
            self.0.resize_with(region + 1, Vec::new);
        }
        self.0[region].resize_with(block + 1, || None);
    }
}

/// What a search knows of its program.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// The words that two CPUs touched, or a CPU and its interrupt handler, one of them writing.
    words: FxHashSet<WordId>,
    /// What the handler of each CPU touched, and whether it wrote.
    handlers: FxHashMap<(usize, WordId), bool>,
    /// The CPUs whose handlers had to wait, as a bit set.
    waiting: u32,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.handlers.is_empty() && self.waiting == 0
    }

    /// Adds what else is known.
    pub(crate) fn extend(&mut self, other: Known) {
        self.words.extend(other.words);
        self.waiting |= other.waiting;
        for (place, writes) in other.handlers {
            *self.handlers.entry(place).or_default() |= writes;
        }
    }
}

/// What has been found out in the executions of a search so far. Only accesses to words that are visible are worth a
/// choice; and only after something that conflicts with its handler is a CPU to take an interrupt which it put off.
#[derive(Default)]
pub(crate) struct Visible {
    /// Everything is.
    pub(crate) all: bool,
    /// What handlers do is of interest.
    pub(crate) with_handlers: bool,
    /// What was known when the execution under way began: what is visible does not change while it runs.
    known: Known,
    /// What has been found since.
    found: Known,
    states: States,
    /// The number of the execution under way.
    execution: u32,
}

impl Visible {
    /// This is known from the start.
    pub(crate) fn know(&mut self, known: Known) {
        known.words.iter().for_each(|&word| self.states.get_mut(word).is_shared = true);
        self.known.extend(known);
    }

    /// All that is known.
    pub(crate) fn into_known(mut self) -> Known {
        self.known.extend(self.found);
        self.known
    }

    /// What has been found since the execution under way began.
    pub(crate) fn found(&self) -> &Known {
        &self.found
    }

    /// Whether something has been found in the last execution: choices may have been missing in it.
    pub(crate) fn has_grown(&self) -> bool {
        !self.found.is_empty()
    }

    /// Whether accesses to `word` are worth a choice.
    pub(crate) fn is_visible(&self, word: WordId) -> bool {
        self.all || self.is_shared(word)
    }

    /// Whether two are known to touch `word`, one of them writing.
    pub(crate) fn is_shared(&self, word: WordId) -> bool {
        self.states.get(word).is_some_and(|state| state.is_shared)
    }

    /// Whether the handler of `cpu` is known to touch `word`, one of it and who `writes` writing.
    pub(crate) fn is_handlers(&self, cpu: usize, word: WordId, writes: bool) -> bool {
        self.known.handlers.get(&(cpu, word)).is_some_and(|&handler_writes| handler_writes || writes)
    }

    /// Whether the handler of `cpu` is known to wait.
    pub(crate) fn has_waiting_handler(&self, cpu: usize) -> bool {
        self.known.waiting & 1 << cpu != 0
    }

    /// Notes that the handler of `cpu` waits.
    pub(crate) fn handler_waits(&mut self, cpu: usize) {
        if self.with_handlers {
            self.found.waiting |= 1 << cpu & !self.known.waiting;
        }
    }

    /// Forgets who touched what, for the next execution.
    pub(crate) fn begin(&mut self) {
        let found = std::mem::take(&mut self.found);
        self.know(found);
        self.execution += 1;
    }

    /// Notes an access to a word that is not known to be shared.
    pub(crate) fn touch(&mut self, word: WordId, cpu: usize, context: Context, writes: bool) {
        let state = self.states.get_mut(word);
        if state.execution != self.execution {
            *state = WordState { execution: self.execution, is_shared: state.is_shared, ..WordState::default() };
        }
        let bit = 1 << cpu;
        state.by |= bit;
        state.written |= writes;
        match context {
            Context::Interruptible => state.interruptible |= bit,
            Context::InterruptsOff => (),
            Context::Handler => state.handlers |= bit,
        }
        let is_shared = state.by.count_ones() > 1 || state.handlers & state.interruptible != 0;
        if is_shared && state.written {
            self.found.words.insert(word);
        }
    }

    /// Notes an access in the handler of an interrupt.
    pub(crate) fn touch_in_handler(&mut self, word: WordId, cpu: usize, writes: bool) {
        if !self.with_handlers {
            return;
        }
        let place = (cpu, word);
        if self.known.handlers.get(&place).is_none_or(|&known| writes && !known) {
            *self.found.handlers.entry(place).or_default() |= writes;
        }
    }

    /// How many words are visible.
    pub(crate) fn len(&self) -> usize {
        self.known.words.len() + self.found.words.len()
    }
}
