//! What actors do to the world, by places and not by addresses.

use super::World;
use crate::explore::{WordId, access, sim};
use crate::hardware::is_user_frame;
use crate::lab::Action;
use crate::poison::lock;
use crate::scenario::At;
use crate::scenario::backing::FILE_PAGES;
use crate::scenario::device::DeviceOps;
use crate::scenario::file::FileOps;
use crate::scenario::huge::HugeOps;
use crate::scenario::ops::{Ops, Prot, Shows};
use crate::scenario::pressure::PressureOps;
use crate::scenario::reach::ReachOps;
use crate::scenario::swap::SwapOps;
use crate::scenario::toy::ToyOps;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use vellum::arch::{Arch, entries};
use vellum::ops::{Advice, MapFlags, MapRequest, Place, RemapPlace, RemapRequest, Sharing};
use vellum::{AuditError, CommitLimit, Error, Machine, Overcommit};

/// The request, for memory with tags.
fn with_tags<'a, 'vm, M: Machine>(request: MapRequest<'a, 'vm, M>) -> MapRequest<'a, 'vm, M> {
    request.with(MapFlags::TAGGED)
}

fn rights(prot: Prot) -> vellum::arch::Prot {
    match prot {
        Prot::None => vellum::arch::Prot::NONE,
        Prot::Read => vellum::arch::Prot::READ,
        Prot::ReadWrite => vellum::arch::Prot::READ_WRITE,
    }
}

impl<A: Arch> Ops for World<A> {
    fn address(&self, at: At) -> u64 {
        let leaf = A::shift(0) + A::index_bits(0);
        let first = A::USER_START.div_ceil(1 << leaf).max(1);
        let page = if at.1 == 3 { self.leaf_pages() - 1 } else { at.1 as u64 };
        ((first + at.0 as u64) << leaf) + self.bytes(page)
    }

    fn leaf_pages(&self) -> u64 {
        entries::<A>(0) as u64
    }

    fn page_size(&self) -> u64 {
        1 << A::PAGE_SHIFT
    }

    fn map(&self, process: usize, at: At, pages: u64, prot: Prot, shows: Shows, replace: bool) -> Result<(), Error> {
        let (length, prot) = (self.bytes(pages), rights(prot));
        let file = self.file_handle();
        let of_file = |index, sharing| {
            let file = file.as_ref().expect("the scenario maps a file that it has closed");
            MapRequest::object(file, self.bytes(index), sharing, length, prot)
        };
        let request = match shows {
            Shows::Anonymous => MapRequest::anonymous(length, prot),
            Shows::Stack => MapRequest::anonymous(length, prot).with(MapFlags::GROWS_DOWN),
            Shows::Tagged => with_tags(MapRequest::anonymous(length, prot)),
            Shows::File(index) => of_file(index, Sharing::Shared),
            Shows::PrivateFile(index) => of_file(index, Sharing::Private),
        };
        let address = self.address(at);
        let place = if replace { Place::Fixed(address) } else { Place::FixedNoReplace(address) };
        self.space(process).map(&request.at(place)).map(|_| ())
    }

    fn map_near(&self, process: usize, at: At, pages: u64, prot: Prot) -> Result<(), Error> {
        let request = MapRequest::anonymous(self.bytes(pages), rights(prot)).at(Place::Hint(self.address(at)));
        self.space(process).map(&request).map(|_| ())
    }

    fn unmap(&self, process: usize, at: At, pages: u64) -> Result<(), Error> {
        self.space(process).unmap(self.address(at), self.bytes(pages))
    }

    fn protect(&self, process: usize, at: At, pages: u64, prot: Prot) -> Result<(), Error> {
        self.space(process).protect(self.address(at), self.bytes(pages), rights(prot))
    }

    fn dont_need(&self, process: usize, at: At, pages: u64) -> Result<(), Error> {
        self.space(process).advise(self.address(at), self.bytes(pages), Advice::DontNeed)
    }

    fn remap(&self, process: usize, from: At, pages: u64, to: At) -> Result<(), Error> {
        let length = self.bytes(pages);
        let place = RemapPlace::Fixed(self.address(to));
        let request =
            RemapRequest { old: self.address(from), old_length: length, new_length: length, place, keep_old: false };
        self.space(process).remap(&request).map(|_| ())
    }

    fn fork(&self, process: usize) -> Result<usize, Error> {
        let child = self.space(process).fork()?;
        Ok(self.add(child))
    }

    fn create(&self) -> Result<usize, Error> {
        self.vm().create_space().map(|space| self.add(space))
    }

    fn exit(&self, process: usize) {
        let space = lock(&self.processes)[process].take();
        drop(space);
    }

    fn translate(&self, process: usize, at: At) -> Option<u64> {
        self.space(process).translate(self.address(at)).map(|to| to.pfn.0)
    }

