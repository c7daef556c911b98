//! Who watches the core's accesses to shared state, on each thread of the host: one question at each access.

use crate::recorder;
use crate::threads::interrupts;
use std::cell::Cell;
use vellum::Touch;

/// Somebody who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    /// A record of what is touched.
    Recorder = 1,
    /// Interrupts that come at random accesses.
    Interrupts = 2,
}

thread_local!(static WATCHERS: Cell<u8> = const { Cell::new(0) });

/// From now on, or no longer, `watcher` is told of this thread's accesses.
pub(crate) fn set(watcher: Watcher, on: bool) {
    let others = WATCHERS.get() & !(watcher as u8);
    WATCHERS.set(others | if on { watcher as u8 } else { 0 });
}

/// Tells who watches; what [`vellum::Machine::observe`] of hosted machines does.
#[inline]
pub(crate) fn observe(address: usize, touch: Touch) {
    let watchers = WATCHERS.get();
    if watchers != 0 {
        tell(watchers, address, touch);
    }
}

#[cold]
fn tell(watchers: u8, address: usize, touch: Touch) {
    if watchers & Watcher::Recorder as u8 != 0 {
        recorder::record(address, touch);
    }
    if watchers & Watcher::Interrupts as u8 != 0 {
        interrupts::before_access();
    }
}
