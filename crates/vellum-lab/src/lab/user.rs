//! User accesses: translate, fault, try again, touch the word.

use super::{Lab, report_all, words_of_way};
use crate::explore::{WordId, access, sim};
use crate::hardware::{Bus, Fault, FaultReason, FrameKinds, HostMemory, Peek, Translated, ViolationLog};
use crate::poison::lock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use vellum::arch::{Arch, PageBits, index};
use vellum::ops::{Access, FaultError};
use vellum::phys::{Kind, Pfn};

/// Faults of one access after which it is taken to make no progress.
const RETRIES_MAX: u32 = 12;

/// Why a user access did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserError {
    /// The program gets a signal.
    Fault(FaultError),
    /// An invariant broke, or the access makes no progress, which is reported.
    Broken,
}

/// What a user does to a word. An access with a tag is one by an address that bears it, to memory which has tags; one
/// without bears 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Loads it.
    Load { tag: Option<u8> },
    /// Stores to it.
    Store { value: u64, tag: Option<u8> },
    /// Tags the granule it lies in.
    SetTag(u8),
}

impl Action {
    fn access(self) -> Access {
        if matches!(self, Action::Load { .. }) { Access::Read } else { Access::Write }
    }

    /// What is wrong with it where the translation is `to`.
    fn mismatch<A: Arch>(self, memory: &HostMemory<A>, to: &Translated, address: u64) -> Option<String> {
        let tag = match self {
            Action::Load { tag } | Action::Store { tag, .. } => tag,
            Action::SetTag(tag) => Some(tag),
        };
        if !to.bits.has(PageBits::TAGGED) {
            return tag.map(|tag| format!("{address:#x} is used with tag {tag}, and is mapped without tags"));
        }
        if matches!(self, Action::SetTag(_)) {
            return None;
        }
        let checked = memory.check_tags(to, address, self.access(), size_of::<u64>(), tag.unwrap_or(0));
        let Err(Fault { reason: FaultReason::Tag { expected, found }, .. }) = checked else { return None };
        let frame = to.pfn.0;
        Some(format!("an access with tag {expected} at {address:#x}, where the tag is {found} (F{frame:x})"))
    }
}

impl<A: Arch> Lab<A> {
    /// Does `action` to the word at `address` on the current CPU, and says what the word is then; `resolve` handles
    /// faults. An access whose tag is not that of the memory breaks I-TAG.
    pub(crate) fn user_access<K: FrameKinds>(
        &self,
        kinds: &K,
        address: u64,
        action: Action,
        resolve: impl Fn(Access) -> Result<(), FaultError>,
    ) -> Result<u64, UserError> {
        let kind = action.access();
        for _ in 0..RETRIES_MAX {
            access::drain_own();
            self.touch_way(kinds, address, kind);
            match self.try_access(kinds, address, action) {
                Some(result) => return result,
                None => {
                    sim::happened(|| format!("page fault at {address:#x} ({kind:?})"));
                    resolve(kind).map_err(UserError::Fault)?
                }
            };
        }
        sim::report("I-PROG", format!("{kind:?} at {address:#x} faults after {RETRIES_MAX} resolved faults"));
        Err(UserError::Broken)
    }

    /// The scheduling point before an access: what it will touch is the CPU's TLB, the entries walked, what the frame
    /// is used for, and the word.
    fn touch_way<K: FrameKinds>(&self, kinds: &K, address: u64, kind: Access) {
        if sim::is_exploring() {
            access::touch_what(|| self.words_of(kinds, address, kind));
        }
    }

    fn words_of<K: FrameKinds>(&self, kinds: &K, address: u64, kind: Access) -> Vec<(WordId, bool)> {
        let cpu = sim::current_cpu();
        let peek = sim::quietly(|| lock(&self.cpus[cpu].mmu).peek(&self.bus(kinds), address));
        let mut words = vec![(WordId::of_tlb(cpu), true)];
        words.extend(words_of_way(kinds, &peek).into_iter().map(|word| (word, false)));
        words.extend(self.word_in_frame(&peek, address).map(|word| (word, kind == Access::Write)));
        let is_file = |frame| sim::quietly(|| kinds.frame_kind(frame)) == Some(Kind::File);
        if kind == Access::Write && peek.frame.is_some_and(is_file) {
            words.push((WordId::FILE_STORES, true));
        }
        words
    }

    fn word_in_frame(&self, peek: &Peek, address: u64) -> Option<WordId> {
        let word = self.memory.word(peek.frame?, word_index::<A>(address))?;
        access::word_at(word.as_ptr().addr())
    }

