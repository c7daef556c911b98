//! Every outcome of a program, computed without the explorer: the abstract machine of x86-TSO (Sewell, Sarkar, Owens,
//! Zappa Nardelli, Myreen, "x86-TSO: a rigorous and usable programmer's model for x86 multiprocessors", CACM 53(7),
//! 2010, section 3), searched state by state. Each CPU has a queue of stores; memory takes the oldest of any queue at
//! any time; a locked operation and a fence need an empty queue. Sequential consistency is the same without queues.

use super::text::{Found, Op, Outcome, Text, WORDS};
use std::collections::{BTreeSet, HashSet, VecDeque};
use vellum_lab::explore::MemoryOrder;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Cpu {
    next: usize,
    registers: Vec<u64>,
    queue: VecDeque<(usize, u64)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    cpus: Vec<Cpu>,
    memory: [u64; WORDS],
}

/// Every outcome of `text`.
pub fn outcomes(text: &Text, order: MemoryOrder) -> Found {
    let idle = Cpu { next: 0, registers: Vec::new(), queue: VecDeque::new() };
    let mut left = vec![State { cpus: vec![idle; text.cpus.len()], memory: [0; WORDS] }];
    let mut known: HashSet<State> = HashSet::new();
    let mut found = Found { outcomes: BTreeSet::new(), deadlock: false };
    while let Some(state) = left.pop() {
        if !known.insert(state.clone()) {
            continue;
        }
        let steps = (0..text.cpus.len()).flat_map(|cpu| [state.execute(text, cpu, order), state.flush(cpu)]);
        let next: Vec<State> = steps.flatten().collect();
        let is_done = (0..text.cpus.len()).all(|cpu| state.cpus[cpu].next == text.cpus[cpu].len());
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

impl State {
    fn outcome(&self) -> Outcome {
        self.cpus.iter().flat_map(|cpu| cpu.registers.iter()).chain(&self.memory).copied().collect()
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

    /// `cpu` goes on.
    fn execute(&self, text: &Text, cpu: usize, order: MemoryOrder) -> Option<State> {
        let op = *text.cpus[cpu].get(self.cpus[cpu].next)?;
        let has_stores = !self.cpus[cpu].queue.is_empty();
        let mut state = self.clone();
        let own = &mut state.cpus[cpu];
        own.next += 1;
        match op {
            Op::Load(word) => own.registers.push(self.seen(cpu, word)),
            Op::Store(word, value) if order == MemoryOrder::Tso => own.queue.push_back((word, value)),
            Op::Store(word, value) => state.memory[word] = value,
            Op::Wait(word) => return (self.seen(cpu, word) != 0).then_some(state),
            Op::Interrupt(_) | Op::Masked(..) => unimplemented!("the machine has no interrupts"),
            _ if has_stores => return None,
            Op::Fence => (),
            Op::Swap(word, value) => own.registers.push(std::mem::replace(&mut state.memory[word], value)),
            Op::Add(word, value) => {
                own.registers.push(self.memory[word]);
                state.memory[word] += value;
            }
            Op::Exchange(word, current, new) => {
                own.registers.push(self.memory[word]);
                if self.memory[word] == current {
                    state.memory[word] = new;
                }
            }
        }
        Some(state)
    }
}
