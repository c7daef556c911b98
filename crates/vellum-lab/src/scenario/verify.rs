//! Whether a scenario does what it says: with every guard on, and with each off.

use super::{Check, Finding, Mode, Replayed, Scenario, check, replay};
use crate::explore::{Bound, Broken, Detail, MemoryOrder, Schedule};
use std::fmt::{self, Write};
use std::time::Duration;
use vellum::Guard;

/// A search of fewer schedules than this says little.
pub const FEW: u64 = 50;

/// How long a search of [`verify`] may take.
const TIME: Duration = Duration::from_secs(120);

/// What a scenario says about a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing breaks.
    Clean,
    /// Something breaks.
    Violation,
    /// Something breaks although every guard is on: a fault of the core that is known.
    KnownFault,
}

/// A search to be made.
#[derive(Clone)]
pub struct Search {
    /// What is searched.
    pub check: Check,
    /// `None`: nothing in particular.
    pub expected: Option<Expected>,
}

/// What came of it.
#[derive(Clone)]
pub struct Found {
    /// An `Err` says why the search itself failed.
    pub finding: Result<Finding, String>,
    /// If something broke: the execution, run again.
    pub replayed: Option<Result<Replayed, String>>,
    /// The scenario whose search found it, if that was another: their program is the same.
    pub by: Option<&'static str>,
}

/// What that is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what the scenario says, or nothing was expected.
    AsExpected,
    /// The search ended for want of time, with nothing found: it proves nothing.
    CutOff,
    /// It is not, or it is no sound result.
    Unexpected(String),
}

/// The searches that show all that `scenario` says about `modes`, within its bound.
pub fn searches(scenario: &'static Scenario, modes: &[Mode]) -> Vec<Search> {
    let mut searches = Vec::new();
    for (guards, needed) in variants(scenario) {
        // What breaks anyway proves nothing of a guard.
        let says_something = |mode: &&Mode| guards.is_empty() || !scenario.is_known_to_break(**mode);
        for &mode in modes.iter().filter(says_something) {
            let expected = match needed {
                true if (scenario.breaks)(mode) => Expected::Violation,
                false if scenario.is_known_to_break(mode) => Expected::KnownFault,
                _ => Expected::Clean,
            };
            let check = Check::new(scenario, mode).without(&guards);
            searches.push(Search { check, expected: Some(expected) });
        }
    }
    searches
}

/// Those of `searches` that do not follow from others. Of what is clean where stores may be late, the executions in
/// which none is are those of the same processor with stores in order. And where the marks of entries play no part, as
/// a scenario says, what is clean on the processor without them is so on those that differ in nothing else.
pub fn without_implied(searches: Vec<Search>) -> Vec<Search> {
    let is_there = |like: &Search, mode: Mode| {
        let of = |search: &Search| (search.check.scenario.id, search.check.guards_off.clone());
        let is_that = |search: &Search| search.check.mode == mode && search.expected == like.expected;
        searches.iter().any(|search| is_that(search) && of(search) == of(like))
    };
    let is_implied = |like: &Search| {
        let Check { mode, scenario, .. } = &like.check;
        let alike = mode.without_marks().filter(|_| scenario.alike);
        let instead = mode.with_late_stores().into_iter().chain(alike);
        like.expected == Some(Expected::Clean) && instead.into_iter().any(|mode| is_there(like, mode))
    };
    searches.iter().filter(|search| !is_implied(search)).cloned().collect()
}

/// Those of what was found that say a scenario is not [alike](Scenario::alike) though it is said to be: searches that
/// were as long on the one processor, and not as long on another.
pub fn unlike<'r>(results: &[(&'r Search, &'r Found)]) -> Vec<&'r Search> {
    let is_unlike = |(search, found): &(&Search, &Found)| {
        let like = search.check.mode.without_marks().filter(|_| search.check.scenario.alike);
        let is_that = |other: &Search| {
            Some(other.check.mode) == like
                && other.check.scenario.id == search.check.scenario.id
                && other.check.guards_off == search.check.guards_off
        };
        let other = results.iter().find(|(other, _)| is_that(other));
        other.is_some_and(|(_, other)| found.all_schedules().zip(other.all_schedules()).is_some_and(|(a, b)| a != b))
    };
    results.iter().filter(|&result| is_unlike(result)).map(|(search, _)| *search).collect()
}

