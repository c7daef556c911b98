//! Programs for the explorer written as text, and the set of their outcomes.
//!
//! CPUs are separated by `|`, operations by `;`. `x=1` stores, `x` loads, `x<-1` swaps, `x+1` adds atomically (both
//! load the old value), `x?0:1` compares and exchanges (loads the old value), `fence` is a full fence, `wait f` waits
//! until `f` is not 0, `interrupt 1 2` interrupts CPUs 1 and 2, `masked x=1` loads and stores with interrupts off.
//! Words are `x`, `y`, `z`, `w` (64 bits) and `f`, `g` (32 bits, the only ones to wait for).

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering::{self, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use vellum::sync::Modify;
use vellum_explore::{Bound, Execution, MemoryOrder, Plan, Program, Way, access, search, wait};

/// Words a program has: six.
pub const WORDS: usize = 6;
const NAMES: &str = "xyzwfg";
const FIRST_FLAG: usize = 4;

/// What a CPU does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Loads a word.
    Load(usize),
    /// Stores to it.
    Store(usize, u64),
    /// Exchanges it.
    Swap(usize, u64),
    /// Adds to it.
    Add(usize, u64),
    /// Replaces the first value by the second.
    Exchange(usize, u64, u64),
    /// A full fence.
    Fence,
    /// Waits until the word is not 0.
    Wait(usize),
    /// Interrupts CPUs, of a bit set.
    Interrupt(u8),
    /// Loads a word and stores to it with interrupts off.
    Masked(usize, u64),
}

/// Loaded values, CPU by CPU, those of handlers, then the final memory.
pub type Outcome = Vec<u64>;

/// What a search of a [`Text`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The outcomes.
    pub outcomes: BTreeSet<Outcome>,
    /// Some execution ends in a deadlock. The search ends there, so `outcomes` is empty then.
    pub deadlock: bool,
}

/// A program.
#[derive(Clone, Debug)]
pub struct Text {
    /// What each CPU does.
    pub cpus: Vec<Vec<Op>>,
    /// What each CPU does on an interrupt.
    pub handler: Vec<Op>,
    /// An outcome that counts as a violation.
    pub forbidden: Option<Outcome>,
    /// How many executions have begun.
    begun: Arc<AtomicU64>,
    /// The outcomes, with the numbers of their executions; of those alone that no other one stands for.
    outcomes: Arc<Mutex<Vec<(u64, Outcome)>>>,
}

impl Text {
    /// The program of these operations.
    pub fn of(cpus: Vec<Vec<Op>>) -> Text {
        Text { cpus, handler: Vec::new(), forbidden: None, begun: Arc::default(), outcomes: Arc::default() }
    }

    /// Parses a program.
    pub fn new(text: &str) -> Text {
        Text::of(text.split('|').map(parse_all).collect())
    }

    /// The same program with what its CPUs do on an interrupt.
    pub fn with_handler(mut self, text: &str) -> Text {
        self.handler = parse_all(text);
        self
    }

    /// Runs every execution; the outcomes of the last pass alone, in which every visible word was known from the start.
    pub fn explore(&self, order: MemoryOrder, bound: Bound, reduce: bool) -> (Found, u64) {
        self.explore_on(1, order, bound, reduce)
    }

    /// The same on so many threads.
    pub fn explore_on(&self, threads: usize, order: MemoryOrder, bound: Bound, reduce: bool) -> (Found, u64) {
        self.outcomes.lock().unwrap().clear();
        let mut plan = Plan::new(Way::Exhaustive { bound, reduce }, order);
        plan.threads = threads;
        let outcome = search(Arc::new(self.clone()), &plan).unwrap();
        if let Some((broken, _)) = outcome.broken {
            assert_eq!(broken.invariant, "I-PROG", "{broken:?}");
            return (Found { outcomes: BTreeSet::new(), deadlock: true }, outcome.schedules);
        }
        assert!(outcome.exhaustive);
        let outcomes = self.outcomes.lock().unwrap();
        let first = self.begun.load(Relaxed) - outcome.schedules;
        let last =
            outcomes.iter().filter(|&&(number, _)| number >= first).map(|(_, outcome)| outcome.clone()).collect();
        (Found { outcomes: last, deadlock: false }, outcome.schedules)
    }

    /// The number of executions of an unreduced search under sequential consistency.
    pub fn count(&self, bound: Bound) -> u64 {
        self.explore(MemoryOrder::Sc, bound, false).1
    }
}

fn parse_all(text: &str) -> Vec<Op> {
    text.split(';').map(str::trim).filter(|op| !op.is_empty()).map(parse).collect()
}

