//! What happens at an access to shared memory.

use super::buffer::{self, Delayed};
use super::choice::{ChoiceKind, Cost};
use super::sim::{self, Sim};
use super::visible::WordId;
use super::{Execution, record, tasks, wait};
use std::cell::RefCell;
use std::sync::atomic::Ordering::{self, SeqCst};
use vellum::sync::{Modify, Word};

/// A load; what [`vellum::Machine::load`] of a machine under exploration does.
///
/// What does not depend on the type of the word is not generic: it is compiled here, once, and as one piece.
#[inline]
pub fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
    let delayed = before_load((&raw const *word).addr()).and_then(|value| value.try_into().ok());
    delayed.unwrap_or_else(|| word.load(order))
}

/// A store; what [`vellum::Machine::store`] does.
#[inline]
pub fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
    if order == SeqCst && is_explored() {
        let _ = modify(word, Modify::Swap(value), order);
        return;
    }
    let address = (&raw const *word).addr();
    let begun = before_store(address, W::SIZE, value.into());
    if begun != Store::Plain {
        about_to_store(begun, address, W::SIZE, word.load(SeqCst).into(), value.into());
    }
    if begun != Store::Delayed {
        word.store(value, order);
    }
}

/// A read-modify-write; what [`vellum::Machine::modify`] does.
pub fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
    let address = (&raw const *word).addr();
    if before_modify(address) == Store::Watched {
        let old: u64 = word.load(SeqCst).into();
        if let Some(new) = result_of(change, old) {
            about_to_store(Store::Watched, address, W::SIZE, old, new);
        }
    }
    word.modify(change, order)
}

/// How a store goes on when its step has begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    /// It is carried out.
    Plain,
    /// The same; but before, CPUs may cache what it changes, or it is drawn.
    Watched,
    /// It waits in the buffer of its CPU.
    Delayed,
}

/// The step of a load, up to the load itself: what is seen, if it is not what is in memory.
fn before_load(address: usize) -> Option<u64> {
    if is_explored() {
        return before_explored_load(address);
    }
    sim::record_load(address);
    sim::seen_by_lab(address)
}

/// Not a part of that: the laboratory itself looks at the core more often than what is explored.
#[inline(never)]
fn before_explored_load(address: usize) -> Option<u64> {
    before(address, Reach::Read);
    if !sim::is_maybe_delayed(address) {
        return None;
    }
    buffer::receive(address);
    sim::with(|sim| sim.own_store(sim::current_cpu(), address))
}

/// The step of a store of `value`, up to the store itself.
fn before_store(address: usize, size: usize, value: u64) -> Store {
    if is_explored() { before_explored_store(address, size, value) } else { Store::Plain }
}

/// Not a part of that, as with loads.
#[inline(never)]
fn before_explored_store(address: usize, size: usize, value: u64) -> Store {
    let may_be_cached = before(address, Reach::Write);
    let is_delayed = sim::with(|sim| {
        let Some(word) = sim.regions.word(address).filter(|&word| sim.delays(word)) else { return false };
        sim.delay(Delayed { word, address, size, value, issued: sim.step });
        true
    });
    match is_delayed {
        true => Store::Delayed,
        false if may_be_cached || sim::is_drawn() => Store::Watched,
        false => Store::Plain,
    }
}

/// The step of a read-modify-write, up to that itself.
fn before_modify(address: usize) -> Store {
    if !is_explored() {
        return Store::Plain;
    }
    let may_be_cached = before(address, Reach::WriteAndDrain);
    buffer::drain(sim::current_cpu());
    buffer::receive(address);
    if may_be_cached || sim::is_drawn() { Store::Watched } else { Store::Plain }
}

/// Before a store of the current CPU that has `begun`, and is not a plain one.
fn about_to_store(begun: Store, address: usize, size: usize, old: u64, new: u64) {
    if begun == Store::Watched {
        about_to_change(sim::current_cpu(), address, size, old, new);
    } else if sim::is_drawn() {
        record::note_delayed(address, size, old, new);
    }
}

/// A fence; what [`vellum::Machine::fence`] does.
pub fn fence(order: Ordering) {
    if order == SeqCst {
        drain_own();
    }
}

/// Words touched together, by other means than the functions above, and whether each is written: a scheduling point if
/// others touch one of them too.
pub fn touch(words: &[(WordId, bool)]) {
    touch_what(|| words.to_vec());
}

/// [`touch`] for words that depend on the state: they are asked for again when an interrupt or others came first, and
/// when stores arrive, until all that there are then have been touched.
pub fn touch_what(words: impl Fn() -> Vec<(WordId, bool)>) {
    if !is_explored() {
        return;
    }
    let now = RefCell::new(words());
    let digest = now.borrow().iter().fold(0, |digest, (word, _)| digest ^ word.0);
    let visible = || sim::with(|sim| now.borrow().iter().any(|&(word, _)| sim.is_visible(word)));
    wait::step(digest, visible, || {
        now.replace(words());
        wait::before_touching(now.borrow().clone(), false)
    });
    let mut touched = now.into_inner();
    touched.iter().for_each(|&(word, writes)| also_touch(word, writes));
    while let Some(&(word, writes)) = words().iter().find(|word| !touched.contains(word)) {
        also_touch(word, writes);
        touched.push((word, writes));
    }
}

