//! The numbers of Linux's calls on x86-64 that sequences use, by Linux's names.

macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident: $type:ty { $($number:ident = $value:expr,)* }) => {
        $(#[allow(missing_docs)] pub const $number: $type = $value;)*
        $(#[$doc])*
        pub const $name: &[($type, &str)] = &[$(($number, stringify!($number))),*];
    };
}

numbers! {
    /// Rights.
    PROTS: u64 {
        PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, PROT_GROWSDOWN = 0x0100_0000, PROT_GROWSUP = 0x0200_0000,
    }
}

numbers! {
    /// Flags of `mmap`; those of sharing are two bits.
    MAPS: u64 {
        MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_GROWSDOWN = 0x100,
        MAP_LOCKED = 0x2000, MAP_NORESERVE = 0x4000, MAP_POPULATE = 0x8000, MAP_NONBLOCK = 0x1_0000,
        MAP_STACK = 0x2_0000, MAP_FIXED_NOREPLACE = 0x10_0000,
    }
}

/// `MAP_SHARED`, and unknown flags are an error.
pub const MAP_SHARED_VALIDATE: u64 = MAP_SHARED | MAP_PRIVATE;

numbers! {
    /// Flags of `mremap`.
    MREMAPS: u64 {
        MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, MREMAP_DONTUNMAP = 4,
    }
}

numbers! {
    /// Flags of `msync`.
    MSYNCS: u64 {
        MS_ASYNC = 1, MS_INVALIDATE = 2, MS_SYNC = 4,
    }
}

numbers! {
    /// What `madvise` knows.
    ADVICES: u64 {
        MADV_NORMAL = 0, MADV_RANDOM = 1, MADV_SEQUENTIAL = 2, MADV_WILLNEED = 3, MADV_DONTNEED = 4, MADV_FREE = 8,
        MADV_REMOVE = 9, MADV_DONTFORK = 10, MADV_DOFORK = 11, MADV_HUGEPAGE = 14, MADV_NOHUGEPAGE = 15,
        MADV_DONTDUMP = 16, MADV_DODUMP = 17, MADV_WIPEONFORK = 18, MADV_KEEPONFORK = 19, MADV_COLD = 20,
        MADV_PAGEOUT = 21, MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23, MADV_DONTNEED_LOCKED = 24,
        MADV_GUARD_INSTALL = 102, MADV_GUARD_REMOVE = 103,
    }
}

numbers! {
    /// Errors.
    ERRNOS: i32 {
        EPERM = 1, ENOENT = 2, EIO = 5, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16,
        EEXIST = 17, ENODEV = 19, EINVAL = 22, EFBIG = 27, ENOSYS = 38, EOVERFLOW = 75, EOPNOTSUPP = 95,
    }
}

/// Signal: an access to what is not mapped, or not with that right.
pub const SIGSEGV: u32 = 11;
/// Signal: an access to what the object does not have.
pub const SIGBUS: u32 = 7;
/// Code of [`SIGSEGV`]: nothing is mapped there.
pub const SEGV_MAPERR: u32 = 1;
/// Code of [`SIGSEGV`]: something is mapped there, without the right.
pub const SEGV_ACCERR: u32 = 2;
/// Code of [`SIGBUS`]: the object has no such page.
pub const BUS_ADRERR: u32 = 2;

/// `bits` by the names of single bits, and the rest as a number.
pub fn flags(bits: u64, names: &[(u64, &str)]) -> String {
    let known = names.iter().filter(|(bit, _)| bits & bit != 0);
    let mut parts: Vec<String> = known.clone().map(|(_, name)| name.to_string()).collect();
    let rest = known.fold(bits, |rest, (bit, _)| rest & !bit);
    if rest != 0 || parts.is_empty() {
        parts.push(format!("{rest:#x}"));
    }
    parts.join("|")
}

/// The name of `number`, or the number.
pub fn name<T: PartialEq + Copy + std::fmt::Display>(number: T, names: &[(T, &str)]) -> String {
    names.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string(), |(_, name)| name.to_string())
}