/// Every set of guards to switch off that the scenario says something about, and whether that breaks something.
fn variants(scenario: &Scenario) -> Vec<(Vec<Guard>, bool)> {
    let mut variants = vec![(Vec::new(), false)];
    variants.extend(scenario.guards.iter().map(|&guard| (vec![guard], true)));
    variants.extend(scenario.guards_redundant.iter().map(|&guard| (vec![guard], false)));
    if !scenario.guards_redundant.is_empty() {
        variants.push((scenario.guards_redundant.to_vec(), true));
    }
    variants
}

impl Search {
    /// Searches. What is found is run again, to see whether it can be.
    pub fn run(&self) -> Found {
        self.run_on(1)
    }

    /// The same on so many host threads.
    pub fn run_on(&self, threads: usize) -> Found {
        let finding = check(&Check { threads, ..self.check.clone() });
        let violation = finding.as_ref().ok().and_then(|finding| finding.violation.as_ref());
        let replayed = violation.map(|(_, schedule)| replay(&self.check, schedule));
        Found { finding, replayed, by: None }
    }

    /// Whether `other` runs the same program to the same bound, with every guard on.
    pub fn is_same(&self, other: &Search) -> bool {
        let what = |search: &Search| {
            let Check { scenario, mode, bound, further, allocations_fail, .. } = search.check;
            (scenario.program, mode, bound, further, allocations_fail, search.expected)
        };
        let is_shared = !self.check.scenario.program.is_empty();
        is_shared && [self, other].iter().all(|search| search.check.guards_off.is_empty()) && what(self) == what(other)
    }

