//! The command line of `vellum check`.

use super::modes;
use clap::Args;
use vellum_lab::explore::{Bound, Detail, Schedule};
use vellum_lab::scenario::{Mode, Scenario};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The scenarios, by their ids; see --list.
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Every scenario; without --long, searches are left out that follow from others: sequentially consistent ones from
    /// those with late stores, and where the marks of entries play no part, those of processors that differ in them.
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Switches protections off, and shows what breaks. Otherwise searches with all of them on, then with each off in
    /// turn, and compares with what the scenarios say.
    #[arg(long, value_name = "GUARD", value_delimiter = ',')]
    pub without: Vec<String>,
    /// The processor: tiny, tiny-assist, tiny-assist-sc, tiny-blind, tiny-broadcast, and if built with --features archs
    /// x86_64, aarch64, riscv64, ppc64, sparc64 [the tiny ones that a scenario is for; with --long all].
    #[arg(long, value_parser = modes::named)]
    pub arch: Option<Mode>,
    /// Runs one execution again, and draws it. Needs one ID, its --arch and its --without.
    #[arg(long, value_name = "SCHEDULE", requires = "arch")]
    #[arg(conflicts_with_all = ["all", "list", "json", "bound", "long", "seconds"])]
    pub replay: Option<Schedule>,
    /// Draws operations, accesses, entries and flushes only: not frees, references, locks, places in the source.
    #[arg(long, conflicts_with_all = ["list", "json"])]
    pub brief: bool,
    /// Lists the scenarios.
    #[arg(long, conflicts_with_all = ["ids", "all", "without", "arch", "bound", "long", "seconds"])]
    pub list: bool,
    /// Prints one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Searches executions with so many pre-emptions and surprises of the hardware [what each scenario says].
    #[arg(long, value_name = "P[,S]", value_parser = asked_bound, conflicts_with = "long")]
    pub bound: Option<AskedBound>,
    /// Searches further: three pre-emptions, a surprise more, on every processor.
    #[arg(long)]
    pub long: bool,
    /// Cuts each search off after so many seconds [120; with --long 3600].
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub seconds: Option<f64>,
}

/// A bound as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct AskedBound {
    preemptions: u8,
    surprises: Option<u8>,
}

impl CheckArgs {
    /// How much diagrams show.
    pub fn detail(&self) -> Detail {
        if self.brief { Detail::Brief } else { Detail::Full }
    }

    /// How far to search `scenario`.
    pub fn bound_for(&self, scenario: &Scenario) -> Bound {
        let Bound { preemptions, surprises } = scenario.bound;
        match self.bound {
            Some(asked) => Bound { preemptions: asked.preemptions, surprises: asked.surprises.unwrap_or(surprises) },
            None if self.long => Bound { preemptions: preemptions.max(3), surprises: surprises + 1 },
            None => scenario.bound,
        }
    }
}

fn asked_bound(text: &str) -> Result<AskedBound, String> {
    let number =
        |text: &str| text.parse().ok().filter(|number| *number < 10).ok_or("not numbers from 0 to 9, as in 2 or 2,1");
    let (preemptions, surprises) = text.split_once(',').map_or((text, None), |(first, second)| (first, Some(second)));
    Ok(AskedBound { preemptions: number(preemptions)?, surprises: surprises.map(number).transpose()? })
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
    number.ok_or_else(|| "not a number of seconds from 0.001 to 1000000".into())
}
