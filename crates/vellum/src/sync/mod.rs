//! Shared state, and the only way to it: atomics, locks and read-copy-update that go through the [`Machine`](crate::Machine).
//!
//! On real machines each operation is the processor's own, inlined; a laboratory machine sees every access by
//! overriding [`Machine::observe`](crate::Machine::observe).

mod atomic;
mod lock;
mod order;
mod rcu;

pub use atomic::{AtomicU32, AtomicU64};
pub(crate) use lock::{Guard, RawLock};
#[cfg(debug_assertions)]
pub(crate) use order::HeldLocks;
pub(crate) use order::Rank;
pub(crate) use rcu::{Deferred, GlobalEpoch, LocalEpoch};
