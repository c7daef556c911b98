//! Searches of random programs beside MMUs that fill their TLBs when they like: reduced against unreduced.
//!
//! The tables have two levels: the word `ROOT` leads to one of two leaf tables of one word each, which leads to one of
//! two frames, each with a word that says what it is used for. A walk sees that, too.

use fastrand::Rng;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex};
use vellum_explore::{Bound, Execution, MemoryOrder, Plan, Program, Way, WordId, access, search};

/// Words: the root's entry, the leaf tables' entries, what the frames are used for, and two beside.
const WORDS: usize = 7;
const ROOT: usize = 0;
const LEAVES: usize = 1;
const USES: usize = 3;
const IS_ENTRY: Range<usize> = ROOT..USES;
/// An entry says which of two, or that there is none.
const CHILDREN: u64 = 2;

#[derive(Clone, Copy, Debug)]
enum Op {
    Load(usize),
    Store(usize, u64),
    Swap(usize, u64),
    /// A user's access: what it finds.
    Access,
    /// Forgets what the CPU caches.
    Forget,
    /// Turns to no tables.
    Leave,
}

/// What a CPU caches: a frame, and what that was used for.
type Translation = (u64, u64);

#[derive(Clone, Copy, Default)]
struct Mmu {
    has_left: bool,
    cached: Option<Translation>,
}

/// What accesses found, CPU by CPU, what is cached, and memory.
type Outcome = (Vec<Vec<u64>>, Vec<Option<Translation>>, [u64; WORDS]);

#[derive(Clone)]
struct Text {
    cpus: Vec<Vec<Op>>,
    /// How many executions have begun.
    begun: Arc<AtomicU64>,
    /// The outcomes, with the numbers of their executions.
    outcomes: Arc<Mutex<Vec<(u64, Outcome)>>>,
}

struct Run {
    text: Text,
    number: u64,
    words: Box<[AtomicU64; WORDS]>,
    mmus: Mutex<Vec<Mmu>>,
    found: Mutex<Vec<Vec<u64>>>,
}

impl Text {
    fn of(cpus: Vec<Vec<Op>>) -> Text {
        Text { cpus, begun: Arc::default(), outcomes: Arc::default() }
    }

    fn random(rng: &mut Rng) -> Text {
        Text::of((0..rng.usize(2..4)).map(|_| (0..rng.usize(2..5)).map(|_| operation(rng)).collect()).collect())
    }

    fn outcomes(&self, bound: Bound, order: MemoryOrder, reduce: bool) -> BTreeSet<Outcome> {
        self.outcomes.lock().unwrap().clear();
        let outcome = search(Arc::new(self.clone()), &Plan::new(Way::Exhaustive { bound, reduce }, order)).unwrap();
        assert!(outcome.exhaustive && outcome.broken.is_none());
        // Before the last pass not all words that matter were known.
        let first = self.begun.load(SeqCst) - outcome.schedules;
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap());
        outcomes.into_iter().filter(|&(number, _)| number >= first).map(|(_, outcome)| outcome).collect()
    }
}

fn operation(rng: &mut Rng) -> Op {
    let word = rng.usize(0..WORDS);
    let value = rng.u64(0..=CHILDREN);
    match rng.u32(0..12) {
        0..2 => Op::Load(word),
        2..5 => Op::Store(word, value),
        5..7 => Op::Swap(word, value),
        7..9 => Op::Access,
        9..11 => Op::Forget,
        _ => Op::Leave,
    }
}

impl Program for Text {
    fn cpus(&self) -> usize {
        self.cpus.len()
    }

    fn start(&self) -> Arc<dyn Execution> {
        // Both leaf tables lead to their frames, the root to the first.
        let words = Box::new([1, 1, 2, 1, 1, 0, 0].map(AtomicU64::new));
        let (cpus, number) = (self.cpus.len(), self.begun.fetch_add(1, SeqCst));
        let (mmus, found) = (Mutex::new(vec![Mmu::default(); cpus]), Mutex::new(vec![Vec::new(); cpus]));
        Arc::new(Run { text: self.clone(), number, words, mmus, found })
    }
}

impl Run {
    fn address(&self, word: usize) -> usize {
        self.words[word].as_ptr().addr()
    }

    /// The words that a walk of `cpu` reads, and where it leads.
    fn walk(&self, cpu: usize) -> (Vec<usize>, Option<u64>) {
        let mmu = self.mmus.lock().unwrap()[cpu];
        if mmu.has_left || mmu.cached.is_some() {
            return (Vec::new(), mmu.cached.map(|(frame, _)| frame));
        }
        let in_memory = |word: usize| self.words[word].load(SeqCst) as usize;
        let (mut words, mut child) = (vec![ROOT], in_memory(ROOT));
        if child > 0 {
            words.push(LEAVES + child - 1);
            child = in_memory(LEAVES + child - 1);
        }
        if child > 0 && words.len() > 1 {
            words.push(USES + child - 1);
            return (words, Some(child as u64));
        }
        (words, None)
    }

    fn words_of(&self, words: &[usize]) -> Vec<WordId> {
        words.iter().filter_map(|&word| access::word_at(self.address(word))).collect()
    }

    fn cache(&self, cpu: usize) -> Option<Translation> {
        let (words, frame) = self.walk(cpu);
        let used_for = words.last().map(|&word| access::load(&self.words[word], Relaxed));
        let mut mmus = self.mmus.lock().unwrap();
        if let Some((frame, used_for)) = frame.zip(used_for) {
            mmus[cpu].cached = Some((frame, used_for));
        }
        mmus[cpu].cached
    }

