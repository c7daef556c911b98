//! The words that loom has, and how accesses to them are carried out.

use crate::sync::{Modify, Word};
use core::cell::RefCell;
use core::ops::Range;
use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic;
use std::collections::HashMap;
use std::rc::Rc;
use std::vec::Vec;

/// A fence before each sequentially consistent access.
pub(super) const LEADING: u32 = 0;
/// One after each instead.
pub(super) const TRAILING: u32 = 1;
/// Nothing releases.
pub(super) const NO_RELEASE: u32 = 2;
/// Nothing acquires.
pub(super) const NO_ACQUIRE: u32 = 4;
/// Fences do nothing.
pub(super) const NO_FENCES: u32 = 8;
/// Sequentially consistent accesses acquire and release, no more.
pub(super) const NO_SEQ_CST: u32 = 16;

/// The words that are loom's. All threads of a model are one thread of the host.
#[derive(Default)]
struct Shared {
    /// The constants above, or-ed.
    how: u32,
    ranges: Vec<Range<usize>>,
    words: HashMap<usize, Mirror>,
    /// Whether the threads have been started: no word may be new then, since its creation would be a race.
    is_sealed: bool,
    is_muted: bool,
}

#[derive(Clone)]
enum Mirror {
    Narrow(Rc<atomic::AtomicU32>),
    Wide(Rc<atomic::AtomicU64>),
}

std::thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
}

/// Begins an execution, in which accesses are carried out so: the constants of this module, or-ed.
pub(super) fn begin(how: u32) {
    SHARED.set(Shared { how, ..Shared::default() });
}

fn does(what: u32) -> bool {
    SHARED.with_borrow(|shared| shared.how & what != 0)
}

/// Makes the words of `place` loom's, from the first access to each on, which must come before [`seal`].
pub(super) fn share<T>(place: &T) {
    let start = (&raw const *place).addr();
    SHARED.with_borrow_mut(|shared| shared.ranges.push(start..start + size_of_val(place)));
}

/// Ends the preparation of an execution.
pub(super) fn seal() {
    SHARED.with_borrow_mut(|shared| shared.is_sealed = true);
}

/// Whether [`seal`] was called.
pub(super) fn is_sealed() -> bool {
    SHARED.with_borrow(|shared| shared.is_sealed)
}

/// Does `body` behind loom's back.
pub(super) fn unseen<R>(body: impl FnOnce() -> R) -> R {
    let mute = |is_muted| SHARED.with_borrow_mut(|shared| shared.is_muted = is_muted);
    mute(true);
    let result = body();
    mute(false);
    result
}

/// Whether accesses are to be seen: not while a failed execution is unwound.
pub(super) fn is_watched() -> bool {
    !std::thread::panicking() && SHARED.with_borrow(|shared| !shared.is_muted)
}

fn mirror<W: Word>(word: &W) -> Option<Mirror> {
    if !is_watched() {
        return None;
    }
    let address = (&raw const *word).addr();
    SHARED.with_borrow_mut(|shared| {
        if !shared.ranges.iter().any(|range| range.contains(&address)) {
            return None;
        }
        let is_sealed = shared.is_sealed;
        let mirror = shared.words.entry(address).or_insert_with(|| {
            assert!(!is_sealed, "a shared word is touched first by a thread");
            let value = word.load(Relaxed).into();
            match W::SIZE {
                4 => Mirror::Narrow(Rc::new(atomic::AtomicU32::new(value as u32))),
                _ => Mirror::Wide(Rc::new(atomic::AtomicU64::new(value))),
            }
        });
        Some(mirror.clone())
    })
}

impl Mirror {
    fn load(&self, order: Ordering) -> u64 {
        match self {
            Mirror::Narrow(word) => word.load(order).into(),
            Mirror::Wide(word) => word.load(order),
        }
    }

    fn store(&self, value: u64, order: Ordering) {
        match self {
            Mirror::Narrow(word) => word.store(value as u32, order),
            Mirror::Wide(word) => word.store(value, order),
        }
    }

    fn modify(&self, change: Modify<u64>, order: Ordering) -> Result<u64, u64> {
        macro_rules! on {
            ($word:expr, $int:ty) => {
                match change {
                    Modify::Swap(value) => Ok($word.swap(value as $int, order).into()),
                    Modify::Add(value) => Ok($word.fetch_add(value as $int, order).into()),
                    Modify::Subtract(value) => Ok($word.fetch_sub(value as $int, order).into()),
                    Modify::Or(bits) => Ok($word.fetch_or(bits as $int, order).into()),
                    Modify::And(bits) => Ok($word.fetch_and(bits as $int, order).into()),
                    Modify::CompareExchange { current, new } => {
                        let failure = if matches!(order, Acquire | AcqRel) { Acquire } else { Relaxed };
                        let result = $word.compare_exchange(current as $int, new as $int, order, failure);
                        result.map(u64::from).map_err(u64::from)
                    }
                }
            };
        }
        match self {
            Mirror::Narrow(word) => on!(word, u32),
            Mirror::Wide(word) => on!(word, u64),
        }
    }
}

/// Carries `access` out: with the order, of those loom knows exactly, that stands for `order`, and fences.
fn carry_out<R>(order: Ordering, exact: Ordering, access: impl FnOnce(Ordering) -> R) -> R {
    let is_seq_cst = order == SeqCst && !does(NO_SEQ_CST);
    let order = match if order == SeqCst { exact } else { order } {
        Release if does(NO_RELEASE) => Relaxed,
        AcqRel if does(NO_RELEASE) => Acquire,
        Acquire if does(NO_ACQUIRE) => Relaxed,
        AcqRel if does(NO_ACQUIRE) => Release,
        order => order,
    };
    if is_seq_cst && !does(TRAILING) {
        atomic::fence(SeqCst);
    }
    let result = access(order);
    if is_seq_cst && does(TRAILING) {
        atomic::fence(SeqCst);
    }
    result
}

fn value<W: Word>(value: u64) -> W::Value {
    W::Value::try_from(value).unwrap_or_else(|_| panic!("a mirror is as wide as its word"))
}

/// `change`, in a form that does not depend on the word.
fn wide<V: Into<u64>>(change: Modify<V>) -> Modify<u64> {
    match change {
        Modify::Swap(value) => Modify::Swap(value.into()),
        Modify::Add(value) => Modify::Add(value.into()),
        Modify::Subtract(value) => Modify::Subtract(value.into()),
        Modify::Or(bits) => Modify::Or(bits.into()),
        Modify::And(bits) => Modify::And(bits.into()),
        Modify::CompareExchange { current, new } => {
            Modify::CompareExchange { current: current.into(), new: new.into() }
        }
    }
}

/// [`Machine::load`](crate::Machine::load).
pub(super) fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
    match mirror(word) {
        Some(mirror) => value::<W>(carry_out(order, Acquire, |order| mirror.load(order))),
        None => word.load(order),
    }
}

/// [`Machine::store`](crate::Machine::store).
pub(super) fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
    match mirror(word) {
        Some(mirror) => carry_out(order, Release, |order| mirror.store(value.into(), order)),
        None => word.store(value, order),
    }
}

/// [`Machine::modify`](crate::Machine::modify).
pub(super) fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
    match mirror(word) {
        Some(mirror) => {
            carry_out(order, AcqRel, |order| mirror.modify(wide(change), order)).map(value::<W>).map_err(value::<W>)
        }
        None => word.modify(change, order),
    }
}

/// [`Machine::fence`](crate::Machine::fence).
pub(super) fn fence(order: Ordering) {
    if is_watched() && !does(NO_FENCES) {
        atomic::fence(order);
    }
}
