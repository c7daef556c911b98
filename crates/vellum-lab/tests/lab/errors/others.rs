//! Mistakes with objects, instances, spaces as a whole, groups and swap areas.

use super::world::*;
use super::{Row, provoke};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use vellum::arch::{Arch, TinyBroadcast, X86_64};
use vellum::ops::Advice;
use vellum::{Backing, BootError, CommitLimit, IoError, MemoryRange, Object, Overcommit, SwapDevice, Vm};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::swap_device::MemoryDevice;

pub(super) fn add(rows: &mut Vec<Row>) {
    booting(rows);
    making(rows);
    objects(rows);
    swap(rows);
}

fn boot<A: Arch>(config: &MachineConfig) -> Result<(), BootError> {
    Vm::new(det::<A>(config)).map(|_| ())
}

fn booting(rows: &mut Vec<Row>) {
    let refused = |config: &MachineConfig| told(boot::<X86_64>(config).expect_err("a mistake"));
    let range = |start, frames, node| MemoryRange { start: vellum::Pfn(start), frames, node };
    let with = |ranges: &[MemoryRange]| MachineConfig { cpus: 1, ranges: ranges.to_vec() };
    provoke! { rows, "Vm::new",
        "no processor" => |_w| refused(&MachineConfig::new(0, 1024));
        "more processors than there can be" => |_w| refused(&MachineConfig::new(257, 1024));
        "a range of memory lies within another" => |_w| refused(&with(&[range(256, 1024, 0), range(512, 16, 0)]));
        "a range of memory wraps around" => |_w| refused(&with(&[range(u64::MAX, 2, 0)]));
        "a node that cannot be" => |_w| refused(&with(&[range(256, 1024, 16)]));
        "no more identifiers than processors, which flush by broadcast" => |_w| {
            told(boot::<TinyBroadcast>(&MachineConfig::new(TinyBroadcast::ASIDS, 256)).expect_err("a mistake"))
        };
        "memory does not do for the core's own" => |_w| refused(&MachineConfig::new(1, 1));
        "no memory" => |_w| refused(&with(&[]));
    }
}

/// A handle that is too large.
struct Wide([u8; 2049]);

impl Backing for Wide {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&self, _index: u64, _page: &mut [u8]) -> Result<(), IoError> {
        Err(IoError)
    }
    fn write(&self, _index: u64, _page: &[u8]) -> Result<(), IoError> {
        Err(IoError)
    }
}

impl SwapDevice for Wide {
    fn pages(&self) -> u64 {
        64
    }
    fn read(&self, _page: u64, _into: &mut [u8]) -> Result<(), IoError> {
        Err(IoError)
    }
    fn write(&self, _page: u64, _from: &[u8]) -> Result<(), IoError> {
        Err(IoError)
    }
}

fn making(rows: &mut Vec<Row>) {
    provoke! { rows, "Vm::create_space",
        "memory is short" => |w| w.starves(|| w.vm.create_space());
    }
    provoke! { rows, "Space::fork",
        "no more may be committed" => |w| {
            w.commit_no_more();
            w.fails(|| w.space.fork())
        };
        "memory is short" => |w| w.starves(|| w.space.fork());
    }
    provoke! { rows, "Vm::create_group",
        "memory is short" => |w| w.starves(|| w.vm.create_group(1));
    }
    provoke! { rows, "Group::create_space",
        "memory is short" => |w| {
            let group = w.vm.create_group(1).expect("memory");
            w.starves(|| group.create_space())
        };
    }
    provoke! { rows, "Vm::shared_memory",
        "2^63 bytes" => |w| w.fails(|| w.vm.shared_memory((1 << 63) / P));
        "more bytes than can be counted" => |w| w.fails(|| w.vm.shared_memory(u64::MAX));
        "no more may be committed" => |w| {
            w.commit_no_more();
            w.fails(|| w.vm.shared_memory(1))
        };
        "memory is short" => |w| w.starves(|| w.vm.shared_memory(1));
    }
    provoke! { rows, "Vm::shared_memory_unreserved",
        "2^63 bytes" => |w| w.fails(|| w.vm.shared_memory_unreserved((1 << 63) / P));
        "no more may be committed" => |w| {
            w.commit_no_more();
            w.fails(|| w.vm.shared_memory_unreserved(1))
        };
        "memory is short" => |w| w.starves(|| w.vm.shared_memory_unreserved(1));
    }
    provoke! { rows, "Vm::file",
        "the handle is too large, or aligned to too much" => |w| w.fails(|| w.vm.file(Wide([0; 2049])));
        "memory is short" => |w| w.starves(|| w.vm.file(Disk::new(4)));
    }
}

/// Shared memory of two pages, mapped and stored to.
fn shared<'vm>(w: &World<'vm>) -> Object<'vm, M> {
    let object = w.look_at(w.vm.shared_memory(2).expect("memory"));
    w.put_file(B + 8 * P, 2, RW, RW, &object);
    w.store(B + 8 * P);
    object
}

