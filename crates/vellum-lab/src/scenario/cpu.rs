//! What an actor holds: the CPU it runs on.

use super::ops::{Ops, Prot, Shows};
use super::toy::Toy;
use super::{At, world::Shared};
use crate::explore::{access, sim, wait};
use crate::lab::{Action, addresses};
use vellum::Error;
use vellum::ops::Advice;

/// The CPU that an actor is: operations of the core on the process that the CPU runs, and user accesses of it.
///
/// Operations return whether they were done. One that fails for lack of memory was not; any other failure is a broken
/// invariant unless the method says otherwise.
pub struct Cpu<'w> {
    pub(super) ops: &'w dyn Ops,
    pub(super) shared: &'w Shared,
}

/// A process of a scenario: 0 is there from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub usize);

impl Cpu<'_> {
    /// Maps private anonymous memory, replacing what is there.
    pub fn map(&self, at: At, pages: u64, prot: Prot) -> bool {
        self.map_what(at, pages, prot, Shows::Anonymous, true)
    }

    /// Maps private anonymous memory if nothing is there; else it is not done.
    pub fn map_if_free(&self, at: At, pages: u64, prot: Prot) -> bool {
        self.map_what(at, pages, prot, Shows::Anonymous, false)
    }

    /// Maps private anonymous memory there if there is room for it, and away from stacks; else somewhere else.
    pub fn map_near(&self, at: At, pages: u64, prot: Prot) -> bool {
        let text = format!("mmap near {} {prot:?}", self.range(at, pages));
        self.operation(text, || self.ops.map_near(self.process(), at, pages, prot))
    }

    /// Maps private anonymous memory that grows downwards.
    pub fn map_stack(&self, at: At, pages: u64) -> bool {
        self.map_what(at, pages, Prot::ReadWrite, Shows::Stack, true)
    }

    /// Maps private anonymous memory with tags; for modes whose architecture has some.
    pub fn map_tagged(&self, at: At, pages: u64, prot: Prot) -> bool {
        self.map_what(at, pages, prot, Shows::Tagged, true)
    }

    /// Maps the file from page `index` on, shared.
    pub fn map_file(&self, at: At, pages: u64, prot: Prot, index: u64) -> bool {
        self.map_what(at, pages, prot, Shows::File(index), true)
    }

    /// Maps the file from page `index` on, privately.
    pub fn map_private_file(&self, at: At, pages: u64, prot: Prot, index: u64) -> bool {
        self.map_what(at, pages, prot, Shows::PrivateFile(index), true)
    }

    fn map_what(&self, at: At, pages: u64, prot: Prot, shows: Shows, replace: bool) -> bool {
        let pages = self.counted(pages);
        let process = self.process();
        let shown = || self.pages(at, pages).enumerate().map(move |(n, page)| (page, shows.shown(n as u64)));
        let text = format!("mmap {} {prot:?} {shows:?}", self.range(at, pages));
        self.shared.with_oracle(|oracle| oracle.begin_map(process, shown()));
        let done = self.operation(text, || self.ops.map(process, at, pages, prot, shows, replace));
        self.shared.with_oracle(|oracle| oracle.end_map(process, shown(), done));
        done
    }

    /// How many pages these are, which may be named by the tables that they fill.
    fn counted(&self, pages: u64) -> u64 {
        match pages {
            super::LEAF => self.ops.leaf_pages(),
            super::TWO_LEAVES => 2 * self.ops.leaf_pages(),
            pages => pages,
        }
    }

    /// Removes mappings.
    pub fn unmap(&self, at: At, pages: u64) -> bool {
        let pages = self.counted(pages);
        let text = format!("munmap {}", self.range(at, pages));
        self.discarding(text, at, pages, || self.ops.unmap(self.process(), at, pages))
    }

    /// Gives pages up (`MADV_DONTNEED`).
    pub fn dont_need(&self, at: At, pages: u64) -> bool {
        let pages = self.counted(pages);
        let text = format!("madvise DONTNEED {}", self.range(at, pages));
        self.discarding(text, at, pages, || self.ops.dont_need(self.process(), at, pages))
    }

    /// Lets every access fault, and the pages go (`MADV_GUARD_INSTALL`).
    pub fn install_guard(&self, at: At, pages: u64) -> bool {
        let text = format!("madvise GUARD_INSTALL {}", self.range(at, pages));
        let install = || self.ops.pressure().advise(self.process(), at, pages, Advice::GuardInstall);
        self.discarding(text, at, pages, install)
    }

    /// Takes a guard away (`MADV_GUARD_REMOVE`).
    pub fn remove_guard(&self, at: At, pages: u64) -> bool {
        let text = format!("madvise GUARD_REMOVE {}", self.range(at, pages));
        self.operation(text, || self.ops.pressure().advise(self.process(), at, pages, Advice::GuardRemove))
    }

    /// Changes rights.
    pub fn protect(&self, at: At, pages: u64, prot: Prot) -> bool {
        let pages = self.counted(pages);
        let text = format!("mprotect {} {prot:?}", self.range(at, pages));
        self.operation(text, || self.ops.protect(self.process(), at, pages, prot))
    }

    /// Moves a mapping, replacing what is at the new place.
    pub fn remap(&self, from: At, pages: u64, to: At) -> bool {
        let (pages, process) = (self.counted(pages), self.process());
        let moved = || self.pages(from, pages).zip(self.pages(to, pages));
        self.shared.with_oracle(|oracle| oracle.begin_move(process, moved()));
        let text = format!("mremap {} to {:#x}", self.range(from, pages), self.ops.address(to));
        let done = self.operation(text, || self.ops.remap(process, from, pages, to));
        self.shared.with_oracle(|oracle| oracle.end_move(process, moved(), done));
        done
    }

    /// Copies the process: the child, which runs nowhere yet. `None` without memory.
    pub fn fork(&self) -> Option<Process> {
        let parent = self.process();
        let fork = self.shared.with_oracle(|oracle| oracle.begin_fork(parent));
        let mut made = None;
        let done = self.operation("fork".into(), || {
            let child = self.ops.fork(parent)?;
            // In one step with the child's becoming known.
            self.shared.with_oracle(|oracle| oracle.name_child(fork, child));
            made = Some(child);
            Ok(())
        });
        self.shared.with_oracle(|oracle| oracle.end_fork(made.unwrap_or(fork)));
        made.filter(|_| done).map(Process)
    }

    /// A new, empty process.
    pub fn new_process(&self) -> Option<Process> {
        self.ops.create().ok().map(Process)
    }

    /// Ends a process that runs on no CPU any more, or only lazily.
    pub fn exit(&self, process: Process) {
        sim::happened(|| format!("exit process {}", process.0));
        self.shared.busy(|| self.ops.exit(process.0));
        sim::happened(|| "exit returns".into());
    }

    /// Runs user code of `process` from here on.
    pub fn switch_to(&self, process: Process) {
        sim::happened(|| format!("switch to process {}", process.0));
        self.shared.set_running(None);
        self.ops.switch_to(Some(process.0));
        self.shared.set_running(Some(process.0));
    }

    /// Leaves the process: no root is loaded.
    pub fn switch_away(&self) {
        sim::happened(|| "switch to none".into());
        self.shared.set_running(None);
        self.ops.switch_to(None);
    }

    /// Runs a kernel thread: the root stays loaded, no user code runs until the next [`Cpu::switch_to`].
    pub fn enter_lazy(&self) {
        sim::happened(|| "enter lazy mode".into());
        self.shared.set_running(None);
        self.ops.enter_lazy();
    }

    /// The user loads the page's word; `None` if it gets a signal. In memory with tags the word's must be 0, else I-TAG
    /// breaks; so for stores.
    pub fn load(&self, at: At) -> Option<u64> {
        self.user(at, Action::Load { tag: None })
    }

    /// The user stores to the page's word; whether it could.
    pub fn store(&self, at: At, value: u64) -> bool {
        self.user(at, Action::Store { value, tag: None }).is_some()
    }

    /// The user loads the page's word by an address that bears `tag`. Unless the memory is mapped with tags, and this
    /// is the word's, I-TAG breaks.
    pub fn load_tagged(&self, at: At, tag: u8) -> Option<u64> {
        self.user(at, Action::Load { tag: Some(tag) })
    }

    /// The user stores to the page's word by an address that bears `tag`; as [`Cpu::load_tagged`].
    pub fn store_tagged(&self, at: At, value: u64, tag: u8) -> bool {
        self.user(at, Action::Store { value, tag: Some(tag) }).is_some()
    }

    /// The user tags the page's word, as a store with tags would reach it; whether it could. I-TAG breaks if the memory
    /// is mapped without tags.
    pub fn set_tag(&self, at: At, tag: u8) -> bool {
        self.user(at, Action::SetTag(tag)).is_some()
    }

    fn user(&self, at: At, action: Action) -> Option<u64> {
        self.shared.watch(self.ops.address(at));
        self.ops.access(self.process(), at, action)
    }

    /// The processor fills its TLB for the page now, as it may at any time, also in lazy mode; nothing if it has the
    /// translation already.
    pub fn speculate(&self, at: At) {
        self.ops.speculate(at);
    }

    /// Looks the page's translation up without a lock: the frame.
    pub fn translate(&self, at: At) -> Option<u64> {
        sim::happened(|| format!("translate {:#x}", self.ops.address(at)));
        let frame = self.ops.translate(self.process(), at);
        sim::happened(|| frame.map_or("  = nothing".into(), |frame| format!("  = F{frame:x}")));
        frame
    }

    /// A device reads the page's word: it looks the page up without a lock, gets a reference, reads, and drops it.
    pub fn read_by_device(&self, at: At) -> Option<u64> {
        sim::happened(|| format!("a device looks {:#x} up", self.ops.address(at)));
        let value = self.ops.read_held(self.process(), at);
        sim::happened(|| value.map_or("  = nothing".into(), |value| format!("  = {value}")));
        value
    }

    /// Runs `body` with interrupts off.
    pub fn with_interrupts_off<R>(&self, body: impl FnOnce() -> R) -> R {
        sim::happened(|| "interrupts off".into());
        let result = wait::with_interrupts_off(body);
        sim::happened(|| "interrupts on".into());
        result
    }

    /// Frees what waits for grace periods, as an idle kernel does.
    pub fn quiesce(&self) {
        self.ops.quiesce();
    }

    /// Writes the file's dirty pages back. What was stored before must be in the backing then, else I-DIRTY breaks.
    pub fn write_back(&self) -> bool {
        let text = "write back";
        self.ops.look_at_stores();
        let promise = self.shared.with_oracle(|oracle| oracle.begin_write_back());
        self.operation(text.into(), || {
            self.ops.write_back()?;
            self.ops.look_at_backing();
            let backing = |index| self.ops.in_backing(index);
            let wrong = self.shared.with_oracle(|oracle| oracle.end_write_back(&promise, backing));
            if let Some(wrong) = wrong.filter(|_| self.ops.has_backing()) {
                self.expect(false, wrong.invariant, &wrong.text);
            }
            Ok(())
        })
    }

    /// What the backing holds of page `index` of the file.
    pub fn in_backing(&self, index: u64) -> u64 {
        self.ops.look_at_backing();
        self.ops.in_backing(index)
    }

    /// Closes the file: what keeps it are mappings.
    pub fn close_file(&self) {
        sim::happened(|| "close file".into());
        self.ops.drop_file();
    }

    /// Whether something is mapped at the page.
    pub fn is_mapped(&self, at: At) -> bool {
        self.ops.is_mapped(self.process(), at)
    }

    /// Lets no more than `pages` pages be committed (overcommit *never*).
    pub fn limit_commitment(&self, pages: u64) {
        sim::happened(|| format!("at most {pages} pages may be committed"));
        self.ops.limit_commitment(pages);
    }

    /// Pages that are committed. When no operation is under way.
    pub fn committed(&self) -> u64 {
        self.ops.committed()
    }

    /// The process's mappings, as text.
    pub fn maps(&self) -> String {
        self.ops.maps(self.process())
    }

    /// Breaks `invariant` unless `holds`.
    pub fn expect(&self, holds: bool, invariant: &str, otherwise: &str) {
        if !holds {
            sim::happened(|| format!("found: {otherwise}"));
            sim::report(invariant, otherwise.into());
            if sim::is_exploring() {
                wait::stop_if_broken();
            }
        }
    }

    /// As [`Cpu::expect`], where nothing was made to fail: else what the claim is about may not have been done, and
    /// that all is well with what was done, the oracle and the recount say.
    pub fn expect_if_done(&self, holds: bool, invariant: &str, otherwise: &str) {
        self.expect(holds || sim::failures() > 0, invariant, otherwise);
    }

    /// Keeps `value` for the end of the execution, or for another actor, under `slot` (0 to 7).
    pub fn note(&self, slot: usize, value: u64) {
        self.shared.note(slot, value);
    }

    /// What was kept under `slot`; 0 if nothing was.
    pub fn noted(&self, slot: usize) -> u64 {
        self.shared.noted(slot)
    }

    /// Whether a protection that the scenario itself defines ([`vellum::Guard::OfScenario`]) is on.
    pub fn guard(&self) -> bool {
        sim::guard(vellum::Guard::OfScenario)
    }

    /// The means to build operations of one's own on bare tables.
    pub fn toy(&self) -> Toy<'_> {
        Toy::new(self.ops.toy(), self)
    }

    pub(super) fn process(&self) -> usize {
        self.shared.process_of(sim::current_cpu())
    }

    pub(super) fn range(&self, at: At, pages: u64) -> String {
        addresses(self.ops.address(at), pages, self.ops.page_size())
    }

    pub(super) fn pages(&self, at: At, pages: u64) -> impl Iterator<Item = u64> + use<> {
        let first = self.ops.address(at) / self.ops.page_size();
        first..first + pages
    }

    fn discarding(&self, text: String, at: At, pages: u64, body: impl FnOnce() -> Result<(), Error>) -> bool {
        let process = self.process();
        self.shared.with_oracle(|oracle| oracle.begin_discard(process, self.pages(at, pages)));
        let done = self.operation(text, body);
        self.shared.with_oracle(|oracle| oracle.end_discard(process, self.pages(at, pages), done));
        done
    }

    /// Carries an operation out. When it returns and nothing else is under way, no CPU may know more than the tables.
    pub(super) fn operation(&self, text: String, body: impl FnOnce() -> Result<(), Error>) -> bool {
        sim::happened(|| text.clone());
        let result = self.shared.busy(body);
        let name = text.split(' ').next().unwrap_or_default();
        sim::happened(|| match &result {
            Ok(()) => format!("{name} returns"),
            Err(error) => format!("{name} fails: {error}"),
        });
        // The return to the program serialises.
        access::drain_own();
        self.ops.look_at_tlbs();
        if self.shared.is_quiet() {
            sim::quietly(|| self.ops.audit_tlbs(self.process()));
            if sim::is_exploring() {
                wait::stop_if_broken();
            }
        }
        match result {
            Ok(()) => true,
            Err(Error::OutOfMemory | Error::Exists { .. } | Error::NotMapped { .. } | Error::NoAddressSpace { .. }) => {
                false
            }
            Err(Error::CommitLimit { .. }) => false,
            Err(error) => {
                sim::report("I-ACCESS", format!("{text} fails: {error}"));
                false
            }
        }
    }
}
