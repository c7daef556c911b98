//! Recounting everything at quiescence: what the structures say against what is there.

use super::table::Table;
use super::{Attributes, ClassId, Inner, RssKind};
use crate::arch::{Absent, Arch, Entry, PageBits, Word, entries, index};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::object::is_page_of;
use crate::phys::{Frame, Kind, Pfn, PhysAuditError};
use crate::space::apply::rss_kind;
use crate::swap::{SwapAudit, SwapAuditError, SwapTally};
use crate::vm::Vm;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// What an audit found wrong first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditError {
    /// Physical memory.
    Physical(PhysAuditError),
    /// An entry names a frame that is not what the entry says.
    Entry {
        /// The space.
        space: u64,
        /// The address.
        address: u64,
        /// The frame the entry names.
        frame: Pfn,
        /// What the frame is used for.
        found: Kind,
    },
    /// An entry grants more than its mapping, or says a page is exclusive that is not.
    Rights {
        /// The space.
        space: u64,
        /// The address.
        address: u64,
        /// What the entry says.
        found: PageBits,
    },
    /// An entry shows a page of an object, but not the one that its mapping shows there: that has left the object, or
    /// is another's.
    Shown {
        /// The space.
        space: u64,
        /// The address.
        address: u64,
        /// The frame the entry names.
        frame: Pfn,
    },
    /// There is an entry in a guard.
    Guarded {
        /// The space.
        space: u64,
        /// The address.
        address: u64,
    },
    /// A slot of an upper table says neither that there is a lower one nor that there is none: who goes by the tree
    /// passes it by, and a processor perhaps does not.
    Upper {
        /// The space.
        space: u64,
        /// The first address that the slot covers.
        address: u64,
        /// Its level.
        level: usize,
    },
    /// A table's number of used slots is wrong.
    UsedSlots {
        /// The space.
        space: u64,
        /// An address the table covers.
        address: u64,
        /// What was counted.
        counted: u64,
        /// What the table says.
        recorded: u64,
    },
    /// A table at rest is claimed or marked stale.
    Busy {
        /// The space.
        space: u64,
        /// An address the table covers.
        address: u64,
    },
    /// A space's resident pages of one kind (0 anonymous, 1 file, 2 shared memory), or its entries in swap (3), are
    /// wrong.
    Rss {
        /// The space.
        space: u64,
        /// The kind.
        kind: u8,
        /// What was counted.
        counted: u64,
        /// What the space says.
        recorded: u64,
    },
    /// A slot lies outside of where reverse mapping knows its class to lead.
    Extent {
        /// The space.
        space: u64,
        /// The address.
        address: u64,
    },
    /// Swap.
    Swap(SwapAuditError),
    /// An entry at rest says that its page is being moved.
    Moving {
        /// The space.
        space: u64,
        /// The address.
        address: u64,
    },
    /// A page's folio lock is held at rest, or a leaf has a flush before it.
    Held {
        /// The frame.
        frame: Pfn,
    },
    /// A frame's mappings are not as many as the entries that name it.
    Mappings {
        /// The frame.
        frame: Pfn,
        /// What was counted.
        counted: u64,
        /// What the frame says.
        recorded: u64,
    },
    /// A page in the cache of an object has another name, or is none.
    Cached {
        /// The object.
        object: u64,
        /// Which page of it.
        index: u64,
        /// The frame that the cache has for it.
        frame: Pfn,
    },
    /// A frame's references are not its mappings and its places in caches.
    References {
        /// The frame.
        frame: Pfn,
        /// What was counted.
        counted: u64,
        /// What the frame says.
        recorded: u64,
    },
    /// A class's count is not the number of slots that say it.
    Class {
        /// The class.
        class: u32,
        /// What was counted.
        counted: u64,
        /// What the class says.
        recorded: u64,
    },
    /// What is counted as committed, in pages, is not what mappings and shared memory are.
    Committed {
        /// What was counted.
        counted: u64,
        /// What the CPUs say.
        recorded: u64,
    },
    /// What may be committed does not count the slots of the swap areas that are on.
    CommitSwap {
        /// What was counted.
        counted: u64,
        /// What is counted in.
        recorded: u64,
    },
    /// Somebody who is not there any more was about to commit memory.
    Tickets {
        /// Pages.
        pages: u64,
    },
    /// More frames are page tables than spaces have and grace periods hold back.
    LostTables {
        /// Frames of tables in use or waiting.
        counted: u64,
        /// Frames that are tables.
        recorded: u64,
    },
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditError::Physical(error) => write!(f, "physical memory: {error}"),
            AuditError::Swap(error) => error.fmt(f),
            other => write!(f, "audit: {other:?}"),
        }
    }
}

