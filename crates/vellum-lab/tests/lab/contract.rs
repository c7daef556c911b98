//! Every hosted machine counts pre-emption: it sees a core that nests, as if its embedder had not let it out, and
//! nothing where an area is switched off, which reads its device on behalf of programs that have not asked for it.

use crate::toys::Toy;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use vellum::arch::{Arch, Prot, X86_64};
use vellum::ops::{Access, Advice, MapRequest};
use vellum::{AreaId, Machine, Space, SwapUsage, Vm};
use vellum_lab::det::Det;
use vellum_lab::explore::{Bound, Execution, MemoryOrder, Plan, Program, Way, search};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::host::Host;
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

/// Switches an area off with a page in it, outside the core as it has to be: nothing is said.
fn swap_off<M: Machine>(vm: &Vm<M>) {
    let (_space, area) = page_out(vm);
    vm.swap_off(area).expect("room for a page");
    assert_eq!(vm.swap_usage(), SwapUsage::default());
}

/// What is said when the core is entered with pre-emption off. What the panic leaves is not ended.
fn panic_of_nesting<M: Machine>(vm: &Vm<M>) -> String {
    vm.machine().disable_preemption();
    let panic = catch_unwind(AssertUnwindSafe(|| vm.swap_usage())).expect_err("a break is reported");
    panic.downcast_ref::<String>().cloned().expect("a text")
}

fn config() -> MachineConfig {
    MachineConfig::new(1, 1024)
}

const NESTED: &str = "I-ATOMIC: CPU 0: the core switches pre-emption off, and has done so already";

#[test]
fn det_counts() {
    let vm = ManuallyDrop::new(Vm::new(Host::Det(Det::<X86_64>::new(&config()).expect("memory"))).expect("a machine"));
    swap_off(&vm);
    assert_eq!(panic_of_nesting(&vm), NESTED);
}

#[test]
fn threads_count() {
    let host = ManuallyDrop::new(ThreadHost::<X86_64>::new(&config(), Mmus::None).expect("a machine"));
    let _cpu = ManuallyDrop::new(host.enter(0));
    swap_off(host.vm());
    assert_eq!(panic_of_nesting(host.vm()), NESTED);
}

/// A page goes to swap and comes back with the area; then the core is entered with pre-emption off, or not.
struct SwapOff {
    nests: bool,
}

/// One execution. Its machine is not given back: what a violation leaves locked is not ended.
struct Once {
    vm: &'static Vm<Lab<Toy>>,
    nests: bool,
}

impl Program for SwapOff {
    fn cpus(&self) -> usize {
        1
    }

    fn start(&self) -> Arc<dyn Execution> {
        let machine = Lab::new(&config()).expect("memory");
        let vm = Box::leak(Box::new(Vm::new(machine).expect("a machine")));
        Arc::new(Once { vm, nests: self.nests })
    }
}

impl Execution for Once {
    fn memory(&self) -> Vec<Range<usize>> {
        let vm = (&raw const *self.vm).addr();
        let range = self.vm.machine().memory().ranges()[0];
        let start = self.vm.machine().memory().frame(range.start).addr();
        vec![start..start + range.frames as usize * page::<Lab<Toy>>() as usize, vm..vm + size_of_val(self.vm)]
    }

    fn run(&self, _cpu: usize) {
        swap_off(self.vm);
        if self.nests {
            self.vm.machine().disable_preemption();
            let _ = self.vm.swap_usage();
        }
    }
}

#[test]
fn the_laboratory_counts() {
    let plan =
        Plan::new(Way::Exhaustive { bound: Bound { preemptions: 0, surprises: 0 }, reduce: true }, MemoryOrder::Sc);
    let outcome = search(Arc::new(SwapOff { nests: false }), &plan).expect("a search");
    assert!(outcome.broken.is_none() && outcome.exhaustive, "{:?}", outcome.broken);
    let outcome = search(Arc::new(SwapOff { nests: true }), &plan).expect("a search");
    let (broken, _) = outcome.broken.expect("a break is reported");
    assert_eq!(format!("{}: {}", broken.invariant, broken.detail), NESTED);
}
