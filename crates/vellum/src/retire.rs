//! Freeing after a grace period what was unlinked.
//!
//! Whoever retires chains the thing on his CPU. Leaving the core, that CPU frees what has waited long enough, once
//! enough has come together: in portions, since pre-emption is off meanwhile; what is left is for those who leave after
//! him.

use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::phys::{Kind, Pfn};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// How many things may wait for a grace period on a CPU before leaving the core tries to free them.
pub(crate) const DEAD_BATCH: u64 = 32;
/// How many are freed at a time: more than come with any one section, so that the rest is made up for.
const DEAD_PORTION: u64 = 8 * DEAD_BATCH;

impl<M: Machine> Cx<'_, M> {
    /// Retires a slab object whose first 16 bytes no reader looks at: it is freed after a grace period.
    pub(crate) fn retire(&self, object: NonNull<u8>, size: usize) {
        if !M::guard(Guard::GracePeriod) {
            return self.slab_free(object, size);
        }
        self.cpu().dead.add_owned(1);
        let link = object.cast::<[u64; 2]>();
        self.cpu().dead_objects.push(object.as_ptr().expose_provenance() as u64, self.vm().epoch().retire(), |next| {
            // SAFETY: the first 16 bytes of a retired object are this CPU's, by the caller's promise.
            unsafe { link.write([next, size as u64]) };
        });
    }

    /// Retires a page table, all empty, which no entry and no paging-structure cache names any more.
    pub(crate) fn retire_table(&self, pfn: Pfn) {
        let frame = self.vm().physical().frame(pfn);
        if !M::guard(Guard::GracePeriod) {
            self.free_dead_table(pfn.0 + 1);
            return;
        }
        self.cpu().dead.add_owned(1);
        self.cpu().dead_tables.push(pfn.0 + 1, self.vm().epoch().retire(), |next| frame.link.store(next, Relaxed));
    }

    /// Frees of what this CPU retired and whose grace period is over, one portion; whether there is more of it. The CPU
    /// is quiescent, pre-emption off.
    #[cold]
    pub(crate) fn free_dead(&self) -> bool {
        let (vm, cpu) = (self.vm(), self.cpu());
        let mut left = DEAD_PORTION;
        for _ in 0..2 {
            let now = vm.epoch().advance(vm.cpus().map(|cpu| &cpu.epoch));
            left -= cpu.dead_tables.free_expired(now, left, |table| self.free_dead_table(table));
            left -= cpu.dead_objects.free_expired(now, left, |object| self.free_dead_object(object));
        }
        let is_more = cpu.dead_tables.is_ready() || cpu.dead_objects.is_ready();
        // While a grace period cannot end, try again only after as many more; what needs none is for the next who
        // leaves.
        let waiting = cpu.dead_tables.len() + cpu.dead_objects.len();
        cpu.dead.store(if is_more { DEAD_BATCH } else { waiting % DEAD_BATCH }, Relaxed);
        is_more
    }

    /// Frees a table, frame + 1; what follows it.
    fn free_dead_table(&self, table: u64) -> u64 {
        let pfn = Pfn(table - 1);
        let frame = self.vm().physical().frame(pfn);
        let next = frame.link.load(Relaxed);
        match frame.kind() {
            Kind::Table => self.free_table_frame(pfn),
            _ => self.free_frame(pfn),
        }
        next
    }

    /// Frees the object at `address`; the address of what follows it.
    fn free_dead_object(&self, address: u64) -> u64 {
        let Some(object) = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(address as usize)) else {
            return 0;
        };
        // SAFETY: `retire` wrote the link there, and nobody else has the object any more.
        let [next, size] = unsafe { object.cast::<[u64; 2]>().read() };
        self.slab_free(object, size as usize);
        next
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::Cx;
    use crate::testing::{TestMachine, become_cpu};
    use crate::vm::Vm;
    use std::vec::Vec;

    const OBJECTS: u64 = 1280;
    /// The most that one who leaves is to free.
    const AT_ONCE: u64 = 256;

    /// Has one section retire a great many objects.
    fn boot() -> Vm<TestMachine> {
        become_cpu(0);
        let vm = Vm::new(TestMachine::new(1000)).expect("a machine that boots");
        let cx = Cx::enter(&vm);
        let objects: Vec<_> = (0..OBJECTS).map(|_| cx.slab_alloc(64).expect("memory")).collect();
        objects.iter().for_each(|&object| cx.retire(object, 64));
        // As if a reader had kept the grace period from ending until now.
        for _ in 0..3 {
            cx.cpu().epoch.exit();
            vm.epoch().advance(core::iter::once(&cx.cpu().epoch));
        }
        cx.leave_without_freeing();
        vm
    }

    fn waiting(vm: &Vm<TestMachine>) -> u64 {
        vm.cpu(0).dead_objects.len()
    }

    /// Who leaves the core pays for a portion, whoever retired what waits there.
    #[test]
    fn what_waits_is_freed_in_portions() {
        let vm = boot();
        let mut before = waiting(&vm);
        assert_eq!(before, OBJECTS);
        let mut leaves = 0;
        while before > 0 {
            drop(Cx::enter(&vm));
            let now = waiting(&vm);
            assert!(before - now <= AT_ONCE, "{} freed at once", before - now);
            (before, leaves) = (now, leaves + 1);
            assert!(leaves < 20, "{now} are left for ever");
        }
        vm.audited().expect("a sound machine");
    }

    /// A switch of spaces comes to no lock of an allocator, however much waits.
    #[test]
    fn a_switch_frees_nothing() {
        let vm = boot();
        vm.switch_to(None);
        vm.enter_lazy();
        assert_eq!(waiting(&vm), OBJECTS);
        vm.quiesce();
        assert_eq!(waiting(&vm), 0);
    }
}
