//! CPUs that set the policy at once: every way in which two calls of one fall into a call of the other.

use super::{AT, CommitLimit, Overcommit, PAGE, RW};
use crate::Vm;
use crate::arch::X86_64;
use crate::machine::{Machine, Touch};
use crate::ops::{MapRequest, Place};
use crate::testing::{TestMachine, become_cpu, of_test_machine, without_translations};
use core::cell::RefCell;
use core::sync::atomic::AtomicU32;
use std::sync::Arc;
use std::vec::Vec;

const NEVER: Overcommit = Overcommit::Never(CommitLimit::Bytes(4 * PAGE));
/// More accesses than a call does that is not disturbed more than twice.
const ACCESSES: usize = 16;

/// What the other CPU does, before which access of this one.
struct Other {
    vm: Arc<Vm<Meddled>>,
    accesses: usize,
    calls: Vec<(usize, Overcommit)>,
}

std::thread_local! {
    static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
}

/// The test machine, with another CPU that acts between accesses of this one.
struct Meddled(TestMachine);

// SAFETY: everything of substance is the test machine's.
unsafe impl Machine for Meddled {
    type Arch = X86_64;

    of_test_machine!(0);
    without_translations!();
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {}
    fn sleep(&self, _word: &AtomicU32, _seen: u32) {}
    fn observe(_address: usize, _touch: Touch) {
        // Of its own accesses there is nobody to tell.
        let Some(mut other) = OTHER.take() else { return };
        for (_, policy) in other.calls.iter().filter(|(before, _)| *before == other.accesses) {
            other.vm.set_overcommit(*policy);
        }
        other.accesses += 1;
        OTHER.set(Some(other));
    }
}

/// The policy that was set last is *never*; and so nothing passes that is more than its limit.
#[test]
fn the_policy_that_stays_is_heeded() {
    become_cpu(0);
    let vm = Arc::new(Vm::new(Meddled(TestMachine::new(512))).expect("a machine"));
    let space = vm.create_space().expect("memory");
    for first in 0..ACCESSES {
        for second in first..ACCESSES {
            let calls = [(first, Overcommit::Always), (second, NEVER)].to_vec();
            vm.set_overcommit(Overcommit::Heuristic);
            OTHER.set(Some(Other { vm: vm.clone(), accesses: 0, calls }));
            vm.set_overcommit(NEVER);
            let other = OTHER.take().expect("it is put back");
            assert!(other.accesses < ACCESSES, "{} accesses", other.accesses);
            if second >= other.accesses {
                continue;
            }
            assert_eq!(vm.overcommit(), NEVER);
            let request = |pages| MapRequest::anonymous(pages * PAGE, RW).at(Place::Fixed(AT));
            let place = std::format!("always before access {first}, never before access {second}");
            assert!(space.map(&request(5)).is_err(), "{place}: more than the limit is committed");
            assert!(space.map(&request(4)).is_ok(), "{place}: less than the limit is refused");
            space.unmap(AT, 4 * PAGE).expect("no error");
        }
    }
    vm.audited().expect("a sound machine");
}
