//! The clauses of the contract.

use core::fmt;

/// Who promises something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The core, to the machine.
    Core,
    /// The embedder: the machine itself, or what is around it.
    Embedder,
}

macro_rules! clauses {
    ($($(#[$doc:meta])* $name:ident: $side:ident, $text:literal;)*) => {
        /// One clause of the contract: what is asserted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Clause {
            $(#[doc = $text] $(#[$doc])* $name,)*
        }

        impl Clause {
            /// All of them.
            pub const ALL: &[Clause] = &[$(Clause::$name,)*];

            /// Who promises it.
            pub const fn side(self) -> Side {
                match self {
                    $(Clause::$name => Side::$side,)*
                }
            }

            /// What is promised.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Clause::$name => $text,)*
                }
            }
        }
    };
}

clauses! {
    /// Two threads of execution that are one CPU at a time look like this too.
    Pairs: Core, "pre-emption is switched off and on in pairs on one CPU, never in itself";
    /// A current CPU that changes meanwhile looks like this too.
    Inside: Core, "pre-emption is off, or it is the flush interrupt (`Strict::interrupt`)";
    Sleeps: Core, "pre-emption is on where the embedder may sleep";
    InterruptIsShort: Core, "the flush interrupt neither sleeps, nor allocates, nor switches pre-emption";
    CpuInRange: Core, "CPUs are numbered below `cpu_count`";
    NoInterruptToSelf: Core, "no CPU interrupts itself";
    FrameOfMemory: Core, "frames are those of `memory`";
    PageOfMemory: Core, "pages are whole, aligned pages of `memory`, and copies do not overlap";
    UserPage: Core, "addresses to invalidate are those of pages";
    AsidInRange: Core, "address-space identifiers are 1 to `Arch::ASIDS`";
    BroadcastsOnly: Core, "broadcasts are for architectures that flush by broadcast";
    RootIsEmpty: Core, "a new root table has the architecture's number of entries, all zero";
    BufferLength: Core, "buffers are as long as a page, or as its tags";
    DevicePage: Core, "pages of a device are below its `pages`";
    CpuCount: Embedder, "`cpu_count` is constant, 1 to `CPUS_MAX`";
    CurrentCpu: Embedder, "`current_cpu` is below `cpu_count` and stays while pre-emption is off";
    Memory: Embedder, "`memory` is constant: ranges ascending and disjoint, nodes below `NODES_MAX`";
    Frame: Embedder, "`frame` is constant, page-aligned, consecutive within a range, apart between ranges";
    NodeOfCpu: Embedder, "`node_of_cpu` is constant";
    Demotion: Embedder, "`demotion_target` is constant and leads in no circle";
    Clock: Embedder, "`now` does not go back";
    WaitEnds: Embedder, "`wait_change` returns after a short while";
    InterruptArrives: Embedder, "an interrupted CPU calls `handle_interrupt` (within `Strict::interrupt`)";
    NoCallBack: Embedder, "methods called with pre-emption off do not call the core";
    RootUserPart: Embedder, "`prepare_root` leaves the user's half of a root table empty";
    Clears: Embedder, "`clear_page` clears the page";
    Copies: Embedder, "`copy_page` and `snapshot_page` copy the page";
    Compresses: Embedder, "`compress` stays within its buffer, and `decompress` restores the page";
    Tags: Embedder, "`read_tags` returns what `write_tags` wrote";
    DeviceSize: Embedder, "`pages` of a swap device is constant";
}

/// A clause was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which.
    pub clause: Clause,
    /// The method that was called.
    pub call: &'static str,
    /// The CPU.
    pub cpu: usize,
    /// What the clause was broken with: a frame, an address, a number.
    pub value: u64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { clause, call, cpu, value } = self;
        let side = match clause.side() {
            Side::Core => "core",
            Side::Embedder => "embedder",
        };
        write!(f, "{clause:?} broken by the {side} in {call} on CPU {cpu} ({value:#x}): {}", clause.text())
    }
}
