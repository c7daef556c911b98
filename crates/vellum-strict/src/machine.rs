//! The machine's methods: each is checked, and forwarded.

use crate::clause::Clause;
use crate::contents::{digest, digest_of_page, digest_of_zeroes};
use crate::{Checked, Strict};
use core::ops::Deref;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, Ordering};
use vellum::arch::{Arch, Shootdown, entries, index};
use vellum::phys::NODES_MAX;
use vellum::sync::{Modify, Word};
use vellum::{Asid, CpuSet, Guard, Machine, MemoryRange, Pfn, RootLoad, Touch, Victim};

/// The most bytes that the tags of a page take and that are compared.
const TAG_BYTES_MAX: usize = 256;

// SAFETY: every promise is the inner machine's: memory, frames and CPUs are passed on as it gives them.
unsafe impl<M: Machine, P: Deref<Target = Checked<M>> + Send + Sync + 'static> Machine for Strict<P> {
    type Arch = M::Arch;

    const SWAP_IS_BARRIER: bool = M::SWAP_IS_BARRIER;

    fn cpu_count(&self) -> usize {
        let cpus = self.inner().cpu_count();
        self.require(cpus == self.0.cpus.load(Relaxed), Clause::CpuCount, "Machine::cpu_count", cpus as u64);
        cpus
    }

    fn memory(&self) -> &[MemoryRange] {
        let ranges = self.inner().memory();
        self.require(self.0.memory.is_same(ranges), Clause::Memory, "Machine::memory", ranges.len() as u64);
        ranges
    }

    fn frame(&self, pfn: Pfn) -> *mut u8 {
        const CALL: &str = "Machine::frame";
        let place = self.0.memory.place(self.inner(), pfn);
        self.require(place.is_some(), Clause::FrameOfMemory, CALL, pfn.0);
        let page = self.inner().frame(pfn);
        self.require(place.is_none_or(|place| place == page.addr()), Clause::Frame, CALL, pfn.0);
        page
    }

    fn current_cpu(&self) -> usize {
        self.inside("Machine::current_cpu", |machine, _| machine.current_cpu())
    }

    fn node_of_cpu(&self, cpu: usize) -> u8 {
        const CALL: &str = "Machine::node_of_cpu";
        let count = self.0.cpus.load(Relaxed);
        self.require(cpu < count, Clause::CpuInRange, CALL, cpu as u64);
        let node = self.inner().node_of_cpu(cpu);
        let is_same = self.0.lines.get(cpu).is_none_or(|line| line.is_node(node));
        self.require(is_same, Clause::NodeOfCpu, CALL, u64::from(node));
        node
    }

    fn disable_preemption(&self) {
        const CALL: &str = "Machine::disable_preemption";
        self.inner().disable_preemption();
        let cpu = self.inner().current_cpu();
        let Some(line) = self.line(cpu, CALL) else { return };
        let depth = line.depth();
        self.require_on(!line.is_called(), Clause::NoCallBack, CALL, cpu, u64::from(depth));
        self.require_on(!line.is_in_interrupt(), Clause::InterruptIsShort, CALL, cpu, u64::from(depth));
        let is_callers = line.is_called() || line.is_in_interrupt();
        self.require_on(depth == 0 || is_callers, Clause::Pairs, CALL, cpu, u64::from(depth));
        line.set_depth(depth + 1);
    }

    fn enable_preemption(&self) {
        const CALL: &str = "Machine::enable_preemption";
        let cpu = self.inner().current_cpu();
        if let Some(line) = self.line(cpu, CALL) {
            self.require_on(line.depth() > 0, Clause::Pairs, CALL, cpu, 0);
            line.set_depth(line.depth().saturating_sub(1));
        }
        self.inner().enable_preemption();
    }

    fn prepare_root(&self, table: &mut [u64]) {
        const CALL: &str = "Machine::prepare_root";
        let top = M::Arch::LEVELS - 1;
        let is_empty = table.len() == entries::<M::Arch>(top) && table.iter().all(|&entry| entry == 0);
        self.require(is_empty, Clause::RootIsEmpty, CALL, table.len() as u64);
        self.inner().prepare_root(table);
        let users = index::<M::Arch>(M::Arch::USER_START, top)..=index::<M::Arch>(M::Arch::USER_END - 1, top);
        let stays = table.get(users).is_none_or(|users| users.iter().all(|&entry| entry == 0));
        self.require(stays, Clause::RootUserPart, CALL, 0);
    }

    fn load_root(&self, load: RootLoad) {
        const CALL: &str = "Machine::load_root";
        self.require_frame(load.root, CALL);
        self.require_asid(load.asid, CALL);
        self.inside(CALL, |machine, _| machine.load_root(load));
    }

    fn unload_root(&self) {
        self.inside("Machine::unload_root", |machine, _| machine.unload_root());
    }

    fn invalidate_page(&self, asid: Asid, address: u64) {
        const CALL: &str = "Machine::invalidate_page";
        self.require_asid(asid, CALL);
        self.require_user_page(address, CALL);
        self.inside(CALL, |machine, _| machine.invalidate_page(asid, address));
    }

    fn invalidate_asid(&self, asid: Asid) {
        const CALL: &str = "Machine::invalidate_asid";
        self.require_asid(asid, CALL);
        self.inside(CALL, |machine, _| machine.invalidate_asid(asid));
    }

    fn send_interrupt(&self, cpus: &CpuSet) {
        const CALL: &str = "Machine::send_interrupt";
        let (current, count) = (self.inner().current_cpu(), self.0.cpus.load(Relaxed));
        self.require(!cpus.contains(current), Clause::NoInterruptToSelf, CALL, current as u64);
        let now = self.inner().now();
        for cpu in cpus.iter() {
            self.require(cpu < count, Clause::CpuInRange, CALL, cpu as u64);
            self.0.lines[cpu].interrupt(now);
        }
        self.inside(CALL, |machine, _| machine.send_interrupt(cpus));
    }

    fn invalidate_all(&self) {
        const CALL: &str = "Machine::invalidate_all";
        self.require_broadcasts(CALL);
        self.inside(CALL, |machine, _| machine.invalidate_all());
    }

    fn broadcast_invalidate(&self, asid: Asid, start: u64, pages: u64) {
        const CALL: &str = "Machine::broadcast_invalidate";
        self.require_broadcasts(CALL);
        self.require_asid(asid, CALL);
        self.require_user_page(start, CALL);
        self.inside(CALL, |machine, _| machine.broadcast_invalidate(asid, start, pages));
    }

    fn broadcast_wait(&self) {
        const CALL: &str = "Machine::broadcast_wait";
        self.require_broadcasts(CALL);
        self.inside(CALL, |machine, _| machine.broadcast_wait());
    }

    fn with_interrupts_off<R>(&self, body: impl FnOnce() -> R) -> R {
        const CALL: &str = "Machine::with_interrupts_off";
        self.require_broadcasts(CALL);
        self.inside(CALL, |_, _| ());
        self.inner().with_interrupts_off(body)
    }

    fn wait_change(&self, word: &AtomicU32, seen: u32) {
        self.inside("Machine::wait_change", |machine, line| {
            line.begin_wait(machine.now());
            machine.wait_change(word, seen);
            line.end_wait();
        });
    }

    fn sleep(&self, word: &AtomicU32, seen: u32) {
        self.sleeps("Machine::sleep");
        self.inner().sleep(word, seen);
    }

    fn wake(&self, word: &AtomicU32) {
        self.inner().wake(word);
    }

    fn now(&self) -> u64 {
        self.time()
    }

    unsafe fn clear_page(&self, page: *mut u8) {
        const CALL: &str = "Machine::clear_page";
        self.require_page(page, CALL);
        // SAFETY: the caller's contract.
        unsafe { self.inner().clear_page(page) };
        // SAFETY: the caller's contract; a page is aligned and a multiple of 8 bytes.
        let is_clear = unsafe { digest_of_page(page, Self::PAGE) } == digest_of_zeroes(Self::PAGE);
        self.require(is_clear, Clause::Clears, CALL, page.addr() as u64);
    }

    unsafe fn copy_page(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { self.check_copy("Machine::copy_page", from, to, |machine| machine.copy_page(from, to)) }
    }

    unsafe fn snapshot_page(&self, from: *const u8, to: *mut u8) {
        // SAFETY: the caller's contract.
        unsafe { self.check_copy("Machine::snapshot_page", from, to, |machine| machine.snapshot_page(from, to)) }
    }

    unsafe fn copy_user(&self, from: *const u8, to: *mut u8, length: usize) {
        const CALL: &str = "Machine::copy_user";
        self.require(length <= Self::PAGE, Clause::PageOfMemory, CALL, length as u64);
        let is_of_memory = self.is_within_page(from, length) || self.is_within_page(to, length);
        self.require(is_of_memory, Clause::PageOfMemory, CALL, to.addr() as u64);
        // SAFETY: the caller's contract.
        self.inside(CALL, |machine, _| unsafe { machine.copy_user(from, to, length) });
    }

    fn user_word<W: Word>(&self, word: &W, change: Option<Modify<W::Value>>) -> Result<W::Value, W::Value> {
        const CALL: &str = "Machine::user_word";
        let address = &raw const *word;
        self.require(self.is_within_page(address.cast(), W::SIZE), Clause::PageOfMemory, CALL, address.addr() as u64);
        self.inside(CALL, |machine, _| machine.user_word(word, change))
    }

    fn compress(&self, page: &[u8], into: &mut [u8]) -> Option<usize> {
        const CALL: &str = "Machine::compress";
        self.sleeps(CALL);
        let is_whole = page.len() == Self::PAGE && into.len() == page.len();
        self.require(is_whole, Clause::BufferLength, CALL, into.len() as u64);
        let length = self.inner().compress(page, into)?;
        match into.get(..length) {
            Some(compressed) => self.0.compressed.note(compressed, digest(page)),
            None => self.require(false, Clause::Compresses, CALL, length as u64),
        }
        Some(length)
    }

    fn decompress(&self, from: &[u8], page: &mut [u8]) -> bool {
        const CALL: &str = "Machine::decompress";
        self.sleeps(CALL);
        self.require(page.len() == Self::PAGE, Clause::BufferLength, CALL, page.len() as u64);
        let known = self.0.compressed.page(from);
        let is_restored = self.inner().decompress(from, page);
        let is_right = known.is_none_or(|known| is_restored && digest(page) == known);
        self.require(is_right, Clause::Compresses, CALL, from.len() as u64);
        is_restored
    }

    fn read_tags(&self, pfn: Pfn, into: &mut [u8]) {
        const CALL: &str = "Machine::read_tags";
        self.require_tags(pfn, into.len(), CALL);
        self.inner().read_tags(pfn, into);
    }

    fn write_tags(&self, pfn: Pfn, tags: &[u8]) {
        const CALL: &str = "Machine::write_tags";
        self.require_tags(pfn, tags.len(), CALL);
        self.inner().write_tags(pfn, tags);
        if let Some(read) = [0; TAG_BYTES_MAX].get_mut(..tags.len()) {
            self.inner().read_tags(pfn, read);
            self.require(read == tags, Clause::Tags, CALL, pfn.0);
        }
    }

    fn out_of_memory(&self, victim: &Victim) -> bool {
        self.sleeps("Machine::out_of_memory");
        self.inner().out_of_memory(victim)
    }

    fn demotion_target(&self, node: u8) -> Option<u8> {
        const CALL: &str = "Machine::demotion_target";
        let target = self.inner().demotion_target(node);
        self.require(self.note_demotion(node, target), Clause::Demotion, CALL, u64::from(node));
        let mut next = target;
        for _ in 0..=NODES_MAX {
            next = next.and_then(|node| self.inner().demotion_target(node));
        }
        self.require(next.is_none(), Clause::Demotion, CALL, u64::from(node));
        target
    }

    fn allow_allocation(&self, order: u8) -> bool {
        const CALL: &str = "Machine::allow_allocation";
        self.inside(CALL, |machine, line| {
            self.require(!line.is_in_interrupt(), Clause::InterruptIsShort, CALL, u64::from(order));
            machine.allow_allocation(order)
        })
    }

    #[inline(always)]
    fn observe(address: usize, touch: Touch) {
        M::observe(address, touch);
    }

    #[inline(always)]
    fn load<W: Word>(word: &W, order: Ordering) -> W::Value {
        M::load(word, order)
    }

    #[inline(always)]
    fn store<W: Word>(word: &W, value: W::Value, order: Ordering) {
        M::store(word, value, order);
    }

    #[inline(always)]
    fn modify<W: Word>(word: &W, change: Modify<W::Value>, order: Ordering) -> Result<W::Value, W::Value> {
        M::modify(word, change, order)
    }

    #[inline(always)]
    fn fence(order: Ordering) {
        M::fence(order);
    }

    #[inline(always)]
    fn guard(guard: Guard) -> bool {
        M::guard(guard)
    }
}