impl core::error::Error for AuditError {}

/// What an audit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Address spaces.
    pub spaces: u64,
    /// Page tables in them.
    pub tables: u64,
    /// Entries that show pages, the zero page included.
    pub mapped_pages: u64,
    /// Objects.
    pub objects: u64,
    /// Pages in their caches.
    pub cached_pages: u64,
    /// Attribute classes with a record.
    pub classes: u64,
    /// Pages that are committed.
    pub committed: u64,
    /// Free frames.
    pub free_frames: u64,
    /// Swap.
    pub swap: SwapAudit,
}

impl<M: Machine> Vm<M> {
    /// Recounts everything: frames, free lists, tables, entries, resident pages, mapping and reference counts, classes,
    /// caches.
    ///
    /// For tests. Takes time in proportion to memory. Neither sleeps nor allocates.
    ///
    /// # Errors
    /// [`AuditError`], the first thing found wrong.
    ///
    /// # Safety
    /// At quiescence: no other CPU is inside the core, or enters it meanwhile, and no operation is under way. The audit
    /// goes through lists that operations change, and counts in words that they use.
    pub unsafe fn audit(&self) -> Result<Audit, AuditError> {
        let physical = self.physical().audit(self).map_err(AuditError::Physical)?;
        let cx = Cx::enter(self);
        self.physical().for_each_frame(|_, frame| {
            if let Some(tally) = tally(frame) {
                tally.store(0, Relaxed);
            }
        });
        cx.each_class(|class, _| {
            if let Some(tally) = cx.class_tally(class) {
                tally.store(0, Relaxed);
            }
        });
        let mut audit = Audit { free_frames: physical.free, ..Audit::default() };
        let mut table_frames = 0;
        let mut swapped = SwapTally::default();
        let mut result = Ok(());
        self.spaces().for_each(&cx, |space| {
            audit.spaces += 1;
            if result.is_ok() {
                result =
                    SpaceAudit { cx: &cx, space, audit: &mut audit, swapped: &mut swapped, rss: [0; RssKind::COUNT] }
                        .run(&mut table_frames);
            }
        });
        result?;
        self.objects().for_each(&cx, |object| {
            audit.objects += 1;
            audit.committed += object.committed_pages();
            object.for_each_page(&cx, |index, pfn| {
                audit.cached_pages += 1;
                let head = self.physical().head(pfn);
                let frame = self.physical().frame(head);
                let first = frame.words[1].load(Relaxed);
                let is_its = frame.kind() == Kind::File && is_page_of(frame, NonNull::from(object));
                if result.is_ok() && (!is_its || first.wrapping_add(pfn.0 - head.0) != index) {
                    result = Err(AuditError::Cached { object: object.id(), index, frame: pfn });
                }
                if let Some(tally) = tally(frame) {
                    tally.add_owned(1 << 32);
                }
            });
        });
        result?;
        self.check_frames()?;
        check_classes(&cx, &mut audit)?;
        let swap = self.swap_slots_on(&cx);
        drop(cx);
        self.check_commitment(audit.committed, swap)?;
        audit.swap = self.swap_audit(&swapped).map_err(AuditError::Swap)?;
        let waiting: u64 = self.cpus().map(|cpu| cpu.dead_tables.len()).sum();
        let recorded = physical.frames(Kind::Table);
        if recorded > table_frames + waiting || recorded < table_frames {
            return Err(AuditError::LostTables { counted: table_frames + waiting, recorded });
        }
        Ok(audit)
    }

    /// Compares what is counted as committed, and as swap to commit it from, with what was counted.
    fn check_commitment(&self, counted: u64, swap: u64) -> Result<(), AuditError> {
        let (recorded, commitment) = (self.committed_pages(), self.commitment());
        if recorded != counted {
            return Err(AuditError::Committed { counted, recorded });
        }
        if commitment.swap_pages() != swap {
            return Err(AuditError::CommitSwap { counted: swap, recorded: commitment.swap_pages() });
        }
        let pages = commitment.tickets.pages();
        if pages != 0 { Err(AuditError::Tickets { pages }) } else { Ok(()) }
    }

