//! The files that the programs share: one of constant length, and one that is made shorter and longer all the time.
//! What write-back has promised is compared with what the backings hold.

use super::{CHANGING, CPUS, EACH, PAGE, Worker};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use vellum::arch::Arch;
use vellum::{Backing, Error, IoError, Space};
use vellum_lab::AccessError;
use vellum_lab::contract;
use vellum_lab::host::Host;

/// Pages of a file, at most: each thread has [`EACH`], in turns.
pub(super) const PAGES: u64 = EACH * CPUS as u64;
/// One of so many writes of a file fails.
const FAILS: u64 = 40;

/// A file in memory; a handle.
#[derive(Clone)]
pub(super) struct File(Arc<Contents>);

struct Contents {
    bytes: Mutex<Vec<u8>>,
    /// In pages.
    length: AtomicU64,
    writes: AtomicU64,
    /// Whether writes fail now and then.
    fails: AtomicBool,
}

impl File {
    pub(super) fn new() -> File {
        let bytes = Mutex::new(vec![0; (PAGES * PAGE) as usize]);
        let (writes, fails) = (AtomicU64::new(0), AtomicBool::new(true));
        File(Arc::new(Contents { bytes, length: AtomicU64::new(PAGES), writes, fails }))
    }

    /// The word at `offset`.
    fn word(&self, offset: u64) -> u64 {
        let bytes = self.0.bytes.lock().unwrap();
        u64::from_ne_bytes(bytes[offset as usize..][..8].try_into().unwrap())
    }

    /// Makes it `pages` pages long. What it had from there on is gone.
    fn set_length(&self, pages: u64) {
        let mut bytes = self.0.bytes.lock().unwrap();
        self.0.length.store(pages, SeqCst);
        bytes[(pages * PAGE) as usize..].fill(0);
    }

    /// From now on no write fails.
    pub(super) fn be_reliable(&self) {
        self.0.fails.store(false, Relaxed);
    }
}

impl Backing for File {
    fn length(&self) -> u64 {
        contract::may_sleep("Backing::length");
        self.0.length.load(SeqCst) * PAGE
    }

    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::read");
        let start = (index * PAGE) as usize;
        page.copy_from_slice(&self.0.bytes.lock().unwrap()[start..start + PAGE as usize]);
        Ok(())
    }

    fn write(&self, index: u64, page: &[u8]) -> Result<(), IoError> {
        contract::may_sleep("Backing::write");
        let number = self.0.writes.fetch_add(1, Relaxed);
        if number % FAILS == FAILS - 1 && self.0.fails.load(Relaxed) {
            return Err(IoError);
        }
        let start = (index * PAGE) as usize;
        let mut bytes = self.0.bytes.lock().unwrap();
        // As a file system has it, whose lock of the file this is.
        if index < self.0.length.load(SeqCst) {
            bytes[start..start + PAGE as usize].copy_from_slice(page);
        }
        Ok(())
    }
}

impl<A: Arch> Worker<'_, '_, A> {
    /// Stores to and loads from one of this thread's pages of the changing file. A page that was cut off is zero when
    /// the file has grown again, and what it held does not come back.
    pub(super) fn use_changing(&mut self, program: usize) {
        let index = self.random.usize(..EACH as usize);
        let address = CHANGING + (index as u64 * CPUS as u64 + self.number) * PAGE;
        let space = &self.programs[program].space;
        if let Some(found) = self.unless_cut_off(self.load_word(space, address)) {
            let stored = self.changing[index];
            assert!(found == stored || found == 0, "page {index} holds {found:x}, {stored:x} was stored");
            self.changing[index] = found;
        }
        self.value += CPUS as u64;
        let space = &self.programs[program].space;
        if self.unless_cut_off(self.store_word(space, address, self.value)).is_some() {
            self.changing[index] = self.value;
        }
    }

    /// Whether an access to the changing file happened.
    fn unless_cut_off<T>(&self, result: Result<T, AccessError>) -> Option<T> {
        match result {
            Err(error) if error.is_bus() => None,
            result => self.happened(result),
        }
    }

    /// Makes the changing file shorter, or longer.
    pub(super) fn change_length(&mut self) {
        let world = self.world;
        // An embedder serialises this, as a file system does by the lock of the inode.
        let Ok(mut length) = world.length.try_lock() else { return };
        let pages = self.random.u64(..=PAGES);
        if pages < *length {
            world.changing_backing.set_length(pages);
            world.changing.truncate(pages * PAGE).expect("the backing is that long");
        } else {
            world.changing.grow(|| world.changing_backing.set_length(pages));
        }
        *length = pages;
    }

    /// Writes a file back, and compares what this thread had stored there before: nobody else stores to its pages.
    pub(super) fn write_back(&mut self) {
        let world = self.world;
        let is_changing = self.random.bool();
        let (object, backing) =
            if is_changing { (world.changing, &world.changing_backing) } else { (world.file, &world.file_backing) };
        match object.write_back() {
            Ok(_) => {}
            // Nothing is promised.
            Err(Error::Io { .. } | Error::OutOfMemory) => return,
            Err(error) => panic!("{error}"),
        }
        // While nobody cuts, what is not there was cut off before, and must not be seen again.
        let Ok(_length) = world.length.try_lock() else { return };
        let stored = if is_changing { &mut self.changing } else { &mut self.shared[1] };
        for (index, stored) in (0..).zip(stored) {
            let found = backing.word((index * CPUS as u64 + self.number) * PAGE);
            let is_cut_off = is_changing && found == 0;
            assert!(found == *stored || is_cut_off, "page {index}: {found:x} is written, {stored:x} was stored");
            *stored = found;
        }
        world.promises.fetch_add(1, Relaxed);
    }

    /// Loads a word, as the program, or the kernel on its behalf.
    pub(super) fn load_word(&self, space: &Space<'_, Host<A>>, address: u64) -> Result<u64, AccessError> {
        let mut bytes = [0; 8];
        match self.value & CPUS as u64 {
            0 => space.copy_in(address, &mut bytes).map_err(AccessError::Fault)?,
            _ => self.cpu.load_into(space, address, &mut bytes)?,
        }
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Stores a word, as the program, or the kernel on its behalf.
    pub(super) fn store_word(&self, space: &Space<'_, Host<A>>, address: u64, value: u64) -> Result<(), AccessError> {
        match value & CPUS as u64 {
            0 => space.copy_out(address, &value.to_ne_bytes()).map_err(AccessError::Fault),
            _ => self.cpu.store(space, address, &value.to_ne_bytes()),
        }
    }
}
