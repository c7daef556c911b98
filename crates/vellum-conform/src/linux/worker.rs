//! The processes of a sequence: forked, single-threaded, and without anything in the arena. They run commands and
//! nothing else: they never allocate, and return nowhere.

use super::raw;
use super::shared::{Command, DRIVER, END, Reply, SUMS, Shared};
use crate::arena::{self, PAGE};
use crate::op::PROCESSES;
use crate::sum;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Seconds after which a process that nobody needs any more ends.
const PATIENCE: i64 = 60;

/// The process from which those of all sequences are forked: with an empty arena, and nothing free beside it.
pub fn ancestor(shared: &'static Shared) -> ! {
    prepare(shared);
    let mut begun = 0;
    loop {
        while shared.begun.load(Acquire) == begun {
            raw::wait(&shared.begun, begun, 1, PATIENCE);
        }
        begun += 1;
        // SAFETY: the child has memory of its own.
        match unsafe { raw::call(libc::SYS_fork as u64, [0; 6]) } {
            0 => process(shared, 0),
            pid if (pid as i64) < 0 => shared.give(DRIVER),
            // All those that it has forked in turn become children of this one.
            // SAFETY: nobody else waits for them.
            _ => while unsafe { libc::wait4(-1, std::ptr::null_mut(), 0, std::ptr::null_mut()) } > 0 {},
        }
        shared.ended.store(begun, Release);
        raw::wake(&shared.ended, 1);
    }
}

/// Process `me` of a sequence.
fn process(shared: &'static Shared, mut me: u32) -> ! {
    let note = |who: u32, pid: u32| shared.processes[who as usize % PROCESSES].store(pid, Relaxed);
    note(me, std::process::id());
    // SAFETY: a setting of this process: it ends with the one it was forked from.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    while shared.wait(me, PATIENCE) {
        while let Some((who, command)) = shared.command()
            && who == me
        {
            match command {
                Command::Exit => {
                    shared.reply(Reply::default());
                    shared.pass();
                    exit();
                }
                Command::Fork(child) => {
                    // SAFETY: the child has memory of its own.
                    let value = unsafe { raw::call(libc::SYS_fork as u64, [0; 6]) };
                    if value == 0 {
                        me = child as u32;
                        break;
                    }
                    note(child as u32, value as u32);
                    shared.reply(Reply { value: if (value as i64) < 0 { value } else { 0 }, ..Reply::default() });
                }
                _ => shared.reply(carry_out(shared, command)),
            }
        }
        if shared.turn.load(Acquire) == me {
            shared.pass();
        }
    }
    exit();
}

fn exit() -> ! {
    // SAFETY: ends the process, as it stands.
    unsafe { raw::call(libc::SYS_exit_group as u64, [0; 6]) };
    unreachable!("the kernel ends the process")
}

fn carry_out(shared: &Shared, command: Command) -> Reply {
    let of = |access: raw::Access| Reply { value: access.value, fault: access.fault, address: access.address };
    match command {
        Command::Call(number, arguments) => {
            // SAFETY: the driver sends only calls that leave alone what the process consists of.
            let value = unsafe { raw::call(number, arguments) };
            Reply { value, ..Reply::default() }
        }
        Command::Load(address) => of(raw::load(address)),
        // SAFETY: the driver sends only addresses in the arena, or where nothing is.
        Command::Store(address, value) => of(unsafe { raw::store(address, value) }),
        Command::Read(file, address, value) => {
            transfer(libc::SYS_pwrite64, file, &raw const value as u64);
            Reply { value: transfer(libc::SYS_pread64, file, address), ..Reply::default() }
        }
        Command::Write(file, address) => {
            let mut word = 0u64;
            let value = transfer(libc::SYS_pwrite64, file, address);
            transfer(libc::SYS_pread64, file, &raw mut word as u64);
            Reply { value, address: word, ..Reply::default() }
        }
        Command::Residency(address, length) => {
            let mut pages = [0u8; 64];
            let arguments = [address, length, pages.as_mut_ptr() as u64, 0, 0, 0];
            // SAFETY: the driver asks for as many pages at most.
            let value = unsafe { raw::call(libc::SYS_mincore as u64, arguments) };
            let bit = |bits, (page, byte): (usize, &u8)| bits | u64::from(byte & 1) << page;
            Reply { value, address: pages.iter().enumerate().fold(0, bit), ..Reply::default() }
        }
        Command::Sum(address, pages, first) => {
            for page in 0..pages.min(SUMS as u64) {
                let sum = sum::of_page(|offset| {
                    let word = raw::load(address + page * PAGE + offset);
                    if word.fault == 0 {
                        Ok(word.value)
                    } else {
                        Err(word.fault as u32 | (word.fault >> 32 << 16) as u32)
                    }
                });
                shared.sums[(first + page) as usize % SUMS].store(sum, Relaxed);
            }
            Reply::default()
        }
        Command::Fork(_) | Command::Exit => Reply::default(),
    }
}

