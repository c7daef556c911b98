//! What was found, for people.

use super::request::Request;
use std::fmt::Write;
use std::time::Duration;
use vellum_lab::explore::{Detail, Schedule};
use vellum_lab::scenario::{FEW, Found, Replayed, Search, Verdict, counted};

/// What comes before the searches.
pub fn notes(request: &Request) -> String {
    request.notes.iter().map(|note| format!("note: {note}\n")).collect()
}

/// What a search found, on one line.
pub fn line(search: &Search, found: &Found) -> String {
    let mut line = found.line(search);
    if let (Verdict::Unexpected(_), Some((_, schedule))) = (found.verdict(search), found.violation()) {
        _ = write!(line, "; {}", command(search, schedule));
    }
    line + "\n"
}

/// The command that runs `schedule` again.
fn command(search: &Search, schedule: &Schedule) -> String {
    let without = search.guards_off().map(|names| format!(" --without {names}")).unwrap_or_default();
    format!("vellum check {} --arch {}{without} --replay '{schedule}'", search.check.scenario.id, search.check.mode)
}

/// For each scenario that breaks, the first execution found.
pub fn diagrams(results: &[(&Search, &Found)], detail: Detail) -> String {
    let mut text = String::new();
    let mut drawn = Vec::new();
    for (search, found) in results {
        let id = search.check.scenario.id;
        let Some((_, schedule)) = found.violation().filter(|_| !drawn.contains(&id)) else { continue };
        drawn.push(id);
        text.push('\n');
        match &found.replayed {
            Some(Ok(replayed)) => text += &self::drawn(search, schedule, replayed, detail),
            Some(Err(why)) => _ = writeln!(text, "{id}: {schedule} cannot be run again: {why}"),
            None => {}
        }
    }
    text
}

/// A diagram, what it is of, and how to get it again.
pub fn drawn(search: &Search, schedule: &Schedule, replayed: &Replayed, detail: Detail) -> String {
    let scenario = search.check.scenario;
    let without = search.guards_off().map(|names| format!(", without {names}")).unwrap_or_default();
    let (id, title, mode) = (scenario.id, scenario.title, search.check.mode);
    let diagram = replayed.draw(detail);
    let nothing = if replayed.broken.is_none() { "nothing breaks\n" } else { "" };
    let brief = if detail == Detail::Brief { " --brief" } else { "" };
    format!("{id} on {mode}{without}: {title}\n\n{diagram}{nothing}{}{brief}\n", command(search, schedule))
}

/// How many schedules the searches had that ran to their end, and how long all took.
pub fn spread(results: &[(&Search, &Found)], time: Duration) -> String {
    let ended = |found: &Found| found.finding.as_ref().is_ok_and(|finding| finding.exhaustive);
    let schedules = |found: &Found| found.finding.as_ref().map_or(0, |finding| finding.schedules);
    let results = results.iter().filter(|(_, found)| ended(found) && found.by.is_none());
    let mut ended: Vec<_> = results.map(|(search, found)| (schedules(found), *search)).collect();
    ended.sort_by_key(|&(schedules, _)| schedules);
    let (Some(least), Some(most)) = (ended.first(), ended.last()) else { return String::new() };
    let median = &ended[ended.len() / 2];
    let shown = |(schedules, search): &(u64, &Search)| {
        let without = search.guards_off().map_or(String::new(), |names| format!(" without {names}"));
        format!("{schedules} ({} {}{without})", search.check.scenario.id, search.check.mode)
    };
    let few = ended.iter().filter(|&&(schedules, _)| schedules < FEW).count();
    let searches = counted(ended.len() as u64, "exhaustive search");
    format!(
        "schedules in {searches}: least {}, median {}, most {}; {few} of fewer than {FEW}; {:.0} s\n",
        shown(least),
        shown(median),
        shown(most),
        time.as_secs_f64()
    )
}

/// How many searches are as expected.
pub fn sum(results: &[(&Search, &Found)]) -> String {
    let (mut as_expected, mut cut_off, mut unexpected) = (0, 0, 0);
    for (search, found) in results {
        match found.verdict(search) {
            Verdict::AsExpected => as_expected += 1,
            Verdict::CutOff => cut_off += 1,
            Verdict::Unexpected(_) => unexpected += 1,
        }
    }
    let own = results.iter().filter(|(_, found)| found.by.is_none());
    let findings = own.filter_map(|(_, found)| found.finding.as_ref().ok());
    let schedules = counted(findings.map(|finding| finding.schedules).sum(), "schedule");
    let searches = counted(results.len() as u64, "search");
    format!(
        "{searches}, {schedules}: {as_expected} as expected, {cut_off} cut off by time, {unexpected} not as expected\n"
    )
}
