//! What happens at an access to shared memory.

use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Delayed, Sim};
use super::visible::WordId;
use super::wait;
use std::sync::atomic::Ordering::{self, SeqCst};
use vellum::sync::{Modify, Word};

/// A load; what [`vellum::Machine::load`] of a machine under exploration does.
pub fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
    if !is_explored() {
        sim::record_load((&raw const *word).addr());
        return word.load(order);
    }
    let address = before(word, false);
    if let Some(value) = sim::with(|sim| sim.own_store(address)) {
        return value.try_into().unwrap_or_else(|_| unreachable!("it was stored at this size"));
    }
    receive(address);
    word.load(SeqCst)
}

/// A store; what [`vellum::Machine::store`] does.
pub fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
    if !is_explored() {
        return word.store(value, order);
    }
    if order == SeqCst {
        let _ = modify(word, Modify::Swap(value), order);
        return;
    }
    let address = before(word, true);
    let delayed = sim::with(|sim| {
        let id = sim.regions.word(address)?;
        let delayed = Delayed { word: id, address, size: W::SIZE, value: value.into() };
        sim.is_buffered(id).then(|| sim.cpus[sim::current_cpu()].stores.push_back(delayed))
    });
    if delayed.is_none() {
        about_to_change(address, W::SIZE, word.load(SeqCst).into(), value.into());
        word.store(value, SeqCst);
    }
}

/// A read-modify-write; what [`vellum::Machine::modify`] does.
pub fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
    if !is_explored() {
        return word.modify(change, order);
    }
    let address = before(word, true);
    drain(sim::current_cpu());
    receive(address);
    let old: u64 = word.load(SeqCst).into();
    if let Some(new) = result_of(change, old) {
        about_to_change(address, W::SIZE, old, new);
    }
    word.modify(change, SeqCst)
}

/// A fence; what [`vellum::Machine::fence`] does.
pub fn fence(order: Ordering) {
    if is_explored() && order == SeqCst {
        drain(sim::current_cpu());
    }
}

/// Words touched together, by other means than the functions above, and whether each is written: a scheduling point if
/// others touch one of them too.
pub(crate) fn touch(words: &[(WordId, bool)]) {
    if !is_explored() {
        return;
    }
    let visible = sim::with(|sim| {
        sim.next_step(words.iter().fold(0, |digest, (word, _)| digest ^ word.0));
        words.iter().any(|&(word, _)| sim.is_visible(word))
    });
    wait::stop_if_broken();
    wait::take_interrupt();
    if visible {
        wait::point(words);
    }
    words.iter().for_each(|&(word, writes)| also_touch(word, writes));
}

/// Notes that the current CPU touches `word`, at a step that has begun already.
pub(crate) fn also_touch(word: WordId, writes: bool) {
    if is_explored() {
        sim::with(|sim| sim.touch(word, writes));
    }
}

/// The words that `body` loads through the functions above, which is not explored.
pub(crate) fn words_read_by<R>(body: impl FnOnce() -> R) -> Vec<WordId> {
    sim::record_loads();
    sim::quietly(body);
    let addresses = sim::recorded_loads();
    addresses.into_iter().filter_map(word_at).collect()
}

/// Whether something that has been begun takes effect later: a surprise.
pub(crate) fn put_off() -> bool {
    is_explored() && sim::with(|sim| sim.choose(ChoiceKind::Store, 2, Cost::Surprise, &[]) > 0)
}

/// Makes every delayed store of the current CPU visible.
pub(crate) fn drain_own() {
    if is_explored() {
        drain(sim::current_cpu());
    }
}

/// The word at `address`.
pub(crate) fn word_at(address: usize) -> Option<WordId> {
    sim::with(|sim| sim.regions.word(address))
}

/// Whether the allocation that the current CPU is about to try may be tried.
pub fn allow_allocation() -> bool {
    if !is_explored() || !sim::with(|sim| sim.allocations_fail) {
        return true;
    }
    let fails = sim::with(|sim| {
        sim.next_step(4);
        sim.choose(ChoiceKind::Allocation, 2, Cost::Surprise, &[]) > 0
    });
    wait::stop_if_broken();
    if fails {
        sim::happened(|| "an allocation fails".into());
    }
    !fails
}

/// Makes the oldest delayed store of `cpu` visible.
pub(crate) fn arrive_one(cpu: usize) {
    if let Some(delayed) = sim::with(|sim| sim.cpus[cpu].stores.pop_front()) {
        commit(&delayed);
    }
}

/// Makes every delayed store of `cpu` visible.
pub(crate) fn drain(cpu: usize) {
    while let Some(delayed) = sim::with(|sim| sim.cpus[cpu].stores.pop_front()) {
        commit(&delayed);
    }
}

/// Not while a panic unwinds: the destructors it runs must not switch to other CPUs.
fn is_explored() -> bool {
    sim::is_exploring() && !std::thread::panicking()
}

/// The scheduling point before an access; the word's address.
fn before<W: Word>(word: &W, writes: bool) -> usize {
    let address = (&raw const *word).addr();
    let visible = sim::with(|sim| {
        let Some(id) = sim.regions.word(address) else {
            panic!("a shared word at {address:#x} lies outside the memory that the program named");
        };
        sim.next_step(id.0 << 1 | writes as u64);
        sim.is_visible(id).then_some(id)
    });
    wait::stop_if_broken();
    wait::take_interrupt();
    if let Some(id) = visible {
        wait::point(&touched_by(id, address, writes));
    }
    let execution = sim::with(|sim| {
        if let Some(id) = sim.regions.word(address) {
            sim.touch(id, writes);
        }
        sim.execution.clone()
    });
    if let Some(broken) = execution.and_then(|execution| sim::quietly(|| execution.check(address))) {
        sim::report(&broken.invariant, broken.detail);
        wait::stop_if_broken();
    }
    address
}

