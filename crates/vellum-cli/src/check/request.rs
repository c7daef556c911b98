//! What a command line asks for.

use super::args::CheckArgs;
use super::modes;
use std::time::Duration;
use vellum::Guard;
use vellum_lab::scenario::{Check, Mode, Scenario, Search, searches, without_implied};

/// Searches to be made.
pub struct Request {
    /// In the order in which they are reported.
    pub searches: Vec<Search>,
    /// Protections were named that are to be off: nothing is expected.
    pub is_experiment: bool,
    /// What should be said first.
    pub notes: Vec<String>,
}

impl Request {
    /// Understands `args`; an `Err` says what makes no sense.
    pub fn new(args: &CheckArgs) -> Result<Request, String> {
        let chosen = scenarios_of(args)?;
        let off = guards_of(args, &chosen)?;
        let notes = if args.all { Vec::new() } else { notes_on(&chosen, &off) };
        let leaves_out = args.all && !args.long;
        let mut all = Vec::new();
        for scenario in chosen {
            let modes = modes_of(args, scenario)?;
            if args.without.is_empty() {
                let whole = searches(scenario, &modes);
                all.extend(if leaves_out { without_implied(whole) } else { whole });
            } else {
                let check = |mode| Check::new(scenario, mode).without(&off);
                all.extend(modes.iter().map(|&mode| Search { check: check(mode), expected: None }));
            }
        }
        all.iter_mut().for_each(|search| limit(args, &mut search.check));
        if all.is_empty() {
            return Err("there is no scenario for this --arch".into());
        }
        Ok(Request { searches: all, is_experiment: !args.without.is_empty(), notes })
    }
}

fn scenarios_of(args: &CheckArgs) -> Result<Vec<&'static Scenario>, String> {
    if args.all {
        return Ok(vellum_scenarios::all().to_vec());
    }
    if args.ids.is_empty() {
        return Err("name scenarios to check, or use --all; --list shows them".into());
    }
    if args.replay.is_some() && args.ids.len() > 1 {
        return Err("--replay: a schedule is of one scenario".into());
    }
    let mut chosen: Vec<&Scenario> = Vec::new();
    for id in &args.ids {
        let Some(scenario) = vellum_scenarios::find(id) else {
            return Err(format!("{id}: no such scenario; 'vellum check --list' shows them"));
        };
        if !chosen.iter().any(|other| other.id == scenario.id) {
            chosen.push(scenario);
        }
    }
    Ok(chosen)
}

fn guards_of(args: &CheckArgs, chosen: &[&Scenario]) -> Result<Vec<Guard>, String> {
    let mut guards = Vec::new();
    for name in &args.without {
        let Some(guard) = Guard::ALL.iter().copied().find(|guard| guard.name().eq_ignore_ascii_case(name)) else {
            return Err(match chosen {
                [scenario] => format!("--without {name}: no such guard; {} is about {}", scenario.id, about(scenario)),
                _ => format!("--without {name}: no such guard; 'vellum check --list' shows them"),
            });
        };
        if !guards.contains(&guard) {
            guards.push(guard);
        }
    }
    Ok(guards)
}

/// The names of the guards that `scenario` is about.
pub fn about(scenario: &Scenario) -> String {
    let guards = scenario.guards.iter().chain(scenario.guards_redundant);
    guards.map(|guard| guard.name()).collect::<Vec<_>>().join(", ")
}

fn notes_on(chosen: &[&Scenario], off: &[Guard]) -> Vec<String> {
    let strange = |scenario: &Scenario, guard: &Guard| {
        let is_about = scenario.guards.contains(guard) || scenario.guards_redundant.contains(guard);
        (!is_about).then(|| format!("{} is not about {}, but about {}", scenario.id, guard.name(), about(scenario)))
    };
    chosen.iter().flat_map(|scenario| off.iter().filter_map(|guard| strange(scenario, guard))).collect()
}

fn modes_of(args: &CheckArgs, scenario: &Scenario) -> Result<Vec<Mode>, String> {
    match args.arch {
        Some(mode) if (scenario.runs)(mode) => Ok(vec![mode]),
        Some(_) if args.all => Ok(Vec::new()),
        Some(mode) => Err(format!("--arch {mode}: it does not have the mechanism that {} is about", scenario.id)),
        None if args.long => Ok(modes::all().filter(|&mode| (scenario.runs)(mode)).collect()),
        None => Ok(scenario.modes()),
    }
}

/// Bounds `check` as asked for.
fn limit(args: &CheckArgs, check: &mut Check) {
    let seconds = args.seconds.unwrap_or(if args.long { 3600.0 } else { 120.0 });
    check.bound = args.bound_for(check.scenario);
    if check.bound != check.scenario.bound {
        check.further = None;
    }
    check.time = Some(Duration::from_secs_f64(seconds));
}