    fn read_held(&self, process: usize, at: At) -> Option<u64> {
        let space = self.space(process);
        let held = space.hold(self.address(at))?;
        let frame = held.translation().pfn;
        let word = self.vm().machine().memory().word(frame, 0)?;
        access::touch(&access::word_at(word.as_ptr().addr()).map(|word| (word, false)).into_iter().collect::<Vec<_>>());
        if let Err(kind) = is_user_frame(self.vm(), frame) {
            self.cpu().expect(false, "I-REF", &format!("frame F{:x} is held, and {kind:?}", frame.0));
        }
        Some(word.load(SeqCst))
    }

    fn access(&self, process: usize, at: At, action: Action) -> Option<u64> {
        let address = self.address(at);
        let value = self.access_at(process, address, action)?;
        // The oracle is told in the same step as the access, before anything else can run.
        let page = address >> A::PAGE_SHIFT;
        let wrong = self.shared.with_oracle(|oracle| match action {
            Action::Store { value, .. } => oracle.store(process, page, value),
            Action::Load { .. } | Action::SetTag(_) => oracle.load(process, page, value),
        });
        if let Some(wrong) = wrong {
            self.cpu().expect(false, wrong.invariant, &wrong.text);
        }
        Some(value)
    }

    fn speculate(&self, at: At) {
        self.vm().machine().speculate_here(self.vm(), self.address(at));
    }

    fn switch_to(&self, process: Option<usize>) {
        match process {
            Some(process) => self.vm().switch_to(Some(&self.space(process))),
            None => self.vm().switch_to(None),
        }
    }

    fn enter_lazy(&self) {
        self.vm().enter_lazy();
    }

    fn quiesce(&self) {
        self.vm().quiesce();
    }

    fn limit_commitment(&self, pages: u64) {
        self.vm().set_overcommit(Overcommit::Never(CommitLimit::Bytes(self.bytes(pages))));
    }

    fn committed(&self) -> u64 {
        self.vm().committed_bytes() >> A::PAGE_SHIFT
    }

    fn write_back(&self) -> Result<(), Error> {
        let file = self.file_handle();
        file.map_or(Ok(()), |file| file.write_back().map(|_| ()))
    }

    fn has_backing(&self) -> bool {
        !self.is_memory.load(Relaxed)
    }

    fn in_backing(&self, index: u64) -> u64 {
        self.backing().word(index)
    }

    fn look_at_stores(&self) {
        access::drain_own();
        access::touch(&[(WordId::FILE_STORES, false)]);
    }

    fn look_at_backing(&self) {
        let words: Vec<_> = (0..FILE_PAGES).map(|index| (WordId::of_backing(index), false)).collect();
        access::touch(&words);
    }

    fn drop_file(&self) {
        let file = lock(&self.file).take();
        drop(file);
    }

    fn maps(&self, process: usize) -> String {
        let mut lines = Vec::new();
        let mut add =
            |start: u64, end: u64, prot: vellum::arch::Prot| lines.push(format!("{start:x}-{end:x} {prot:?}"));
        self.space(process).maps(&mut |entry| add(entry.start, entry.end, entry.prot));
        lines.join("; ")
    }

    fn is_mapped(&self, process: usize, at: At) -> bool {
        let mut found = false;
        let address = self.address(at);
        self.space(process).maps(&mut |entry| found |= (entry.start..entry.end).contains(&address));
        found
    }

    fn look_at_tlbs(&self) {
        let tlbs: Vec<_> = (0..self.scenario.actors.len()).map(|cpu| (WordId::of_tlb(cpu), false)).collect();
        access::touch(&tlbs);
    }

    fn audit_tlbs(&self, process: usize) {
        for cpu in 0..self.scenario.actors.len() {
            if self.shared.runs(cpu) == Some(process) {
                self.vm().machine().audit(&self.toy, cpu);
            }
        }
    }

    fn audit(&self) {
        // SAFETY: all actors have ended.
        if let Err(error) = unsafe { self.vm().audit() } {
            let invariant = match error {
                AuditError::Rights { .. } | AuditError::Guarded { .. } => "I-VMA",
                AuditError::Swap(_) => "I-SLOT",
                AuditError::Shown { .. } => "I-RMAP",
                AuditError::Mappings { .. } | AuditError::References { .. } => "I-REF",
                _ => "I-COUNT",
            };
            sim::report(invariant, format!("the audit finds: {error}"));
        }
    }

    fn pressure(&self) -> &dyn PressureOps {
        self
    }

    fn swap(&self) -> &dyn SwapOps {
        self
    }

    fn file(&self) -> &dyn FileOps {
        self
    }

    fn huge(&self) -> &dyn HugeOps {
        self
    }

    fn devices(&self) -> &dyn DeviceOps {
        self
    }

    fn reaches(&self) -> &dyn ReachOps {
        self
    }

    fn toy(&self) -> &dyn ToyOps {
        &self.toy
    }
}
