//! Invalidating translations on every CPU that may hold them, and serving such requests.

use super::mailbox::Request;
use super::{CpuTlb, RANGE_MAX, SpaceTlb, asid};
use crate::arch::Arch;
use crate::cpu::Cx;
use crate::cpuset::CpuSet;
use crate::machine::Machine;
use crate::stat::Event;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// What to flush.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flush {
    /// First address.
    pub(crate) start: u64,
    /// Pages from there; more than [`RANGE_MAX`] flush the whole space.
    pub(crate) pages: u64,
    /// Page tables were unlinked: paging-structure caches matter, so lazy CPUs are targets too.
    pub(crate) tables_freed: bool,
}

impl<M: Machine> Cx<'_, M> {
    /// Makes sure that no CPU uses a translation of `space` older than the entries are now. Entries were changed
    /// before. May be called with table locks held; waits for other CPUs, serving this one's mailbox.
    pub(crate) fn flush(&self, space: u64, tlb: &SpaceTlb<M>, what: Flush) {
        let generation = tlb.generation.fetch_add(1, SeqCst) + 1;
        let targets = tlb.cpus.others(self.number(), self.vm().cpu_count());
        let request =
            Request { space, start: what.start, pages: what.pages, first: generation, last: generation, detach: false };
        let Some(mut targets) = targets else {
            self.serve_request(request);
            return;
        };
        if !what.tables_freed {
            self.drop_lazy(&mut targets);
        }
        self.shoot(&targets, request);
    }

    /// Takes the CPUs out of `targets` that are lazy: they compare generations before they run user code again.
    fn drop_lazy(&self, targets: &mut CpuSet) {
        for cpu in targets.clone().iter() {
            if self.vm().cpu(cpu).tlb.lazy.load(SeqCst) != 0 {
                targets.remove(cpu);
                self.count(Event::LazySkipped, 1);
            }
        }
    }

    /// Makes every CPU, this one included, leave `space`, whose root is about to be freed (J10).
    pub(crate) fn detach_all(&self, space: u64, tlb: &SpaceTlb<M>) {
        let generation = tlb.generation.fetch_add(1, SeqCst) + 1;
        let mut targets = tlb.cpus.snapshot(self.vm().cpu_count());
        targets.remove(self.number());
        let request = Request { space, start: 0, pages: u64::MAX, first: generation, last: generation, detach: true };
        self.shoot(&targets, request);
    }

    /// Has `request` served on `targets` and here; local and remote work overlap.
    fn shoot(&self, targets: &CpuSet, request: Request) {
        if targets.is_empty() {
            self.serve_request(request);
            return;
        }
        let mut tickets = [0u32; crate::cpuset::CPUS_MAX];
        // The handler is kept out while another mailbox's lock is held: it takes that of its own mailbox.
        self.while_busy(|| {
            for cpu in targets.iter() {
                tickets[cpu] = self.vm().cpu(cpu).tlb.mailbox.post(self, request);
            }
        });
        self.count(Event::RemoteFlush, 1);
        self.count(Event::InterruptSent, targets.len() as u64);
        self.vm().machine().send_interrupt(targets);
        self.serve_request(request);
        for cpu in targets.iter() {
            let mailbox = &self.vm().cpu(cpu).tlb.mailbox;
            while !mailbox.is_served(tickets[cpu]) {
                self.serve_mailbox();
                mailbox.wait(self.vm().machine());
            }
        }
    }

    /// Serves what other CPUs posted to this one.
    #[inline(always)]
    pub(crate) fn serve_mailbox(&self) {
        if self.cpu().tlb.mailbox.has_mail() {
            self.serve_mail();
        }
    }

    #[cold]
    fn serve_mail(&self) {
        let tlb = &self.cpu().tlb;
        if tlb.busy.load(Relaxed) != 0 {
            return;
        }
        tlb.busy.store(1, Relaxed);
        while tlb.mailbox.has_mail() {
            let (request, ticket) = tlb.mailbox.take(self);
            if let Some(request) = request {
                self.count(Event::RemoteFlushReceived, 1);
                self.serve_request_busy(request);
            }
            tlb.mailbox.acknowledge(ticket);
        }
        tlb.busy.store(0, Relaxed);
    }

    /// Serves `request` on this CPU, with the handler kept out.
    fn serve_request(&self, request: Request) {
        self.while_busy(|| self.serve_request_busy(request));
    }

    /// Runs `body` while interrupts leave the CPU's TLB state alone, then serves what came meanwhile.
    #[inline(always)]
    pub(super) fn while_busy(&self, body: impl FnOnce()) {
        let busy = &self.cpu().tlb.busy;
        busy.store(1, Relaxed);
        body();
        busy.store(0, Relaxed);
        self.serve_mailbox();
    }

    #[inline]
    fn serve_request_busy(&self, request: Request) {
        let tlb = &self.cpu().tlb;
        let loaded = tlb.loaded.load(Relaxed);
        if loaded == 0 || (request.space != 0 && request.space != loaded) {
            return;
        }
        if request.detach && request.space == loaded {
            self.unload();
            return;
        }
        let slot = tlb.current.load(Relaxed) as usize;
        let seen = tlb.slots[slot].generation.load(Relaxed);
        let ranged = request.pages <= RANGE_MAX && request.space == loaded;
        if ranged && request.first == seen + 1 {
            for page in 0..request.pages {
                self.vm().machine().invalidate_page(asid(slot), request.start + (page << M::Arch::PAGE_SHIFT));
            }
            self.count(Event::LocalFlushOne, request.pages);
            tlb.slots[slot].generation.store(request.last, Relaxed);
        } else if request.space != loaded || seen < request.last {
            self.flush_whole(tlb, slot);
        }
    }

    /// Invalidates the loaded space on this CPU.
    pub(super) fn flush_whole(&self, tlb: &CpuTlb<M>, slot: usize) {
        // SAFETY: it belongs to the loaded space, which every CPU is made to leave before the space is freed.
        let space = unsafe { &*tlb.loaded_tlb_pointer() };
        // Read first: what changes afterwards is a generation of its own.
        let now = space.generation.load(SeqCst);
        self.vm().machine().invalidate_asid(asid(slot));
        self.count(Event::LocalFlushAll, 1);
        tlb.slots[slot].generation.store(now, Relaxed);
    }

    /// Invalidates one page here, after a fault which found nothing to do: the translation may be older than a
    /// change that granted rights, which is not flushed (A14).
    pub(crate) fn flush_spurious(&self, space: u64, address: u64) {
        let tlb = &self.cpu().tlb;
        if tlb.loaded.load(Relaxed) == space {
            self.vm().machine().invalidate_page(asid(tlb.current.load(Relaxed) as usize), address);
            self.count(Event::LocalFlushOne, 1);
        }
    }
}

impl<M: Machine> CpuTlb<M> {
    /// The part of the loaded space that concerns TLBs; valid while one is loaded.
    pub(super) fn loaded_tlb_pointer(&self) -> *const SpaceTlb<M> {
        core::ptr::with_exposed_provenance(self.loaded_tlb.load(Relaxed) as usize)
    }
}

impl<M: Machine> Vm<M> {
    /// The flush interrupt's handler, to be called on each CPU that [`Machine::send_interrupt`] names.
    ///
    /// Context: interrupt; may interrupt the core itself. Neither sleeps nor allocates.
    pub fn handle_interrupt(&self) {
        Cx::interrupt(self).serve_mailbox();
    }
}
