//! A machine whose shared words are loom's.

use crate::cpu::Cx;
use crate::cpuset::CpuSet;
use crate::machine::{Asid, Machine, MemoryRange, RootLoad};
use crate::phys::Pfn;
use crate::sync::{Modify, Word};
use crate::testing::TestMachine;
use crate::vm::Vm;
use core::cell::{Cell, RefCell};
use core::ops::Range;
use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic;
use std::boxed::Box;
use std::collections::HashMap;
use std::rc::Rc;
use std::vec::Vec;

/// A fence before each sequentially consistent access.
pub(super) const LEADING: u32 = 0;
/// One after each instead.
pub(super) const TRAILING: u32 = 1;
/// Nothing releases.
pub(super) const NO_RELEASE: u32 = 2;
/// Nothing acquires.
pub(super) const NO_ACQUIRE: u32 = 4;
/// Fences do nothing.
pub(super) const NO_FENCES: u32 = 8;
/// Sequentially consistent accesses acquire and release, no more.
pub(super) const NO_SEQ_CST: u32 = 16;

/// Frames of the machine: enough for a `Vm` with a space.
const FRAMES: u64 = 96;
const CPUS: usize = 2;

/// A machine with two CPUs. It carries accesses to shared words out as [`begin`] was told. All other words are the host's,
/// and accesses to them are no points at which loom switches. If `LIES`, it says that its read-modify-writes are barriers,
/// which they are not.
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

/// The words that are loom's. All threads of a model are one thread of the host.
#[derive(Default)]
struct Shared {
    /// The constants above, or-ed.
    how: u32,
    ranges: Vec<Range<usize>>,
    words: HashMap<usize, Mirror>,
    /// Whether the threads have been started: no word may be new then, since its creation would be a race.
    is_sealed: bool,
    is_muted: bool,
    hooks: Hooks,
}

/// What happens on a CPU.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    /// It drops translations.
    pub(super) invalidate: Option<Rc<dyn Fn()>>,
    /// It is interrupted. Only before [`seal`]: afterwards the CPUs are threads, and look for themselves.
    pub(super) interrupt: Option<Rc<dyn Fn()>>,
}

#[derive(Clone)]
enum Mirror {
    Narrow(Rc<atomic::AtomicU32>),
    Wide(Rc<atomic::AtomicU64>),
}

std::thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
    /// One for all executions: between them the words that are not shared are as they were.
    static VM: Cell<Option<&'static Vm<LoomMachine>>> = const { Cell::new(None) };
}

/// Begins an exploration.
pub(super) fn reset() {
    VM.take();
}

/// Begins an execution, in which accesses are carried out so: the constants of this module, or-ed.
pub(super) fn begin(how: u32) {
    SHARED.set(Shared { how, ..Shared::default() });
}

fn does(what: u32) -> bool {
    SHARED.with_borrow(|shared| shared.how & what != 0)
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
    SHARED.with_borrow_mut(|shared| shared.hooks = hooks);
}

fn hooks() -> Hooks {
    SHARED.with_borrow(|shared| shared.hooks.clone())
}

fn invalidated() {
    if let Some(body) = hooks().invalidate {
        body();
    }
}

/// Makes the words of `place` loom's, from the first access to each on, which must come before [`seal`].
pub(super) fn share<T>(place: &T) {
    let start = (&raw const *place).addr();
    SHARED.with_borrow_mut(|shared| shared.ranges.push(start..start + size_of_val(place)));
}

/// Ends the preparation of an execution.
pub(super) fn seal() {
    SHARED.with_borrow_mut(|shared| shared.is_sealed = true);
}

/// Enters the core on the current CPU, which is no part of what is checked.
pub(super) fn enter(vm: &Vm<LoomMachine>) -> Cx<'_, LoomMachine> {
    unseen(|| Cx::enter(vm))
}

/// Does `body` behind loom's back.
pub(super) fn unseen<R>(body: impl FnOnce() -> R) -> R {
    let mute = |is_muted| SHARED.with_borrow_mut(|shared| shared.is_muted = is_muted);
    mute(true);
    let result = body();
    mute(false);
    result
}

/// Whether accesses are to be seen: not while a failed execution is unwound.
fn is_watched() -> bool {
    !std::thread::panicking() && SHARED.with_borrow(|shared| !shared.is_muted)
}

fn mirror<W: Word>(word: &W) -> Option<Mirror> {
    if !is_watched() {
        return None;
    }
    let address = (&raw const *word).addr();
    SHARED.with_borrow_mut(|shared| {
        if !shared.ranges.iter().any(|range| range.contains(&address)) {
            return None;
        }
        let is_sealed = shared.is_sealed;
        let mirror = shared.words.entry(address).or_insert_with(|| {
            assert!(!is_sealed, "a shared word is touched first by a thread");
            let value = word.load(Relaxed).into();
            match W::SIZE {
                4 => Mirror::Narrow(Rc::new(atomic::AtomicU32::new(value as u32))),
                _ => Mirror::Wide(Rc::new(atomic::AtomicU64::new(value))),
            }
        });
        Some(mirror.clone())
    })
}

