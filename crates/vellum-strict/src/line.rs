//! What is known of one CPU.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Nothing is under way.
const NEVER: u64 = 0;

/// One CPU's state, on a cache line of its own. Written by that CPU, except for `interrupted_at`.
#[repr(align(64))]
pub(crate) struct Line {
    /// How often the core has switched pre-emption off.
    depth: AtomicU32,
    /// How many flush interrupts are being served.
    interrupts: AtomicU32,
    /// Not zero inside a method of the machine that the core called with pre-emption off.
    called: AtomicU32,
    /// What `node_of_cpu` said, and 1; 0 if it was not asked.
    node: AtomicU32,
    /// The time since when the CPU is in `wait_change`, and 1.
    waits_since: AtomicU64,
    /// The time since when an interrupt is on its way to it, and 1.
    interrupted_at: AtomicU64,
}

impl Line {
    pub(crate) const fn new() -> Line {
        Line {
            depth: AtomicU32::new(0),
            interrupts: AtomicU32::new(0),
            called: AtomicU32::new(0),
            node: AtomicU32::new(0),
            waits_since: AtomicU64::new(NEVER),
            interrupted_at: AtomicU64::new(NEVER),
        }
    }

    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Relaxed)
    }

    pub(crate) fn set_depth(&self, depth: u32) {
        self.depth.store(depth, Relaxed);
    }

    pub(crate) fn is_in_interrupt(&self) -> bool {
        self.interrupts.load(Relaxed) > 0
    }

    /// Whether nothing can take the CPU from whoever runs on it.
    pub(crate) fn is_inside(&self) -> bool {
        self.depth() > 0 || self.is_in_interrupt()
    }

    pub(crate) fn is_called(&self) -> bool {
        self.called.load(Relaxed) > 0
    }

    /// Sets whether a method is being called, and says what was set.
    pub(crate) fn set_called(&self, called: u32) -> u32 {
        let before = self.called.load(Relaxed);
        self.called.store(called, Relaxed);
        before
    }

    /// An interrupt begins: it may call the core, whatever it has interrupted. What to hand to
    /// [`Line::leave_interrupt`].
    pub(crate) fn enter_interrupt(&self) -> u32 {
        self.interrupted_at.store(NEVER, SeqCst);
        self.interrupts.store(self.interrupts.load(Relaxed) + 1, Relaxed);
        self.set_called(0)
    }

    pub(crate) fn leave_interrupt(&self, called: u32) {
        self.set_called(called);
        self.interrupts.store(self.interrupts.load(Relaxed) - 1, Relaxed);
    }

    /// Remembers a node; whether it is what was remembered before, if anything was.
    pub(crate) fn is_node(&self, node: u8) -> bool {
        let before = self.node.swap(u32::from(node) + 1, Relaxed);
        before == 0 || before == u32::from(node) + 1
    }

    pub(crate) fn begin_wait(&self, now: u64) {
        self.waits_since.store(now + 1, Relaxed);
    }

    pub(crate) fn end_wait(&self) {
        self.waits_since.store(NEVER, Relaxed);
    }

    /// An interrupt is sent. One that is on its way already will do.
    pub(crate) fn interrupt(&self, now: u64) {
        let _ = self.interrupted_at.compare_exchange(NEVER, now + 1, SeqCst, Relaxed);
    }

    /// For how long the CPU has been in `wait_change`.
    pub(crate) fn waits_for(&self, now: u64) -> u64 {
        since(self.waits_since.load(Relaxed), now)
    }

    /// For how long an interrupt has been on its way.
    pub(crate) fn interrupted_for(&self, now: u64) -> u64 {
        since(self.interrupted_at.load(SeqCst), now)
    }
}

fn since(begin: u64, now: u64) -> u64 {
    if begin == NEVER { 0 } else { now.saturating_sub(begin - 1) }
}