fn objects(rows: &mut Vec<Row>) {
    provoke! { rows, "Object::write_back",
        "a page cannot be written" => |w| {
            let (file, disk) = w.put_bad_file(4, u64::MAX);
            w.store(B + 8 * P);
            w.store(B + 10 * P);
            disk.bad.store(2, Relaxed);
            let told = w.partly("the others are written", || file.write_back());
            disk.bad.store(u64::MAX, Relaxed);
            told
        };
    }
    provoke! { rows, "Object::truncate",
        "shared memory would become longer" => |w| {
            let object = shared(w);
            w.fails(|| object.truncate(2 * P + 1))
        };
        "the backing is longer" => |w| {
            let (file, _) = w.put_bad_file(4, u64::MAX);
            w.store(B + 8 * P);
            w.fails(|| file.truncate(4 * P - 1))
        };
    }
    provoke! { rows, "Object::punch",
        "the length is 0" => |w| {
            let object = shared(w);
            w.fails(|| object.punch(0, 0))
        };
        "it reaches beyond 2^63" => |w| {
            let object = shared(w);
            w.fails(|| object.punch(P, 1 << 63))
        };
        "it wraps around" => |w| {
            let object = shared(w);
            w.fails(|| object.punch(P, u64::MAX))
        };
        "the backing has no holes" => |w| {
            let (file, _) = w.put_bad_file(4, u64::MAX);
            w.store(B + 8 * P);
            w.fails(|| file.punch(0, P))
        };
        "the backing fails" => |w| {
            let file = w.file(&Arc::new(Disk { holes: Some(false), ..Disk::of(4) }));
            w.put_file(B + 8 * P, 4, RW, RW, &file);
            w.store(B + 9 * P);
            w.partly("the pages have gone", || file.punch(P, P))
        };
    }
    provoke! { rows, "Object::extend",
        "it would become shorter" => |w| {
            let object = shared(w);
            w.fails(|| object.extend(P))
        };
        "a file" => |w| {
            let (file, _) = w.put_bad_file(4, u64::MAX);
            w.fails(|| file.extend(5 * P))
        };
        "2^63 bytes" => |w| {
            let object = shared(w);
            w.fails(|| object.extend(1 << 63))
        };
        "no more may be committed" => |w| {
            let object = shared(w);
            w.commit_no_more();
            w.fails(|| object.extend(3 * P))
        };
    }
}

fn swap(rows: &mut Vec<Row>) {
    let device = |pages| MemoryDevice::new(pages, P as usize);
    let fill = |w: &World<'_>| (0..32).for_each(|_| _ = w.vm.swap_on_memory(1, 0).expect("memory"));
    provoke! { rows, "Vm::swap_on",
        "the handle is too large, or aligned to too much" => |w| w.fails(|| w.vm.swap_on(Wide([0; 2049]), 0));
        "the device is empty" => |w| w.fails(|| w.vm.swap_on(device(0), 0));
        "the device is too large" => |w| w.fails(|| w.vm.swap_on(device(u64::MAX), 0));
        "there are 32 areas" => |w| {
            fill(w);
            w.fails(|| w.vm.swap_on(device(64), 0))
        };
        "memory is short" => |w| w.starves(|| w.vm.swap_on(device(64), 0));
    }
    provoke! { rows, "Vm::swap_on_memory",
        "the area is empty" => |w| w.fails(|| w.vm.swap_on_memory(0, 0));
        "the area is too large" => |w| w.fails(|| w.vm.swap_on_memory(u64::MAX, 0));
        "there are 32 areas" => |w| {
            fill(w);
            w.fails(|| w.vm.swap_on_memory(64, 0))
        };
        "memory is short" => |w| w.starves(|| w.vm.swap_on_memory(64, 0));
        "memory does not do for its tables" => |w| w.fails(|| w.vm.swap_on_memory(1 << 20, 0));
    }
    provoke! { rows, "Vm::swap_off",
        "there is no such area" => |w| {
            let area = w.vm.swap_on(device(64), 0).expect("memory");
            w.vm.swap_off(area).expect("nothing is in it");
            w.fails(|| w.vm.swap_off(area))
        };
        "more is committed than may be without it" => |w| {
            let area = w.vm.swap_on(device(64), 0).expect("memory");
            w.vm.set_overcommit(Overcommit::Never(CommitLimit::Percent(0)));
            w.fails(|| w.vm.swap_off(area))
        };
        "memory does not take what is in it" => |w| {
            let area = w.vm.swap_on(device(64), 0).expect("memory");
            w.space.advise(B, P, Advice::PageOut).expect("mapped");
            assert_eq!(w.space.rss().swapped, 1, "it is out");
            w.starves(|| w.vm.swap_off(area))
        };
    }
}