impl<M: Machine, P: Deref<Target = Checked<M>>> Strict<P> {
    /// Bytes of a page.
    pub(crate) const PAGE: usize = 1 << M::Arch::PAGE_SHIFT;

    fn require_frame(&self, pfn: Pfn, call: &'static str) {
        let exists = self.0.memory.place(self.inner(), pfn).is_some();
        self.require(exists, Clause::FrameOfMemory, call, pfn.0);
    }

    fn require_asid(&self, asid: Asid, call: &'static str) {
        let is_valid = (1..=M::Arch::ASIDS).contains(&usize::from(asid.0));
        self.require(is_valid, Clause::AsidInRange, call, u64::from(asid.0));
    }

    fn require_user_page(&self, address: u64, call: &'static str) {
        let is_page = address.is_multiple_of(Self::PAGE as u64) && address < M::Arch::USER_END;
        self.require(is_page, Clause::UserPage, call, address);
    }

    fn require_broadcasts(&self, call: &'static str) {
        let broadcasts = M::Arch::SEMANTICS.shootdown == Shootdown::Broadcast;
        self.require(broadcasts, Clause::BroadcastsOnly, call, 0);
    }

    fn require_page(&self, page: *const u8, call: &'static str) {
        let is_page = self.0.memory.is_page(self.inner(), page.addr());
        self.require(is_page, Clause::PageOfMemory, call, page.addr() as u64);
    }

