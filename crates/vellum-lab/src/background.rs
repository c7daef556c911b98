//! The task that frees memory in the background, as a kernel has one: here each user does a turn of it after an access
//! that faulted, if a node has little left. So whoever needs memory rarely has to reclaim it first.

use crate::latency::FaultLatency;
use vellum::{Machine, Vm};

/// Faults for which nothing is tried after there was nothing to free.
const PAUSE: u64 = 256;

/// One user's part in it.
#[derive(Debug, Default)]
pub(crate) struct Background {
    faults: u64,
    /// Before so many faults nothing is tried.
    next: u64,
}

impl Background {
    /// To be called outside the core after accesses, whose faults `latency` counts.
    #[inline]
    pub(crate) fn after_access<M: Machine>(&mut self, vm: &Vm<M>, latency: &FaultLatency) {
        if latency.total() != self.faults {
            self.faults = latency.total();
            self.after_fault(vm);
        }
    }

    #[inline(never)]
    fn after_fault<M: Machine>(&mut self, vm: &Vm<M>) {
        if self.faults >= self.next && vm.needs_reclaim().is_some() && vm.reclaim_background() == 0 {
            self.next = self.faults + PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::det::Det;
    use crate::hardware::MachineConfig;
    use vellum::arch::{Prot, X86_64};
    use vellum::ops::{Access, FaultKind, MapRequest};
    use vellum::stat::Event;

    #[test]
    fn it_waits_where_there_is_nothing_to_free() {
        let vm = Vm::new(Det::<X86_64>::new(&MachineConfig::new(1, 1024)).unwrap()).unwrap();
        // It takes no page until its limit says so.
        vm.swap_on_memory(64, 0).unwrap();
        vm.set_compressed_limit(0);
        let space = vm.create_space().unwrap();
        let base = space.map(&MapRequest::anonymous(1024 << 12, Prot::READ_WRITE)).unwrap();
        let (mut background, mut latency) = (Background::default(), FaultLatency::default());
        let mut at = base;
        while vm.needs_reclaim().is_none() {
            space.fault(at, Access::Write).unwrap();
            at += 4096;
        }
        let runs = || vm.totals().get(Event::PageOutRun);
        for _ in 0..PAUSE {
            latency.record(FaultKind::Anonymous, 1);
            background.after_access(&vm, &latency);
            background.after_access(&vm, &latency);
        }
        assert_eq!(runs(), 1);
        vm.set_compressed_limit(64);
        latency.record(FaultKind::Anonymous, 1);
        background.after_access(&vm, &latency);
        assert_eq!(runs(), 2);
    }
}
