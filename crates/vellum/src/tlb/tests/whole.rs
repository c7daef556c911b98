//! Flushes of everything, while others change what is flushed.

use super::{PAGE, RANGE_MAX, SLOTS_MAX};
use crate::Vm;
use crate::arch::Prot;
use crate::cpu::Cx;
use crate::ops::{Access, MapRequest};
use crate::testing::hooks::{Event, before};
use crate::testing::{TestMachine, become_cpu};
use core::cell::Cell;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::boxed::Box;
use std::rc::Rc;

/// What another CPU removes when this one has invalidated everything, this one may have cached anew in between: it must
/// not take note of that generation as done (J7).
#[test]
fn a_flush_of_everything_is_of_what_came_before_it() {
    become_cpu(0);
    let vm: &'static Vm<TestMachine> = Box::leak(Box::new(Vm::new(TestMachine::new(512)).expect("a machine")));
    let space = vm.create_space().expect("a space");
    vm.switch_to(Some(&space));
    let pages = RANGE_MAX + 1;
    let at = space.map(&MapRequest::anonymous((pages + 1) * PAGE, Prot::READ_WRITE)).expect("room");
    // The last stays, so that no table is freed, which would be another flush.
    for page in [0, pages - 1, pages] {
        space.fault(at + page * PAGE, Access::Write).expect("memory");
    }
    let (others, is_done) = (space.clone(), Rc::new(Cell::new(false)));
    let done = is_done.clone();
    let act = move || {
        others.inner().tlb().generation.fetch_add(1, SeqCst);
        done.set(true);
    };
    before(|event| event == Event::InvalidateAsid, act);
    space.unmap(at, pages * PAGE).expect("no error");
    assert!(is_done.get(), "everything was invalidated");
    let cx = Cx::enter(vm);
    let tlb = &cx.cpu().tlb;
    let seen = tlb.slots[tlb.current.load(Relaxed) as usize % SLOTS_MAX].generation.load(Relaxed);
    assert_eq!(seen + 1, space.inner().tlb().generation.load(SeqCst));
    drop(cx);
    vm.switch_to(None);
}