    /// Whether these bytes lie in one page of memory.
    fn is_within_page(&self, bytes: *const u8, length: usize) -> bool {
        let offset = bytes.addr() % Self::PAGE;
        self.0.memory.is_page(self.inner(), bytes.addr() - offset) && length <= Self::PAGE - offset
    }

    fn require_tags(&self, pfn: Pfn, bytes: usize, call: &'static str) {
        self.require_frame(pfn, call);
        let expected = M::Arch::SEMANTICS.tags.map(|format| format.bytes(M::Arch::PAGE_SHIFT));
        self.require(expected == Some(bytes), Clause::BufferLength, call, bytes as u64);
    }

    /// Makes a copy by `copy`, and compares, unless the source has changed meanwhile.
    ///
    /// # Safety
    /// As for [`Machine::copy_page`].
    unsafe fn check_copy(&self, call: &'static str, from: *const u8, to: *mut u8, copy: impl FnOnce(&M)) {
        self.require_page(from, call);
        self.require_page(to, call);
        self.require(from.addr() != to.addr(), Clause::PageOfMemory, call, to.addr() as u64);
        // SAFETY: the caller's contract; pages are aligned and multiples of 8 bytes.
        let digest = |page: *const u8| unsafe { digest_of_page(page, Self::PAGE) };
        let before = digest(from);
        copy(self.inner());
        let copied = digest(to);
        self.require(copied == before || digest(from) != before, Clause::Copies, call, to.addr() as u64);
    }
}
