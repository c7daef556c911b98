//! The command line.

use crate::check::args::CheckArgs;
#[cfg(feature = "conform")]
use crate::conform::args::ConformArgs;
#[cfg(feature = "run")]
use crate::run_args::{ConflictsArgs, RecordArgs, RunArgs};
use clap::{Parser, Subcommand};

/// A virtual-memory manager: run, record and measure memory behaviour.
///
/// Without a command it replays the bundled trace of a real program.
#[derive(Debug, Parser)]
#[command(name = "vellum", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replays a trace, or runs a built-in workload, and reports what the memory manager did.
    #[cfg(feature = "run")]
    Run(Box<RunArgs>),
    /// Records a trace of a program with valgrind.
    #[cfg(feature = "run")]
    Record(RecordArgs),
    /// Measures instructions and time of single operations.
    #[cfg(feature = "bench")]
    Bench(BenchArgs),
    /// Searches small concurrent programs on the manager exhaustively for broken invariants.
    Check(Box<CheckArgs>),
    /// Shows which cache lines operations of two CPUs on ranges of their own both write.
    #[cfg(feature = "run")]
    Conflicts(ConflictsArgs),
    /// Compares random sequences of memory operations with the Linux that runs this.
    #[cfg(feature = "conform")]
    Conform(ConformArgs),
}

#[cfg(feature = "bench")]
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// The measurements to make; all if there is none.
    pub names: Vec<String>,
    /// Prints one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// The first paragraph of what clap says, on one line.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_fit_one_line() {
        for wrong in [&["vellum", "check", "--seconds", "0"][..], &["vellum", "fly"]] {
            let line = one_line(&Cli::try_parse_from(wrong).unwrap_err());
            assert!(!line.contains('\n') && line.len() > 10, "{line}");
        }
    }
}
