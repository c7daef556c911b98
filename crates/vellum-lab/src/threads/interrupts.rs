//! Interrupts at random moments: flush interrupts that wait, and those of devices, whose handlers take locks.
//!
//! What an interrupt finds is decided by the accesses to shared state before and after it. So an interrupt between two
//! instructions is one just before some access of the core, and a thread takes one at about one of so many of those, at
//! random, wherever interrupts are on: in the middle of the core, with its locks held, while it waits.
//!
//! The handler of a device wakes somebody, for which it takes the lock of a scheduler's [`RunQueue`]; the scheduler of
//! another CPU may hold that around [`vellum::Vm::switch_to`], with interrupts off. A lock of the core that is needed
//! there, and held by who can be interrupted, is a deadlock (J14).

use super::CpuThread;
use crate::observed::{self, Watcher};
use std::cell::{Cell, RefCell};
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};
use vellum::arch::Arch;

thread_local! {
    /// How often interrupts were switched off.
    static OFF: Cell<u32> = const { Cell::new(0) };
    /// What comes, while interrupts come at random.
    static COMING: RefCell<Option<Coming>> = const { RefCell::new(None) };
    /// Accesses before the next interrupt.
    static BEFORE: Cell<u32> = const { Cell::new(0) };
    /// One has come while interrupts were off.
    static HAS_COME: Cell<bool> = const { Cell::new(false) };
    /// Interrupts of devices taken.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

type Handler = Rc<dyn Fn()>;

struct Coming {
    random: fastrand::Rng,
    one_in: u32,
    /// Serves a flush interrupt that waits.
    flush: Handler,
    device: Handler,
}

/// Runs `body` with interrupts off on this thread. One that came meanwhile is taken afterwards.
#[inline]
pub fn with_interrupts_off<R>(body: impl FnOnce() -> R) -> R {
    /// Switches them on again, after a panic, too.
    struct On;
    impl Drop for On {
        fn drop(&mut self) {
            OFF.set(OFF.get() - 1);
        }
    }
    let result = {
        OFF.set(OFF.get() + 1);
        let _on = On;
        body()
    };
    if HAS_COME.get() {
        take();
    }
    result
}

/// An access of the core to shared state is about to happen on this thread.
pub(crate) fn before_access() {
    match BEFORE.get().checked_sub(1) {
        Some(before) => BEFORE.set(before),
        None => take(),
    }
}

/// Takes an interrupt, or leaves it for later if interrupts are off.
#[cold]
fn take() {
    HAS_COME.set(OFF.get() > 0);
    if HAS_COME.get() {
        return;
    }
    let handler = COMING.with_borrow_mut(|coming| {
        let coming = coming.as_mut()?;
        BEFORE.set(coming.random.u32(..2 * coming.one_in));
        let is_device = coming.random.bool();
        TAKEN.set(TAKEN.get() + u64::from(is_device));
        Some(Rc::clone(if is_device { &coming.device } else { &coming.flush }))
    });
    if let Some(handler) = handler {
        with_interrupts_off(|| handler());
    }
}

/// While this is there, interrupts come at random on its thread.
pub struct Interrupted<'c>(PhantomData<(&'c (), *const ())>);

impl Interrupted<'_> {
    /// Interrupts of devices taken.
    pub fn taken(&self) -> u64 {
        TAKEN.get()
    }
}

impl Drop for Interrupted<'_> {
    fn drop(&mut self) {
        observed::set(Watcher::Interrupts, false);
        COMING.take();
        HAS_COME.set(false);
    }
}

impl<A: Arch> CpuThread<'_, A> {
    /// From now on interrupts come at about one in `one_in` (at least 1) of the core's accesses on this CPU, as long as
    /// the result lives: half of them are a device's, whose handler is `device`, and the others the flush interrupt, if
    /// one waits. A flush interrupt is served as before, too, when the thread polls. `device` is called with interrupts
    /// off, in the middle of the core, which it must not call.
    pub fn interrupt_at_random(&self, seed: u64, one_in: u32, device: impl Fn() + 'static) -> Interrupted<'_> {
        let host = self.shared();
        let flush = move || host.machine().threads().poll();
        let (flush, device): (Handler, Handler) = (Rc::new(flush), Rc::new(device));
        COMING.set(Some(Coming { random: fastrand::Rng::with_seed(seed), one_in: one_in.max(1), flush, device }));
        TAKEN.set(0);
        observed::set(Watcher::Interrupts, true);
        Interrupted(PhantomData)
    }
}

/// The lock of an embedder's scheduler, as far as it matters here: taken with interrupts off, by switches and by the
/// handlers of devices.
#[derive(Clone, Debug)]
pub struct RunQueue {
    is_locked: Arc<AtomicBool>,
    patience: Duration,
}

/// The run queue stayed locked longer than anybody holds it: who holds it waits for who waits here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlock;

impl RunQueue {
    /// A run queue whose lock nobody holds as long as `patience`.
    pub fn new(patience: Duration) -> RunQueue {
        RunQueue { is_locked: Arc::new(AtomicBool::new(false)), patience }
    }

    /// Runs `body` with interrupts off and the lock held.
    ///
    /// # Errors
    /// [`Deadlock`]; `body` was not run.
    pub fn with<R>(&self, body: impl FnOnce() -> R) -> Result<R, Deadlock> {
        with_interrupts_off(|| {
            self.lock()?;
            let result = body();
            self.is_locked.store(false, Release);
            Ok(result)
        })
    }

    fn lock(&self) -> Result<(), Deadlock> {
        let begun = Instant::now();
        while self.is_locked.swap(true, Acquire) {
            if begun.elapsed() > self.patience {
                return Err(Deadlock);
            }
            spin_loop();
            std::thread::yield_now();
        }
        Ok(())
    }
}
