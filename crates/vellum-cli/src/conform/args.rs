//! The command line of `vellum conform`.

use clap::{Args, ValueEnum};

/// What the command ends with.
const EXIT_CODES: &str = "Exit codes: 0 both sides agreed; 1 they did not, or Linux's side could not go on; 2 usage; \
                          3 there is no Linux here to compare with.";

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ConformArgs {
    /// Ends after so many seconds, at the end of a sequence [60; none with --operations].
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Ends after so many operations, at the end of a sequence.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub operations: Option<u64>,
    /// The seed of the first sequence; the following ones have the numbers after it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Whether Vellum's memory is taken back, swapped, moved and put together meanwhile, in every other sequence.
    #[arg(long, value_enum, default_value = "on")]
    pub pressure: Pressure,
    /// Lists where Vellum differs from Linux knowingly.
    #[arg(long, conflicts_with_all = ["seconds", "operations"])]
    pub differences: bool,
    /// Prints one JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pressure {
    On,
    Off,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
    number.ok_or_else(|| "not a number of seconds from 0.001 to 1000000".into())
}
