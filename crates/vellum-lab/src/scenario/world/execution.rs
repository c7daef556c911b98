//! The world as the explorer sees it: what its memory is, what a CPU does next, and what it may do of itself.

use super::World;
use crate::explore::{Broken, Execution, WordId, sim};
use crate::lab::Lab;
use crate::poison::lock;
use crate::scenario::ops::Ops;
use std::ops::Range;
use vellum::Vm;
use vellum::arch::Arch;
use vellum::phys::Kind;

impl<A: Arch> World<A> {
    /// The pages whose translations the hardware may cache when it likes.
    fn watched(&self) -> Vec<u64> {
        if A::semantics().software_tlb { Vec::new() } else { lock(&self.shared.watched).clone() }
    }

    /// Each CPU and watched page such that the CPU could begin to cache something by way of the entry at `address`.
    fn possible_fills(&self, address: usize) -> Vec<(usize, u64)> {
        if !self.may_be_cached(address) {
            return Vec::new();
        }
        let machine = self.vm().machine();
        self.imaginable_fills().filter(|&(cpu, page)| machine.could_fill(&self.toy, cpu, page, address)).collect()
    }

    /// Each CPU and watched page.
    fn imaginable_fills(&self) -> impl Iterator<Item = (usize, u64)> {
        let watched = self.watched();
        (0..self.scenario.actors.len()).flat_map(move |cpu| watched.clone().into_iter().map(move |page| (cpu, page)))
    }

    /// Each watched page whose translation `cpu` could cache now, and does not.
    fn possible_fills_on(&self, cpu: usize) -> Vec<u64> {
        self.watched().into_iter().filter(|&page| self.vm().machine().could_fill_now(&self.toy, cpu, page)).collect()
    }

    fn fill_for(&self, cpu: usize, page: u64) {
        sim::happened_on(cpu, || format!("(fills its TLB for {page:#x} speculatively)"));
        self.vm().machine().speculate(&self.toy, cpu, page);
    }
}

impl<A: Arch> Execution for World<A> {
    fn memory(&self) -> Vec<Range<usize>> {
        let memory = self.vm().machine().memory();
        let of_ranges = memory.ranges().iter().map(|range| {
            let start = memory.frame(range.start).addr();
            start..start + ((range.frames as usize) << A::PAGE_SHIFT)
        });
        let vm = self.vm.as_ptr().addr();
        let swap = lock(&self.swap).as_ref().map(|(device, _)| device.marks());
        of_ranges
            .chain(std::iter::once(vm..vm + size_of::<Vm<Lab<A>>>()))
            .chain(swap)
            .chain(std::iter::once(self.devices.memory()))
            .collect()
    }

    fn run(&self, cpu: usize) {
        (self.scenario.actors[cpu].run)(&self.cpu());
    }

    fn interrupt(&self, cpu: usize) {
        if self.devices.has_interrupted(cpu) {
            sim::happened(|| "interrupt: the device's handler".into());
            (self.scenario.on_device)(&self.cpu());
        }
        if self.vm().machine().has_flush_interrupt(cpu) {
            sim::happened(|| "interrupt: flush handler".into());
            // SAFETY: a CPU is a task, whose work no other takes over.
            unsafe { self.vm().handle_interrupt() };
        }
    }

    fn may_be_cached(&self, address: usize) -> bool {
        !A::semantics().software_tlb && self.is_table(address)
    }

    fn fills_on(&self, cpu: usize) -> u8 {
        self.possible_fills_on(cpu).len() as u8
    }

    fn words_of_fills_on(&self, cpu: usize) -> Vec<WordId> {
        self.watched().into_iter().flat_map(|page| self.vm().machine().words_of_fill(&self.toy, cpu, page)).collect()
    }

    fn fill_on(&self, cpu: usize, which: u8) {
        self.fill_for(cpu, self.possible_fills_on(cpu)[which as usize]);
    }

    fn fills(&self, address: usize) -> u8 {
        self.possible_fills(address).len().min(200) as u8
    }

    fn words_of_fills(&self, address: usize) -> Vec<WordId> {
        let (fills, machine) = (self.imaginable_fills(), self.vm().machine());
        fills.flat_map(|(cpu, page)| machine.words_of_fill_by(&self.toy, cpu, page, address)).collect()
    }

    fn fill(&self, address: usize, which: u8) {
        let (cpu, page) = self.possible_fills(address)[which as usize];
        self.fill_for(cpu, page);
    }

    fn check(&self, address: usize) -> Option<Broken> {
        let frame = self.vm().machine().frame_at(address)?;
        match self.vm().frame_kind(frame)? {
            kind @ (Kind::Free | Kind::Cached | Kind::Anonymous | Kind::File) => Some(Broken {
                invariant: "I-PTFREE".into(),
                detail: format!("the core reads or writes frame F{:x} as its own, which is {kind:?}", frame.0),
            }),
            _ => None,
        }
    }

    fn describe_store(&self, address: usize, old: u64, new: u64) -> Option<String> {
        self.entry_change(address, old, new)
    }

    fn describe_detail(&self, address: usize, old: u64, new: u64) -> Option<String> {
        self.word_change(address, old, new)
    }

    fn describe_wait(&self, address: usize, holder: Option<usize>) -> Option<String> {
        Some(self.wait(address, holder))
    }

    fn end(&self) {
        for _ in 0..2 {
            for cpu in 0..self.scenario.actors.len() {
                sim::set_current(cpu);
                self.vm().quiesce();
            }
        }
        sim::set_current(0);
        for process in 0..self.shared.processes() {
            self.audit_tlbs(process);
        }
        self.audit();
        for cpu in 1..self.scenario.actors.len() {
            // Nobody answers flushes any more.
            sim::set_current(cpu);
            self.vm().switch_to(None);
        }
        sim::set_current(0);
        (self.scenario.end)(&self.cpu());
    }
}
