//! A machine whose shared words are loom's.

use super::words;
use crate::cpu::Cx;
use crate::cpuset::CpuSet;
use crate::machine::{Asid, Machine, MemoryRange, RootLoad};
use crate::phys::Pfn;
use crate::sync::{Modify, Word};
use crate::testing::TestMachine;
use crate::vm::Vm;
use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering;
use std::boxed::Box;
use std::rc::Rc;

/// Frames of the machine: enough for a `Vm` with a space.
const FRAMES: u64 = 96;
const CPUS: usize = 2;

/// A machine with two CPUs. It carries accesses to shared words out as [`words::begin`] was told. All other words are
/// the host's, and accesses to them are no points at which loom switches. If `LIES`, it says that its
/// read-modify-writes are barriers, which they are not.
pub(super) struct LoomMachine<const LIES: bool = false> {
    host: TestMachine,
}

loom::thread_local! {
    static CPU: Cell<usize> = Cell::new(0);
}

/// From now on the current thread of the model is CPU `cpu`.
pub(super) fn become_cpu(cpu: usize) {
    CPU.with(|current| current.set(cpu));
}

/// What happens on a CPU.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    /// It drops translations.
    pub(super) invalidate: Option<Rc<dyn Fn()>>,
    /// It is interrupted. Only before [`words::seal`]: afterwards the CPUs are threads, and look for themselves.
    pub(super) interrupt: Option<Rc<dyn Fn()>>,
}

std::thread_local! {
    static HOOKS: RefCell<Hooks> = RefCell::default();
    /// One for all executions: between them the words that are not shared are as they were.
    static VM: Cell<Option<&'static Vm<LoomMachine>>> = const { Cell::new(None) };
}

/// Begins an exploration.
pub(super) fn reset() {
    VM.take();
    HOOKS.take();
}

/// The exploration's `Vm`, which is never freed.
pub(super) fn vm() -> &'static Vm<LoomMachine> {
    // On a thread of its own, since the stacks of loom's are small.
    let boot = || {
        let host = TestMachine::with(&[(0x100, FRAMES, 0)], &[0; CPUS]);
        &*Box::leak(Box::new(Vm::new(LoomMachine { host }).expect("enough memory")))
    };
    let vm = VM.get().unwrap_or_else(|| std::thread::spawn(boot).join().expect("the core boots"));
    VM.set(Some(vm));
    vm
}

/// Sets what is done when something happens on a CPU.
pub(super) fn set_hooks(hooks: Hooks) {
    HOOKS.set(hooks);
}

fn hooks() -> Hooks {
    HOOKS.with_borrow(Hooks::clone)
}

fn invalidated() {
    if let Some(body) = hooks().invalidate {
        body();
    }
}

/// Enters the core on the current CPU, which is no part of what is checked.
pub(super) fn enter(vm: &Vm<LoomMachine>) -> Cx<'_, LoomMachine> {
    words::unseen(|| Cx::enter(vm))
}

// SAFETY: memory is the test machine's; threads of a model are CPUs as `become_cpu` demands.
unsafe impl<const LIES: bool> Machine for LoomMachine<LIES> {
    type Arch = crate::arch::X86_64;

    const SWAP_IS_BARRIER: bool = LIES;

    fn cpu_count(&self) -> usize {
        self.host.cpu_count()
    }

    fn memory(&self) -> &[MemoryRange] {
        self.host.memory()
    }

    fn frame(&self, pfn: Pfn) -> *mut u8 {
        self.host.frame(pfn)
    }

    fn current_cpu(&self) -> usize {
        CPU.with(Cell::get)
    }

    fn disable_preemption(&self) {}

    fn enable_preemption(&self) {}

    fn load_root(&self, _load: RootLoad) {}

    fn unload_root(&self) {}

    fn invalidate_page(&self, _asid: Asid, _address: u64) {
        invalidated();
    }

    fn invalidate_asid(&self, _asid: Asid) {
        invalidated();
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        if let Some(body) = hooks().interrupt.filter(|_| !words::is_sealed()) {
            let sender = self.current_cpu();
            cpus.iter().for_each(|cpu| {
                become_cpu(cpu);
                body();
            });
            become_cpu(sender);
        }
    }

    fn wait_change(&self, _word: &core::sync::atomic::AtomicU32, _seen: u32) {
        if words::is_watched() {
            loom::thread::yield_now();
        }
    }

    fn now(&self) -> u64 {
        0
    }

    fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
        words::load(word, order)
    }

    fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
        words::store(word, value, order)
    }

    fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
        words::modify(word, change, order)
    }

    fn fence(order: Ordering) {
        words::fence(order)
    }
}