/// [`touch`] for words in memory, by their addresses.
pub fn touch_at(addresses: &[(usize, bool)]) {
    if is_explored() {
        let words = addresses.iter().filter_map(|&(address, writes)| Some((word_at(address)?, writes)));
        touch(&words.collect::<Vec<_>>());
    }
}

/// Notes that the current CPU touches `word`, at a step that has begun already.
pub fn also_touch(word: WordId, writes: bool) {
    if !is_explored() {
        return;
    }
    let awaited = sim::with(|sim| {
        sim.touch(word, writes);
        sim.is_awaited(word).then(|| sim.regions.address(word)).flatten()
    });
    awaited.into_iter().for_each(buffer::receive);
}

/// The words that `body` loads through the functions above, which is not explored.
pub fn words_read_by<R>(body: impl FnOnce() -> R) -> Vec<WordId> {
    sim::record_loads();
    sim::quietly(body);
    let addresses = sim::recorded_loads();
    addresses.into_iter().filter_map(word_at).collect()
}

/// Whether something that has been begun takes effect later: a surprise.
pub fn put_off() -> bool {
    is_explored() && sim::with(|sim| sim.choose(ChoiceKind::Store, 2, Cost::Surprise, &[]) > 0)
}

/// Makes every delayed store of the current CPU visible, as a step of its own: others may run just before.
pub fn drain_own() {
    if !is_explored() {
        return;
    }
    wait::step(5, || sim::with(|sim| sim.delays_stores()), || wait::before_touching(Vec::new(), true));
    buffer::drain(sim::current_cpu());
}

/// The word at `address`.
pub fn word_at(address: usize) -> Option<WordId> {
    sim::with(|sim| sim.regions.word(address))
}

/// Whether the allocation that the current CPU is about to try may be tried.
pub fn allow_allocation() -> bool {
    may_succeed("an allocation fails")
}

/// Whether something may be done that can fail, where failures are explored; `failure` is what the diagram says else.
pub fn may_succeed(failure: &'static str) -> bool {
    if !is_explored() || !sim::with(|sim| sim.allocations_fail) {
        return true;
    }
    let fails = sim::with(|sim| {
        sim.next_step(4);
        sim.choose(ChoiceKind::Allocation, 2, Cost::Surprise, &[]) > 0
    });
    wait::stop_if_broken();
    if fails {
        sim::with(|sim| sim.failures += 1);
        sim::happened(|| failure.into());
    }
    !fails
}

/// Not while a panic unwinds: the destructors it runs must not switch to other CPUs.
fn is_explored() -> bool {
    sim::is_exploring() && !std::thread::panicking()
}

/// What an access does beside reading its word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Read,
    Write,
    /// Delayed stores of the CPU arrive, too: others may look at their words just before.
    WriteAndDrain,
}

/// What may happen before an access.
enum Pass {
    /// Nothing: nobody else looks at the word, or could before a read, or another execution stands for this one; and no
    /// interrupt has come.
    Free,
    /// It is a write to this word, which nobody else looks at, and no interrupt has come: the step has begun.
    Unseen(WordId),
    /// It is a write to a visible word; but nothing can come before it any more: the step has begun.
    Seen,
    /// The step has begun, if there is such a word, and others may run, or an interrupt be taken.
    Stop,
}

/// The scheduling point before an access. Whether CPUs may cache what the access is about to change.
fn before(address: usize, reach: Reach) -> bool {
    let may_be_cached = match sim::with(|sim| sim.pass(address, reach)) {
        Pass::Free => false,
        Pass::Seen => may_be_cached(address),
        Pass::Unseen(word) => {
            let may_be_cached = may_be_cached(address);
            if may_be_cached && do_fills_show(address) {
                stop_or_let_others_run(address, reach);
            } else {
                sim::with(|sim| sim.touch_invisible(word, true));
            }
            may_be_cached
        }
        Pass::Stop => {
            stop_or_let_others_run(address, reach);
            reach != Reach::Read && may_be_cached(address)
        }
    };
    if !sim::check(address) {
        wait::stop_if_broken();
    }
    may_be_cached
}

/// The scheduling point before an access that has begun a step and did not pass: something may happen first.
#[cold]
fn stop_or_let_others_run(address: usize, reach: Reach) {
    let writes = reach != Reach::Read;
    let Some(id) = word_at(address) else {
        // A stray pointer: to follow it would be the end of the host's program.
        sim::report("I-PTFREE", format!("an access to {address:#x}, where the program has no shared memory"));
        tasks::stop();
    };
    let drains = reach == Reach::WriteAndDrain;
    let shows =
        || sim::with(|sim| sim.is_visible(id) || drains && sim.delays_stores()) || writes && do_fills_show(address);
    wait::begun_step(shows, || wait::before_touching(touched_by(id, address, writes), drains));
    sim::with(|sim| {
        if let Some(id) = sim.regions.word(address) {
            sim.touch(id, writes);
        }
    });
}

