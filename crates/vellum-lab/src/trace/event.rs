//! What a trace consists of.

use super::error::Reason;
use std::fmt;

/// The page size by which traces count pages.
pub(super) const PAGE_BYTES: u64 = 4096;
/// The largest access that a trace may hold.
const ACCESS_BYTES_MAX: u16 = 4096;
const CLONE_VM: u64 = 0x100;
const CLONE_VFORK: u64 = 0x4000;

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An access to memory by the current thread.
    Access(Access),
    /// What follows is done by the thread `tid` (valgrind's number, from 1).
    Thread {
        /// The thread that runs from here on.
        tid: u32,
        /// Whether the log said so where it happened (a `SCHED` line). Otherwise it is inferred
        /// from a `SYSCALL` line, and the accesses just before may already be this thread's.
        is_exact: bool,
    },
    /// A call that succeeded.
    Call(Box<Call>),
}

/// How memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// An instruction is fetched.
    Execute,
    /// Data is read.
    Load,
    /// Data is written.
    Store,
    /// Data is read, then written (counted as one access).
    Modify,
}

impl AccessKind {
    /// All kinds, in the order of their codes in the compact form.
    pub(super) const ALL: [AccessKind; 4] =
        [AccessKind::Execute, AccessKind::Load, AccessKind::Store, AccessKind::Modify];

    /// Whether memory is written.
    pub fn is_write(self) -> bool {
        matches!(self, AccessKind::Store | AccessKind::Modify)
    }

    /// Whether data is read.
    pub fn is_read(self) -> bool {
        matches!(self, AccessKind::Load | AccessKind::Modify)
    }
}

/// An access: `size` bytes at `address`, which are canonical and do not wrap; `1 ≤ size ≤ 4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What is done.
    pub kind: AccessKind,
    /// The number of bytes.
    pub size: u16,
    /// The first byte's address.
    pub address: u64,
}

impl Access {
    /// Makes an access if its range is one that a trace may hold.
    #[inline]
    pub(super) fn checked(kind: AccessKind, address: u64, size: u64) -> Result<Access, Reason> {
        if size == 0 || size > u64::from(ACCESS_BYTES_MAX) {
            return Err(Reason::BadSize { size });
        }
        let Some(last) = address.checked_add(size - 1) else {
            return Err(Reason::Wraps { address, size });
        };
        if is_canonical(address) && is_canonical(last) {
            Ok(Access { kind, size: size as u16, address })
        } else {
            Err(Reason::NonCanonical { address, size })
        }
    }

    /// The access split at the end of a 4 KiB page: the first part, and the second where it crosses.
    pub fn parts(self) -> (Access, Option<Access>) {
        let room = PAGE_BYTES - self.address % PAGE_BYTES;
        if u64::from(self.size) <= room {
            return (self, None);
        }
        let first = Access { size: room as u16, ..self };
        (first, Some(Access { size: self.size - first.size, address: self.address + room, ..self }))
    }
}

/// Bits 63…47 of an x86-64 address are all equal.
#[inline]
fn is_canonical(address: u64) -> bool {
    let high = address >> 47;
    high == 0 || high == 0x1_ffff
}

/// A successful system call, by the thread `tid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread that called.
    pub tid: u32,
    /// The call with its arguments and result.
    pub kind: CallKind,
}

/// A decoded call. Arguments keep the numbers of the Linux interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are the arguments and results of the system calls of these names.
pub enum CallKind {
    /// `result` is the address that was mapped. `fd` is −1 for none.
    Mmap {
        hint: u64,
        length: u64,
        protection: u64,
        flags: u64,
        fd: i32,
        offset: u64,
        result: u64,
    },
    Munmap {
        address: u64,
        length: u64,
    },
    Mprotect {
        address: u64,
        length: u64,
        protection: u64,
    },
    Mremap {
        address: u64,
        old_length: u64,
        new_length: u64,
        flags: u64,
        result: u64,
    },
    /// `result` is the new break, whatever was asked for.
    Brk {
        requested: u64,
        result: u64,
    },
    Madvise {
        address: u64,
        length: u64,
        advice: u64,
    },
    /// `mlock` (flags 0) and `mlock2`.
    Mlock {
        address: u64,
        length: u64,
        flags: u64,
    },
    Munlock {
        address: u64,
        length: u64,
    },
    MlockAll {
        flags: u64,
    },
    MunlockAll,
    /// `open`, `openat`, `openat2` and `creat`: `path` as the program named it.
    Open {
        fd: i32,
        path: Box<[u8]>,
    },
    Close {
        fd: i32,
    },
    /// `clone`, `clone3`, `fork` and `vfork`. `child` is the kernel's number of the new task, not a
    /// valgrind thread number; a process's stream is in the sibling file of that number.
    Clone {
        kind: CloneKind,
        flags: Option<u64>,
        child: u32,
    },
    /// The process's memory is replaced and its stream ends here.
    Exec,
    /// The calling thread ends.
    ExitThread,
    /// The process ends.
    ExitProcess,
    /// A call with no meaning for memory, or none that traces carry; without its `sys_`.
    Other {
        name: Box<str>,
    },
}

/// What a clone makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneKind {
    /// A thread in the same memory.
    Thread,
    /// A process with a copy of the memory (`vfork` too, which valgrind runs as a fork).
    Process,
}

impl CloneKind {
    /// What a clone with these flags makes.
    pub(super) fn from_flags(flags: u64) -> CloneKind {
        if flags & CLONE_VM != 0 && flags & CLONE_VFORK == 0 { CloneKind::Thread } else { CloneKind::Process }
    }
}

/// An identity for the file of this name: its FNV-1a hash.
pub fn file_identity(path: &[u8]) -> u64 {
    path.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Where a trace's thread numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThreadSource {
    /// The log names no thread.
    #[default]
    None,
    /// From `SYSCALL` lines only.
    Syscalls,
    /// From `SCHED` lines: exact.
    Schedule,
}

/// What has been read of a trace so far; complete at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Access records (a modify once, an access that crosses pages once).
    pub accesses: u64,
    /// Calls that succeeded, those of [`CallKind::Other`] included.
    pub calls: u64,
    /// Calls that failed, which the trace does not carry.
    pub failed_calls: u64,
    /// Completions whose call was not in the log.
    pub unpaired_calls: u64,
    /// Distinct threads.
    pub threads: u64,
    /// Where the thread numbers come from.
    pub thread_source: ThreadSource,
}

impl Summary {
    /// Whether some accesses may be put down to the wrong thread.
    pub fn has_approximate_threads(&self) -> bool {
        self.threads > 1 && self.thread_source != ThreadSource::Schedule
    }
}

/// Something odd that does not stop a trace from being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The log lacks valgrind's footer: the program was killed, replaced itself, or the log was cut.
    MissingFooter,
    /// The threads come from `SYSCALL` lines, and there are several.
    ApproximateThreads,
    /// So many completions came without their call.
    UnpairedCalls(u64),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::MissingFooter => {
                f.write_str("the log has no footer: the program was killed, called execve, or the log was cut")
            }
            Warning::ApproximateThreads => {
                f.write_str("threads are approximate: the log was made without --trace-sched=yes")
            }
            Warning::UnpairedCalls(count) => write!(f, "{count} completed calls have no beginning in the log"),
        }
    }
}
