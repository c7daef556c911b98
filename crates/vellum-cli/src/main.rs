//! The command `vellum`.
//!
//! Exit codes: 0 done; 1 the workload, the recorded program or a check failed, operations conflict, or Vellum is not as
//! Linux; 2 usage or bad input, with one line that says what is wrong; 3 there is no Linux to compare with.

mod args;
mod check;
#[cfg(feature = "run")]
mod conflicts;
#[cfg(feature = "conform")]
mod conform;
mod output;
mod progress;
#[cfg(feature = "run")]
mod record;
#[cfg(feature = "run")]
mod report;
#[cfg(feature = "run")]
mod run;
#[cfg(feature = "run")]
mod run_args;
#[cfg(feature = "run")]
mod size;

use args::{Cli, Command};
use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// The workload failed: an invariant broke, memory was exhausted, a program ended badly. Or operations conflict.
const FAILED: u8 = 1;
/// Usage or input is wrong.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return bad_command_line(&error),
    };
    match cli.command {
        #[cfg(feature = "run")]
        None => run::bundled(),
        #[cfg(not(feature = "run"))]
        None => fail(BAD_INPUT, "this command was built without 'run': there is check"),
        #[cfg(feature = "run")]
        Some(Command::Run(args)) => run::run(&args),
        #[cfg(feature = "run")]
        Some(Command::Record(args)) => record::run(&args),
        #[cfg(feature = "bench")]
        Some(Command::Bench(args)) => vellum_bench::run(&args.names, args.json),
        Some(Command::Check(args)) => check::run(&args),
        #[cfg(feature = "run")]
        Some(Command::Conflicts(args)) => conflicts::run(&args),
        #[cfg(feature = "conform")]
        Some(Command::Conform(args)) => conform::run(&args),
    }
}

fn bad_command_line(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return output::print(&error.to_string());
    }
    fail(BAD_INPUT, args::one_line(error))
}

/// Says why, on one line of standard error.
fn fail(code: u8, why: impl std::fmt::Display) -> ExitCode {
    let line = why.to_string();
    eprintln!("vellum: {}", line.replace(['\n', '\r'], " "));
    ExitCode::from(code)
}
