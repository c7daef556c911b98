//! One CPU's state, and being inside the core on it.

use crate::machine::Machine;
use crate::object::{self, Dying};
use crate::phys::{CpuLists, Magazines};
use crate::placed::build_at;
use crate::retire::DEAD_BATCH;
use crate::space::members::Untold;
use crate::stat::{Counters, Event};
use crate::swap::SwapCursor;
#[cfg(debug_assertions)]
use crate::sync::HeldLocks;
use crate::sync::{AtomicU64, Deferred, LocalEpoch};
use crate::tlb::{CpuTlb, GatherBuffer};
use crate::vm::Vm;
#[cfg(debug_assertions)]
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// What belongs to one CPU. Written by that CPU with pre-emption off, except where a field's type says otherwise.
#[repr(C, align(64))]
pub(crate) struct Cpu<M: Machine> {
    /// Announcement for read-copy-update; first, and with the head of the frame list on one line: both are touched by
    /// every fault.
    pub(crate) epoch: LocalEpoch<M>,
    pub(crate) lists: CpuLists<M>,
    /// How many things wait for a grace period.
    pub(crate) dead: AtomicU64<M>,
    /// Pages committed on this CPU, less those that are not any more: all CPUs' sum is what is committed.
    pub(crate) committed: AtomicU64<M>,
    /// Pages counted for a group of spaces, of which that does not know yet; other CPUs write there, too.
    pub(crate) untold: Untold<M>,
    pub(crate) counters: Counters<M>,
    pub(crate) tlb: CpuTlb<M>,
    /// Page tables waiting for a grace period.
    pub(crate) dead_tables: Deferred<M>,
    /// Slab objects waiting for a grace period.
    pub(crate) dead_objects: Deferred<M>,
    pub(crate) magazines: Magazines<M>,
    pub(crate) gather: GatherBuffer<M>,
    /// Where it takes swap slots from.
    pub(crate) swap: SwapCursor<M>,
    #[cfg(debug_assertions)]
    held: UnsafeCell<HeldLocks>,
    /// Not zero while `held` is looked at: the interrupt handler, which takes a lock, then waits. Not shared state, so
    /// not seen by the machine.
    #[cfg(debug_assertions)]
    pub(crate) checking: core::sync::atomic::AtomicU32,
}

// SAFETY: `held` is accessed only by the CPU itself with pre-emption off; everything else is atomic.
unsafe impl<M: Machine> Sync for Cpu<M> {}

impl<M: Machine> Cpu<M> {
    /// Makes one, which is too large for a stack, at `place`.
    ///
    /// # Safety
    /// `place` is valid for writes and aligned.
    pub(crate) unsafe fn build(place: *mut Self) {
        // SAFETY: the caller's contract.
        unsafe {
            build_at!(
                place,
                Cpu {
                    epoch: LocalEpoch::new(),
                    lists: CpuLists::new(),
                    dead: AtomicU64::new(0),
                    committed: AtomicU64::new(0),
                    untold: Untold::new(),
                    counters: Counters::new(),
                    tlb: CpuTlb::new(),
                    dead_tables: Deferred::new(),
                    dead_objects: Deferred::new(),
                    magazines: Magazines::new(),
                    gather: GatherBuffer::new(),
                    swap: SwapCursor::new(),
                    #[cfg(debug_assertions)]
                    held: UnsafeCell::new(HeldLocks::default()),
                    #[cfg(debug_assertions)]
                    checking: core::sync::atomic::AtomicU32::new(0),
                }
            )
        }
    }
}

/// Being inside the core: pre-emption is off and a read-side section is open, so that page tables and objects reached
/// from shared state stay allocated while this lives. Nothing sleeps while one exists.
pub(crate) struct Cx<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    cpu: &'vm Cpu<M>,
    number: usize,
    /// Objects whose last reference went inside; destroyed as soon as the core has been left.
    dying: Dying<M>,
    _not_send: PhantomData<*const ()>,
}

impl<'vm, M: Machine> Cx<'vm, M> {
    /// Enters the core on the current CPU. One atomic read-modify-write.
    #[inline(always)]
    pub(crate) fn enter(vm: &'vm Vm<M>) -> Self {
        vm.machine().disable_preemption();
        let number = vm.machine().current_cpu();
        let cpu = vm.cpu(number);
        cpu.epoch.enter(vm.epoch());
        Cx { vm, cpu, number, dying: Dying::new(), _not_send: PhantomData }
    }

