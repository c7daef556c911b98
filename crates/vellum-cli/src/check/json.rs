//! What was found, for programs.

use serde::Serialize;
use vellum_lab::explore::MemoryOrder;
use vellum_lab::scenario::{Expected, Found, Search, Verdict};

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    mode: &'a str,
    /// Names, with commas between.
    guard_off: Option<String>,
    schedules: u64,
    exhaustive: bool,
    /// Pre-emptions.
    bound: u8,
    surprises: u8,
    /// Pre-emptions and surprises of the other bound that was searched to.
    #[serde(skip_serializing_if = "Option::is_none")]
    further: Option<(u8, u8)>,
    /// The order of memory that was searched: "sc" or "tso".
    order: &'static str,
    /// Nothing was found among so few schedules that this says little.
    few: bool,
    /// The search ended for want of time, with nothing found: it proves nothing.
    cut_off: bool,
    seconds: f64,
    violation: Option<Violation<'a>>,
    /// The fault of the core that this shows, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<&'a str>,
    /// What is not as the scenario says.
    #[serde(skip_serializing_if = "Option::is_none")]
    unexpected: Option<String>,
    /// Why the search itself failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
}

#[derive(Serialize)]
struct Violation<'a> {
    invariant: &'a str,
    detail: &'a str,
    schedule: String,
}

/// The document, with a line end.
pub fn render(results: &[(&Search, &Found)]) -> String {
    document(&results.iter().map(|(search, found)| Row::new(search, found)).collect::<Vec<_>>())
}

/// `value` as text, with a line end.
pub fn document(value: &impl Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        Err(error) => unreachable!("names and numbers always have a JSON form: {error}"),
    }
}

impl<'a> Row<'a> {
    fn new(search: &'a Search, found: &'a Found) -> Row<'a> {
        let finding = found.finding.as_ref();
        Row {
            id: search.check.scenario.id,
            mode: search.check.mode.name,
            guard_off: search.guards_off(),
            schedules: finding.map_or(0, |finding| finding.schedules),
            exhaustive: finding.is_ok_and(|finding| finding.exhaustive),
            bound: search.check.bound.preemptions,
            surprises: search.check.bound.surprises,
            further: search.check.further.map(|bound| (bound.preemptions, bound.surprises)),
            order: match search.order() {
                MemoryOrder::Sc => "sc",
                MemoryOrder::Tso => "tso",
            },
            few: found.is_few(),
            cut_off: found.is_cut_off(),
            seconds: finding.map_or(0.0, |finding| finding.seconds),
            violation: found.violation().map(|(broken, schedule)| Violation {
                invariant: &broken.invariant,
                detail: &broken.detail,
                schedule: schedule.to_string(),
            }),
            known: search
                .check
                .scenario
                .known
                .filter(|_| search.expected == Some(Expected::KnownFault))
                .map(|known| known.fault),
            unexpected: match found.verdict(search) {
                Verdict::Unexpected(why) => Some(why),
                Verdict::AsExpected | Verdict::CutOff => None,
            },
            failure: finding.err().map(String::as_str),
        }
    }
}