    /// Compares each frame's counts with what was counted.
    fn check_frames(&self) -> Result<(), AuditError> {
        let mut result = Ok(());
        self.physical().for_each_frame(|pfn, frame| {
            let Some(counted) = tally(frame).map(|tally| tally.load(Relaxed)) else { return };
            let in_swap = u64::from(frame.swap_slot().is_some());
            let (mapped, cached) = (counted & 0xffff_ffff, (counted >> 32) + in_swap);
            let (mappings, references) = (frame.mappings() as u64, frame.references() as u64);
            if result.is_ok() && mappings != mapped {
                result = Err(AuditError::Mappings { frame: pfn, counted: mapped, recorded: mappings });
            }
            if result.is_ok() && frame.folio_lock().is_held() {
                result = Err(AuditError::Held { frame: pfn });
            }
            if result.is_ok() && references != mapped + cached {
                result = Err(AuditError::References { frame: pfn, counted: mapped + cached, recorded: references });
            }
        });
        result
    }
}

/// Where the audit counts what it finds of a frame that can be mapped: entries in the low half, cache places in the
/// high.
fn tally<M: Machine>(frame: &Frame<M>) -> Option<&crate::sync::AtomicU64<M>> {
    matches!(frame.kind(), Kind::Anonymous | Kind::File).then(|| &frame.words[3])
}

fn check_classes<M: Machine>(cx: &Cx<'_, M>, audit: &mut Audit) -> Result<(), AuditError> {
    let mut result = Ok(());
    cx.each_class(|class, recorded| {
        audit.classes += 1;
        let counted = cx.class_tally(class).map_or(0, |tally| tally.load(Relaxed));
        if result.is_ok() && counted != recorded {
            result = Err(AuditError::Class { class: class.0, counted, recorded });
        }
    });
    result
}

/// The recount of one space.
struct SpaceAudit<'a, 'c, M: Machine> {
    cx: &'a Cx<'c, M>,
    space: &'a Inner<M>,
    audit: &'a mut Audit,
    swapped: &'a mut SwapTally,
    rss: [u64; RssKind::COUNT],
}

impl<M: Machine> SpaceAudit<'_, '_, M> {
    fn run(mut self, table_frames: &mut u64) -> Result<(), AuditError> {
        let mut result = Ok(());
        self.space.each_table(self.cx, &mut |table, address| {
            self.audit.tables += 1;
            *table_frames += 1 << table.frame.order();
            if result.is_ok() {
                result = self.table(table, address);
            }
        });
        result?;
        for kind in RssKind::ALL {
            let recorded = self.space.rss_of(self.cx.vm(), kind);
            let counted = self.rss[kind as usize];
            if counted != recorded {
                return Err(AuditError::Rss { space: self.space.id(), kind: kind as u8, counted, recorded });
            }
        }
        Ok(())
    }

    fn table(&mut self, table: Table<'_, M>, address: u64) -> Result<(), AuditError> {
        let space = self.space.id();
        if table.frame.kind() != Kind::Table {
            return Err(AuditError::Entry { space, address, frame: table.pfn, found: table.frame.kind() });
        }
        if table.frame.counts().load(Relaxed) != 0 {
            return Err(AuditError::Held { frame: table.pfn });
        }
        if table.claim().load(Relaxed) != 0 || table.is_stale() {
            return Err(AuditError::Busy { space, address });
        }
        let is_root = table.level == M::Arch::LEVELS - 1;
        let len = if is_root { index::<M::Arch>(M::Arch::USER_END - 1, table.level) + 1 } else { table.len() };
        let runs = table.runs(self.cx);
        let mut used = 0;
        for slot in 0..len {
            let word = table.entry(slot);
            let class = runs.class(slot);
            used += u64::from(!word.is_empty());
            let is_page = || matches!(word.decode(table.level), Entry::Page(..));
            if table.level > 0 && !word.is_empty() && word.table().is_none() && !is_page() {
                let here = address + ((slot as u64) << M::Arch::shift(table.level));
                return Err(AuditError::Upper { space, address: here, level: table.level });
            }
            if table.is_childless(slot) && self.cx.is_committed(class) {
                self.audit.committed += table.pages();
            }
            if class.is_stored() && table.is_childless(slot) {
                let dead = AuditError::Class { class: class.0, counted: 1, recorded: 0 };
                self.cx.class_tally(class).ok_or(dead)?.add_owned(1);
                let here = address + ((slot as u64) << M::Arch::shift(table.level));
                let is_led = self.cx.attributes(class).space.is_some();
                if is_led && !self.cx.extent_of(class).has(here >> M::Arch::PAGE_SHIFT) {
                    return Err(AuditError::Extent { space, address: here });
                }
            }
            let page = table.page(slot);
            if !page.is_empty() {
                self.page(page, class, address + ((slot as u64) << M::Arch::shift(table.level)), table.pages())?;
            }
        }
        let recorded = table.used() as u64;
        if used != recorded {
            return Err(AuditError::UsedSlots { space, address, counted: used, recorded });
        }
        debug_assert_eq!(table.len(), entries::<M::Arch>(table.level));
        Ok(())
    }