    /// Fills the TLB of the current CPU for `address` as a step of its own, unless the translation is cached.
    pub(crate) fn speculate_here<K: FrameKinds>(&self, kinds: &K, address: u64) {
        access::drain_own();
        self.touch_way(kinds, address, Access::Read);
        let cpu = sim::current_cpu();
        if sim::quietly(|| lock(&self.cpus[cpu].mmu).caches(address)) {
            return;
        }
        sim::happened(|| format!("(walks the tables for {address:#x} speculatively)"));
        sim::quietly(|| self.speculate(kinds, cpu, address));
        crate::explore::wait::stop_if_broken();
    }

    /// One try; `None` if it faults.
    fn try_access<K: FrameKinds>(&self, kinds: &K, address: u64, action: Action) -> Option<Result<u64, UserError>> {
        let (cpu, kind) = (sim::current_cpu(), action.access());
        let before = self.leaf_entry(address);
        let was_cached = sim::quietly(|| lock(&self.cpus[cpu].mmu).caches(address));
        let mut found = ViolationLog::default();
        let translated = sim::quietly(|| {
            let bus: Bus<'_, A, _> = self.bus(kinds);
            let translated = lock(&self.cpus[cpu].mmu).translate(&bus, address, kind, &mut found);
            self.check_conflicts(address, &mut found);
            translated
        });
        // The walk may have set accessed and dirty bits.
        if let (Some((word, old)), Some((_, new))) = (before, self.leaf_entry(address))
            && old != new
        {
            access::also_touch(word, true);
        }
        let translated = translated.ok();
        sim::happened(|| describe(address, action, translated.map(|to| to.pfn), was_cached));
        report_all(found);
        crate::explore::wait::stop_if_broken();
        let to = translated?;
        if let Some(wrong) = action.mismatch(&self.memory, &to, address) {
            sim::report("I-TAG", wrong);
            crate::explore::wait::stop_if_broken();
            return Some(Err(UserError::Broken));
        }
        let word = self.memory.word(to.pfn, word_index::<A>(address))?;
        match action {
            Action::Store { value, .. } => {
                word.store(value, SeqCst);
                return Some(Ok(value));
            }
            // The word stands for its tag wherever it is said what is touched.
            Action::SetTag(tag) => self.memory.set_tags(to.pfn, word_offset::<A>(address), size_of::<u64>(), tag)?,
            Action::Load { .. } => {}
        }
        let result = word.load(SeqCst);
        if matches!(action, Action::Load { .. }) {
            sim::happened(|| format!("  = {result}"));
        }
        Some(Ok(result))
    }

    fn leaf_entry(&self, address: u64) -> Option<(WordId, u64)> {
        if !sim::is_exploring() {
            return None;
        }
        let word = self.leaf_word(self.loaded(sim::current_cpu())?.root, address)?;
        Some((access::word_at(word.as_ptr().addr())?, word.load(SeqCst)))
    }

    /// The entry for `address` of the tables below `root`, at which the way there ends: of a leaf or a huge page, or
    /// none.
    pub(crate) fn leaf_word(&self, root: Pfn, address: u64) -> Option<&AtomicU64> {
        self.last_entry(root, address).map(|(word, _)| word)
    }

    /// As [`Lab::leaf_word`], with its level.
    pub(crate) fn last_entry(&self, root: Pfn, address: u64) -> Option<(&AtomicU64, usize)> {
        let (mut table, mut level) = (root, A::LEVELS - 1);
        loop {
            let word = self.memory.word(table, index::<A>(address, level))?;
            match A::table_of(word.load(SeqCst)).filter(|_| level > 0) {
                Some(next) => (table, level) = (next, level - 1),
                None => return Some((word, level)),
            }
        }
    }
}

fn word_offset<A: Arch>(address: u64) -> usize {
    (address & ((1 << A::PAGE_SHIFT) - 1)) as usize
}

fn word_index<A: Arch>(address: u64) -> usize {
    word_offset::<A>(address) / size_of::<u64>()
}

fn describe(address: u64, action: Action, frame: Option<Pfn>, was_cached: bool) -> String {
    let by = |tag: Option<u8>| tag.map_or(String::new(), |tag| format!(" by tag {tag}"));
    let what = match action {
        Action::Store { value, tag } => format!("store {address:#x}{} := {value}", by(tag)),
        Action::Load { tag } => format!("load {address:#x}{}", by(tag)),
        Action::SetTag(tag) => format!("tag {address:#x} := {tag}"),
    };
    match frame {
        Some(frame) => format!("{what} (F{:x}, TLB {})", frame.0, if was_cached { "hit" } else { "miss" }),
        None => format!("{what}: faults"),
    }
}
