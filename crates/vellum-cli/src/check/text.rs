//! What was found, for people.

use super::request::Request;
use super::search::{Expected, Found, Search};
use std::fmt::Write;
use vellum_lab::explore::{Bound, Broken, Schedule};
use vellum_lab::scenario::Finding;

/// What comes before the searches.
pub fn notes(request: &Request) -> String {
    request.notes.iter().map(|note| format!("note: {note}\n")).collect()
}

/// What a search found, on one line.
pub fn line(search: &Search, found: &Found) -> String {
    let without = search.guards_off().map(|names| format!("without {names}: ")).unwrap_or_default();
    let mut line = format!("{:5} {:15} {without}", search.check.scenario.id, search.check.mode.name);
    match &found.finding {
        Err(why) => _ = write!(line, "FAILED: {why}"),
        Ok(finding) => line.push_str(&outcome(search, finding)),
    }
    if let Some(objection) = found.objection(search) {
        _ = write!(line, " -- UNEXPECTED: {objection}");
        if let Some((_, schedule)) = found.violation() {
            _ = write!(line, "; {}", search.command(schedule));
        }
    }
    line.push('\n');
    line
}

fn outcome(search: &Search, finding: &Finding) -> String {
    let schedules = counted(finding.schedules, "schedule");
    match &finding.violation {
        Some((broken, _)) if search.expected == Some(Expected::KnownFault) => {
            let fault = search.check.scenario.known.map_or("", |known| known.fault);
            format!("{} after {schedules}: known to break: {fault}", broken.invariant)
        }
        Some((broken, _)) => format!("{} after {schedules}", broken.invariant),
        None if finding.exhaustive => format!("{schedules}, exhaustive to {}: clean", within(search.check.bound)),
        None => format!("{schedules}, cut off after {:.0} s: NOT exhaustive, nothing found so far", finding.seconds),
    }
}

/// What comes after the searches: the diagrams of an experiment, or the sum.
pub fn end(request: &Request, results: &[(&Search, &Found)]) -> String {
    if request.is_experiment { diagrams(results) } else { sum(results) }
}

/// For each scenario that breaks, the first execution found.
fn diagrams(results: &[(&Search, &Found)]) -> String {
    let mut text = String::new();
    let mut drawn = Vec::new();
    for (search, found) in results {
        let id = search.check.scenario.id;
        let Some((_, schedule)) = found.violation().filter(|_| !drawn.contains(&id)) else { continue };
        drawn.push(id);
        text.push('\n');
        match &found.replayed {
            Some(Ok((broken, diagram))) => text += &self::drawn(search, schedule, broken.as_ref(), diagram),
            Some(Err(why)) => _ = writeln!(text, "{id}: {schedule} cannot be run again: {why}"),
            None => {}
        }
    }
    text
}

/// A diagram, what it is of, and how to get it again.
pub fn drawn(search: &Search, schedule: &Schedule, broken: Option<&Broken>, diagram: &str) -> String {
    let scenario = search.check.scenario;
    let without = search.guards_off().map(|names| format!(", without {names}")).unwrap_or_default();
    let nothing = if broken.is_none() { "nothing breaks\n" } else { "" };
    let (id, title, mode, command) = (scenario.id, scenario.title, search.check.mode, search.command(schedule));
    format!("{id} on {mode}{without}: {title}\n\n{diagram}{nothing}{command}\n")
}

fn sum(results: &[(&Search, &Found)]) -> String {
    let as_expected = results.iter().filter(|(search, found)| found.objection(search).is_none()).count();
    let findings = results.iter().filter_map(|(_, found)| found.finding.as_ref().ok());
    let schedules = counted(findings.map(|finding| finding.schedules).sum(), "schedule");
    format!("{as_expected} of {} as expected, {schedules}\n", counted(results.len() as u64, "search"))
}

fn within(bound: Bound) -> String {
    let (preemptions, surprises) = (u64::from(bound.preemptions), u64::from(bound.surprises));
    format!("{} and {}", counted(preemptions, "pre-emption"), counted(surprises, "surprise"))
}

fn counted(count: u64, what: &str) -> String {
    match (count, what.ends_with("ch")) {
        (1, _) => format!("1 {what}"),
        (_, false) => format!("{count} {what}s"),
        (_, true) => format!("{count} {what}es"),
    }
}
