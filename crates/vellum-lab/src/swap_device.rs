//! Block devices for swap, with failures on demand.

use crate::contract;
use crate::failure::{FailureGate, FailurePlan};
use crate::poison::lock;
use rustc_hash::FxHashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use vellum::{IoError, SwapDevice};

/// What a device did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Reads asked for.
    pub reads: u64,
    /// Writes asked for.
    pub writes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Writes that failed.
    pub failed_writes: u64,
}

/// One direction of transfer.
#[derive(Debug)]
struct Port {
    gate: FailureGate,
    transfers: AtomicU64,
    failures: AtomicU64,
}

impl Port {
    fn new() -> Port {
        Port { gate: FailureGate::new(), transfers: AtomicU64::new(0), failures: AtomicU64::new(0) }
    }

    /// Makes a transfer, if the plan lets it.
    fn transfer(&self, body: impl FnOnce() -> Result<(), IoError>) -> Result<(), IoError> {
        contract::may_sleep("a transfer of swap");
        self.transfers.fetch_add(1, Relaxed);
        let result = if self.gate.allow() { body() } else { Err(IoError) };
        self.failures.fetch_add(result.is_err() as u64, Relaxed);
        result
    }
}

/// What devices have in common.
#[derive(Debug)]
struct Shape {
    pages: u64,
    page_bytes: usize,
    reads: Port,
    writes: Port,
}

impl Shape {
    fn new(pages: u64, page_bytes: usize) -> Shape {
        Shape { pages, page_bytes, reads: Port::new(), writes: Port::new() }
    }

    /// Whether there is such a page, and the buffer is one.
    fn check(&self, page: u64, buffer_bytes: usize) -> Result<(), IoError> {
        if page < self.pages && buffer_bytes == self.page_bytes { Ok(()) } else { Err(IoError) }
    }

    fn counters(&self) -> DeviceCounters {
        DeviceCounters {
            reads: self.reads.transfers.load(Relaxed),
            writes: self.writes.transfers.load(Relaxed),
            failed_reads: self.reads.failures.load(Relaxed),
            failed_writes: self.writes.failures.load(Relaxed),
        }
    }
}

/// A device in the host's memory. Pages that were never written are zero, and take no room.
#[derive(Debug)]
pub struct MemoryDevice {
    shape: Shape,
    contents: Mutex<FxHashMap<u64, Box<[u8]>>>,
}

/// A device in a temporary file, which nobody else sees and which goes away with it.
#[derive(Debug)]
pub struct FileDevice {
    shape: Shape,
    file: File,
}

/// The methods that both have.
macro_rules! common_methods {
    () => {
        /// Its pages.
        pub fn pages(&self) -> u64 {
            self.shape.pages
        }

        /// Reads a page into `into`, which is one page long.
        ///
        /// # Errors
        /// If there is no such page, its contents cannot be read, or the plan says so.
        pub fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
            self.shape.reads.transfer(|| self.read_page(page, into))
        }

        /// Writes a page, all of it.
        ///
        /// # Errors
        /// As for [`Self::read`]; what the page held stays.
        pub fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
            self.shape.writes.transfer(|| self.write_page(page, from))
        }

        /// Lets `plan` decide which reads fail from now on, counting them from 0 again.
        pub fn fail_reads(&self, plan: FailurePlan) {
            self.shape.reads.gate.set(plan);
        }

        /// Lets `plan` decide which writes fail from now on, counting them from 0 again.
        pub fn fail_writes(&self, plan: FailurePlan) {
            self.shape.writes.gate.set(plan);
        }

        /// What it did so far.
        pub fn counters(&self) -> DeviceCounters {
            self.shape.counters()
        }
    };
}

impl MemoryDevice {
    /// A device of `pages` pages of `page_bytes` bytes.
    pub fn new(pages: u64, page_bytes: usize) -> MemoryDevice {
        MemoryDevice { shape: Shape::new(pages, page_bytes), contents: Mutex::default() }
    }

    common_methods!();

    fn read_page(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.shape.check(page, into.len())?;
        match lock(&self.contents).get(&page) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => into.fill(0),
        }
        Ok(())
    }

    fn write_page(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.shape.check(page, from.len())?;
        lock(&self.contents).insert(page, from.into());
        Ok(())
    }
}

impl FileDevice {
    /// A device of `pages` pages of `page_bytes` bytes, in the host's folder for temporary files. The file is sparse.
    ///
    /// # Errors
    /// What the host says.
    pub fn new(pages: u64, page_bytes: usize) -> io::Result<FileDevice> {
        let bytes = pages.checked_mul(page_bytes as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let file = nameless_file()?;
        file.set_len(bytes)?;
        Ok(FileDevice { shape: Shape::new(pages, page_bytes), file })
    }

    common_methods!();

    fn read_page(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.shape.check(page, into.len())?;
        self.file.read_exact_at(into, page * self.shape.page_bytes as u64).map_err(|_| IoError)
    }

    fn write_page(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.shape.check(page, from.len())?;
        self.file.write_all_at(from, page * self.shape.page_bytes as u64).map_err(|_| IoError)
    }
}

macro_rules! swap_device {
    ($($device:ty),*) => {$(
        impl SwapDevice for $device {
            fn pages(&self) -> u64 {
                Self::pages(self)
            }

            fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
                Self::read(self, page, into)
            }

            fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
                Self::write(self, page, from)
            }
        }
    )*};
}
swap_device!(MemoryDevice, FileDevice);

