//! Where Vellum differs from Linux knowingly: one table. What is not in it is a fault.

mod matches;

use crate::maps::Line;
use crate::op::{Call, Outcome};

/// A version of Linux: 6.17 is `(6, 17)`.
pub type Version = (u32, u32);

/// Results that differ, and what the process had mapped before.
#[derive(Clone, Copy, Debug)]
pub struct Disputed<'a> {
    /// The call.
    pub call: &'a Call,
    /// What came of it in Linux.
    pub linux: Outcome,
    /// What came of it in Vellum.
    pub ours: Outcome,
    /// The mappings in Linux, as they are: neighbours that are alike may be two.
    pub linux_lines: &'a [Line],
    /// The mappings in Vellum.
    pub our_lines: &'a [Line],
}

/// A difference that is meant.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Its name.
    pub id: &'static str,
    /// What Linux does.
    pub linux: &'static str,
    /// What Vellum does.
    pub vellum: &'static str,
    /// Why.
    pub reason: &'static str,
    /// The version of Linux from which on there is no difference any more.
    pub until: Option<Version>,
    /// Which results are this difference, or equal results after which the mappings differ: a sequence ends there, as
    /// both sides are not in the same state then. `None` where sequences steer clear of it, or what it is about is not
    /// compared.
    matches: Option<fn(&Disputed<'_>) -> bool>,
}

impl Difference {
    /// Whether sequences may meet it. Otherwise they steer clear of it, or what it is about is not compared.
    pub fn is_met(&self) -> bool {
        self.matches.is_some()
    }
}

