//! CPUs that set the policy at once: every way in which two calls of one fall into a call of the other.

use super::{AT, CommitLimit, Overcommit, PAGE, RW};
use crate::Vm;
use crate::ops::{MapRequest, Place};
use crate::testing::hooks::{Event, watched};
use crate::testing::{TestMachine, become_cpu};
use core::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const NEVER: Overcommit = Overcommit::Never(CommitLimit::Bytes(4 * PAGE));
/// More accesses than a call does that is not disturbed more than twice.
const ACCESSES: usize = 16;

/// Sets the policy to [`NEVER`], while another CPU makes `calls`, each before that access of this one. How many
/// accesses this one does.
fn set_beside(vm: &Arc<Vm<TestMachine>>, calls: [(usize, Overcommit); 2]) -> usize {
    let (other, accesses) = (vm.clone(), Rc::new(Cell::new(0)));
    let number = accesses.clone();
    let act = move |event| {
        let Event::Access(..) = event else { return };
        for (_, policy) in calls.iter().filter(|(before, _)| *before == number.get()) {
            other.set_overcommit(*policy);
        }
        number.set(number.get() + 1);
    };
    watched(act, || vm.set_overcommit(NEVER));
    accesses.get()
}

/// The policy that was set last is *never*; and so nothing passes that is more than its limit.
#[test]
fn the_policy_that_stays_is_heeded() {
    become_cpu(0);
    let vm = Arc::new(Vm::new(TestMachine::new(512)).expect("a machine"));
    let space = vm.create_space().expect("memory");
    for first in 0..ACCESSES {
        for second in first..ACCESSES {
            vm.set_overcommit(Overcommit::Heuristic);
            let accesses = set_beside(&vm, [(first, Overcommit::Always), (second, NEVER)]);
            assert!(accesses < ACCESSES, "{accesses} accesses");
            if second >= accesses {
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
