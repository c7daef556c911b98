//! Store buffers: when stores of a CPU reach memory.
//!
//! A delayed store stays in its CPU's buffer until it matters: until another CPU touches its word, or its own CPU has to
//! wait for it. The usual is what sequential consistency shows: stores to a word arrive in the order in which they were
//! issued, before the word is looked at. Everything else that total store order allows is a surprise.

use super::access::about_to_change;
use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Sim};
use super::visible::WordId;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A store that other CPUs do not see yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delayed {
    pub(crate) word: WordId,
    pub(crate) address: usize,
    pub(crate) size: usize,
    pub(crate) value: u64,
    /// The step that issued it.
    pub(crate) issued: u32,
}

/// How many stores of each CPU's buffer, from the oldest.
type Prefixes = Vec<usize>;

/// Before the current CPU looks at `address`: lets stores of other CPUs arrive, or not.
pub(super) fn receive(address: usize) {
    while sim::with(|sim| sim.another_arrives(address)) {
        arrive_first(address);
    }
}

/// The first delayed store to `address` arrives, of some CPU.
pub(super) fn arrive_first(address: usize) {
    loop {
        let (all, usual) = sim::with(|sim| (sim.first_stores(address), sim.oldest_store(address)));
        if all.iter().all(|&count| count == 0) || arrive_one(all, usual) == address {
            return;
        }
    }
}

/// All delayed stores of `cpu` arrive.
pub(super) fn drain(cpu: usize) {
    loop {
        let all = sim::with(|sim| sim.prefixes(|other, _| other == cpu));
        if all[cpu] == 0 {
            return;
        }
        arrive_one(all.clone(), all);
    }
}

/// One store arrives on the way to making `all` visible, of which the `usual` ones arrive first; its address.
fn arrive_one(all: Prefixes, usual: Prefixes) -> usize {
    let delayed = sim::with(|sim| {
        let cpu = sim.next_arrival(all, usual);
        sim.cpus[cpu].stores.pop_front()
    });
    let delayed = delayed.expect("only CPUs with delayed stores are chosen");
    commit(&delayed);
    delayed.address
}

/// Carries a delayed store out.
fn commit(delayed: &Delayed) {
    let &Delayed { word, address, size, value, .. } = delayed;
    sim::with(|sim| sim.disturb(word, true));
    if about_to_change(address, size, in_memory(address, size), value) {
        sim::with(|sim| sim.note_delayed());
    }
    // SAFETY: the address is that of a live word of shared memory of this size: programs keep their memory until the
    // execution ends, and access shared words through atomics alone.
    unsafe {
        match size {
            4 => AtomicU32::from_ptr(address as *mut u32).store(value as u32, SeqCst),
            _ => AtomicU64::from_ptr(address as *mut u64).store(value, SeqCst),
        }
    }
}

fn in_memory(address: usize, size: usize) -> u64 {
    // SAFETY: as in `commit`.
    unsafe {
        match size {
            4 => AtomicU32::from_ptr(address as *mut u32).load(SeqCst).into(),
            _ => AtomicU64::from_ptr(address as *mut u64).load(SeqCst),
        }
    }
}

impl Sim {
    /// What `cpu` itself stored last to `address`, if others do not see it yet.
    pub(super) fn own_store(&self, cpu: usize, address: usize) -> Option<u64> {
        let stores = &self.cpus[cpu].stores;
        stores.iter().rev().find(|delayed| delayed.address == address).map(|delayed| delayed.value)
    }

    /// Whether `cpu` sees another value than `seen` in the integer at `address` now.
    pub(super) fn differs(&self, cpu: usize, address: usize, seen: u32) -> bool {
        self.own_store(cpu, address).unwrap_or_else(|| in_memory(address, size_of::<u32>())) != seen.into()
    }

    /// Whether a delayed store of another CPU than `cpu` makes the integer at `address` differ from `seen`.
    pub(super) fn may_differ(&self, cpu: usize, address: usize, seen: u32) -> bool {
        let mut others = self.delayed().filter(|&(other, _)| other != cpu);
        others.any(|(_, delayed)| delayed.address == address && delayed.value != seen.into())
    }

    /// Whether another CPU than the current one has a delayed store to `address` or `word`.
    pub(super) fn is_awaited(&self, word: WordId) -> bool {
        self.delayed().any(|(cpu, delayed)| cpu != sim::current_cpu() && delayed.word == word)
    }

