//! Schedules: what distinguishes one execution from the one in which nothing surprising happens.

use super::choice::ChoiceKind;
use std::fmt;
use std::str::FromStr;

/// A place in an execution where something else than the usual may happen.
///
/// Steps count accesses, waits and ends of all CPUs, whether they are visible or not, so that a place does not depend
/// on what a search knew when it found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceInTime {
    /// Number of the step.
    pub step: u32,
    /// Of what the choice is.
    pub kind: ChoiceKind,
    /// Which choice of this kind within the step, from 1.
    pub ordinal: u16,
}

/// One choice of something unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where.
    pub place: PlaceInTime,
    /// What: the number of the alternative, from 1. Alternative 0 is the usual.
    pub option: u8,
}

/// Where a CPU is, by what it has done itself: the same place in executions in which others do something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnPlace {
    pub(crate) cpu: usize,
    /// How many steps it has begun.
    pub(crate) step: u32,
}

/// A [`Decision`] at a CPU's own place, which stays there when other decisions are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnDecision {
    pub(crate) place: OwnPlace,
    pub(crate) kind: ChoiceKind,
    /// Which of this kind the CPU makes within its step, from 1.
    pub(crate) ordinal: u16,
    pub(crate) option: u8,
    /// The CPU that goes on, where that is decided.
    pub(crate) goes_on: Option<u8>,
}

/// An execution: everything usual, but for these decisions, in their order.
///
/// Its text is for a command line: `120c>2,135s2>1` lets the CPU that is alternative 2 go on at step 120, and takes
/// alternative 1 at the second choice about delayed stores of step 135 (`c` CPU, `s` store, `f` TLB fill, `a`
/// allocation, `i` interrupt); words after a `~` are those whose stores were delayed. `-` is the execution without
/// surprises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// The unusual choices.
    pub decisions: Vec<Decision>,
    /// Shared words that some CPU read while another CPU's store to it was delayed.
    pub delayed: Vec<u64>,
}

/// A schedule's text makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError {
    /// The part.
    pub part: String,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not a part of a schedule: expected something like 120c>1 or ~1a0", self.part)
    }
}

impl std::error::Error for ScheduleError {}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.decisions.is_empty() {
            return f.write_str("-");
        }
        for (index, Decision { place, option }) in self.decisions.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{place}>{option}")?;
        }
        self.delayed.iter().try_for_each(|word| write!(f, ",~{word:x}"))
    }
}

impl fmt::Display for PlaceInTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.step, self.kind.letter())?;
        if self.ordinal == 1 { Ok(()) } else { write!(f, "{}", self.ordinal) }
    }
}

impl FromStr for PlaceInTime {
    type Err = ();

    fn from_str(text: &str) -> Result<PlaceInTime, ()> {
        let at = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or(())?;
        let (step, rest) = text.split_at(at);
        let (letter, ordinal) = rest.split_at(1);
        let kind = ChoiceKind::ALL.into_iter().find(|kind| letter.starts_with(kind.letter())).ok_or(())?;
        let ordinal = if ordinal.is_empty() { 1 } else { ordinal.parse().map_err(|_| ())? };
        Ok(PlaceInTime { step: step.parse().map_err(|_| ())?, kind, ordinal })
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let mut schedule = Schedule::default();
        if text == "-" {
            return Ok(schedule);
        }
        for part in text.split(',') {
            let error = || ScheduleError { part: part.into() };
            if let Some(word) = part.strip_prefix('~') {
                schedule.delayed.push(u64::from_str_radix(word, 16).map_err(|_| error())?);
                continue;
            }
            let (place, option) = part.split_once('>').ok_or_else(error)?;
            let place: PlaceInTime = place.parse().map_err(|()| error())?;
            let option = option.parse().ok().filter(|&option| option > 0).ok_or_else(error)?;
            if schedule.decisions.last().is_some_and(|last| last.place.step > place.step) {
                return Err(error());
            }
            schedule.decisions.push(Decision { place, option });
        }
        Ok(schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["-", "3c>1", "3s>1,3c2>4,700f>2", "9s>1,~10000000c8", "4i>1,4c>1,20i>1,21a>1"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "3", "3c", "3c>0", "3c>1,2c>1", "c>1", "3c>1,", "~xyz", "3c>1 ", "3x>1", "3c1c>1"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