/// All of them.
pub const DIFFERENCES: [Difference; 16] = [
    Difference {
        id: "joined-neighbours",
        linux: "neighbours of equal attributes are one mapping if their private pages have the same origin and neither \
                has grown down to the other; mremap wants one, unless it moves with MREMAP_FIXED and the length stays; \
                one must be within the stack limit, and mprotect with PROT_GROWSDOWN begins where one does",
        vellum: "neighbours are one mapping by attributes, by how far they have been moved, and by whether they are \
                 committed",
        reason: "what is one mapping depends on how each side keeps pages, and shows in nothing else",
        until: None,
        matches: Some(matches::joined_neighbours),
    },
    Difference {
        id: "last-addresses",
        linux: "mmap with MAP_FIXED at one of the last 4095 addresses there are takes the address for an error number",
        vellum: "ENOMEM, as for any range that leaves the address space",
        reason: "an accident of how Linux tells addresses from errors; both fail",
        until: None,
        matches: Some(matches::last_addresses),
    },
    Difference {
        id: "half-done-moves",
        linux: "mremap with MREMAP_FIXED unmaps the new place, or what it cuts off, before it finds that it must fail: \
                the old length is 0 and the old mapping was there, or wraps around, or the new address is too low",
        vellum: "a call that fails changes nothing; old length 0 onto itself is no mistake",
        reason: "an accident of the order in which Linux does things",
        until: None,
        matches: Some(matches::half_done_moves),
    },
    Difference {
        id: "hints-for-files",
        linux: "mmap passes over a hint for a file of 2 MiB or more, unless 2 MiB more than the length are free there, on file \
                systems that align large mappings to huge pages",
        vellum: "a hint is followed where there is room for the mapping",
        reason: "an accident of how Linux finds an aligned place; it could follow the hint",
        until: None,
        matches: Some(matches::hints_for_files),
    },
    Difference {
        id: "end-of-offsets",
        linux: "mremap lets a mapping of a file grow beyond offset 2^63, which mmap refuses",
        vellum: "no mapping shows what lies beyond offset 2^63: EINVAL",
        reason: "offsets are signed; no file is that long",
        until: None,
        matches: Some(matches::end_of_offsets),
    },
    Difference {
        id: "largest-file",
        linux: "madvise with MADV_REMOVE beyond the size that a file can have on its file system fails with EFBIG",
        vellum: "there is nothing to remove",
        reason: "how large a file can be is known to the file system",
        until: None,
        matches: Some(matches::largest_file),
    },
    Difference {
        id: "locking",
        linux: "MAP_LOCKED locks, up to RLIMIT_MEMLOCK",
        vellum: "EPERM, as to a process that may lock nothing",
        reason: "there is no mlock yet",
        until: None,
        matches: None,
    },
    Difference {
        id: "low-addresses",
        linux: "MAP_32BIT maps below 2^31",
        vellum: "it means nothing",
        reason: "it is for x86-64 alone",
        until: None,
        matches: None,
    },
    Difference {
        id: "not-built",
        linux: "knows MAP_DROPPABLE, MADV_DONTNEED_LOCKED, and if it is built so, MAP_HUGETLB, merging of \
                equal pages and poisoning",
        vellum: "EINVAL, as a Linux that is older, or built without them",
        reason: "not built yet",
        until: None,
        matches: None,
    },
    Difference {
        id: "overcommit",
        linux: "what is made read-only before it was touched is committed no more; of shared memory without a reservation, \
                and of files on tmpfs, each page is when it comes; told to keep a limit, some of it is left to root, and \
                to each user",
        vellum: "what could be stored to once is committed until it is unmapped; shared memory is for its size, or not at \
                 all; nothing of a limit is kept back",
        reason: "it shows in Committed_AS, and where the limit is met; who keeps something back lowers the limit",
        until: None,
        matches: None,
    },
    Difference {
        id: "places",
        linux: "the highest place that is free, for a mapping that may go anywhere",
        vellum: "the lowest one in the CPU's own part of the addresses, from where it has mapped last",
        reason: "CPUs that map at once do not meet; a mapping is brought to where Linux puts it",
        until: None,
        matches: None,
    },
    Difference {
        id: "protection-keys",
        linux: "memory that may only be executed cannot be loaded, where the processor has protection keys and one is left",
        vellum: "it can be loaded, as where the processor has none",
        reason: "there are no protection keys",
        until: None,
        matches: None,
    },
    Difference {
        id: "residency",
        linux: "mincore shows pages of files that were read ahead, and not what a parent has only loaded from",
        vellum: "mincore shows pages that were asked for, and are not in swap",
        reason: "what is in memory is each side's own affair, but for private memory that was stored to or never touched",
        until: None,
        matches: None,
    },
    Difference {
        id: "synchronised-files",
        linux: "msync writes a range of the file",
        vellum: "msync writes all that is dirty in the file",
        reason: "a program can rely on no less being written; that more is shows in nothing",
        until: None,
        matches: None,
    },
    Difference {
        id: "behind-the-end",
        linux: "what is stored behind the end of a file, in its last page, is cleared whenever the page is written; \
                a file on tmpfs that grows shows it",
        vellum: "it is cleared when the file is cut or grows, and lost when the page is reclaimed",
        reason: "it belongs to nothing, and a page is written at any time; where that matters files end with a page",
        until: None,
        matches: None,
    },
    Difference {
        id: "several-moved",
        linux: "mremap moves one mapping only: EFAULT for a range of several",
        vellum: "several are moved at once, if the length stays the same",
        reason: "as Linux 6.17 and later",
        until: Some((6, 17)),
        matches: Some(matches::several_moved),
    },
];

/// The table as it stands in `docs/LINUX.md`.
pub fn page() -> String {
    let mut text = String::from("| what | Linux | here | why |\n|---|---|---|---|\n");
    for Difference { id, linux, vellum, reason, until, .. } in &DIFFERENCES {
        let before = until.map_or_else(String::new, |(major, minor)| format!("before {major}.{minor}: "));
        text += &format!("| `{id}` | {before}{linux} | {vellum} | {reason} |\n");
    }
    text
}

/// The place in [`DIFFERENCES`] of what is disputed, on a Linux of this version.
pub fn known(disputed: &Disputed<'_>, version: Version) -> Option<usize> {
    DIFFERENCES.iter().position(|difference| {
        difference.until.is_none_or(|until| version < until)
            && difference.matches.is_some_and(|matches| matches(disputed))
    })
}
