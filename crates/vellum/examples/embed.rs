//! The smallest embedding: a machine with one CPU and 4 MiB of memory, and a program's life in one address space.
//!
//! `docs/EMBEDDING.md` goes through it step by step. Everything but `main` works without the standard library and
//! without an allocator; `tests/no_alloc.rs` links it so.

use core::cell::UnsafeCell;
use core::fmt::Write;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use vellum::arch::{Prot, X86_64};
use vellum::ops::{FaultError, MapRequest};
use vellum::{Asid, CpuSet, Error, Machine, MemoryRange, Pfn, RootLoad, Space, Vm};

const PAGE: usize = 4096;
const FRAMES: usize = 1024;
const FIRST: Pfn = Pfn(0x100);

/// The machine's memory: frames 0x100 to 0x4ff.
#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; FRAMES * PAGE]>);

// SAFETY: it is reached through pointers alone, by the core and by whom the core gives a page.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; FRAMES * PAGE]));

/// What a kernel asks its processor for. This one notes it.
#[derive(Default)]
pub struct Toy {
    root: AtomicU64,
    invalidations: AtomicU32,
}

// SAFETY: `frame` leads to consecutive, page-aligned pages of `MEMORY`, which lives for ever and which only one `Toy`
// uses; there is one CPU, and one thread runs it.
unsafe impl Machine for Toy {
    type Arch = X86_64;

    fn cpu_count(&self) -> usize {
        1
    }
    fn current_cpu(&self) -> usize {
        0
    }
    fn memory(&self) -> &[MemoryRange] {
        &[MemoryRange { start: FIRST, frames: FRAMES as u64, node: 0 }]
    }
    fn frame(&self, pfn: Pfn) -> *mut u8 {
        MEMORY.0.get().cast::<u8>().wrapping_add((pfn.0 - FIRST.0) as usize * PAGE)
    }
    fn disable_preemption(&self) {}
    fn enable_preemption(&self) {}
    fn load_root(&self, load: RootLoad) {
        self.root.store(load.root.0, Relaxed); // mov cr3
    }
    fn unload_root(&self) {
        self.root.store(0, Relaxed);
    }
    fn invalidate_page(&self, _asid: Asid, _address: u64) {
        self.invalidations.fetch_add(1, Relaxed); // invlpg
    }
    fn invalidate_asid(&self, _asid: Asid) {
        self.invalidations.fetch_add(1, Relaxed); // invpcid
    }
    fn send_interrupt(&self, _cpus: &CpuSet) {
        unreachable!("there is no other CPU");
    }
    fn wait_change(&self, _word: &AtomicU32, _seen: u32) {
        core::hint::spin_loop();
    }
    fn now(&self) -> u64 {
        0
    }
}

/// A byte that a program stores. This processor runs no programs, so the kernel stores it on the program's behalf, as a
/// system call does: the page comes by way of [`Space::fault`], as it would for the program.
fn store(space: &Space<'_, Toy>, address: u64, value: u8) -> Result<(), FaultError> {
    space.copy_out(address, &[value])
}

fn load(space: &Space<'_, Toy>, address: u64) -> Result<u8, FaultError> {
    let mut byte = [0];
    space.copy_in(address, &mut byte)?;
    Ok(byte[0])
}

/// A program's life. Errors are what a system call returns: Linux's numbers.
pub fn run(out: &mut dyn Write) -> Result<(), i32> {
    const EFAULT: i32 = 14;
    let vm = Vm::new(Toy::default()).map_err(|_| 12)?;
    let space = vm.create_space().map_err(Error::errno)?;
    vm.switch_to(Some(&space));

    let length = 16 * PAGE as u64;
    let request = MapRequest::anonymous(length, Prot::READ_WRITE);
    let address = space.map(&request).map_err(Error::errno)?;
    let _ = writeln!(out, "mapped: {} pages resident", space.rss().anonymous);

    store(&space, address, b'p').map_err(|_| EFAULT)?;
    let _ = writeln!(out, "stored: {} page resident", space.rss().anonymous);

    let child = space.fork().map_err(Error::errno)?;
    let same = |child: &Space<'_, Toy>| match (space.translate(address), child.translate(address)) {
        (Some(ours), Some(theirs)) if ours.pfn == theirs.pfn => "share a page",
        _ => "have pages of their own",
    };
    let _ = writeln!(out, "forked: parent and child {}", same(&child));
    store(&child, address, b'c').map_err(|_| EFAULT)?;
    let (ours, theirs) = (load(&space, address).map_err(|_| EFAULT)?, load(&child, address).map_err(|_| EFAULT)?);
    let _ = writeln!(out, "copied on write: they {}: {} and {}", same(&child), ours as char, theirs as char);
    drop(child);

    space.protect(address, PAGE as u64, Prot::READ).map_err(Error::errno)?;
    let _ = writeln!(out, "protected: {}", if store(&space, address, 0).is_err() { "a store fails" } else { "?" });

    space.unmap(address, length).map_err(Error::errno)?;
    let _ = writeln!(out, "unmapped: {} pages resident", space.rss().anonymous);

    vm.switch_to(None);
    drop(space);
    // SAFETY: nothing else runs.
    let audit = unsafe { vm.audit() }.map_err(|_| 5)?;
    let _ = writeln!(out, "ended: {} spaces, {} pages mapped; nothing is lost", audit.spaces, audit.mapped_pages);
    Ok(())
}

/// With a standard library; a kernel has its own way in.
#[cfg(panic = "unwind")]
fn main() -> Result<(), i32> {
    let mut out = String::new();
    let result = run(&mut out);
    print!("{out}");
    result
}
