//! What the core promises about pre-emption, checked on every hosted machine: I-ATOMIC.
//!
//! The core switches pre-emption off once, never in itself, and has it on wherever the embedder may sleep: in
//! [`Machine::sleep`](vellum::Machine::sleep), the compressor, `out_of_memory`, every call of a backing or a swap
//! device, and the drop of a backing ([`Opened`]). Each machine counts here for its CPUs, by host thread: so backings
//! and devices, which know of no machine, can ask too ([`may_sleep`]). A break is a broken invariant under exploration,
//! and a panic elsewhere.
//!
//! Drivers of hosted machines do not raise the count themselves; an embedder's scheduler may.

use crate::explore::sim;
use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use vellum::cpuset::CPUS_MAX;

/// The invariant's name.
pub const ATOMIC: &str = "I-ATOMIC";

thread_local! {
    /// By CPU: how often pre-emption is off.
    static DEPTHS: [Cell<u32>; CPUS_MAX] = const { [const { Cell::new(0) }; CPUS_MAX] };
    /// The CPU on which pre-emption was switched last.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// `cpu` switches pre-emption off.
#[inline]
pub(crate) fn disable(cpu: usize) {
    LAST.set(cpu);
    let before = DEPTHS.with(|depths| depths[cpu].replace(depths[cpu].get() + 1));
    if before != 0 {
        broken(cpu, "the core switches pre-emption off, and has done so already");
    }
}

/// `cpu` switches pre-emption on.
#[inline]
pub(crate) fn enable(cpu: usize) {
    LAST.set(cpu);
    match DEPTHS.with(|depths| depths[cpu].get()) {
        0 => broken(cpu, "the core switches pre-emption on, and has not switched it off"),
        depth => DEPTHS.with(|depths| depths[cpu].set(depth - 1)),
    }
}

/// To be called by whatever may sleep: `what` is done, and pre-emption must be on.
#[inline]
pub fn may_sleep(what: &str) {
    let cpu = current();
    if DEPTHS.with(|depths| depths[cpu].get()) != 0 {
        broken(cpu, &format!("{what}, which may sleep, is called with pre-emption off"));
    }
}

/// A handle of a backing, to be given to the core. Its drop, which says that the core is done with the backing, must
/// come where the embedder may sleep.
pub struct Opened<B>(Arc<B>);

impl<B> Opened<B> {
    /// A handle of `backing`.
    pub fn of(backing: &Arc<B>) -> Self {
        Opened(Arc::clone(backing))
    }
}

impl<B> Deref for Opened<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B> Drop for Opened<B> {
    fn drop(&mut self) {
        may_sleep("the drop of a backing");
    }
}

/// Forgets what an execution that was given up has left.
pub(crate) fn reset() {
    DEPTHS.with(|depths| depths.iter().for_each(|depth| depth.set(0)));
}

/// The CPU that the host thread is: while CPUs are tasks, the one whose task runs.
#[inline]
fn current() -> usize {
    if sim::is_installed() { sim::current_cpu() } else { LAST.get() }
}

#[cold]
fn broken(cpu: usize, what: &str) {
    // An execution that is given up unwinds wherever it stood.
    if std::thread::panicking() {
        return;
    }
    if sim::is_installed() {
        sim::report(ATOMIC, format!("CPU {cpu}: {what}"));
    } else {
        panic!("{ATOMIC}: CPU {cpu}: {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn panic_of(body: impl FnOnce() + std::panic::UnwindSafe) -> String {
        reset();
        let panic = catch_unwind(body).expect_err("a break is reported");
        reset();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn pairs_are_in_order_and_sleep_lies_between_them() {
        reset();
        for cpu in [0, 3, 0] {
            disable(cpu);
            enable(cpu);
            may_sleep("a transfer");
        }
        // Each CPU has its count: one may be interrupted by what another runs.
        disable(0);
        disable(1);
        enable(1);
        enable(0);
        may_sleep("a transfer");
    }

    #[test]
    fn breaks_are_reported() {
        assert!(panic_of(|| [2, 2].into_iter().for_each(disable)).contains("CPU 2: the core switches pre-emption off"));
        assert!(panic_of(|| enable(0)).contains("has not switched it off"));
        let sleeps = panic_of(|| {
            disable(1);
            may_sleep("a transfer");
        });
        assert_eq!(sleeps, "I-ATOMIC: CPU 1: a transfer, which may sleep, is called with pre-emption off");
    }
}
