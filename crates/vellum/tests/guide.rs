//! The guide for embedders says nothing that does not compile: its code is taken, line by line, from the example, from
//! this file, and from a test of the strict wrapper.

#[path = "../examples/embed.rs"]
#[allow(dead_code)]
mod embed;

use std::sync::{Arc, Mutex, PoisonError};
use vellum::arch::Prot;
use vellum::ops::{Access, Advice, FaultError, MapFlags, MapRequest, Place, Sharing, WordError};
use vellum::sync::Modify;
use vellum::{Backing, CommitLimit, Error, IoError, Machine, Object, Overcommit, Space, SwapDevice, Vm};

const GUIDE: &str = include_str!("../../../docs/EMBEDDING.md");
const SOURCES: [&str; 3] = [
    include_str!("../examples/embed.rs"),
    include_str!("guide.rs"),
    include_str!("../../vellum-strict/tests/embedding.rs"),
];

/// The lines of a text without their indentation, blank ones left out.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The blocks of Rust in the guide.
fn blocks() -> Vec<Vec<&'static str>> {
    let parts = GUIDE.split("```rust\n").skip(1);
    parts.map(|part| lines(part.split("```").next().unwrap_or_default())).collect()
}

#[test]
fn the_guides_code_is_compiled_somewhere() {
    let sources = SOURCES.map(lines);
    let blocks = blocks();
    assert!(blocks.len() >= 8, "the guide has {} blocks of code", blocks.len());
    for block in blocks {
        // An ellipsis stands for lines left out.
        for passage in block.split(|line| *line == "// …") {
            let is_there = |source: &Vec<&str>| source.windows(passage.len()).any(|window| window == passage);
            assert!(passage.is_empty() || sources.iter().any(is_there), "not from a source: {passage:#?}");
        }
    }
}

#[test]
fn the_guides_errnos_are_those_of_the_errors() {
    let errors = [
        ("`Unaligned`", Error::Unaligned { what: "address", value: 1 }),
        ("`ZeroLength`", Error::ZeroLength { what: "mapping" }),
        ("`Invalid`", Error::Invalid { what: "place" }),
        ("`Unsupported`", Error::Unsupported { what: "advice" }),
        ("`OutOfRange`", Error::OutOfRange { start: 0, length: 1 }),
        ("`NotMapped`", Error::NotMapped { address: 0 }),
        ("`NoAddressSpace`", Error::NoAddressSpace { length: 1 }),
        ("`Limit`", Error::Limit { length: 1 }),
        ("`Guarded`", Error::Guarded { address: 0 }),
        ("`Busy`", Error::Busy { address: 0 }),
        ("`GroupLimit`", Error::GroupLimit { pages: 1 }),
        ("`CommitLimit`", Error::CommitLimit { bytes: 1 }),
        ("`OutOfMemory`", Error::OutOfMemory),
        ("`Exists`", Error::Exists { address: 0 }),
        ("`AccessDenied`", Error::AccessDenied { address: 0 }),
        ("`TooLow`", Error::TooLow { address: 0 }),
        ("`Io`", Error::Io { index: 0 }),
    ];
    for (name, error) in errors {
        let row = GUIDE.lines().find(|line| line.starts_with("| `") && line.contains(name) && line.contains("`E"));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert!(row.ends_with(&format!(" {} |", error.errno())), "{name} is {}: {row}", error.errno());
    }
}

/// What a program gets for a fault that cannot be resolved.
#[derive(Debug, PartialEq, Eq)]
enum Signal {
    SegmentationFault { address: u64, code: i32 },
    BusError { address: u64 },
    Kill,
}

/// The page-fault exception: `address` is in CR2, `code` on the stack. Interrupts are on again.
fn page_fault<M: Machine>(space: &Space<'_, M>, address: u64, code: u64) -> Result<(), Signal> {
    let access = match (code & 1 << 4 != 0, code & 1 << 1 != 0) {
        (true, _) => Access::Execute,
        (_, true) => Access::Write,
        _ => Access::Read,
    };
    match space.fault(address, access) {
        Ok(_) => Ok(()),
        Err(FaultError::Segv { address, denied }) => {
            Err(Signal::SegmentationFault { address, code: if denied { 2 } else { 1 } })
        }
        Err(FaultError::Bus { address, .. }) => Err(Signal::BusError { address }),
        Err(FaultError::OutOfMemory { .. }) => Err(Signal::Kill),
    }
}

/// The flush interrupt, on the CPU that was interrupted.
fn flush_interrupt<M: Machine>(vm: &Vm<M>) {
    // SAFETY: the handler stays on the CPU that was interrupted.
    unsafe { vm.handle_interrupt() };
}

