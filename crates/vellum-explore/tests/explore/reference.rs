//! Every outcome of a program, computed without the explorer: the abstract machine of x86-TSO (Sewell, Sarkar, Owens,
//! Zappa Nardelli, Myreen, "x86-TSO: a rigorous and usable programmer's model for x86 multiprocessors", CACM 53(7),
//! 2010, section 3), searched state by state. Each CPU has a queue of stores; memory takes the oldest of any queue at
//! any time; a locked operation and a fence need an empty queue. Sequential consistency is the same without queues.
//!
//! An interrupt that has been sent is taken between any two steps of its target that has interrupts on and is in no
//! handler; further ones until then are the same one. The return from its handler needs an empty queue. One taken at a
//! wait ends that.

use super::text::{Found, Op, Outcome, Text, WORDS};
use std::collections::{BTreeSet, HashSet, VecDeque};
use vellum_explore::MemoryOrder;

/// What a CPU does in one step.
#[derive(Clone, Copy)]
enum Step {
    Op(Op),
    /// Switches interrupts off, or on.
    Mask(bool),
}

/// The steps of each CPU, and of each handler.
struct Programs {
    cpus: Vec<Vec<Step>>,
    handler: Vec<Step>,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Cpu {
    next: usize,
    registers: Vec<u64>,
    queue: VecDeque<(usize, u64)>,
    interrupted: bool,
    masked: bool,
    /// In the handler: its next step.
    handler: Option<usize>,
    handler_registers: Vec<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    cpus: Vec<Cpu>,
    memory: [u64; WORDS],
}

/// Every outcome of `text`.
pub fn outcomes(text: &Text, order: MemoryOrder) -> Found {
    let programs = Programs { cpus: text.cpus.iter().map(|ops| steps(ops)).collect(), handler: steps(&text.handler) };
    let mut left = vec![State { cpus: vec![Cpu::default(); text.cpus.len()], memory: [0; WORDS] }];
    let mut known: HashSet<State> = HashSet::new();
    let mut found = Found { outcomes: BTreeSet::new(), deadlock: false };
    while let Some(state) = left.pop() {
        if !known.insert(state.clone()) {
            continue;
        }
        let next: Vec<State> = (0..text.cpus.len()).flat_map(|cpu| state.successors(&programs, cpu, order)).collect();
        let is_done = (0..text.cpus.len()).all(|cpu| state.cpus[cpu].next == programs.cpus[cpu].len());
        match (next.is_empty(), is_done) {
            (true, true) => drop(found.outcomes.insert(state.outcome())),
            (true, false) => found.deadlock = true,
            (false, _) => left.extend(next),
        }
    }
    if found.deadlock {
        found.outcomes.clear();
    }
    found
}

fn steps(ops: &[Op]) -> Vec<Step> {
    let of_one = |&op: &Op| match op {
        Op::Masked(word, value) => {
            vec![Step::Mask(true), Step::Op(Op::Load(word)), Step::Op(Op::Store(word, value)), Step::Mask(false)]
        }
        op => vec![Step::Op(op)],
    };
    ops.iter().flat_map(of_one).collect()
}

impl State {
    fn outcome(&self) -> Outcome {
        let registers = self.cpus.iter().flat_map(|cpu| cpu.registers.iter());
        let of_handlers = self.cpus.iter().flat_map(|cpu| cpu.handler_registers.iter());
        registers.chain(of_handlers).chain(&self.memory).copied().collect()
    }

    /// What may come next, by `cpu` or its queue.
    fn successors(&self, programs: &Programs, cpu: usize, order: MemoryOrder) -> Vec<State> {
        let goes_on = match self.cpus[cpu].handler {
            Some(next) => match programs.handler.get(next) {
                Some(&step) => self.execute(cpu, step, order),
                None => self.returned(cpu),
            },
            None => programs.cpus[cpu].get(self.cpus[cpu].next).and_then(|&step| self.execute(cpu, step, order)),
        };
        let at_wait = matches!(programs.cpus[cpu].get(self.cpus[cpu].next), Some(Step::Op(Op::Wait(_))));
        // What was masked, or came to a handler, may be taken before the CPU comes to a wait.
        let boundary =
            goes_on.as_ref().filter(|after| !self.cpus[cpu].takes_interrupt() && after.cpus[cpu].takes_interrupt());
        let before_wait = boundary.and_then(|after| after.interrupt(cpu, false));
        [before_wait, self.interrupt(cpu, at_wait), self.flush(cpu), goes_on].into_iter().flatten().collect()
    }

    /// `cpu` takes an interrupt.
    fn interrupt(&self, cpu: usize, ends_wait: bool) -> Option<State> {
        let mut state = self.clone();
        let own = &mut state.cpus[cpu];
        if !own.takes_interrupt() {
            return None;
        }
        (own.interrupted, own.handler) = (false, Some(0));
        own.next += usize::from(ends_wait);
        Some(state)
    }

    /// The handler of `cpu` returns.
    fn returned(&self, cpu: usize) -> Option<State> {
        let mut state = self.clone();
        state.cpus[cpu].handler = None;
        self.cpus[cpu].queue.is_empty().then_some(state)
    }

    /// The oldest store of `cpu` reaches memory.
    fn flush(&self, cpu: usize) -> Option<State> {
        let mut state = self.clone();
        let (word, value) = state.cpus[cpu].queue.pop_front()?;
        state.memory[word] = value;
        Some(state)
    }

    fn seen(&self, cpu: usize, word: usize) -> u64 {
        let own = self.cpus[cpu].queue.iter().rev().find(|store| store.0 == word);
        own.map_or(self.memory[word], |store| store.1)
    }

    /// `cpu` does `step`.
    fn execute(&self, cpu: usize, step: Step, order: MemoryOrder) -> Option<State> {
        let mut state = self.clone();
        let own = &mut state.cpus[cpu];
        *own.handler.as_mut().unwrap_or(&mut own.next) += 1;
        let op = match step {
            Step::Op(op) => op,
            Step::Mask(masked) => {
                own.masked = masked;
                return Some(state);
            }
        };
        let has_stores = !own.queue.is_empty();
        let loaded = match op {
            Op::Load(word) => Some(self.seen(cpu, word)),
            Op::Store(word, value) => {
                match order {
                    MemoryOrder::Tso => own.queue.push_back((word, value)),
                    MemoryOrder::Sc => state.memory[word] = value,
                }
                None
            }
            Op::Wait(word) => return (self.seen(cpu, word) != 0).then_some(state),
            Op::Interrupt(set) => {
                state.cpus.iter_mut().enumerate().for_each(|(cpu, target)| target.interrupted |= set >> cpu & 1 != 0);
                None
            }
            Op::Masked(..) => unreachable!("it is several steps"),
            _ if has_stores => return None,
            Op::Fence => None,
            Op::Swap(word, value) => Some(std::mem::replace(&mut state.memory[word], value)),
            Op::Add(word, value) => {
                state.memory[word] += value;
                Some(self.memory[word])
            }
            Op::Exchange(word, current, new) => {
                if self.memory[word] == current {
                    state.memory[word] = new;
                }
                Some(self.memory[word])
            }
        };
        let own = &mut state.cpus[cpu];
        match own.handler {
            Some(_) => own.handler_registers.extend(loaded),
            None => own.registers.extend(loaded),
        }
        Some(state)
    }
}

impl Cpu {
    fn takes_interrupt(&self) -> bool {
        self.interrupted && !self.masked && self.handler.is_none()
    }
}
