//! The end of the file: where it lies within a page, and how it moves.

use super::At;
use super::cpu::Cpu;
use super::ops::Ops;
use super::world::World;
use crate::explore::sim;
use crate::lab::Action;
use crate::poison::lock;
use vellum::Error;
use vellum::arch::Arch;

/// What a world can do with the end of its file; as [`Ops`].
pub(crate) trait FileOps {
    /// The file is shared memory of `pages` pages from now on.
    fn use_shared_memory(&self, pages: u64) -> Result<(), Error>;
    /// The file ends in the middle of page `index` from now on; nobody has mapped it yet.
    fn end_within(&self, index: u64);
    /// Makes the file end in the middle of page `index`, where it was longer.
    fn truncate_within(&self, index: u64) -> Result<(), Error>;
    /// Makes the file longer; whether the core is told.
    fn grow(&self, pages: u64, is_told: bool);
    /// Makes a hole of `pages` pages from page `first` on.
    fn punch(&self, first: u64, pages: u64) -> Result<(), Error>;
    /// What a user does to the page's last word, as [`Ops::access`]. No oracle knows what is there.
    fn access_last(&self, process: usize, at: At, action: Action) -> Option<u64>;
    /// What the backing holds in the last word of a page.
    fn last_in_backing(&self, index: u64) -> u64;
}

impl<A: Arch> FileOps for World<A> {
    fn use_shared_memory(&self, pages: u64) -> Result<(), Error> {
        let memory = self.vm().shared_memory(pages)?;
        *lock(&self.file) = Some(memory);
        self.is_memory.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn end_within(&self, index: u64) {
        self.backing().set_length(index, true);
    }

    fn truncate_within(&self, index: u64) -> Result<(), Error> {
        self.backing().set_length(index, true);
        let file = self.file_handle();
        file.map_or(Ok(()), |file| file.truncate(self.bytes(index) + self.page_size() / 2))
    }

    fn grow(&self, pages: u64, is_told: bool) {
        let extend = || self.backing().set_length(pages, false);
        match self.file_handle().filter(|_| is_told) {
            Some(file) => file.grow(extend),
            None => extend(),
        }
    }

    fn punch(&self, first: u64, pages: u64) -> Result<(), Error> {
        self.file_handle().map_or(Ok(()), |file| file.punch(self.bytes(first), self.bytes(pages)))
    }

    fn access_last(&self, process: usize, at: At, action: Action) -> Option<u64> {
        let address = self.address(at) + self.page_size() - size_of::<u64>() as u64;
        self.access_at(process, address, action)
    }

    fn last_in_backing(&self, index: u64) -> u64 {
        self.look_at_backing();
        self.backing().last_word(index)
    }
}

impl Cpu<'_> {
    /// Makes shared memory of `pages` pages what is called the file from now on; in a scenario's start.
    pub fn use_shared_memory(&self, pages: u64) {
        let is_done = self.ops.file().use_shared_memory(pages).is_ok();
        self.expect(is_done, "I-ACCESS", "there is no memory for shared memory");
    }

    /// Makes the file end in the middle of page `index`; in a scenario's start, before it is mapped.
    pub fn end_file_within(&self, index: u64) {
        self.ops.file().end_within(index);
    }

    /// Makes the file end in the middle of page `index`, which is less than it was.
    pub fn truncate_within(&self, index: u64) -> bool {
        self.shared.with_oracle(|oracle| oracle.begin_truncate(index + 1));
        let text = format!("ftruncate to the middle of page {index}");
        let done = self.operation(text, || self.ops.file().truncate_within(index));
        self.shared.with_oracle(|oracle| oracle.end_truncate(index + 1, done));
        done
    }

    /// Makes a hole of `pages` pages from page `first` of the file on (`FALLOC_FL_PUNCH_HOLE`).
    pub fn punch(&self, first: u64, pages: u64) -> bool {
        self.shared.with_oracle(|oracle| oracle.begin_punch(first..first + pages));
        let text = format!("punch {pages} pages from page {first} on");
        let done = self.operation(text, || self.ops.file().punch(first, pages));
        self.shared.with_oracle(|oracle| oracle.end_punch(first..first + pages, done));
        done
    }

    /// Makes the file `pages` pages long, which is more than it was.
    pub fn grow(&self, pages: u64) {
        self.grow_told(pages, true);
    }

    /// As [`Cpu::grow`]. The core is not told: it asks.
    pub fn grow_untold(&self, pages: u64) {
        self.grow_told(pages, false);
    }

    fn grow_told(&self, pages: u64, is_told: bool) {
        self.shared.with_oracle(|oracle| oracle.begin_grow(pages));
        sim::happened(|| format!("the file grows to {pages} pages"));
        self.shared.busy(|| self.ops.file().grow(pages, is_told));
        self.shared.with_oracle(|oracle| oracle.end_grow());
    }

    /// The user loads the page's last word; `None` if it gets a signal.
    pub fn load_last(&self, at: At) -> Option<u64> {
        self.ops.file().access_last(self.process(), at, Action::Load { tag: None })
    }

    /// The user stores to the page's last word; whether it could.
    pub fn store_last(&self, at: At, value: u64) -> bool {
        self.ops.file().access_last(self.process(), at, Action::Store { value, tag: None }).is_some()
    }

    /// What the backing holds in the last word of page `index` of the file.
    pub fn last_in_backing(&self, index: u64) -> u64 {
        self.ops.file().last_in_backing(index)
    }
}