    /// The step of a user's access.
    fn access(&self, cpu: usize) -> Vec<u64> {
        access::drain_own();
        let touched = || {
            let way = self.words_of(&self.walk(cpu).0).into_iter().map(|word| (word, false));
            std::iter::once((WordId::of_tlb(cpu), true)).chain(way).collect::<Vec<_>>()
        };
        access::touch_what(touched);
        self.cache(cpu).map(|(frame, used_for)| vec![frame, used_for]).unwrap_or_default()
    }

    fn change_mmu(&self, cpu: usize, change: impl FnOnce(&mut Mmu)) {
        change(&mut self.mmus.lock().unwrap()[cpu]);
    }

    fn carry_out(&self, cpu: usize, op: Op) -> Vec<u64> {
        match op {
            Op::Load(word) => return vec![access::load(&self.words[word], Relaxed)],
            Op::Store(word, value) => access::store(&self.words[word], value, Relaxed),
            Op::Swap(word, value) => {
                let change = vellum::sync::Modify::Swap(value);
                return access::modify(&self.words[word], change, SeqCst).into_iter().collect();
            }
            Op::Access => return self.access(cpu),
            Op::Forget => {
                access::drain_own();
                access::touch(&[(WordId::of_tlb(cpu), true)]);
                self.change_mmu(cpu, |mmu| mmu.cached = None);
            }
            Op::Leave => {
                access::turn(cpu);
                self.change_mmu(cpu, |mmu| mmu.has_left = true);
            }
        }
        Vec::new()
    }

    fn could_fill(&self, cpu: usize) -> bool {
        let (words, frame) = self.walk(cpu);
        !words.is_empty() && frame.is_some()
    }

    /// The CPUs that could cache something by way of the entry at `address`.
    fn could_fill_by(&self, address: usize) -> Vec<usize> {
        let passes = |cpu: usize| self.walk(cpu).0.contains(&self.word_at(address));
        let is_entry = self.may_be_cached(address);
        (0..self.text.cpus.len()).filter(|&cpu| is_entry && self.could_fill(cpu) && passes(cpu)).collect()
    }

    fn word_at(&self, address: usize) -> usize {
        (address - self.address(0)) / size_of::<u64>()
    }
}

impl Execution for Run {
    fn memory(&self) -> Vec<Range<usize>> {
        let start = self.address(0);
        std::iter::once(start..start + size_of_val(&*self.words)).collect()
    }

    fn run(&self, cpu: usize) {
        for &op in &self.text.cpus[cpu] {
            let found = self.carry_out(cpu, op);
            self.found.lock().unwrap()[cpu].extend(found);
        }
    }

    fn may_be_cached(&self, address: usize) -> bool {
        IS_ENTRY.contains(&self.word_at(address))
    }

    fn fills(&self, address: usize) -> u8 {
        self.could_fill_by(address).len() as u8
    }

    fn words_of_fills(&self, address: usize) -> Vec<WordId> {
        let entry = self.word_at(address);
        let ways = (0..self.text.cpus.len()).flat_map(|cpu| {
            let (words, _) = self.walk(cpu);
            if words.contains(&entry) { words } else { words.into_iter().take(1).collect() }
        });
        self.words_of(&ways.collect::<Vec<_>>())
    }

    fn fill(&self, address: usize, which: u8) {
        self.cache(self.could_fill_by(address)[which as usize]);
    }

    fn fills_on(&self, cpu: usize) -> u8 {
        self.could_fill(cpu) as u8
    }

    fn words_of_fills_on(&self, cpu: usize) -> Vec<WordId> {
        self.words_of(&self.walk(cpu).0)
    }

    fn fill_on(&self, cpu: usize, _: u8) {
        self.cache(cpu);
    }

    fn end(&self) {
        let cached = self.mmus.lock().unwrap().iter().map(|mmu| mmu.cached).collect();
        let memory = std::array::from_fn(|word| self.words[word].load(SeqCst));
        let outcome = (self.found.lock().unwrap().clone(), cached, memory);
        self.text.outcomes.lock().unwrap().push((self.number, outcome));
    }
}

/// What walks read just before a store, and what they change, conflicts with what others do.
#[test]
fn reduced_searches_find_what_unreduced_ones_find_beside_walks() {
    // The last one has a store to the root arrive just before a walk, which then reads more.
    for seed in (0..200).chain([635]) {
        let rng = &mut Rng::with_seed(seed);
        let text = Text::random(rng);
        let bound = Bound { preemptions: rng.u8(1..3), surprises: rng.u8(1..3) };
        for order in [MemoryOrder::Sc, MemoryOrder::Tso] {
            let whole = text.outcomes(bound, order, false);
            let reduced = text.outcomes(bound, order, true);
            assert_eq!(reduced, whole, "seed {seed} {order:?} {bound:?}: {:?}", text.cpus);
        }
    }
}

/// A store that waits conflicts when it arrives, not when it is issued alone: here with what another CPU forgets.
#[test]
fn caches_are_filled_before_a_store_that_waited() {
    let forgets = vec![Op::Access, Op::Swap(5, 1), Op::Forget];
    let stores = vec![Op::Store(ROOT, 2), Op::Load(5), Op::Swap(6, 1)];
    let bound = Bound { preemptions: 2, surprises: 1 };
    let outcomes = Text::of(vec![forgets, stores]).outcomes(bound, MemoryOrder::Tso, true);
    let is_filled_last = |(found, cached, _): &Outcome| found[1] == [0, 0] && cached[0].is_some();
    assert!(outcomes.iter().any(is_filled_last), "{outcomes:?}");
}