/// A handle of a device, to be given to the core while the device is still looked at and made to fail.
#[derive(Debug)]
pub struct Handle<D>(pub Arc<D>);

impl<D: SwapDevice> SwapDevice for Handle<D> {
    fn pages(&self) -> u64 {
        self.0.pages()
    }

    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        self.0.read(page, into)
    }

    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        self.0.write(page, from)
    }
}

/// A new file, whose name is gone already.
fn nameless_file() -> io::Result<File> {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let number = FILES.fetch_add(1, Relaxed);
    let path = std::env::temp_dir().join(format!("vellum-swap-{}-{number}", std::process::id()));
    // `create_new` follows no link that somebody has put there.
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;

    /// Both devices, by the methods they have in common.
    macro_rules! on_both {
        ($body:expr) => {
            $body(&MemoryDevice::new(8, PAGE));
            $body(&FileDevice::new(8, PAGE).expect("a temporary file"));
        };
    }

    trait Device {
        fn get(&self, page: u64, length: usize) -> Result<Vec<u8>, IoError>;
        fn put(&self, page: u64, bytes: &[u8]) -> Result<(), IoError>;
        fn plans(&self, reads: FailurePlan, writes: FailurePlan);
        fn counted(&self) -> DeviceCounters;
    }

    macro_rules! device {
        ($type:ty) => {
            impl Device for $type {
                fn get(&self, page: u64, length: usize) -> Result<Vec<u8>, IoError> {
                    let mut bytes = vec![0xee; length];
                    self.read(page, &mut bytes).map(|()| bytes)
                }
                fn put(&self, page: u64, bytes: &[u8]) -> Result<(), IoError> {
                    self.write(page, bytes)
                }
                fn plans(&self, reads: FailurePlan, writes: FailurePlan) {
                    self.fail_reads(reads);
                    self.fail_writes(writes);
                }
                fn counted(&self) -> DeviceCounters {
                    assert_eq!(self.pages(), 8);
                    self.counters()
                }
            }
        };
    }
    device!(MemoryDevice);
    device!(FileDevice);

    #[test]
    fn pages_come_back() {
        on_both!(|device: &dyn Device| {
            for page in 0..8 {
                device.put(page, &[page as u8 + 1; PAGE]).unwrap();
            }
            device.put(3, &[0x33; PAGE]).unwrap();
            for page in [7, 0, 2] {
                assert_eq!(device.get(page, PAGE).unwrap(), [page as u8 + 1; PAGE]);
            }
            assert_eq!(device.get(3, PAGE).unwrap(), [0x33; PAGE]);
            assert_eq!(device.counted(), DeviceCounters { reads: 4, writes: 9, ..Default::default() });
        });
    }

    #[test]
    fn pages_never_written_are_zero() {
        on_both!(|device: &dyn Device| assert_eq!(device.get(7, PAGE).unwrap(), [0; PAGE]));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        on_both!(|device: &dyn Device| {
            assert!(device.put(8, &[1; PAGE]).is_err() && device.put(u64::MAX, &[1; PAGE]).is_err());
            assert!(device.put(0, &[1; PAGE - 1]).is_err() && device.put(0, &[1; PAGE + 1]).is_err());
            assert!(device.get(8, PAGE).is_err() && device.get(0, 1).is_err());
            let failed = DeviceCounters { reads: 2, writes: 4, failed_reads: 2, failed_writes: 4 };
            assert_eq!(device.counted(), failed);
        });
    }

    #[test]
    fn plans_fail_what_they_name_and_nothing_is_written() {
        on_both!(|device: &dyn Device| {
            device.put(1, &[1; PAGE]).unwrap();
            device.plans(FailurePlan::From(1), FailurePlan::Nth(0));
            assert!(device.put(1, &[2; PAGE]).is_err());
            assert_eq!(device.get(1, PAGE).unwrap(), [1; PAGE]);
            device.put(1, &[3; PAGE]).unwrap();
            assert!(device.get(1, PAGE).is_err() && device.get(0, PAGE).is_err());
            device.plans(FailurePlan::Never, FailurePlan::Never);
            assert_eq!(device.get(1, PAGE).unwrap(), [3; PAGE]);
            let counted = DeviceCounters { reads: 4, writes: 3, failed_reads: 2, failed_writes: 1 };
            assert_eq!(device.counted(), counted);
        });
    }

    #[test]
    fn files_leave_no_name_behind() {
        let device = FileDevice::new(1 << 20, 4096).unwrap();
        device.write((1 << 20) - 1, &[7; 4096]).unwrap();
        let own = format!("vellum-swap-{}-", std::process::id());
        // Others of this process may be about to remove theirs.
        let names = || fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.file_name());
        let stays = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&own);
        let seen: Vec<_> = names().filter(stays).collect();
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!names().filter(stays).any(|name| seen.contains(&name)));
        assert!(FileDevice::new(u64::MAX, 4096).is_err());
    }
}
