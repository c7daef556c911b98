//! Huge pages: as many pages as a leaf table has, shown by one entry.

use super::At;
use super::cpu::Cpu;
use super::ops::Ops;
use super::world::World;
use crate::explore::sim;
use std::sync::atomic::Ordering::SeqCst;
use vellum::arch::{Arch, Entry, PageBits};
use vellum::ops::HugePages;
use vellum::phys::{Kind, Pfn};

/// What a world says of huge pages; as [`Ops`].
pub(crate) trait HugeOps {
    fn use_huge_pages(&self, policy: HugePages);
    /// The same of shared memory.
    fn use_shared_huge_pages(&self, policy: HugePages);
    /// Pages of the process that are shown as huge ones.
    fn huge_pages(&self, process: usize) -> u64;
    /// Whether the entry of a page says that it was stored to; `None` if there is no page.
    fn is_entry_dirty(&self, process: usize, at: At) -> Option<bool>;
    fn is_table(&self, frame: u64) -> bool;
    /// Makes the entry of a page say that it was not used.
    fn forget_use(&self, process: usize, at: At);
}

impl<A: Arch> HugeOps for World<A> {
    fn use_huge_pages(&self, policy: HugePages) {
        self.vm().set_huge_pages(policy);
    }

    fn use_shared_huge_pages(&self, policy: HugePages) {
        self.vm().set_shared_huge_pages(policy);
    }

    fn huge_pages(&self, process: usize) -> u64 {
        let mut pages = 0;
        self.space(process).smaps(&mut |entry| pages += entry.anonymous_huge + entry.shared_huge);
        pages / self.leaf_pages()
    }

    fn is_entry_dirty(&self, process: usize, at: At) -> Option<bool> {
        self.space(process).translate(self.address(at)).map(|to| to.bits.has(PageBits::DIRTY))
    }

    fn is_table(&self, frame: u64) -> bool {
        sim::quietly(|| self.vm().frame_kind(Pfn(frame))) == Some(Kind::Table)
    }

    fn forget_use(&self, process: usize, at: At) {
        let (machine, address) = (self.vm().machine(), self.address(at));
        let Some((word, level)) = machine.last_entry(self.space(process).root(), address) else { return };
        let seen = word.load(SeqCst);
        if let Entry::Page(frame, bits) = A::decode(seen, level) {
            let small = A::page(frame, bits.without(PageBits::ACCESSED | PageBits::DIRTY));
            word.store(if level == 0 { small } else { A::huge(small, level) }, SeqCst);
        }
        if let Some(load) = machine.loaded(sim::current_cpu()) {
            machine.forget_everywhere(load.asid, address);
        }
    }
}

impl Cpu<'_> {
    /// From now on private memory gets huge pages, where all of a leaf table's pages are mapped: at the first store,
    /// and of zeroes at the first load.
    pub fn use_huge_pages(&self) {
        sim::happened(|| "huge pages: always".into());
        self.ops.huge().use_huge_pages(HugePages::Always);
    }

    /// As [`Cpu::use_shared_memory`], which gets huge pages, where a mapping of it can show one whole: at the first
    /// access.
    pub fn use_huge_shared_memory(&self, pages: u64) {
        sim::happened(|| "huge pages of shared memory: always".into());
        self.ops.huge().use_shared_huge_pages(HugePages::Always);
        self.use_shared_memory(pages);
    }

    /// From now on all private memory gets small pages.
    pub fn use_small_pages(&self) {
        sim::happened(|| "huge pages: never".into());
        self.ops.huge().use_huge_pages(HugePages::Never);
    }

    /// How many huge pages the process has. When no operation is under way.
    pub fn huge_pages(&self) -> u64 {
        self.ops.huge().huge_pages(self.process())
    }

    /// Breaks I-DIRTY if the entry of a page that was stored to does not say so. When no operation is under way.
    pub fn expect_dirty(&self, at: At) {
        let is_dirty = self.ops.huge().is_entry_dirty(self.process(), at);
        self.expect(is_dirty != Some(false), "I-DIRTY", "the entry of a page that was stored to is clean");
    }

    /// Whether a frame is one of a page table.
    pub fn is_table(&self, frame: u64) -> bool {
        self.ops.huge().is_table(frame)
    }

    /// Makes the entry of a page say that it was neither read nor stored to, as aging would, and the CPU forget it: in
    /// a scenario's start.
    pub fn forget_use(&self, at: At) {
        sim::happened(|| format!("{:#x} counts as unused", self.ops.address(at)));
        self.ops.huge().forget_use(self.process(), at);
    }
}
