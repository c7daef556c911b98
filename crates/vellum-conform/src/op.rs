//! Operations: calls, loads and stores of a process, with the arguments Linux gets.

use crate::abi;
use crate::arena;
use std::fmt;

/// Most processes of a sequence, those that have ended included.
pub const PROCESSES: usize = 6;
/// Most processes alive at once.
pub const ALIVE: usize = 4;

/// Most bytes of a range whose residency is asked for.
const RESIDENCY_MAX: u64 = 64 * arena::PAGE;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// Who does it, among those who are alive then: a number modulo how many these are.
    pub process: u8,
    /// What.
    pub call: Call,
    /// What happens to Vellum's memory before: the seed of that; 0 is nothing.
    pub pressure: u32,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Map {
        address: u64,
        length: u64,
        prot: u64,
        flags: u64,
        file: i32,
        offset: u64,
    },
    Unmap {
        address: u64,
        length: u64,
    },
    Protect {
        address: u64,
        length: u64,
        prot: u64,
    },
    Remap {
        address: u64,
        length: u64,
        new_length: u64,
        flags: u64,
        new_address: u64,
    },
    Advise {
        address: u64,
        length: u64,
        advice: u64,
    },
    Brk {
        end: u64,
    },
    Residency {
        address: u64,
        length: u64,
    },
    Sync {
        address: u64,
        length: u64,
        flags: u64,
    },
    Load {
        address: u64,
    },
    Store {
        address: u64,
        value: u64,
    },
    /// The kernel stores a word: what `read` does with a buffer.
    Read {
        address: u64,
        value: u64,
    },
    /// The kernel loads a word: what `write` does with a buffer. Its result is the word.
    Write {
        address: u64,
    },
    Fork,
    Exit,
    Truncate {
        file: i32,
        length: u64,
    },
}

impl Call {
    /// Kinds of calls, in the order in which reports name them.
    pub const KINDS: [&str; 15] = [
        "mmap",
        "munmap",
        "mprotect",
        "mremap",
        "madvise",
        "brk",
        "mincore",
        "ftruncate",
        "fork",
        "exit",
        "load",
        "store",
        "msync",
        "read",
        "write",
    ];

    /// Which of [`Call::KINDS`] it is.
    pub fn kind(&self) -> usize {
        match self {
            Call::Map { .. } => 0,
            Call::Unmap { .. } => 1,
            Call::Protect { .. } => 2,
            Call::Remap { .. } => 3,
            Call::Advise { .. } => 4,
            Call::Brk { .. } => 5,
            Call::Residency { .. } => 6,
            Call::Truncate { .. } => 7,
            Call::Fork => 8,
            Call::Exit => 9,
            Call::Load { .. } => 10,
            Call::Store { .. } => 11,
            Call::Sync { .. } => 12,
            Call::Read { .. } => 13,
            Call::Write { .. } => 14,
        }
    }

    /// Whether it can be left to a process: it leaves alone what the process itself consists of.
    pub fn is_harmless(&self) -> bool {
        match *self {
            Call::Map { address, length, flags, .. } => {
                let is_fixed = flags & (abi::MAP_FIXED | abi::MAP_FIXED_NOREPLACE) != 0;
                !is_fixed || length == 0 || arena::is_harmless(address, length)
            }
            Call::Unmap { address, length } => arena::is_harmless(address, length),
            Call::Residency { address, length } => {
                arena::is_harmless(address, length) && (length <= RESIDENCY_MAX || length >= 1 << 57)
            }
            // They begin with what is mapped, however far the range goes.
            Call::Protect { address, length, .. }
            | Call::Advise { address, length, .. }
            | Call::Sync { address, length, .. } => {
                arena::is_harmless(address, length) && (length < 1 << 57 || address.checked_add(length).is_none())
            }
            Call::Remap { address, length, new_length, flags, new_address } => {
                let goes = flags & abi::MREMAP_FIXED != 0;
                arena::is_harmless(address, length.max(1))
                    && (!goes || new_length == 0 || arena::is_harmless(new_address, new_length))
            }
            Call::Load { address }
            | Call::Store { address, .. }
            | Call::Read { address, .. }
            | Call::Write { address } => arena::is_harmless(address, 8),
            Call::Brk { .. } | Call::Fork | Call::Exit | Call::Truncate { .. } => true,
        }
    }