impl Mirror {
    fn load(&self, order: Ordering) -> u64 {
        match self {
            Mirror::Narrow(word) => word.load(order).into(),
            Mirror::Wide(word) => word.load(order),
        }
    }

    fn store(&self, value: u64, order: Ordering) {
        match self {
            Mirror::Narrow(word) => word.store(value as u32, order),
            Mirror::Wide(word) => word.store(value, order),
        }
    }

    fn modify(&self, change: Modify<u64>, order: Ordering) -> Result<u64, u64> {
        macro_rules! on {
            ($word:expr, $int:ty) => {
                match change {
                    Modify::Swap(value) => Ok($word.swap(value as $int, order).into()),
                    Modify::Add(value) => Ok($word.fetch_add(value as $int, order).into()),
                    Modify::Subtract(value) => Ok($word.fetch_sub(value as $int, order).into()),
                    Modify::Or(bits) => Ok($word.fetch_or(bits as $int, order).into()),
                    Modify::And(bits) => Ok($word.fetch_and(bits as $int, order).into()),
                    Modify::CompareExchange { current, new } => {
                        let failure = if matches!(order, Acquire | AcqRel) { Acquire } else { Relaxed };
                        let result = $word.compare_exchange(current as $int, new as $int, order, failure);
                        result.map(u64::from).map_err(u64::from)
                    }
                }
            };
        }
        match self {
            Mirror::Narrow(word) => on!(word, u32),
            Mirror::Wide(word) => on!(word, u64),
        }
    }
}

/// Carries `access` out: with the order, of those loom knows exactly, that stands for `order`, and fences.
fn carry_out<R>(order: Ordering, exact: Ordering, access: impl FnOnce(Ordering) -> R) -> R {
    let is_seq_cst = order == SeqCst && !does(NO_SEQ_CST);
    let order = match if order == SeqCst { exact } else { order } {
        Release if does(NO_RELEASE) => Relaxed,
        AcqRel if does(NO_RELEASE) => Acquire,
        Acquire if does(NO_ACQUIRE) => Relaxed,
        AcqRel if does(NO_ACQUIRE) => Release,
        order => order,
    };
    if is_seq_cst && !does(TRAILING) {
        atomic::fence(SeqCst);
    }
    let result = access(order);
    if is_seq_cst && does(TRAILING) {
        atomic::fence(SeqCst);
    }
    result
}

fn value<W: Word>(value: u64) -> W::Value {
    W::Value::try_from(value).unwrap_or_else(|_| panic!("a mirror is as wide as its word"))
}

/// `change`, in a form that does not depend on the word.
fn wide<V: Into<u64>>(change: Modify<V>) -> Modify<u64> {
    match change {
        Modify::Swap(value) => Modify::Swap(value.into()),
        Modify::Add(value) => Modify::Add(value.into()),
        Modify::Subtract(value) => Modify::Subtract(value.into()),
        Modify::Or(bits) => Modify::Or(bits.into()),
        Modify::And(bits) => Modify::And(bits.into()),
        Modify::CompareExchange { current, new } => {
            Modify::CompareExchange { current: current.into(), new: new.into() }
        }
    }
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
        let is_sealed = SHARED.with_borrow(|shared| shared.is_sealed);
        if let Some(body) = hooks().interrupt.filter(|_| !is_sealed) {
            let sender = self.current_cpu();
            cpus.iter().for_each(|cpu| {
                become_cpu(cpu);
                body();
            });
            become_cpu(sender);
        }
    }

    fn wait_change(&self, _word: &core::sync::atomic::AtomicU32, _seen: u32) {
        if is_watched() {
            loom::thread::yield_now();
        }
    }

    fn now(&self) -> u64 {
        0
    }

    fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
        match mirror(word) {
            Some(mirror) => value::<W>(carry_out(order, Acquire, |order| mirror.load(order))),
            None => word.load(order),
        }
    }

    fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
        match mirror(word) {
            Some(mirror) => carry_out(order, Release, |order| mirror.store(value.into(), order)),
            None => word.store(value, order),
        }
    }

    fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
        match mirror(word) {
            Some(mirror) => {
                carry_out(order, AcqRel, |order| mirror.modify(wide(change), order)).map(value::<W>).map_err(value::<W>)
            }
            None => word.modify(change, order),
        }
    }

    fn fence(order: Ordering) {
        if is_watched() && !does(NO_FENCES) {
            atomic::fence(order);
        }
    }
}