    /// The context of an interrupt handler, or of a [`Reader`] who does what one does: no read-side section is opened,
    /// and none closed at its end, since the handler follows no pointer to anything that is freed by grace periods. (It
    /// may have interrupted a section.)
    pub(crate) fn interrupt(vm: &'vm Vm<M>) -> ManuallyDrop<Self> {
        let number = vm.machine().current_cpu();
        ManuallyDrop::new(Cx { vm, cpu: vm.cpu(number), number, dying: Dying::new(), _not_send: PhantomData })
    }

    #[inline(always)]
    pub(crate) fn vm(&self) -> &'vm Vm<M> {
        self.vm
    }

    #[inline(always)]
    pub(crate) fn cpu(&self) -> &'vm Cpu<M> {
        self.cpu
    }

    /// The number of the current CPU.
    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Counts an event.
    #[inline(always)]
    pub(crate) fn count(&self, event: Event, times: u64) {
        self.cpu.counters.add(event, times);
    }

    /// Serves what other CPUs posted to this one: what whoever waits for another CPU, on whatever floor, does meanwhile
    /// (J13).
    #[inline(always)]
    pub(crate) fn serve_mailbox(&self) {
        if self.cpu().tlb.mailbox.has_mail() {
            self.serve_mail();
        }
    }

    /// The objects to be destroyed when the core is left; an operation with a claim takes them away, for its end.
    pub(crate) fn dying(&self) -> &Dying<M> {
        &self.dying
    }

    /// Drops a reference to an object. If it was the last, the object is destroyed when the core is left, which may
    /// sleep.
    pub(crate) fn put_object(&self, object: NonNull<object::Inner<M>>) {
        self.dying.put(object);
    }

    /// Leaves the core, and frees nothing that waits: for a switch of spaces, which takes no lock that somebody may
    /// hold with interrupts on (J14). Who leaves next makes up for it.
    pub(crate) fn leave_without_freeing(self) {
        let cx = ManuallyDrop::new(self);
        #[cfg(debug_assertions)]
        cx.held_locks(|held| assert_eq!(held.count(), 0, "the core is left with a lock held"));
        debug_assert!(cx.dying.is_empty(), "an object that ends is left behind");
        cx.cpu.epoch.exit();
        cx.vm.machine().enable_preemption();
    }

    #[cfg(debug_assertions)]
    pub(crate) fn held_locks<R>(&self, with: impl FnOnce(&mut HeldLocks) -> R) -> R {
        let busy = self.keep_handler_out();
        // SAFETY: only this CPU accesses its list, pre-emption is off, and the interrupt handler is kept out.
        let result = with(unsafe { &mut *self.cpu.held.get() });
        self.let_handler_in(busy);
        result
    }
}

impl<M: Machine> Drop for Cx<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        self.held_locks(|held| assert_eq!(held.count(), 0, "the core is left with a lock held"));
        self.cpu.epoch.exit();
        if self.cpu.dead.load(Relaxed) >= DEAD_BATCH {
            self.free_dead();
        }
        self.vm.machine().enable_preemption();
        self.dying.destroy(self.vm);
    }
}

/// Being inside the core only to look: pre-emption is off and a read-side section is open, but nothing is locked,
/// allocated, retired or put.
pub(crate) struct Reader<'vm, M: Machine> {
    vm: &'vm Vm<M>,
    cpu: &'vm Cpu<M>,
    _not_send: PhantomData<*const ()>,
}

impl<'vm, M: Machine> Reader<'vm, M> {
    /// Enters the core. One atomic read-modify-write.
    #[inline(always)]
    pub(crate) fn enter(vm: &'vm Vm<M>) -> Self {
        vm.machine().disable_preemption();
        let cpu = vm.cpu(vm.machine().current_cpu());
        cpu.epoch.enter(vm.epoch());
        Reader { vm, cpu, _not_send: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn vm(&self) -> &'vm Vm<M> {
        self.vm
    }

    /// As [`Cx::serve_mailbox`], for who only looks, but has to wait for another CPU.
    pub(crate) fn serve_mailbox(&self) {
        // Its read-side section is open; serving needs none.
        Cx::interrupt(self.vm).serve_mailbox();
    }
}

impl<M: Machine> Drop for Reader<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.cpu.epoch.exit();
        self.vm.machine().enable_preemption();
    }
}
