//! Every hosted machine sees what the core is known to do wrong: `swap_off` reads its device with pre-emption off, and
//! nests (FINDINGS W2). When that is mended, these tests assert that it does not.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use vellum::arch::{Arch, Prot, Tiny, X86_64};
use vellum::ops::{Access, Advice, MapRequest};
use vellum::{AreaId, Machine, Space, Vm};
use vellum_lab::contract;
use vellum_lab::det::Det;
use vellum_lab::explore::{Bound, Execution, MemoryOrder, Plan, Program, Way, search};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::lab::Lab;
use vellum_lab::swap_device::MemoryDevice;
use vellum_lab::threads::{Mmus, ThreadHost};

fn page<M: Machine>() -> u64 {
    1 << M::Arch::PAGE_SHIFT
}

/// A space with a page in swap, which breaks nothing, and the area.
fn page_out<M: Machine>(vm: &Vm<M>) -> (Space<'_, M>, AreaId) {
    let area = vm.swap_on(MemoryDevice::new(16, page::<M>() as usize), 0).expect("swap");
    let space = vm.create_space().expect("a space");
    let address = space.map(&MapRequest::anonymous(page::<M>(), Prot::READ_WRITE)).expect("room");
    space.fault(address, Access::Write).expect("mapped");
    space.advise(address, page::<M>(), Advice::PageOut).expect("mapped");
    assert_eq!(vm.swap_usage().used, 1);
    (space, area)
}

/// What is said when an area is switched off. What the panic leaves locked is not ended.
fn panic_of_swap_off<M: Machine>(vm: &Vm<M>) -> String {
    let (space, area) = page_out(vm);
    let _space = ManuallyDrop::new(space);
    let panic = catch_unwind(AssertUnwindSafe(|| vm.swap_off(area))).expect_err("mended: see above");
    panic.downcast_ref::<String>().cloned().expect("a text")
}

fn config() -> MachineConfig {
    MachineConfig::new(1, 1024)
}

#[test]
fn det_panics() {
    let vm = ManuallyDrop::new(Vm::new(Det::<X86_64>::new(&config()).expect("memory")).expect("a machine"));
    let said = panic_of_swap_off(&vm);
    assert!(said.starts_with("I-ATOMIC: CPU 0: ") && said.contains("pre-emption off"), "{said}");
}

#[test]
fn threads_panic() {
    let host = ManuallyDrop::new(ThreadHost::<X86_64>::new(&config(), Mmus::None).expect("a machine"));
    let _cpu = ManuallyDrop::new(host.enter(0));
    let said = panic_of_swap_off(host.vm());
    assert!(said.starts_with("I-ATOMIC: CPU 0: ") && said.contains("pre-emption off"), "{said}");
}

/// A page goes to swap and comes back with the area.
struct SwapOff;

/// One execution. Its machine is not given back: what a violation leaves locked is not ended.
struct Once(&'static Vm<Lab<Tiny>>);

impl Program for SwapOff {
    fn cpus(&self) -> usize {
        1
    }

    fn start(&self) -> Arc<dyn Execution> {
        let machine = Lab::new(&config()).expect("memory");
        Arc::new(Once(Box::leak(Box::new(Vm::new(machine).expect("a machine")))))
    }
}

impl Execution for Once {
    fn memory(&self) -> Vec<Range<usize>> {
        let vm = (&raw const *self.0).addr();
        let range = self.0.machine().memory().ranges()[0];
        let start = self.0.machine().memory().frame(range.start).addr();
        vec![start..start + range.frames as usize * page::<Lab<Tiny>>() as usize, vm..vm + size_of_val(self.0)]
    }

    fn run(&self, _cpu: usize) {
        let (_space, area) = page_out(self.0);
        let _ = self.0.swap_off(area);
    }
}

#[test]
fn the_laboratory_reports_it() {
    let plan =
        Plan::new(Way::Exhaustive { bound: Bound { preemptions: 0, surprises: 0 }, reduce: true }, MemoryOrder::Sc);
    let outcome = search(Arc::new(SwapOff), &plan).expect("a search");
    let (broken, _) = outcome.broken.expect("mended: see above");
    assert_eq!(broken.invariant, "I-ATOMIC");
    assert!(broken.detail.contains("pre-emption"), "{}", broken.detail);
}

#[test]
fn what_is_known_passes_where_it_is_said() {
    let vm = Vm::new(Det::<X86_64>::new(&config()).expect("memory")).expect("a machine");
    let (space, area) = page_out(&vm);
    contract::known_to_break(|| vm.swap_off(area)).expect("room for a page");
    drop(space);
    vm.audit().expect("a sound end");
}