    /// The names of the guards that are off, as the command line spells them.
    pub fn guards_off(&self) -> Option<String> {
        let names: Vec<&str> = self.check.guards_off.iter().map(|guard| guard.name()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// The order of memory that the search covers: without surprises stores are seen at once.
    pub fn order(&self) -> MemoryOrder {
        let mut bounds = std::iter::once(self.check.bound).chain(self.check.further);
        if bounds.all(|bound| bound.surprises == 0) { MemoryOrder::Sc } else { self.check.mode.order }
    }

    /// What was possible within the bound, in words.
    pub fn possible(&self) -> String {
        let further = self.check.further.map(|bound| format!(", and to {}", allowed(bound))).unwrap_or_default();
        let order =
            if self.check.bound.surprises == 0 && further.is_empty() { ": sequentially consistent" } else { "" };
        allowed(self.check.bound) + &further + order
    }
}

impl Found {
    /// What broke.
    pub fn violation(&self) -> Option<&(Broken, Schedule)> {
        self.finding.as_ref().ok()?.violation.as_ref()
    }

    /// The search ended for want of time.
    pub fn is_cut_off(&self) -> bool {
        self.finding.as_ref().is_ok_and(|finding| finding.violation.is_none() && !finding.exhaustive)
    }

    /// How many schedules there are, if nothing broke and all were searched.
    fn all_schedules(&self) -> Option<u64> {
        let whole = |finding: &&Finding| finding.exhaustive && finding.violation.is_none();
        self.finding.as_ref().ok().filter(whole).map(|finding| finding.schedules)
    }

    /// The search found nothing, among so few schedules that this says little.
    pub fn is_few(&self) -> bool {
        let is_few = |finding: &Finding| finding.violation.is_none() && finding.schedules < FEW;
        self.finding.as_ref().is_ok_and(is_few)
    }

    /// What this is worth, found by `search`.
    pub fn verdict(&self, search: &Search) -> Verdict {
        let unexpected = |why: &str| Verdict::Unexpected(why.into());
        let Ok(finding) = &self.finding else { return unexpected("the search itself failed") };
        let Some((broken, _)) = &finding.violation else {
            return match search.expected {
                _ if self.is_cut_off() => Verdict::CutOff,
                Some(Expected::Violation) => unexpected("a violation was expected"),
                Some(Expected::KnownFault) => unexpected("known to break, and does not"),
                _ => Verdict::AsExpected,
            };
        };
        match self.replayed.as_ref().map(|replayed| replayed.as_ref().map(|again| again.broken.as_ref())) {
            Some(Ok(Some(again))) if again.invariant == broken.invariant => {}
            Some(Ok(Some(again))) => return Verdict::Unexpected(format!("its replay breaks {}", again.invariant)),
            Some(Ok(None)) | None => return unexpected("its replay breaks nothing"),
            Some(Err(why)) => return Verdict::Unexpected(format!("its replay fails: {why}")),
        }
        let listed = search.check.scenario.invariants;
        match search.expected {
            Some(Expected::Clean) => unexpected("nothing was expected to break"),
            Some(_) if !listed.contains(&broken.invariant.as_str()) => {
                Verdict::Unexpected(format!("{} was expected", listed.join(" or ")))
            }
            _ => Verdict::AsExpected,
        }
    }

    /// One line: what `search`, which found this, is, and what it found.
    pub fn line(&self, search: &Search) -> String {
        let without = search.guards_off().map(|names| format!("without {names}: ")).unwrap_or_default();
        let mut line = format!("{:5} {:15} {without}", search.check.scenario.id, search.check.mode.name);
        match &self.finding {
            Err(why) => _ = write!(line, "FAILED: {why}"),
            Ok(finding) => line += &outcome(search, finding),
        }
        if self.is_few() {
            line += " (few schedules)";
        }
        if let Some(by) = self.by {
            _ = write!(line, " (the search of {by})");
        }
        if let Verdict::Unexpected(why) = self.verdict(search) {
            _ = write!(line, " -- UNEXPECTED: {why}");
        }
        line
    }
}

/// A bound, in words.
fn allowed(bound: Bound) -> String {
    let number = |number, what| if number == 0 { format!("no {what}s") } else { counted(u64::from(number), what) };
    let (preemptions, surprises) = (number(bound.preemptions, "pre-emption"), number(bound.surprises, "surprise"));
    let between = if bound.surprises == 0 { "," } else { " and" };
    format!("{preemptions}{between} {surprises}")
}

fn outcome(search: &Search, finding: &Finding) -> String {
    let (schedules, possible) = (counted(finding.schedules, "schedule"), search.possible());
    let seconds = finding.seconds;
    match &finding.violation {
        Some((broken, _)) if search.expected == Some(Expected::KnownFault) => {
            let fault = search.check.scenario.known.map_or("", |known| known.fault);
            format!("{} after {schedules}: known to break: {fault}", broken.invariant)
        }
        Some((broken, _)) => format!("{} after {schedules}", broken.invariant),
        None if finding.exhaustive => format!("{schedules}, exhaustive to {possible}: clean"),
        None if search.check.guards_off.is_empty() => {
            format!("{schedules}, NOT exhaustive to {possible}: cut off after {seconds:.0} s, nothing found so far")
        }
        None => format!("{schedules} to {possible}: nothing broke within {seconds:.0} s: proves nothing"),
    }
}

/// A count of things, in words.
pub fn counted(count: u64, what: &str) -> String {
    match (count, what.ends_with("ch")) {
        (1, _) => format!("1 {what}"),
        (_, false) => format!("{count} {what}s"),
        (_, true) => format!("{count} {what}es"),
    }
}

/// What the searches of a scenario found: all as it says.
pub struct Report {
    /// Each search, and what it found.
    pub results: Vec<(Search, Found)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.results.iter().try_for_each(|(search, found)| writeln!(f, "{}", found.line(search)))
    }
}

/// Checks `scenario` in the modes it is for: that nothing breaks with every guard on, and what it names when each is
/// off. For tests; takes as long as `vellum check` of such a scenario.
///
/// # Errors
/// A text that says what is not so, with a diagram of an execution that should not be.
pub fn verify(scenario: &'static Scenario) -> Result<Report, String> {
    let modes = scenario.modes();
    if modes.is_empty()
        || scenario.guards.is_empty() && scenario.guards_redundant.is_empty() && scenario.known.is_none()
    {
        return Err(format!("{}: it runs in no mode, or is about no guard", scenario.id));
    }
    let mut report = Report { results: Vec::new() };
    for mut search in searches(scenario, &modes) {
        search.check.time = Some(TIME);
        let found = search.run();
        if found.verdict(&search) != Verdict::AsExpected {
            let diagram = found.replayed.as_ref().and_then(|replayed| Some(replayed.as_ref().ok()?.draw(Detail::Full)));
            return Err(format!("{}\n{}", found.line(&search), diagram.unwrap_or_default()));
        }
        report.results.push((search, found));
    }
    let results = Vec::from_iter(report.results.iter().map(|(search, found)| (search, found)));
    match unlike(&results).first() {
        Some(search) => Err(format!("{}: it is not alike on {}", scenario.id, search.check.mode)),
        None => Ok(report),
    }
}
