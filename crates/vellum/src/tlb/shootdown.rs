//! Invalidating translations on every CPU that may hold them, and serving such requests.

use super::mailbox::Request;
use super::{CpuTlb, RANGE_MAX, SLOTS_MAX, SpaceTlb, asid};
use crate::arch::{Arch, is_broadcast};
use crate::cpu::Cx;
use crate::cpuset::CpuSet;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::stat::Event;
use crate::sync::fence;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::compiler_fence;

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

impl Flush {
    /// What is asked of a CPU that has `space` loaded, once the space is of `generation`.
    fn request(self, space: u64, generation: u64) -> Request {
        let Flush { start, pages, .. } = self;
        Request { space, start, pages, first: generation, last: generation, detach: 0 }
    }
}

/// Spaces that one flush serves at most.
pub(crate) const BATCH_SPACES: usize = 32;

/// What is to be flushed of one of several spaces.
pub(crate) struct Owed<'a, M: Machine> {
    /// The space's identity.
    pub(crate) space: u64,
    pub(crate) tlb: &'a SpaceTlb<M>,
    pub(crate) what: Flush,
}

impl<M: Machine> Cx<'_, M> {
    /// Makes sure that no CPU uses a translation of `space` older than the entries are now. Entries were changed
    /// before. May be called with table locks held; waits for other CPUs, serving this one's mailbox.
    #[inline(always)]
    pub(crate) fn flush(&self, space: u64, tlb: &SpaceTlb<M>, what: Flush) {
        if is_broadcast::<M::Arch>() {
            return self.broadcast(tlb, what);
        }
        let others = || tlb.cpus.others(self.number(), self.vm().cpu_count());
        let too_early = if M::guard(Guard::GenerationFirst) { None } else { Some(others()) };
        let generation = tlb.generation.fetch_add(1, SeqCst) + 1;
        match too_early.unwrap_or_else(others) {
            None => self.while_busy(
                #[inline(always)]
                || {
                    if self.cpu().tlb.loaded.load(Relaxed) == space {
                        self.invalidate_loaded(what.start, what.pages, generation, generation);
                    }
                },
            ),
            Some(targets) => self.flush_everywhere(space, targets, what, generation),
        }
    }

    #[cold]
    #[inline(never)]
    fn flush_everywhere(&self, space: u64, mut targets: CpuSet, what: Flush, generation: u64) {
        if !(what.tables_freed && M::guard(Guard::TablesFlushLazy)) {
            self.drop_lazy(&mut targets);
        }
        self.shoot(&targets, what.request(space, generation));
    }

    /// [`Cx::flush`] where [`Guard::FreedWhenAcknowledged`] is off: `meanwhile` does not wait for other CPUs.
    #[cold]
    pub(super) fn flush_around(&self, space: u64, tlb: &SpaceTlb<M>, what: Flush, meanwhile: impl FnOnce()) {
        if is_broadcast::<M::Arch>() {
            self.broadcast(tlb, what);
            return meanwhile();
        }
        let generation = tlb.generation.fetch_add(1, SeqCst) + 1;
        let targets = tlb.cpus.others(self.number(), self.vm().cpu_count()).unwrap_or(CpuSet::EMPTY);
        self.shoot_around(&targets, what.request(space, generation), meanwhile);
    }

    /// As [`Cx::flush`], of at most [`BATCH_SPACES`] spaces at once: one interrupt for each CPU that runs any of them.
    /// They are pinned, and no lock is held.
    #[inline(never)]
    pub(crate) fn flush_all<'o>(&self, all: impl Iterator<Item = Owed<'o, M>> + Clone)
    where
        M: 'o,
    {
        if is_broadcast::<M::Arch>() {
            return self.broadcast_all(all);
        }
        // Of each space; what else is asked for is looked at twice, as it would be much on the stack.
        let mut generations = [0; BATCH_SPACES];
        let mut everybody = CpuSet::EMPTY;
        let mut tickets = [0u32; crate::cpuset::CPUS_MAX];
        for (Owed { space, tlb, what }, noted) in all.clone().zip(&mut generations) {
            let others = || tlb.cpus.others(self.number(), self.vm().cpu_count()).unwrap_or(CpuSet::EMPTY);
            let too_early = if M::guard(Guard::GenerationFirst) { None } else { Some(others()) };
            let generation = tlb.generation.fetch_add(1, SeqCst) + 1;
            let mut targets = too_early.unwrap_or_else(others);
            self.drop_lazy(&mut targets);
            let this = what.request(space, generation);
            *noted = generation;
            for cpu in targets.iter() {
                tickets[cpu] = self.post(cpu, this);
                everybody.insert(cpu);
            }
        }
        if !everybody.is_empty() {
            self.count(Event::RemoteFlush, 1);
            self.count(Event::InterruptSent, everybody.len() as u64);
            self.call_for(&everybody);
        }
        for (Owed { space, what, .. }, generation) in all.zip(generations) {
            self.serve_request(what.request(space, generation));
        }
        self.await_served(&everybody, &tickets);
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
        let request = Request { space, start: 0, pages: u64::MAX, first: generation, last: generation, detach: space };
        self.shoot(&targets, request);
    }

    /// Has `request` served on `targets` and here; local and remote work overlap.
    fn shoot(&self, targets: &CpuSet, request: Request) {
        self.shoot_around(targets, request, || ());
    }

    /// The same, with something to do before the targets are waited for.
    #[inline(always)]
    fn shoot_around(&self, targets: &CpuSet, request: Request, meanwhile: impl FnOnce()) {
        if targets.is_empty() {
            self.serve_request(request);
            return meanwhile();
        }
        let mut tickets = [0u32; crate::cpuset::CPUS_MAX];
        for cpu in targets.iter() {
            tickets[cpu] = self.post(cpu, request);
        }
        self.count(Event::RemoteFlush, 1);
        self.count(Event::InterruptSent, targets.len() as u64);
        self.call_for(targets);
        self.serve_request(request);
        meanwhile();
        self.await_served(targets, &tickets);
    }

    /// Waits until each of `targets` has served the request with its ticket.
    fn await_served(&self, targets: &CpuSet, tickets: &[u32; crate::cpuset::CPUS_MAX]) {
        for cpu in targets.iter() {
            let mailbox = &self.vm().cpu(cpu).tlb.mailbox;
            while !mailbox.is_served(tickets[cpu]) {
                if M::guard(Guard::ServeWhileFlushing) {
                    self.serve_mailbox();
                }
                mailbox.wait(self.vm().machine(), tickets[cpu]);
            }
        }
    }

    /// Puts `request` into the mailbox of `cpu`; its ticket.
    fn post(&self, cpu: usize, request: Request) -> u32 {
        let mailbox = &self.vm().cpu(cpu).tlb.mailbox;
        loop {
            let mut ticket = None;
            // The handler is kept out while another mailbox's lock is held: it takes that of its own mailbox.
            self.while_busy(|| ticket = mailbox.post(self, request));
            if let Some(ticket) = ticket {
                return ticket;
            }
            // The dying space before this one has sent its interrupt, or is about to. It does not wait for this sender:
            // every sender posts to its targets in ascending order before it waits. But the owner may have come for it
            // while the lock was held here, and left.
            if M::guard(Guard::RefusedInterrupts) {
                let mut owner = CpuSet::EMPTY;
                owner.insert(cpu);
                self.call_for(&owner);
            }
            self.serve_mailbox();
            mailbox.wait(self.vm().machine(), mailbox.last_ticket());
        }
    }

    /// Interrupts `targets`, to whom this CPU has posted. That it has let go of their mailboxes is seen by the time
    /// they look: else they would leave once more, and nobody would come after that (J14).
    fn call_for(&self, targets: &CpuSet) {
        if M::guard(Guard::ReleasedBeforeInterrupt) {
            fence::<M>(SeqCst);
        }
        self.vm().machine().send_interrupt(targets);
    }

    /// [`Cx::serve_mailbox`] of one that is not empty.
    #[cold]
    pub(crate) fn serve_mail(&self) {
        let tlb = &self.cpu().tlb;
        if tlb.busy.load(Relaxed) != 0 {
            return;
        }
        #[cfg(debug_assertions)]
        if self.cpu().checking.load(Relaxed) != 0 {
            return;
        }
        // An interrupt between the last look at the mailbox and the end of `busy` does nothing: hence one look more.
        while tlb.mailbox.has_mail() {
            tlb.busy.store(1, Relaxed);
            compiler_fence(SeqCst);
            let taken = tlb.mailbox.take(self);
            let is_taken = taken.is_some();
            if let Some((request, ticket)) = taken {
                self.serve_taken(request, ticket);
            }
            compiler_fence(SeqCst);
            tlb.busy.store(0, Relaxed);
            compiler_fence(SeqCst);
            if is_taken {
                continue;
            }
            // Looked at with the handler let in again: who posts now sends an interrupt that is not lost (J14).
            if tlb.mailbox.is_being_filled() && M::guard(Guard::MailLeft) {
                return;
            }
            tlb.mailbox.await_filled(self.vm().machine());
        }
    }

    /// Serves what was taken from the mailbox, with the handler kept out, and acknowledges it.
    fn serve_taken(&self, request: Option<Request>, ticket: u32) {
        let mailbox = &self.cpu().tlb.mailbox;
        if !M::guard(Guard::AcknowledgeLast) {
            mailbox.acknowledge(ticket);
        }
        if let Some(request) = request {
            self.count(Event::RemoteFlushReceived, 1);
            self.serve_request_busy(request);
        }
        if M::guard(Guard::AcknowledgeLast) {
            mailbox.acknowledge(ticket);
        }
    }

    /// Serves `request` on this CPU, with the handler kept out.
    fn serve_request(&self, request: Request) {
        self.while_busy(|| self.serve_request_busy(request));
    }

    /// From here on the interrupt handler leaves its work for [`Cx::let_handler_in`].
    #[cfg(debug_assertions)]
    pub(crate) fn keep_handler_out(&self) -> u32 {
        let before = self.cpu().checking.swap(1, Relaxed);
        compiler_fence(SeqCst);
        before
    }

    /// Ends [`Cx::keep_handler_out`], and serves what came meanwhile.
    #[cfg(debug_assertions)]
    pub(crate) fn let_handler_in(&self, before: u32) {
        compiler_fence(SeqCst);
        self.cpu().checking.store(before, Relaxed);
        compiler_fence(SeqCst);
        if before == 0 {
            self.serve_mailbox();
        }
    }

    /// Runs `body` while interrupts leave the CPU's TLB state alone, then serves what came meanwhile, also with
    /// interrupts off (J13).
    #[inline(always)]
    pub(super) fn while_busy(&self, body: impl FnOnce()) {
        let busy = &self.cpu().tlb.busy;
        busy.store(1, Relaxed);
        compiler_fence(SeqCst);
        body();
        compiler_fence(SeqCst);
        busy.store(0, Relaxed);
        compiler_fence(SeqCst);
        if M::guard(Guard::ServeWhileFlushing) {
            self.serve_mailbox();
        }
    }

    #[inline]
    fn serve_request_busy(&self, request: Request) {
        let tlb = &self.cpu().tlb;
        let loaded = tlb.loaded.load(Relaxed);
        if loaded == 0 || (request.space != 0 && request.space != loaded && request.detach != loaded) {
            return;
        }
        if request.detach == loaded {
            self.unload();
            return;
        }
        // A request merged from those of several spaces may concern the loaded one: everything goes.
        let pages = if request.space == loaded { request.pages } else { u64::MAX };
        let last = if request.space == loaded { request.last } else { u64::MAX };
        self.invalidate_loaded(request.start, pages, request.first, last);
    }

    /// Invalidates `pages` pages of the loaded space here, for the step from generation `first - 1` to `last`; all of
    /// it where this CPU is further behind (J7), or there are too many pages.
    #[inline(always)]
    fn invalidate_loaded(&self, start: u64, pages: u64, first: u64, last: u64) {
        let tlb = &self.cpu().tlb;
        let slot = tlb.current.load(Relaxed) as usize % SLOTS_MAX;
        let seen = tlb.slots[slot].generation.load(Relaxed);
        let is_next = first == seen + 1 || (!M::guard(Guard::GenerationGap) && last > seen);
        if pages <= RANGE_MAX && is_next {
            for page in 0..pages {
                self.vm().machine().invalidate_page(asid(slot), start + (page << M::Arch::PAGE_SHIFT));
            }
            self.count(Event::LocalFlushOne, pages);
            tlb.slots[slot].generation.store(last, Relaxed);
        } else if seen < last {
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
        if tlb.loaded.load(Relaxed) == space && M::guard(Guard::SpuriousFlush) {
            self.vm().machine().invalidate_page(asid(tlb.current.load(Relaxed) as usize), address);
            self.count(Event::LocalFlushOne, 1);
        }
    }
}

impl<M: Machine> CpuTlb<M> {
    /// The part of the loaded space that concerns TLBs, if one is loaded.
    pub(super) fn loaded_space(&self) -> Option<*const SpaceTlb<M>> {
        (self.loaded.load(Relaxed) != 0).then(|| self.loaded_tlb_pointer())
    }

    /// The part of the loaded space that concerns TLBs; valid while one is loaded.
    pub(super) fn loaded_tlb_pointer(&self) -> *const SpaceTlb<M> {
        core::ptr::with_exposed_provenance(self.loaded_tlb.load(Relaxed) as usize)
    }
}

impl<M: Machine> Vm<M> {
    /// The flush interrupt's handler, to be called on each CPU that [`Machine::send_interrupt`] names.
    ///
    /// Context: interrupt; may interrupt the core itself. Neither sleeps nor allocates.
    ///
    /// # Safety
    /// The caller stays on its CPU until this returns, as an interrupt's handler does, or who has switched pre-emption
    /// off.
    pub unsafe fn handle_interrupt(&self) {
        // The context is the current CPU's, which the caller stays on.
        Cx::interrupt(self).serve_mailbox();
    }
}