    fn page(&mut self, word: Word<M::Arch>, class: ClassId, address: u64, pages: u64) -> Result<(), AuditError> {
        let space = self.space.id();
        if class != ClassId::NONE && self.cx.attributes(class).is_guarded() {
            return Err(AuditError::Guarded { space, address });
        }
        let (pfn, bits) = match word.decode(0) {
            Entry::Page(pfn, bits) => (pfn, bits),
            Entry::Absent(Absent::Swap { slot, .. }) => {
                self.rss[RssKind::Swap as usize] += 1;
                self.swapped.add(slot);
                return Ok(());
            }
            Entry::Absent(Absent::Migration { .. }) => return Err(AuditError::Moving { space, address }),
            _ => return Ok(()),
        };
        self.audit.mapped_pages += pages;
        let frame = self.cx.vm().physical().get(pfn).map(|_| self.cx.vm().physical().folio(pfn));
        let found = frame.map_or(Kind::Absent, |frame| frame.kind());
        let vm = self.cx.vm();
        let zero_page = if pages > 1 { vm.huge_zero_page(pages.trailing_zeros() as u8) } else { Some(vm.zero_page()) };
        let is_zero_page = bits.has(PageBits::SPECIAL) && zero_page == Some(pfn);
        let Some(frame) = frame.filter(|_| is_zero_page || matches!(found, Kind::Anonymous | Kind::File)) else {
            return Err(AuditError::Entry { space, address, frame: pfn, found });
        };
        if class == ClassId::NONE || !self.is_allowed(self.cx.attributes(class), (bits, pages), frame, is_zero_page) {
            return Err(AuditError::Rights { space, address, found: bits });
        }
        if found == Kind::File && !shows_its_own(vm, &self.cx.attributes(class), pfn, address) {
            return Err(AuditError::Shown { space, address, frame: pfn });
        }
        if !is_zero_page {
            self.rss[rss_kind(self.cx, pfn) as usize] += pages;
            if let Some(tally) = tally(frame) {
                tally.add_owned(1);
            }
        }
        Ok(())
    }

    /// Whether an entry for so many pages grants no more than its class, and what it says of exclusiveness holds.
    fn is_allowed(
        &self,
        attributes: Attributes<M>,
        (bits, pages): (PageBits, u64),
        frame: &Frame<M>,
        is_zero_page: bool,
    ) -> bool {
        let granted = super::apply::readable::<M::Arch>(attributes.prot);
        let within = bits.prot().without(granted) == crate::arch::Prot::NONE;
        let is_exclusive = bits.has(PageBits::EXCLUSIVE);
        // Of the pages of a folio, by themselves, one may be nobody else's and another not: the count says nothing of
        // either.
        let is_alone = frame.mappings() <= 1 || pages == 1 && frame.order() > 0;
        let lonely = !is_exclusive || (frame.kind() == Kind::Anonymous && is_alone && !is_zero_page);
        let private_write = attributes.is_private() && bits.has(PageBits::WRITE);
        within && lonely && (!private_write || is_exclusive)
    }
}

/// Whether cached page `pfn` is what a mapping of those attributes shows at `address`.
fn shows_its_own<M: Machine>(vm: &Vm<M>, attributes: &Attributes<M>, pfn: Pfn, address: u64) -> bool {
    let head = vm.physical().head(pfn);
    let frame = vm.physical().frame(head);
    let index = (address >> M::Arch::PAGE_SHIFT).wrapping_sub(attributes.delta);
    let is_its = attributes.object.is_some_and(|object| is_page_of(frame, object));
    is_its && frame.words[1].load(Relaxed).wrapping_add(pfn.0 - head.0) == index
}

#[cfg(test)]
mod tests;
