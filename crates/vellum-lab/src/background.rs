//! The tasks that a kernel has in the background; here each user does a turn of them after an access.
//!
//! One frees memory, after a fault, if a node has little left: so whoever needs memory rarely has to reclaim it first.
//! The other makes huge pages of small ones where the policy wants them, a few places from time to time.

use crate::latency::FaultLatency;
use vellum::ops::CollapseLimits;
use vellum::{Machine, Vm};

/// Faults for which nothing is tried after there was nothing to free.
const PAUSE: u64 = 256;
/// Accesses of a user from one look for small pages to the next.
const COLLAPSE_EVERY: u64 = 1 << 13;
/// Places looked at then: as many as Linux's task looks at in a turn.
const COLLAPSE_PLACES: u64 = 8;

/// One user's part in it.
#[derive(Debug, Default)]
pub(crate) struct Background {
    faults: u64,
    /// Before so many faults nothing is tried.
    next: u64,
    accesses: u64,
}

impl Background {
    /// To be called outside the core after accesses, whose faults `latency` counts.
    #[inline]
    pub(crate) fn after_access<M: Machine>(&mut self, vm: &Vm<M>, latency: &FaultLatency) {
        if latency.total() != self.faults {
            self.faults = latency.total();
            self.after_fault(vm);
        }
        self.accesses += 1;
        if self.accesses.is_multiple_of(COLLAPSE_EVERY) {
            vm.collapse(COLLAPSE_PLACES, &CollapseLimits::default());
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
    use crate::hardware::MachineConfig;
    use crate::hosted::Hosted;
    use vellum::arch::{Prot, X86_64};
    use vellum::ops::{Access, FaultKind, HugePages, MapRequest};
    use vellum::stat::Event;

    #[test]
    fn it_waits_where_there_is_nothing_to_free() {
        let hosted = Hosted::<X86_64>::new(&MachineConfig::new(1, 1024)).unwrap();
        let vm = hosted.vm();
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
            background.after_access(vm, &latency);
            background.after_access(vm, &latency);
        }
        assert_eq!(runs(), 1);
        vm.set_compressed_limit(64);
        latency.record(FaultKind::Anonymous, 1);
        background.after_access(vm, &latency);
        assert_eq!(runs(), 2);
    }

    #[test]
    fn small_pages_become_huge_ones_while_a_program_runs() {
        let hosted = Hosted::<X86_64>::new(&MachineConfig::new(1, 4096)).unwrap();
        let vm = hosted.vm();
        let space = vm.create_space().unwrap();
        let base = space.map(&MapRequest::anonymous(2 << 21, Prot::READ_WRITE)).unwrap();
        vm.set_huge_pages(HugePages::Never);
        for page in 0..1024 {
            space.fault(base + page * 4096, Access::Write).unwrap();
        }
        let (mut background, latency) = (Background::default(), FaultLatency::default());
        let mut run = |accesses: u64| (0..accesses).for_each(|_| background.after_access(vm, &latency));
        run(COLLAPSE_EVERY);
        assert_eq!(vm.totals().get(Event::Collapse), 0, "by no policy");
        vm.set_huge_pages(HugePages::Always);
        run(COLLAPSE_EVERY - 1);
        assert_eq!(vm.totals().get(Event::Collapse), 0, "it is not time yet");
        run(1);
        assert_eq!(vm.totals().get(Event::Collapse), 2);
    }
}