fn parse(op: &str) -> Op {
    let word = |name: &str| NAMES.find(name.trim()).filter(|_| name.trim().len() == 1).expect("a word");
    let number = |text: &str| text.trim().parse().expect("a number");
    if op == "fence" {
        Op::Fence
    } else if let Some(cpus) = op.strip_prefix("interrupt ") {
        Op::Interrupt(cpus.split_whitespace().fold(0, |set, cpu| set | 1u8 << number(cpu)))
    } else if let Some((name, value)) = op.strip_prefix("masked ").and_then(|op| op.split_once('=')) {
        Op::Masked(word(name), number(value))
    } else if let Some(name) = op.strip_prefix("wait") {
        Op::Wait(word(name))
    } else if let Some((name, value)) = op.split_once("<-") {
        Op::Swap(word(name), number(value))
    } else if let Some((name, value)) = op.split_once('+') {
        Op::Add(word(name), number(value))
    } else if let Some((name, values)) = op.split_once('?') {
        let (old, new) = values.split_once(':').expect("an old and a new value");
        Op::Exchange(word(name), number(old), number(new))
    } else if let Some((name, value)) = op.split_once('=') {
        Op::Store(word(name), number(value))
    } else {
        Op::Load(word(op))
    }
}

/// Shared words; 32-bit ones have eight bytes to themselves.
#[repr(C)]
#[derive(Default)]
struct Words {
    words: [AtomicU64; FIRST_FLAG],
    flags: [Flag; WORDS - FIRST_FLAG],
}

#[repr(C, align(8))]
#[derive(Default)]
struct Flag(AtomicU32);

struct Run {
    text: Text,
    number: u64,
    words: Box<Words>,
    registers: Mutex<Vec<Vec<u64>>>,
}

impl Program for Text {
    fn cpus(&self) -> usize {
        self.cpus.len()
    }

    fn start(&self) -> Arc<dyn Execution> {
        let registers = Mutex::new(vec![Vec::new(); 2 * self.cpus.len()]);
        let number = self.begun.fetch_add(1, Relaxed);
        Arc::new(Run { text: self.clone(), number, words: Box::default(), registers })
    }
}

impl Run {
    fn modify(&self, word: usize, change: Modify<u64>) -> u64 {
        if let Some(word) = self.words.words.get(word) {
            return either(access::modify(word, change, SeqCst));
        }
        let change = match change {
            Modify::Swap(value) => Modify::Swap(value as u32),
            Modify::Add(value) => Modify::Add(value as u32),
            Modify::CompareExchange { current, new } => {
                Modify::CompareExchange { current: current as u32, new: new as u32 }
            }
            other => panic!("{other:?} has no text"),
        };
        either(access::modify(self.flag(word), change, SeqCst)).into()
    }

    fn flag(&self, word: usize) -> &AtomicU32 {
        &self.words.flags[word - FIRST_FLAG].0
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        match self.words.words.get(word) {
            Some(word) => access::load(word, order),
            None => access::load(self.flag(word), order).into(),
        }
    }

    fn store(&self, word: usize, value: u64) {
        match self.words.words.get(word) {
            Some(word) => access::store(word, value, Relaxed),
            None => access::store(self.flag(word), value as u32, Relaxed),
        }
    }

    fn carry_out_all(&self, registers: usize, ops: &[Op]) {
        for &op in ops {
            if let Some(value) = self.carry_out(op) {
                self.registers.lock().unwrap()[registers].push(value);
            }
        }
    }

    fn carry_out(&self, op: Op) -> Option<u64> {
        match op {
            Op::Load(word) => return Some(self.load(word, Relaxed)),
            Op::Store(word, value) => self.store(word, value),
            Op::Swap(word, value) => return Some(self.modify(word, Modify::Swap(value))),
            Op::Add(word, value) => return Some(self.modify(word, Modify::Add(value))),
            Op::Exchange(word, current, new) => {
                return Some(self.modify(word, Modify::CompareExchange { current, new }));
            }
            Op::Fence => access::fence(SeqCst),
            Op::Wait(word) => wait::wait_change(self.flag(word), 0),
            Op::Interrupt(set) => wait::send_interrupt((0..self.text.cpus.len()).filter(|cpu| set >> cpu & 1 != 0)),
            Op::Masked(word, value) => {
                return Some(wait::with_interrupts_off(|| {
                    let seen = self.load(word, Relaxed);
                    self.store(word, value);
                    seen
                }));
            }
        }
        None
    }
}

impl Execution for Run {
    fn memory(&self) -> Vec<Range<usize>> {
        let start = (&raw const *self.words).addr();
        std::iter::once(start..start + size_of::<Words>()).collect()
    }

    fn run(&self, cpu: usize) {
        self.carry_out_all(cpu, &self.text.cpus[cpu]);
    }

    fn interrupt(&self, cpu: usize) {
        self.carry_out_all(self.text.cpus.len() + cpu, &self.text.handler);
    }

    fn end(&self) {
        let mut outcome: Outcome = self.registers.lock().unwrap().concat();
        outcome.extend((0..WORDS).map(|word| self.load(word, SeqCst)));
        assert_ne!(Some(&outcome), self.text.forbidden.as_ref());
        self.text.outcomes.lock().unwrap().push((self.number, outcome));
    }
}

fn either<T>(result: Result<T, T>) -> T {
    result.unwrap_or_else(|seen| seen)
}