    /// Whether a result is an address that the system may have chosen.
    pub fn is_free_to_choose(&self) -> bool {
        match self {
            Call::Map { flags, .. } => flags & (abi::MAP_FIXED | abi::MAP_FIXED_NOREPLACE) == 0,
            Call::Remap { flags, .. } => flags & abi::MREMAP_MAYMOVE != 0 && flags & abi::MREMAP_FIXED == 0,
            _ => false,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = arena::name;
        match *self {
            Call::Map { address, length, prot, flags, file, offset } => {
                let (prot, flags) = (prot_name(prot), abi::flags(flags, abi::MAPS));
                write!(f, "mmap({}, {length:#x}, {prot}, {flags}, {}, {offset:#x})", at(address), file_name(file))
            }
            Call::Unmap { address, length } => write!(f, "munmap({}, {length:#x})", at(address)),
            Call::Protect { address, length, prot } => {
                write!(f, "mprotect({}, {length:#x}, {})", at(address), prot_name(prot))
            }
            Call::Remap { address, length, new_length, flags, new_address } => {
                let flags = abi::flags(flags, abi::MREMAPS);
                write!(f, "mremap({}, {length:#x}, {new_length:#x}, {flags}, {})", at(address), at(new_address))
            }
            Call::Advise { address, length, advice } => {
                write!(f, "madvise({}, {length:#x}, {})", at(address), abi::name(advice, abi::ADVICES))
            }
            Call::Brk { end } => write!(f, "brk({})", at(end)),
            Call::Residency { address, length } => write!(f, "mincore({}, {length:#x})", at(address)),
            Call::Sync { address, length, flags } => {
                write!(f, "msync({}, {length:#x}, {})", at(address), abi::flags(flags, abi::MSYNCS))
            }
            Call::Load { address } => write!(f, "load({})", at(address)),
            Call::Store { address, value } => write!(f, "store({}, {value:#x})", at(address)),
            Call::Read { address, value } => write!(f, "read({}) of {value:#x}", at(address)),
            Call::Write { address } => write!(f, "write({})", at(address)),
            Call::Fork => f.write_str("fork()"),
            Call::Exit => f.write_str("exit()"),
            Call::Truncate { file, length } => write!(f, "ftruncate({}, {length:#x})", file_name(file)),
        }
    }
}

fn prot_name(prot: u64) -> String {
    if prot == 0 { "PROT_NONE".into() } else { abi::flags(prot, abi::PROTS) }
}

fn file_name(file: i32) -> String {
    crate::files::FILES.get(file as usize).map_or_else(|| file.to_string(), |file| file.name.to_string())
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A call's result, or what was loaded.
    Value(u64),
    /// Which pages `mincore` has found, one bit each.
    Resident(u64),
    /// A call's error number.
    Error(i32),
    /// The signal that an access got: its number, its code, its address.
    Signal(u32, u32, u64),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Outcome::Value(value) => f.write_str(&arena::name(value)),
            Outcome::Resident(pages) => write!(f, "{pages:#b}"),
            Outcome::Error(error) => f.write_str(&abi::name(error, abi::ERRNOS)),
            Outcome::Signal(signal, code, address) => {
                let name = match (signal, code) {
                    (abi::SIGSEGV, abi::SEGV_MAPERR) => "SIGSEGV (MAPERR)".into(),
                    (abi::SIGSEGV, abi::SEGV_ACCERR) => "SIGSEGV (ACCERR)".into(),
                    (abi::SIGBUS, abi::BUS_ADRERR) => "SIGBUS (ADRERR)".into(),
                    _ => format!("signal {signal} (code {code})"),
                };
                write!(f, "{name} at {}", arena::name(address))
            }
        }
    }
}
