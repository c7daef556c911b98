//! Shared state, and the only way to it: atomics, locks and read-copy-update that go through the
//! [`Machine`](crate::Machine).
//!
//! On real machines each operation is the processor's own, inlined; a laboratory machine sees every access by
//! overriding [`Machine::observe`](crate::Machine::observe), and carries it out itself by overriding
//! [`Machine::load`](crate::Machine::load) and its like. The module `loom` checks the locks, read-copy-update, sequence
//! counts and mailboxes on such a machine, with a weak memory order.

mod atomic;
mod lock;
mod order;
mod rcu;
mod sequence;
mod sleep;

#[cfg(all(test, not(miri)))]
mod loom;

pub use atomic::{AtomicU32, AtomicU64, Modify, Word, fence};
pub(crate) use lock::{LockGuard, RawLock};
#[cfg(debug_assertions)]
pub(crate) use order::HeldLocks;
pub(crate) use order::Rank;
pub(crate) use rcu::{Deferred, GlobalEpoch, LocalEpoch};
pub(crate) use sequence::Sequence;
pub(crate) use sleep::{SleepGuard, SleepLock};