/// What an access touches: beside the word, if it changes that, what CPUs touch that cache it just before.
fn touched_by(word: WordId, address: usize, writes: bool) -> Vec<(WordId, bool)> {
    let mut words = vec![(word, writes)];
    if writes {
        words.extend(touched_by_fills(address));
    }
    words
}

/// What CPUs touch that cache what lies at `address` before it changes: their TLBs, and what they read on the way.
pub(super) fn touched_by_fills(address: usize) -> Vec<(WordId, bool)> {
    if !may_be_cached(address) {
        return Vec::new();
    }
    let read = words_of_fills(address);
    tlbs().map(|tlb| (tlb, true)).chain(read.into_iter().map(|word| (word, false))).collect()
}

/// Whether others touch some of that, if there is any.
fn do_fills_show(address: usize) -> bool {
    let is_visible = |word: WordId| sim::with(|sim| sim.is_visible(word));
    may_be_cached(address) && (tlbs().any(is_visible) || words_of_fills(address).into_iter().any(is_visible))
}

/// Whether CPUs may cache what lies at `address`.
fn may_be_cached(address: usize) -> bool {
    sim::ask(|execution| execution.may_be_cached(address)).unwrap_or(false)
}

fn words_of_fills(address: usize) -> Vec<WordId> {
    sim::ask(|execution| execution.words_of_fills(address)).unwrap_or_default()
}

fn tlbs() -> impl Iterator<Item = WordId> {
    (0..sim::with(|sim| sim.cpus.len())).map(WordId::of_tlb)
}

/// Before a store of `cpu` changes the memory at `address`: the last chance for other CPUs to cache what it says.
/// Whether one did.
pub(super) fn about_to_change(cpu: usize, address: usize, size: usize, old: u64, new: u64) -> bool {
    let is_drawn = sim::is_drawn();
    if old == new || size != 8 && !is_drawn {
        return false;
    }
    let filled = size == 8
        && may_be_cached(address)
        && fill(
            |execution| execution.fills(address),
            || touched_by_fills(address),
            |execution, which| execution.fill(address, which),
        );
    if is_drawn {
        record::note_store(cpu, address, size, (old, new));
    }
    filled
}

/// The scheduling point before `cpu` turns to other tables, and the last chance to cache what those it has loaded say:
/// what this reads belongs to the step.
pub fn turn(cpu: usize) {
    drain_own();
    if is_explored() {
        let read = || sim::ask(|execution| execution.words_of_fills_on(cpu)).unwrap_or_default();
        touch_what(|| {
            let read = read().into_iter().map(|word| (word, false));
            std::iter::once((WordId::of_tlb(cpu), true)).chain(read).collect()
        });
        // What it touches belongs to the step already.
        fill(|execution| execution.fills_on(cpu), Vec::new, |execution, which| execution.fill_on(cpu, which));
    }
}

/// CPUs fill their TLBs, or not, in any of the ways that there are. Whether one did.
fn fill(
    ways: impl Fn(&dyn Execution) -> u8,
    touched: impl Fn() -> Vec<(WordId, bool)>,
    carry_out: impl Fn(&dyn Execution, u8),
) -> bool {
    let mut filled = false;
    // Where it is not to be chosen, it does not matter what could be.
    while sim::with(|sim| sim.may_choose(Cost::Surprise)) {
        let ways = sim::ask(&ways).unwrap_or(0) as usize;
        let chosen = sim::with(|sim| sim.choose(ChoiceKind::Fill, ways + 1, Cost::Surprise, &[]));
        if chosen == 0 {
            break;
        }
        filled = true;
        let words = touched();
        sim::with(|sim| words.into_iter().for_each(|(word, writes)| sim.touch(word, writes)));
        sim::ask(|execution| carry_out(execution, chosen as u8 - 1));
    }
    filled
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
    /// Begins the step of an access. Unless it has to stop, the access is noted, and happens.
    fn pass(&mut self, address: usize, reach: Reach) -> Pass {
        let Some(id) = self.regions.word(address) else { return Pass::Stop };
        let writes = reach != Reach::Read;
        self.next_step(id.0 << 1 | writes as u64);
        if self.broken.is_some() || self.cpus[sim::current_cpu()].takes_interrupt() {
            return Pass::Stop;
        }
        if self.redundant {
            // What conflicts with what is found by the execution that stands for this one.
            return Pass::Free;
        }
        let is_visible = self.is_visible(id) || reach == Reach::WriteAndDrain && self.delays_stores();
        if is_visible && self.may_choose(Cost::Preemption) {
            return Pass::Stop;
        }
        if is_visible {
            self.pass_point();
            self.touch(id, writes);
            return if writes { Pass::Seen } else { Pass::Free };
        }
        if writes {
            return Pass::Unseen(id);
        }
        self.touch_invisible(id, false);
        Pass::Free
    }

    /// Whether the current CPU has delayed stores, or a replayed schedule has something happen at this step.
    fn delays_stores(&self) -> bool {
        !self.cpus[sim::current_cpu()].stores.is_empty() || self.is_wanted()
    }
}
