//! A process of a trace: its stream, its address space, and what is known about it.

use super::layout::{Area, Kind, Layout, OnFork};
use super::shadow::Shadow;
use super::slots::{Slot, Slots};
use crate::host::Host;
use crate::outcome::RunError;
use crate::trace::TraceReader;
use rustc_hash::FxHashMap;
use vellum::Space;
use vellum::arch::{Arch, Prot, X86_64};

/// log2 of the bytes of a page of the traces.
pub(super) const PAGE_SHIFT: u32 = 12;
/// First page of the range in which valgrind puts the stack, and its end.
pub(super) const STACK: (u64, u64) = (0x1f_f000_0000 >> PAGE_SHIFT, 0x20_0000_0000 >> PAGE_SHIFT);
/// All access rights.
pub(super) const ALL: Prot = Prot::READ_WRITE.with(Prot::EXECUTE);

/// Whether a program of `A` can have what a traced program has at `address`: addresses that traced programs cannot
/// have either are answered by a signal instead.
pub(super) fn check_fits<A: Arch>(address: u64) -> Result<(), RunError> {
    let (end, traced) = (A::USER_END, X86_64::USER_END);
    if end < traced && (end..traced).contains(&address) {
        return Err(RunError::Address { address, arch: A::NAME, end });
    }
    Ok(())
}

/// A process.
pub(super) struct Process<'vm, A: Arch> {
    pub(super) space: Space<'vm, Host<A>>,
    pub(super) reader: TraceReader,
    /// How many were made before it.
    pub(super) number: usize,
    /// Valgrind's number of the thread that runs.
    pub(super) thread: u32,
    pub(super) layout: Layout,
    pub(super) slots: Slots,
    /// Open files: what they are, by descriptor.
    pub(super) files: FxHashMap<i32, u64>,
    /// Where the heap begins and ends, once that is known.
    pub(super) heap: Option<(u64, u64)>,
}

impl<'vm, A: Arch> Process<'vm, A> {
    /// The first process, in an empty space.
    pub(super) fn new(space: Space<'vm, Host<A>>, reader: TraceReader) -> Self {
        Process {
            space,
            reader,
            number: 0,
            thread: 1,
            layout: Layout::default(),
            slots: Slots::new(),
            files: FxHashMap::default(),
            heap: None,
        }
    }

    /// A forked child with a space and a stream of its own.
    pub(super) fn child(
        &mut self,
        space: Space<'vm, Host<A>>,
        reader: TraceReader,
        number: usize,
        shadow: &mut Shadow,
    ) -> Self {
        let mut child = Process { number, files: self.files.clone(), heap: self.heap, ..Process::new(space, reader) };
        for part in self.layout.iter() {
            let Some(area) = part.area else { continue };
            let skipped = Area::new(Kind::Unmapped, Prot::NONE);
            let inherited = match area.on_fork {
                OnFork::Skip => skipped,
                OnFork::Wipe => area.unguarded(),
                OnFork::Copy => area,
            };
            child.layout.set(part.start, part.end, inherited);
            if area.on_fork != OnFork::Skip {
                shadow.count_mapped(&area, part.end - part.start);
            }
            if area.on_fork == OnFork::Copy {
                self.slots.each(part.start, part.end, |page, slot| {
                    shadow.share(slot);
                    *child.slots.get(page) = *slot;
                });
            }
        }
        child
    }

    /// Says `area` about the pages from `start` to `end`, whose contents go.
    pub(super) fn set_area(&mut self, start: u64, end: u64, area: Area, shadow: &mut Shadow) {
        shadow.count_mapped(&area, end - start);
        self.forget(start, end, shadow);
        for part in self.layout.parts(start, end) {
            if let Some(old) = part.area {
                shadow.count_unmapped(&old, part.end - part.start);
            }
        }
        self.layout.set(start, end, area);
    }

    /// Forgets what the pages from `start` to `end` show, as if nobody had accessed them.
    pub(super) fn forget(&mut self, start: u64, end: u64, shadow: &mut Shadow) {
        self.slots.each(start, end, |_, slot| shadow.release(slot));
    }

    /// Moves the slots of `pages` pages.
    pub(super) fn move_slots(&mut self, old: u64, new: u64, pages: u64) {
        let mut moved = Vec::new();
        self.slots.each(old, old.saturating_add(pages), |page, slot| moved.push((page - old, std::mem::take(slot))));
        for (offset, slot) in moved {
            *self.slots.get(new + offset) = slot;
        }
    }

    /// The slot of `page`, which was just accessed: what it allows is known afterwards.
    #[inline]
    pub(super) fn slot(&mut self, page: u64) -> &mut Slot {
        let slot = self.slots.get(page);
        if !slot.is_known() {
            self.layout.grow_stack(page);
            slot.set_rights(self.layout.at(page).map_or(Prot::NONE, Area::rights));
        }
        slot
    }
}
