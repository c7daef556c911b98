//! Store buffers: when stores of a CPU reach memory.
//!
//! A delayed store stays in its CPU's buffer until it matters: until another CPU touches its word, or its own CPU has
//! to wait for it. The usual is what sequential consistency shows: stores to a word arrive in the order in which they
//! were issued, before the word is looked at. Everything else that total store order allows is a surprise.

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

/// Before the current CPU looks at `address`: lets stores of other CPUs arrive, or not.
pub(super) fn receive(address: usize) {
    while sim::is_maybe_delayed(address) && sim::with(|sim| sim.another_arrives(address)) {
        arrive_first(address);
    }
}

/// The first delayed store to `address` arrives, of some CPU.
pub(super) fn arrive_first(address: usize) {
    if let Some(cpu) = sim::with(|sim| sim.next_to(address, &[])) {
        arrive(cpu, address, &[]);
    }
}

/// All delayed stores of `cpu` arrive.
pub(super) fn drain(cpu: usize) {
    while !sim::with(|sim| sim.cpus[cpu].stores.is_empty()) {
        arrive_oldest(cpu, &[]);
    }
}

/// The stores of `cpu` arrive up to the first to `address`, of which it is known that it is the next to that.
/// `behind` are CPUs whose stores wait for this.
fn arrive(cpu: usize, address: usize, behind: &[usize]) {
    while sim::with(|sim| sim.cpus[cpu].stores[0].address != address) {
        arrive_oldest(cpu, behind);
    }
    arrive_one(cpu);
}

/// The oldest store of `cpu` arrives; before it, those of others to the same address that come first.
fn arrive_oldest(cpu: usize, behind: &[usize]) {
    let address = sim::with(|sim| sim.cpus[cpu].stores[0].address);
    while let Some(first) = sim::with(|sim| sim.next_to(address, behind)).filter(|&first| first != cpu) {
        arrive(first, address, &[behind, &[cpu]].concat());
    }
    arrive_one(cpu);
}

fn arrive_one(cpu: usize) {
    if let Some(delayed) = sim::with(|sim| sim.cpus[cpu].stores.pop_front()) {
        sim::note_arrived();
        commit(cpu, &delayed);
    }
}

/// Carries a delayed store of `cpu` out.
fn commit(cpu: usize, delayed: &Delayed) {
    let &Delayed { word, address, size, value, .. } = delayed;
    sim::with(|sim| sim.arrives(word, cpu));
    if about_to_change(cpu, address, size, in_memory(address, size), value) {
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

    /// The newest delayed store to `address`, of any CPU.
    pub(super) fn newest_store(&self, address: usize) -> Option<u64> {
        let stores = self.delayed().filter(|(_, delayed)| delayed.address == address);
        stores.max_by_key(|(_, delayed)| delayed.issued).map(|(_, delayed)| delayed.value)
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

    /// The CPU whose delayed store to `address` arrives first, of those that are not `behind`. Usually it is the one
    /// that was issued first.
    fn next_to(&mut self, address: usize, behind: &[usize]) -> Option<usize> {
        let issued = |cpu: usize| self.cpus[cpu].stores.iter().find(|delayed| delayed.address == address);
        let senders = (0..self.cpus.len()).filter(|cpu| !behind.contains(cpu));
        let mut senders: Vec<(u32, usize)> = senders.filter_map(|cpu| Some((issued(cpu)?.issued, cpu))).collect();
        senders.sort();
        let chosen = if senders.len() > 1 { self.choose_store(senders.len()) } else { 0 };
        senders.get(chosen).map(|&(_, cpu)| cpu)
    }

    /// All delayed stores, with their CPUs.
    fn delayed(&self) -> impl Iterator<Item = (usize, &Delayed)> {
        self.cpus.iter().enumerate().flat_map(|(cpu, sim_cpu)| sim_cpu.stores.iter().map(move |delayed| (cpu, delayed)))
    }

    /// Words with delayed stores, and where they lie.
    pub(super) fn delayed_words(&self) -> impl Iterator<Item = (WordId, usize)> {
        self.delayed().map(|(_, delayed)| (delayed.word, delayed.address))
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
