//! A space to make calls in, on a simulated machine.

use std::fmt::Write;
use vellum::arch::X86_64;
use vellum::ops::FaultError;
use vellum::{Backing, IoError, Machine, Object, Space, Vm};
use vellum_lab::det::Det;
use vellum_lab::hardware::MachineConfig;
use vellum_linux::mmap::*;
use vellum_linux::*;

/// Bytes of a page.
pub const P: u64 = 4096;
/// Where the tests map: page 0 of [`layout`].
pub const B: u64 = 0x5000_0000_0000;
/// End of the address space.
pub const END: u64 = (1 << 47) - P;
/// Rights.
pub const R: u64 = PROT_READ;
pub const W: u64 = PROT_WRITE;
pub const X: u64 = PROT_EXEC;
pub const RW: u64 = R | W;
/// Private memory.
pub const ANON: u64 = MAP_PRIVATE | MAP_ANONYMOUS;
/// Shared memory.
pub const SHARED: u64 = MAP_SHARED | MAP_ANONYMOUS;

pub type M = Det<X86_64>;
pub type Called = Result<u64, Errno>;

/// Runs `test` on a machine of 16 MiB with a new space.
pub fn with_space(test: impl FnOnce(&Space<'_, M>)) {
    let config = MachineConfig::new(1, 4096);
    let vm = Vm::new(Det::<X86_64>::new(&config).expect("host memory")).expect("a machine");
    test(&vm.create_space().expect("a space"));
    // SAFETY: nothing else runs.
    unsafe { vm.audit() }.expect("nothing is lost");
}

/// A file of `pages` pages whose bytes are their page's number. If `ends_badly`, its last one cannot be read, and it is
/// said to have holes, which cannot be made; else it can have none.
pub struct Numbers {
    pub pages: u64,
    pub ends_badly: bool,
}

impl Backing for Numbers {
    fn length(&self) -> u64 {
        self.pages * P
    }
    fn read(&self, index: u64, page: &mut [u8]) -> Result<(), IoError> {
        page.fill(index as u8);
        if self.ends_badly && index + 1 == self.pages { Err(IoError) } else { Ok(()) }
    }
    fn write(&self, _index: u64, _page: &[u8]) -> Result<(), IoError> {
        if self.ends_badly { Err(IoError) } else { Ok(()) }
    }
    fn can_punch(&self) -> bool {
        self.ends_badly
    }
}

/// A file of four pages.
pub fn numbers<'vm>(space: &Space<'vm, M>) -> Object<'vm, M> {
    space.vm().file(Numbers { pages: 4, ends_badly: false }).expect("memory")
}

/// What the descriptor of a file means that was opened for reading and, if `writable`, writing.
pub fn opened<'a, 'vm, M: Machine>(object: &'a Object<'vm, M>, writable: bool) -> Option<File<'a, 'vm, M>> {
    Some(File { object, readable: true, writable })
}

/// Maps `pages` pages at page `at`, with `flags`.
pub fn put(space: &Space<'_, M>, at: u64, pages: u64, prot: u64, flags: u64) {
    let mapped = mmap(space, B + at * P, pages * P, prot, flags | MAP_FIXED, None, 0);
    assert_eq!(mapped, Ok(B + at * P));
}

/// Maps a file at page `at`, from its beginning.
pub fn put_file<'vm>(
    space: &Space<'vm, M>,
    at: u64,
    pages: u64,
    prot: u64,
    flags: u64,
    file: Option<File<'_, 'vm, M>>,
) {
    assert_eq!(mmap(space, B + at * P, pages * P, prot, flags | MAP_FIXED, file, 0), Ok(B + at * P));
}

/// What is mapped, in pages from [`B`] on, as `/proc/PID/maps` would show it: "0-2 rw-p, 2-3 r--s". What lies elsewhere
/// is left out.
pub fn layout(space: &Space<'_, M>) -> String {
    let mut lines: Vec<(u64, u64, String)> = Vec::new();
    space.maps(&mut |map| {
        if !(B..B + (1 << 40)).contains(&map.start) {
            return;
        }
        use vellum::arch::Prot;
        let right = |prot, name| if map.prot.has(prot) { name } else { '-' };
        let mut what: String =
            [right(Prot::READ, 'r'), right(Prot::WRITE, 'w'), right(Prot::EXECUTE, 'x')].iter().collect();
        what.push(if map.is_shared { 's' } else { 'p' });
        for (on, name) in [
            (map.grows_down, " gd"),
            (map.dont_fork, " dc"),
            (map.wipe_on_fork, " wf"),
            (map.no_reserve, " nr"),
            (map.dont_dump, " dd"),
            (map.huge_pages, " hg"),
            (map.no_huge_pages, " nh"),
        ] {
            what.push_str(if on { name } else { "" });
        }
        match lines.last_mut() {
            Some((_, end, last)) if *end == map.start && *last == what => *end = map.end,
            _ => lines.push((map.start, map.end, what)),
        }
    });
    let mut text = String::new();
    for (start, end, what) in lines {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{}-{} {what}", (start - B) / P, (end - B) / P);
    }
    text
}

/// Stores a byte to page `at`, as the program would.
pub fn store(space: &Space<'_, M>, at: u64, value: u8) -> Result<(), FaultError> {
    space.copy_out(B + at * P, &[value])
}

/// Loads a byte of page `at`.
pub fn load(space: &Space<'_, M>, at: u64) -> Result<u8, FaultError> {
    let mut byte = [0];
    space.copy_in(B + at * P, &mut byte).map(|()| byte[0])
}

/// What `mincore` says of `pages` pages from page `at` on, one digit a page, and how it ends.
pub fn core(space: &Space<'_, M>, at: u64, pages: u64) -> (String, Result<(), Errno>) {
    let mut text = String::new();
    let result = mincore(space, B + at * P, pages * P, &mut |_, is_resident| {
        let _ = write!(text, "{is_resident}");
    });
    (text, result)
}
