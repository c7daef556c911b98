//! What the driver and the processes of a sequence tell each other: one piece of memory that all of them share, at the
//! same address.
//!
//! One of them runs at a time: whose turn it is. It carries commands out as long as they are its own, and gives the
//! turn to the process of the next, or back to the driver behind the last. So a sequence costs few switches.

use super::raw;
use crate::op::PROCESSES;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Most commands between two turns of the driver.
pub const COMMANDS: usize = 512;
/// Most pages whose contents are summed up at once.
pub const SUMS: usize = 16384;

/// Whose turn it is, beside processes: the driver's.
pub const DRIVER: u32 = 100;
/// Nobody's any more: all processes end.
pub const END: u32 = 101;

/// What a process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A system call: its number and arguments.
    Call(u64, [u64; 6]),
    Load(u64),
    Store(u64, u64),
    /// Read a word, which is there, from a file of one word into memory.
    Read(u64, u64, u64),
    /// Write a word to such a file.
    Write(u64, u64),
    /// Fork the process of that number.
    Fork(u64),
    Exit,
    /// Which pages of a range are resident, at most 64.
    Residency(u64, u64),
    /// Sum up the contents of so many pages from an address on, and put the sums behind the first so many.
    Sum(u64, u64, u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// A result, an error number as a negative one, or a word.
    pub value: u64,
    /// The signal, and its code behind 32 bits; 0 if there was none.
    pub fault: u64,
    /// Its address; or which pages are resident.
    pub address: u64,
}

/// The memory. All words are atomic, and ordered by [`Shared::turn`].
pub struct Shared {
    pub turn: AtomicU32,
    /// Sequences begun, and ended.
    pub begun: AtomicU32,
    pub ended: AtomicU32,
    /// Whether the first process could be made ready: 1, or an error number behind 32 bits. And whether it has a heap
    /// in the arena.
    pub ready: AtomicU64,
    pub has_heap: AtomicU32,
    /// Where the current sequence of commands is, and how long it is.
    next: AtomicU32,
    count: AtomicU32,
    commands: [[AtomicU64; 8]; COMMANDS],
    replies: [[AtomicU64; 3]; COMMANDS],
    pub processes: [AtomicU32; PROCESSES],
    pub sums: [AtomicU64; SUMS],
}

impl Shared {
    /// Maps it.
    pub fn map() -> std::io::Result<&'static Shared> {
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, at no place in particular.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Shared>(), rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: it is that large, all zero, which atomic words may be, and never unmapped.
        Ok(unsafe { &*at.cast() })
    }

    /// Writes the commands of the next turn: each with its process.
    pub fn write(&self, commands: &[(u32, Command)]) {
        assert!(commands.len() <= COMMANDS, "more commands than there is room for");
        for (slot, (process, command)) in self.commands.iter().zip(commands) {
            let words = encode(*process, *command);
            slot.iter().zip(words).for_each(|(word, value)| word.store(value, Relaxed));
        }
        self.next.store(0, Relaxed);
        self.count.store(commands.len() as u32, Relaxed);
    }

    /// The next command, and whose it is.
    pub fn command(&self) -> Option<(u32, Command)> {
        let next = self.next.load(Relaxed);
        if next >= self.count.load(Relaxed) {
            return None;
        }
        Some(decode(self.commands[next as usize].each_ref().map(|word| word.load(Relaxed))))
    }

    /// Notes what came of the next command, which is the one behind then.
    pub fn reply(&self, reply: Reply) {
        let next = self.next.load(Relaxed);
        let words = [reply.value, reply.fault, reply.address];
        self.replies[next as usize].iter().zip(words).for_each(|(word, value)| word.store(value, Relaxed));
        self.next.store(next + 1, Relaxed);
    }

    /// What came of command `number`.
    pub fn replied(&self, number: usize) -> Reply {
        let [value, fault, address] = self.replies[number].each_ref().map(|word| word.load(Relaxed));
        Reply { value, fault, address }
    }

    /// Gives the turn to the process of the next command, or to the driver.
    pub fn pass(&self) {
        self.give(self.command().map_or(DRIVER, |(process, _)| process));
    }

    /// Gives the turn to `who`.
    pub fn give(&self, who: u32) {
        self.turn.store(who, Release);
        raw::wake(&self.turn, mask(who));
    }

    /// Waits for `me` to have the turn; whether that came before `seconds` were over, and the end.
    pub fn wait(&self, me: u32, seconds: i64) -> bool {
        loop {
            match self.turn.load(Acquire) {
                turn if turn == me => return true,
                END => return false,
                other => {
                    if !raw::wait(&self.turn, other, mask(me), seconds) {
                        return self.turn.load(Acquire) == me;
                    }
                }
            }
        }
    }
}

/// Who is to be woken.
fn mask(who: u32) -> u32 {
    match who {
        DRIVER => 1 << 31,
        END => u32::MAX,
        process => 1 << process,
    }
}

fn encode(process: u32, command: Command) -> [u64; 8] {
    let words = |kind: u64, arguments: [u64; 6]| {
        let [a, b, c, d, e, f] = arguments;
        [u64::from(process) << 32 | kind, 0, a, b, c, d, e, f]
    };
    match command {
        Command::Call(number, arguments) => {
            let mut words = words(0, arguments);
            words[1] = number;
            words
        }
        Command::Load(address) => words(1, [address, 0, 0, 0, 0, 0]),
        Command::Store(address, value) => words(2, [address, value, 0, 0, 0, 0]),
        Command::Read(file, address, value) => words(7, [file, address, value, 0, 0, 0]),
        Command::Write(file, address) => words(8, [file, address, 0, 0, 0, 0]),
        Command::Fork(child) => words(3, [child, 0, 0, 0, 0, 0]),
        Command::Exit => words(4, [0; 6]),
        Command::Residency(address, length) => words(6, [address, length, 0, 0, 0, 0]),
        Command::Sum(address, pages, first) => words(5, [address, pages, first, 0, 0, 0]),
    }
}

fn decode([head, number, a, b, c, d, e, f]: [u64; 8]) -> (u32, Command) {
    let command = match head as u32 {
        0 => Command::Call(number, [a, b, c, d, e, f]),
        1 => Command::Load(a),
        2 => Command::Store(a, b),
        3 => Command::Fork(a),
        5 => Command::Sum(a, b, c),
        6 => Command::Residency(a, b),
        7 => Command::Read(a, b, c),
        8 => Command::Write(a, b),
        _ => Command::Exit,
    };
    ((head >> 32) as u32, command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_were_written() {
        let commands = [
            (0, Command::Call(9, [1, 2, 3, 4, 5, u64::MAX])),
            (3, Command::Load(7)),
            (0, Command::Store(8, 9)),
            (5, Command::Fork(4)),
            (1, Command::Read(3, 4096, 9)),
            (1, Command::Write(3, 4096)),
            (1, Command::Exit),
            (2, Command::Sum(4096, 3, 17)),
            (2, Command::Residency(4096, 8192)),
        ];
        for (process, command) in commands {
            assert_eq!(decode(encode(process, command)), (process, command));
        }
    }
}