/// The scheduler has chosen what runs next on this CPU: a program, or nothing.
fn switch<M: Machine>(vm: &Vm<M>, next: Option<&Space<'_, M>>) {
    match next {
        Some(space) => vm.switch_to(Some(space)),
        None => vm.enter_lazy(),
    }
}

/// A futex's word is let go: whether somebody waits for it, who has made it something else than 1.
fn futex_wakes<M: Machine>(space: &Space<'_, M>, word: u64) -> Result<bool, WordError> {
    let held = Modify::CompareExchange { current: 1u32, new: 0 };
    Ok(space.update_word(word, held)?.is_err())
}

/// The system call `munmap`.
fn sys_munmap<M: Machine>(space: &Space<'_, M>, address: u64, length: u64) -> i64 {
    match space.unmap(address, length) {
        Ok(()) => 0,
        Err(error) => -i64::from(error.errno()),
    }
}

/// A file in memory.
struct RomFile(&'static [u8]);

impl Backing for RomFile {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        let start = index as usize * page.len();
        let rest = self.0.get(start..).ok_or(IoError)?;
        let count = rest.len().min(page.len());
        page[..count].copy_from_slice(&rest[..count]);
        Ok(())
    }
    fn write(&self, _index: u64, _page: &[u8]) -> Result<(), IoError> {
        Err(IoError)
    }
}

/// Maps a program's text, and a stack that grows.
fn load_program<'vm, M: Machine>(space: &Space<'vm, M>, text: &Object<'vm, M>) -> Result<(), Error> {
    let code = MapRequest::object(text, 0, Sharing::Private, text.length(), Prot::READ | Prot::EXECUTE);
    space.map(&code.at(Place::FixedNoReplace(0x40_0000)))?;
    let stack = MapRequest::anonymous(0x2000, Prot::READ_WRITE).with(MapFlags::GROWS_DOWN);
    space.map(&stack.at(Place::FixedNoReplace(0x7fff_0000_0000)))?;
    Ok(())
}