/// Reads or writes the word of `file`.
fn transfer(number: i64, file: u64, address: u64) -> u64 {
    // SAFETY: a word of the caller's, or one where nothing of the process is.
    unsafe { raw::call(number as u64, [file, address, 8, 0, 0, 0]) }
}

/// Makes the process into what sequences expect: nothing in the arena, nothing free elsewhere, a heap in the arena, no
/// privileges, faults caught.
fn prepare(shared: &Shared) {
    let number = |number: i64| number as u64;
    let set = |limit: u64, bytes: u64| {
        let value = [bytes, bytes];
        // SAFETY: limits of this process; the structure has two words.
        unsafe { raw::call(number(libc::SYS_prlimit64), [0, limit, value.as_ptr() as u64, 0, 0, 0]) };
    };
    // SAFETY: settings of this process alone.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
    raw::catch_faults();
    take_protection_keys();
    set(u64::from(libc::RLIMIT_CORE), 0);
    set(u64::from(libc::RLIMIT_STACK), arena::STACK_LIMIT);
    set(u64::from(libc::RLIMIT_MEMLOCK), 0);
    let failed = reserve();
    shared.has_heap.store(place_heap().into(), Relaxed);
    drop_privileges();
    shared.ready.store(failed.map_or(1, |error| error << 32), Release);
    shared.give(DRIVER);
}

/// Takes the protection keys that the processor has: where one is left, Linux gives it to memory that may only be
/// executed, and that cannot be loaded then. It is compared as processors without keys have it.
fn take_protection_keys() {
    // SAFETY: a key that no memory has changes nothing.
    while unsafe { raw::call(libc::SYS_pkey_alloc as u64, [0; 6]) as i64 } > 0 {}
}

/// Leaves nothing free but the arena; an error number if that fails.
fn reserve() -> Option<u64> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
    let map = |at: u64, bytes: u64, more: i32| {
        // SAFETY: without rights, and where nothing is.
        unsafe { raw::call(libc::SYS_mmap as u64, [at, bytes, 0, flags | more as u64, u64::MAX, 0]) as i64 }
    };
    let bytes = arena::END - arena::START;
    let at = map(arena::START, bytes, libc::MAP_FIXED_NOREPLACE);
    if at as u64 != arena::START {
        return Some(if at < 0 { -at as u64 } else { libc::EEXIST as u64 });
    }
    for shift in (arena::PAGE_SHIFT..47).rev() {
        while map(0, 1 << shift, 0) > 0 {}
    }
    // SAFETY: it was mapped just now, or is mapped now.
    let unmap = |at, bytes| unsafe { raw::call(libc::SYS_munmap as u64, [at, bytes, 0, 0, 0, 0]) as i64 };
    let result = unmap(arena::START, bytes);
    if result < 0 {
        return Some(-result as u64);
    }
    // Where the process may not have so many addresses, others are still free.
    let at = map(0, arena::PAGE, 0) as u64;
    if !(arena::START..arena::END).contains(&at) {
        return Some(libc::ENOMEM as u64);
    }
    unmap(at, arena::PAGE);
    None
}

/// Lets the heap begin in the arena; whether that could be done.
fn place_heap() -> bool {
    let heap = arena::page(arena::HEAP);
    let (code, data) = (arena::START, arena::START);
    // Code, data, heap, the stack's start, arguments, environment; no auxiliary vector; the program stays.
    let map = [code, code + 1, data, data, heap, heap, heap, data, data, data, data, 0, u64::from(u32::MAX) << 32];
    let (option, size) = (libc::PR_SET_MM_MAP as u64, size_of_val(&map) as u64);
    let arguments = [libc::PR_SET_MM as u64, option, map.as_ptr() as u64, size, 0, 0];
    // SAFETY: nothing uses these addresses but the kernel's reports, and the heap, which this process does not use.
    unsafe { raw::call(libc::SYS_prctl as u64, arguments) == 0 }
}

/// Some errors are not for the privileged.
fn drop_privileges() {
    // A header of version 3, and three sets of 64 bits.
    let (header, sets) = ([0x2008_0522u32, 0], [0u32; 6]);
    // SAFETY: takes rights from this process.
    unsafe { raw::call(libc::SYS_capset as u64, [header.as_ptr() as u64, sets.as_ptr() as u64, 0, 0, 0, 0]) };
}

/// Ends all processes of the sequence.
pub fn end(shared: &Shared) {
    shared.give(END);
}
