//! What runs programs on hosted machines, for every architecture, compiled here once.
//!
//! The machines of `vellum_lab` are generic, so whoever uses one compiles the whole core for it. The command takes them
//! from here instead: a change to it, or to a scenario, does not compile the core again. The same holds for the
//! laboratory on real architectures (`MODES`), where that is asked for.

#[cfg(feature = "archs")]
mod modes;

#[cfg(feature = "archs")]
pub use modes::MODES;

use std::ops::Range;
use vellum::Error;
use vellum::arch::{self, Arch, Prot};
use vellum::ops::{MapRequest, Place};
use vellum_lab::conflicts::{self, Operation, Pair};
use vellum_lab::hardware::MachineConfig;
use vellum_lab::hosted::{Hosted, HostedError};
use vellum_lab::model::sequence::{self, Report, Stats, Sweep};
use vellum_lab::outcome::{Outcome, RunError};
use vellum_lab::replay::{self, ReplayOptions};
use vellum_lab::trace::TraceReader;
use vellum_lab::workload::{Setting, Workload};

fn places<A: Arch>(requests: &[(u64, Place)]) -> Vec<Result<u64, Error>> {
    let hosted = Hosted::<A>::new(&MachineConfig::new(1, 4096)).expect("the host has memory");
    let space = hosted.vm().create_space().expect("the machine has memory");
    let map = |&(length, place)| space.map(&MapRequest::anonymous(length, Prot::READ).at(place));
    requests.iter().map(map).collect()
}

macro_rules! architectures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// An architecture that programs can be run on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HostArch {
            $($(#[$doc])* $name,)*
        }

        impl HostArch {
            /// All of them.
            pub const ALL: &[HostArch] = &[$(HostArch::$name),*];

            /// Its name, as the command spells it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(HostArch::$name => <arch::$name as Arch>::NAME,)*
                }
            }

            /// log2 of the bytes of its pages.
            pub const fn page_shift(self) -> u32 {
                match self {
                    $(HostArch::$name => <arch::$name as Arch>::PAGE_SHIFT,)*
                }
            }

            /// Replays a trace; `progress` is told how many accesses have been carried out.
            pub fn replay(
                self,
                reader: TraceReader,
                options: &ReplayOptions,
                progress: &mut dyn FnMut(u64),
            ) -> Result<Outcome, RunError> {
                match self {
                    $(HostArch::$name => replay::replay::<arch::$name>(reader, options, progress),)*
                }
            }

            /// Runs a workload.
            pub fn run(self, workload: Workload, setting: &Setting) -> Result<Outcome, RunError> {
                match self {
                    $(HostArch::$name => workload.run::<arch::$name>(setting),)*
                }
            }

            /// Runs the random sequences of `seeds`, and compares with the reference model; see
            /// [`sequence::run_seeds`].
            pub fn run_seeds(self, seeds: Range<u64>) -> Result<Stats, Box<Report>> {
                match self {
                    $(HostArch::$name => sequence::run_seeds::<arch::$name>(seeds, None),)*
                }
            }

            /// The same under pressure; see [`sequence::run_seeds_under_pressure`].
            pub fn run_seeds_under_pressure(self, seeds: Range<u64>, tags: bool) -> Result<Stats, Box<Report>> {
                match self {
                    $(HostArch::$name => sequence::run_seeds_under_pressure::<arch::$name>(seeds, tags, None),)*
                }
            }

            /// Makes every allocation of random operations fail; see [`sequence::sweep_seeds`].
            pub fn sweep_seeds(self, seeds: Range<u64>) -> Result<Sweep, String> {
                match self {
                    $(HostArch::$name => sequence::sweep_seeds::<arch::$name>(seeds),)*
                }
            }

            /// Where a new space puts memory of each length that is asked for at its place, one after another.
            ///
            /// # Panics
            /// If the host has no memory.
            pub fn places(self, requests: &[(u64, Place)]) -> Vec<Result<u64, Error>> {
                match self {
                    $(HostArch::$name => places::<arch::$name>(requests),)*
                }
            }

            /// Measures which cache lines every pair of `operations` both writes.
            pub fn conflicts(self, operations: &[Operation]) -> Result<Vec<Pair>, HostedError> {
                match self {
                    $(HostArch::$name => conflicts::measure::<arch::$name>(operations),)*
                }
            }
        }
    };
}

architectures! {
    /// x86-64 with four levels.
    X86_64,
    /// x86-64 with five levels.
    X86_64La57,
    /// AArch64 with pages of 4 KiB.
    Aarch64,
    /// RISC-V Sv39.
    Riscv64,
    /// RISC-V Sv48.
    Riscv64Sv48,
    /// Power, radix.
    Ppc64,
    /// SPARC64, with a software TLB.
    Sparc64,
}