    /// Whether a store to `address` arrives before the current CPU looks at that. Usually the newest is seen.
    pub(super) fn another_arrives(&mut self, address: usize) -> bool {
        let stores = || self.delayed().filter(|(_, delayed)| delayed.address == address);
        let newest = stores().max_by_key(|(_, delayed)| delayed.issued).map(|(cpu, _)| cpu);
        if stores().all(|(cpu, _)| cpu == sim::current_cpu()) {
            return false;
        }
        let surprised = self.choose_store(2) > 0;
        (newest != Some(sim::current_cpu())) != surprised
    }

    /// The CPU whose oldest store arrives next, so that `all` do in the end: the usual is the oldest store of `usual`, or
    /// of those that must come before them.
    fn next_arrival(&mut self, all: Prefixes, usual: Prefixes) -> usize {
        let usual = self.with_rivals(usual, true);
        let cpus = (0..self.cpus.len()).filter(|&cpu| usual[cpu] > 0);
        let oldest = cpus.min_by_key(|&cpu| self.cpus[cpu].stores[0].issued).expect("something is to arrive");
        let all = self.with_rivals(all, false);
        let mut cpus = vec![oldest];
        cpus.extend((0..self.cpus.len()).filter(|&cpu| cpu != oldest && all[cpu] > 0));
        let chosen = self.choose_store(cpus.len());
        cpus[chosen]
    }

    /// `prefixes` with the stores of other CPUs to the same words, and all before those: what can arrive before the last
    /// of `prefixes` such that somebody could tell. With `older_only`, those issued before them: what usually does.
    fn with_rivals(&self, mut prefixes: Prefixes, older_only: bool) -> Prefixes {
        loop {
            let chosen = prefixes.iter().enumerate().flat_map(|(cpu, &count)| self.cpus[cpu].stores.iter().take(count));
            let chosen: Vec<&Delayed> = chosen.collect();
            let is_rival = |delayed: &Delayed| {
                let comes_before = |other: &&Delayed| !older_only || delayed.issued <= other.issued;
                chosen.iter().filter(|other| other.address == delayed.address).any(comes_before)
            };
            let more = self.prefixes(|_, delayed| is_rival(delayed));
            let more: Prefixes = more.iter().zip(&prefixes).map(|(&more, &count)| more.max(count)).collect();
            if more == prefixes {
                return prefixes;
            }
            prefixes = more;
        }
    }

    /// The shortest prefixes that hold every store for which `is_in`.
    fn prefixes(&self, is_in: impl Fn(usize, &Delayed) -> bool) -> Prefixes {
        let count = |cpu: usize| self.cpus[cpu].stores.iter().rposition(|delayed| is_in(cpu, delayed));
        (0..self.cpus.len()).map(|cpu| count(cpu).map_or(0, |last| last + 1)).collect()
    }

    /// The prefixes up to each CPU's first store to `address`.
    fn first_stores(&self, address: usize) -> Prefixes {
        let first = |cpu: usize| self.cpus[cpu].stores.iter().position(|delayed| delayed.address == address);
        (0..self.cpus.len()).map(|cpu| first(cpu).map_or(0, |first| first + 1)).collect()
    }

    /// The prefix up to the oldest store to `address`.
    fn oldest_store(&self, address: usize) -> Prefixes {
        let stores = self.delayed().filter(|(_, delayed)| delayed.address == address);
        let oldest = stores.map(|(_, delayed)| delayed.issued).min();
        self.prefixes(|_, delayed| Some(delayed.issued) == oldest)
    }

    /// All delayed stores, with their CPUs.
    fn delayed(&self) -> impl Iterator<Item = (usize, &Delayed)> {
        self.cpus.iter().enumerate().flat_map(|(cpu, sim_cpu)| sim_cpu.stores.iter().map(move |delayed| (cpu, delayed)))
    }

    /// Words with delayed stores.
    pub(super) fn delayed_words(&self) -> impl Iterator<Item = WordId> {
        self.delayed().map(|(_, delayed)| delayed.word)
    }

    fn choose_store(&mut self, options: usize) -> usize {
        let chosen = self.choose(ChoiceKind::Store, options, Cost::Surprise, &[]);
        if chosen > 0 {
            self.note_delayed();
        }
        chosen
    }

    /// Notes that it matters which stores were delayed: a replay delays the same, and no others.
    fn note_delayed(&mut self) {
        self.delays_matter = true;
    }
}
