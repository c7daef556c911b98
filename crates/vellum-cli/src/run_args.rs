//! The command lines of `vellum run`, `record` and `conflicts`.

use crate::size;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use vellum::ops::HugePages;
use vellum_hosts::HostArch;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// A trace file (`-` for standard input), or a workload: fault-private, fault-shared, map-churn, protect-toggle,
    /// fork-server, file-readers, stack-and-heap, reclaim-scan, swap-storm, migrate-nodes, tagged-heap, huge-heap.
    /// The bundled trace if there is none.
    pub target: Option<PathBuf>,
    /// Simulated CPUs, 1 to 256 [a trace: 1; a workload: what the host has].
    #[arg(long, value_parser = cpus)]
    pub cpus: Option<usize>,
    /// Simulated memory, 1M to 64G [1G; reclaim-scan, swap-storm: 32M; migrate-nodes, huge-heap: 64M;
    /// tagged-heap: 16M].
    #[arg(long, value_parser = memory)]
    pub memory: Option<u64>,
    /// NUMA nodes, 1 to 16, over which memory and CPUs are spread [1; migrate-nodes, tagged-heap: 2].
    #[arg(long, value_parser = nodes)]
    pub nodes: Option<u8>,
    /// Swap, 1M to 64G, in a temporary file [none; swap-storm: 16 times the memory; tagged-heap: 4 times;
    /// huge-heap: as much].
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub swap: Option<u64>,
    /// The most memory that compressed pages may take before they go to swap, 1M to 64G, and less than the memory
    /// [none].
    #[arg(long, value_name = "SIZE", value_parser = memory, requires = "swap")]
    pub zswap: Option<u64>,
    /// Whether one flush serves a list of pages that are unmapped under pressure, rather than one flush each.
    #[arg(long, value_enum, default_value = "on")]
    pub batch: Switch,
    /// Which memory gets huge pages: all of it, shared memory too, private memory that the program advises so, or none
    /// [madvise; huge-heap: always].
    #[arg(long, value_enum)]
    pub thp: Option<Thp>,
    /// The processor.
    #[arg(long, value_enum, default_value = "x86_64")]
    pub arch: ArchName,
    /// Runs a workload on the deterministic machine; traces always are.
    #[arg(long)]
    pub deterministic: bool,
    /// Prints the report as one JSON document.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub later: LaterArgs,
}

/// Options that are planned and not built yet.
#[derive(Debug, Args)]
pub struct LaterArgs {
    #[arg(long, hide = true, num_args = 0..=1)]
    machine: Option<Option<OsString>>,
}

impl LaterArgs {
    /// The first one that was given.
    pub fn given(&self) -> Option<&'static str> {
        let all = [(&self.machine, "--machine")];
        all.into_iter().find(|(value, _)| value.is_some()).map(|(_, name)| name)
    }
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Which memory gets huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Thp {
    Always,
    Madvise,
    Never,
}

impl Thp {
    /// The policy.
    pub fn policy(self) -> HugePages {
        match self {
            Thp::Always => HugePages::Always,
            Thp::Madvise => HugePages::Advised,
            Thp::Never => HugePages::Never,
        }
    }

    /// The name of a policy.
    pub fn name(policy: HugePages) -> &'static str {
        match policy {
            HugePages::Always => "always",
            HugePages::Advised => "madvise",
            HugePages::Never => "never",
        }
    }
}

/// Architectures that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArchName {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "x86_64-la57")]
    X86_64La57,
    #[value(name = "aarch64")]
    Aarch64,
    #[value(name = "riscv64")]
    Riscv64,
    #[value(name = "riscv64-sv48")]
    Riscv64Sv48,
    #[value(name = "ppc64")]
    Ppc64,
    /// Workloads only: the pages of traces are smaller.
    #[value(name = "sparc64")]
    Sparc64,
    #[value(name = "tiny", hide = true)]
    Tiny,
}

impl ArchName {
    /// The architecture, if programs can be run on it.
    pub fn host(self) -> Option<HostArch> {
        HostArch::ALL
            .iter()
            .copied()
            .find(|arch| self.to_possible_value().is_some_and(|value| value.matches(arch.name(), false)))
    }
}

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// The file to write; forked children go beside it.
    #[arg(short, long, default_value = "vellum.vtrace")]
    pub output: PathBuf,
    /// Keeps paths and process numbers as they are.
    #[arg(long)]
    pub unscrubbed: bool,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    pub program: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct ConflictsArgs {
    /// The operations, compared each with each: fault, map, unmap, protect, advise, remap, fault-file; all if there is
    /// none.
    #[arg(value_name = "OPERATION")]
    pub operations: Vec<String>,
    /// The processor.
    #[arg(long, value_enum, default_value = "x86_64")]
    pub arch: ArchName,
    /// Prints one JSON document.
    #[arg(long)]
    pub json: bool,
}

fn cpus(text: &str) -> Result<usize, String> {
    let count = text.parse().map_err(|_| "not a number from 1 to 256".to_string())?;
    if (1..=vellum::cpuset::CPUS_MAX).contains(&count) { Ok(count) } else { Err("not from 1 to 256".into()) }
}

fn nodes(text: &str) -> Result<u8, String> {
    let count: usize = text.parse().map_err(|_| "not a number from 1 to 16".to_string())?;
    let fits = u8::try_from(count).ok().filter(|_| (1..=vellum::phys::NODES_MAX).contains(&count));
    fits.ok_or_else(|| "not from 1 to 16".into())
}

fn memory(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        ..0x10_0000 => Err("too little: at least 1M".into()),
        0x10_0000_0001.. => Err("too much: at most 64G".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_as_many_as_the_core_allows() {
        assert_eq!((nodes("1"), nodes("16")), (Ok(1), Ok(16)));
        assert!(nodes(&vellum::phys::NODES_MAX.to_string()).is_ok());
        for wrong in ["0", "17", "257", "-1", "two", "", "99999999999999999999"] {
            assert!(nodes(wrong).is_err(), "{wrong}");
        }
    }
}