/// What an access touches: beside the word every TLB, if CPUs may fill theirs just before it.
fn touched_by(word: WordId, address: usize, writes: bool) -> Vec<(WordId, bool)> {
    let mut words = vec![(word, writes)];
    let (cpus, execution) = sim::with(|sim| (sim.cpus.len(), sim.execution.clone()));
    if writes && execution.is_some_and(|execution| sim::quietly(|| execution.may_be_cached(address))) {
        words.extend((0..cpus).map(|cpu| (WordId::of_tlb(cpu), true)));
    }
    words
}

/// Lets delayed stores of other CPUs to the word at `address` arrive, or not.
fn receive(address: usize) {
    while let Some(cpu) = sim::with(|sim| sim.next_arrival(address)) {
        arrive(cpu, address);
    }
}

/// Makes the stores of `cpu` visible up to the first to the word at `address`.
fn arrive(cpu: usize, address: usize) {
    while let Some(delayed) = sim::with(|sim| sim.cpus[cpu].stores.pop_front()) {
        commit(&delayed);
        if delayed.address == address {
            return;
        }
    }
}

/// Carries a delayed store out.
fn commit(delayed: &Delayed) {
    let &Delayed { address, size, value, .. } = delayed;
    // SAFETY: the address is that of a live word of shared memory of this size: programs keep their memory until the
    // execution ends, and access shared words through atomics alone.
    let old = unsafe {
        match size {
            4 => std::sync::atomic::AtomicU32::from_ptr(address as *mut u32).load(SeqCst) as u64,
            _ => std::sync::atomic::AtomicU64::from_ptr(address as *mut u64).load(SeqCst),
        }
    };
    if about_to_change(address, size, old, value) {
        sim::with(|sim| sim.note_delayed(delayed.word));
    }
    // SAFETY: as above.
    unsafe {
        match size {
            4 => std::sync::atomic::AtomicU32::from_ptr(address as *mut u32).store(value as u32, SeqCst),
            _ => std::sync::atomic::AtomicU64::from_ptr(address as *mut u64).store(value, SeqCst),
        }
    }
}

/// Before the memory at `address` changes: the last chance for other CPUs to cache what it says. Whether one did.
fn about_to_change(address: usize, size: usize, old: u64, new: u64) -> bool {
    if size != 8 || old == new {
        return false;
    }
    let Some(execution) = sim::with(|sim| sim.execution.clone()) else { return false };
    let fills = sim::quietly(|| execution.fills(address)) as usize;
    let chosen = sim::with(|sim| sim.choose(ChoiceKind::Fill, fills + 1, Cost::Surprise, &[]));
    if chosen > 0 {
        sim::quietly(|| execution.fill(address, chosen as u8 - 1));
    }
    if sim::is_drawn()
        && let Some(text) = sim::quietly(|| execution.describe_store(address, old, new))
    {
        sim::happened(|| text);
    }
    chosen > 0
}

/// What `change` stores over `old`, if it does.
fn result_of<V: Copy + Into<u64>>(change: Modify<V>, old: u64) -> Option<u64> {
    Some(match change {
        Modify::Swap(value) => value.into(),
        Modify::Add(value) => old.wrapping_add(value.into()),
        Modify::Subtract(value) => old.wrapping_sub(value.into()),
        Modify::Or(bits) => old | bits.into(),
        Modify::And(bits) => old & bits.into(),
        Modify::CompareExchange { current, new } if old == current.into() => new.into(),
        Modify::CompareExchange { .. } => return None,
    })
}

impl Sim {
    /// What the current CPU itself stored last to `address` and others do not see yet.
    fn own_store(&self, address: usize) -> Option<u64> {
        let stores = &self.cpus[sim::current_cpu()].stores;
        stores.iter().rev().find(|delayed| delayed.address == address).map(|delayed| delayed.value)
    }

    /// The CPU whose delayed store to `address` arrives next, if one does: the last alternative is that none does.
    fn next_arrival(&mut self, address: usize) -> Option<usize> {
        let senders: Vec<u8> = (0..self.cpus.len())
            .filter(|&cpu| cpu != sim::current_cpu())
            .filter(|&cpu| self.cpus[cpu].stores.iter().any(|delayed| delayed.address == address))
            .map(|cpu| cpu as u8)
            .collect();
        let first = *senders.first()?;
        let chosen = self.choose(ChoiceKind::Store, senders.len() + 1, Cost::Surprise, &[]);
        if chosen < senders.len() {
            return Some(if chosen == 0 { first } else { senders[chosen] } as usize);
        }
        let word = self.cpus[first as usize].stores.iter().find(|delayed| delayed.address == address)?.word;
        self.note_delayed(word);
        None
    }

    /// Notes that it matters that stores to `word` were delayed.
    fn note_delayed(&mut self, word: WordId) {
        if !self.schedule.delayed.contains(&word.0) {
            self.schedule.delayed.push(word.0);
        }
    }
}
