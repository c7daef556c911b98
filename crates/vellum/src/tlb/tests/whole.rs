//! Flushes of everything, while others change what is flushed.

use super::{PAGE, RANGE_MAX, SLOTS_MAX};
use crate::arch::{Prot, X86_64};
use crate::cpu::Cx;
use crate::machine::{Asid, Machine, RootLoad};
use crate::ops::{Access, MapRequest};
use crate::testing::{TestMachine, become_cpu, of_test_machine};
use crate::{CpuSet, Vm};
use core::cell::RefCell;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::boxed::Box;

std::thread_local! {
    /// What others do when this CPU has invalidated everything the next time.
    static AFTER_INVALIDATION: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// A machine beside which something happens when it has invalidated everything.
struct Beside(TestMachine);

// SAFETY: everything of substance is the test machine's.
unsafe impl Machine for Beside {
    type Arch = X86_64;

    of_test_machine!(0);
    fn load_root(&self, _load: RootLoad) {}
    fn unload_root(&self) {}
    fn invalidate_page(&self, _asid: Asid, _address: u64) {}
    fn invalidate_asid(&self, _asid: Asid) {
        if let Some(others) = AFTER_INVALIDATION.take() {
            others();
        }
    }
    fn send_interrupt(&self, _cpus: &CpuSet) {}
    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        self.0.wait_change(word, seen);
    }
}

/// What another CPU removes when this one has invalidated everything, this one may have cached anew in between: it must
/// not take note of that generation as done (J7).
#[test]
fn a_flush_of_everything_is_of_what_came_before_it() {
    become_cpu(0);
    let vm: &'static Vm<Beside> = Box::leak(Box::new(Vm::new(Beside(TestMachine::new(512))).expect("a machine")));
    let space = vm.create_space().expect("a space");
    vm.switch_to(Some(&space));
    let pages = RANGE_MAX + 1;
    let at = space.map(&MapRequest::anonymous((pages + 1) * PAGE, Prot::READ_WRITE)).expect("room");
    // The last stays, so that no table is freed, which would be another flush.
    for page in [0, pages - 1, pages] {
        space.fault(at + page * PAGE, Access::Write).expect("memory");
    }
    let others = space.clone();
    AFTER_INVALIDATION.set(Some(Box::new(move || {
        others.inner().tlb().generation.fetch_add(1, SeqCst);
    })));
    space.unmap(at, pages * PAGE).expect("no error");
    assert!(AFTER_INVALIDATION.take().is_none(), "everything was invalidated");
    let cx = Cx::enter(vm);
    let tlb = &cx.cpu().tlb;
    let seen = tlb.slots[tlb.current.load(Relaxed) as usize % SLOTS_MAX].generation.load(Relaxed);
    assert_eq!(seen + 1, space.inner().tlb().generation.load(SeqCst));
    drop(cx);
    vm.switch_to(None);
}