/// A process of a kernel whose instance is never dropped: it keeps the file it runs, and nobody else does.
fn exec<M: Machine>(vm: &'static Vm<M>, file: Arc<RomFile>) -> Result<Space<'static, M>, Error> {
    let text = vm.file(file)?;
    let space = vm.create_space()?;
    load_program(&space, &text)?;
    Ok(space)
}

/// What runs whenever memory is short.
fn background<M: Machine>(vm: &Vm<M>) {
    while vm.needs_reclaim().is_some() && vm.reclaim_background() > 0 {}
}

/// Writes `vm.overcommit_memory` and `vm.overcommit_ratio`.
fn set_overcommit<M: Machine>(vm: &Vm<M>, memory: u32, ratio: u32) {
    vm.set_overcommit(match memory {
        0 => Overcommit::Heuristic,
        1 => Overcommit::Always,
        _ => Overcommit::Never(CommitLimit::Percent(ratio)),
    });
}

/// The lines of `/proc/meminfo` about it, in KiB.
fn commitment<M: Machine>(vm: &Vm<M>) -> String {
    let (limit, committed) = (vm.commit_limit() >> 10, vm.committed_bytes() >> 10);
    format!("CommitLimit: {limit} kB\nCommitted_AS: {committed} kB\n")
}

/// A disk of so many pages.
#[derive(Clone)]
struct Disk(Arc<Vec<Mutex<[u8; 4096]>>>);

impl Disk {
    fn new(pages: usize) -> Self {
        Disk(Arc::new((0..pages).map(|_| Mutex::new([0; 4096])).collect()))
    }
}

impl SwapDevice for Disk {
    fn pages(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&self, page: u64, into: &mut [u8]) -> Result<(), IoError> {
        let block = self.0.get(page as usize).ok_or(IoError)?;
        into.copy_from_slice(&*block.lock().map_err(|_| IoError)?);
        Ok(())
    }
    fn write(&self, page: u64, from: &[u8]) -> Result<(), IoError> {
        let block = self.0.get(page as usize).ok_or(IoError)?;
        block.lock().map_err(|_| IoError)?.copy_from_slice(from);
        Ok(())
    }
}

/// Puts a range out to a disk, and takes the disk away; what was resident in between.
fn put_out<M: Machine>(vm: &Vm<M>, space: &Space<'_, M>, address: u64, length: u64) -> Result<u64, Error> {
    let area = vm.swap_on(Disk::new(64), 0)?;
    space.advise(address, length, Advice::PageOut)?;
    let resident = space.rss().anonymous;
    vm.swap_off(area)?;
    Ok(resident)
}

const DENIED: &str = "segmentation fault: no right at 0x400000";

/// Held by each test that runs the toy: there is one memory.
static TOY: Mutex<()> = Mutex::new(());

#[test]
fn pages_go_to_a_disk_and_come_back() {
    let _toy = TOY.lock().unwrap_or_else(PoisonError::into_inner);
    let vm = Vm::new(embed::Toy::default()).expect("the toy is large enough");
    let space = vm.create_space().expect("there is memory");
    let request = MapRequest::anonymous(0x4000, Prot::READ_WRITE).with(MapFlags::POPULATE);
    let address = space.map(&request).expect("there is memory");
    assert_eq!(put_out(&vm, &space, address, 0x4000), Ok(0));
    assert_eq!(space.rss().anonymous, 4, "what was in swap is brought back before the disk goes");
    background(&vm);
    drop(space);
    // SAFETY: nothing else runs.
    assert!(unsafe { vm.audit() }.is_ok());
}

#[test]
fn a_program_runs_with_the_guides_glue() {
    let _toy = TOY.lock().unwrap_or_else(PoisonError::into_inner);
    let vm = Vm::new(embed::Toy::default()).expect("the toy is large enough");
    let text = vm.file(RomFile(b"text")).expect("there is memory");
    let space = vm.create_space().expect("there is memory");
    switch(&vm, Some(&space));
    load_program(&space, &text).expect("it is a program");
    assert_eq!(page_fault(&space, 0x40_0000, 1 << 4), Ok(()));
    assert_eq!(page_fault(&space, 0x7ffe_ffff_fff8, 1 << 1), Ok(()), "the stack grows");
    space.copy_out(0x7ffe_ffff_fff8, &1u32.to_ne_bytes()).expect("it is there");
    assert_eq!((futex_wakes(&space, 0x7ffe_ffff_fff8), futex_wakes(&space, 0x7ffe_ffff_fff8)), (Ok(false), Ok(true)));
    assert_eq!(futex_wakes(&space, 0x40_0000).map_err(|error| error.to_string()).unwrap_err(), DENIED);
    let denied = Signal::SegmentationFault { address: 0x40_0000, code: 2 };
    assert_eq!(page_fault(&space, 0x40_0000, 1 << 1), Err(denied));
    let nothing = Signal::SegmentationFault { address: 0x1000_0000, code: 1 };
    assert_eq!(page_fault(&space, 0x1000_0000, 0), Err(nothing));
    flush_interrupt(&vm);
    assert_eq!(sys_munmap(&space, 0x40_0000, 1), 0);
    assert_eq!(sys_munmap(&space, 0x40_0001, 1), -22);
    switch(&vm, None);
    drop((space, text));
    // SAFETY: nothing else runs.
    assert!(unsafe { vm.audit() }.is_ok());
}

#[test]
fn no_more_is_promised_than_there_is() {
    let _toy = TOY.lock().unwrap_or_else(PoisonError::into_inner);
    let vm = Vm::new(embed::Toy::default()).expect("the toy is large enough");
    let space = vm.create_space().expect("there is memory");
    let map = |length| space.map(&MapRequest::anonymous(length, Prot::READ_WRITE));
    assert_eq!(map(1 << 40), Err(Error::CommitLimit { bytes: 1 << 40 }));
    set_overcommit(&vm, 1, 50);
    let address = map(1 << 40).expect("nothing is refused");
    space.unmap(address, 1 << 40).expect("it is mapped");
    set_overcommit(&vm, 2, 50);
    map(0x2000).expect("so much may be promised");
    assert!(map(vm.commit_limit() - 0x1000).is_err());
    assert!(commitment(&vm).ends_with("\nCommitted_AS: 8 kB\n"));
    set_overcommit(&vm, 0, 50);
    map(vm.commit_limit() - 0x1000).expect("alone it is not too much");
}

#[test]
fn files_are_closed_when_programs_end() {
    let _toy = TOY.lock().unwrap_or_else(PoisonError::into_inner);
    // As a kernel's, which is in a static.
    let vm: &'static Vm<_> = Box::leak(Box::new(Vm::new(embed::Toy::default()).expect("the toy is large enough")));
    let mut free = Vec::new();
    for _ in 0..20 {
        let file = Arc::new(RomFile(b"text"));
        let closed = Arc::downgrade(&file);
        let space = exec(vm, file).expect("it is a program");
        assert_eq!(page_fault(&space, 0x40_0000, 1 << 4), Ok(()));
        let child = space.fork().expect("there is memory");
        drop(space);
        assert_eq!(closed.strong_count(), 1, "the child has it still");
        assert_eq!(sys_munmap(&child, 0x40_0000, 1), 0);
        assert_eq!(closed.strong_count(), 0, "the last mapping is gone, and the file open");
        drop(child);
        vm.quiesce();
        free.push(vm.free_frames());
    }
    assert!(free[1..].iter().all(|now| *now == free[1]), "memory is lost: {free:?}");
    // SAFETY: nothing else runs.
    assert!(unsafe { vm.audit() }.is_ok());
}
