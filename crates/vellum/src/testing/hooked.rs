//! A machine on which a test acts between two accesses to shared state, at the exact place.

use super::{TestMachine, of_test_machine};
use crate::arch::X86_64;
use crate::cpuset::CpuSet;
use crate::machine::{Asid, Machine, RootLoad, Touch};
use core::cell::RefCell;
use core::sync::atomic::AtomicU32;
use std::boxed::Box;

/// When to act.
enum Due {
    /// Before the word at that address is next modified.
    Modification(usize),
    /// When a plain store to it has been done.
    Stored(usize),
    /// Before whatever is accessed next.
    Now,
}

/// When to do what.
type Hook = (Due, Box<dyn FnOnce()>);

std::thread_local! {
    /// What this thread is to do.
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Whether that is due before this access.
fn is_due(due: &mut Due, address: usize, touch: Touch) -> bool {
    match *due {
        Due::Modification(of) => of == address && touch == Touch::Modify,
        Due::Stored(of) => {
            if of == address && touch == Touch::Store {
                *due = Due::Now;
            }
            false
        }
        Due::Now => true,
    }
}

/// A machine that lets a test act between two accesses to shared state.
pub(crate) struct Hooked(TestMachine);

// SAFETY: all that matters is the inner machine's.
unsafe impl Machine for Hooked {
    type Arch = X86_64;

    of_test_machine!(0);
    fn load_root(&self, _: RootLoad) {}
    fn unload_root(&self) {}
    fn invalidate_page(&self, _: Asid, _: u64) {}
    fn invalidate_asid(&self, _: Asid) {}
    fn send_interrupt(&self, _: &CpuSet) {}
    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        self.0.wait_change(word, seen);
    }
    fn sleep(&self, word: &AtomicU32, seen: u32) {
        self.0.sleep(word, seen);
    }
    fn observe(address: usize, touch: Touch) {
        let hook = HOOK.with_borrow_mut(|hook| hook.take_if(|(due, _)| is_due(due, address, touch)));
        if let Some((_, act)) = hook {
            act();
        }
    }
}

impl Hooked {
    /// As [`TestMachine::with`].
    pub(crate) fn with(memory: &[(u64, u64, u8)], nodes: &[u8]) -> Self {
        Hooked(TestMachine::with(memory, nodes))
    }
}

/// Calls `act` just before this thread next modifies the word at `address`.
pub(crate) fn before_modification(address: usize, act: impl FnOnce() + 'static) {
    HOOK.set(Some((Due::Modification(address), Box::new(act))));
}

/// Calls `act` when this thread has next stored to the word at `address`, before it accesses anything else.
pub(crate) fn after_store(address: usize, act: impl FnOnce() + 'static) {
    HOOK.set(Some((Due::Stored(address), Box::new(act))));
}
