//! Vellum compared, call by call, with the Linux that runs it.
//!
//! Random sequences of memory operations are carried out on both sides: by real processes of this Linux, with raw
//! system calls, loads and stores whose faults are caught, and by the core on the deterministic machine of the
//! laboratory (x86-64, pages of 4 KiB), called through [`vellum_linux`]. Compared are
//!
//! * the result and the error number of each call, the value of each load, and the signal, its code and its address of
//!   each load and store;
//! * every few operations, and at the end, what each page of each process maps: its rights, whether it is shared, which
//!   object, where in it, and what was asked for beside ([`Flags`]);
//! * now and then, and at the end, all contents; and at the end the files.
//!
//! In half of the sequences Vellum's memory is taken back, swapped, moved and put together meanwhile: no program may
//! see that. A sequence that both sides disagree on is made short, and printed as both sides' ([`Found`]). What differs
//! knowingly stands in one table, [`DIFFERENCES`].
//!
//! Linux may choose where a mapping goes, and Vellum may too, in its own way: it is brought to where Linux put it. So
//! nothing is said about which of the free places is chosen; only that there is one, or none. Everything outside of the
//! [`arena`] is occupied on both sides, so that a sequence means the same each time.
//!
//! Which pages are resident is compared for private anonymous memory, as far as Vellum's memory is not short on
//! purpose: what was stored to is there, what was never touched is not. Files Linux reads ahead.
//!
//! * `op`, `abi`, `arena`, `files`: what sequences consist of. `generate` makes them, `shrink` makes them short.
//! * `linux`: one side. `ours`: the other.
//! * `compare`, `maps`, `residency`, `sum`, `differences`: one sequence on both. `campaign`: many. `stats`: what was done.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "elsewhere.rs"]
pub mod linux;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod linux;

pub mod abi;
pub mod arena;
mod campaign;
pub mod compare;
pub mod differences;
pub mod files;
pub mod generate;
mod maps;
pub mod op;
pub mod ours;
mod residency;
pub mod shrink;
pub mod stats;
mod sum;

pub use campaign::{Campaign, Found, Limits, Stop};
pub use differences::{DIFFERENCES, Difference};
pub use linux::Linux;
pub use maps::{Flags, Line, Shown};
pub use stats::Stats;
