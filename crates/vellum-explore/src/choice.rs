//! Choices, and who makes them.

use super::schedule::{OwnPlace, PlaceInTime};

/// What kind of choice it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceKind {
    /// Which CPU goes on. If the one that ran could, it is alternative 0.
    Cpu,
    /// Whether another CPU's delayed store arrives before this access, and whose first; the last alternative: none.
    Store,
    /// Whether a CPU fills its TLB before an entry changes: 0 none, else which.
    Fill,
    /// Whether an allocation fails (1).
    Allocation,
    /// Whether a CPU puts off an interrupt that has just come (1), or takes one that it has put off (1).
    Interrupt,
}

impl ChoiceKind {
    /// All kinds.
    pub const ALL: [ChoiceKind; 5] =
        [ChoiceKind::Cpu, ChoiceKind::Store, ChoiceKind::Fill, ChoiceKind::Allocation, ChoiceKind::Interrupt];

    /// The letter that stands for it in the text of a schedule.
    pub const fn letter(self) -> char {
        match self {
            ChoiceKind::Cpu => 'c',
            ChoiceKind::Store => 's',
            ChoiceKind::Fill => 'f',
            ChoiceKind::Allocation => 'a',
            ChoiceKind::Interrupt => 'i',
        }
    }
}

/// What choosing another alternative than 0 is counted as, against the bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Nothing: somebody has to go on.
    Free,
    /// A pre-emption: the CPU could have gone on.
    Preemption,
    /// A surprise of the hardware or the allocator.
    Surprise,
}

/// A choice to be made.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Where the execution is, and of what the choice is.
    pub place: PlaceInTime,
    /// Where the CPU is that makes it, and which of this kind it is within the CPU's step.
    pub(crate) own: (OwnPlace, u16),
    /// How many alternatives there are; at least 2.
    pub options: u8,
    /// What alternatives other than 0 are counted as.
    pub cost: Cost,
    /// For [`ChoiceKind::Cpu`]: the CPU each alternative stands for.
    pub cpus: &'a [u8],
}

/// How many costly choices an execution may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Pre-emptions.
    pub preemptions: u8,
    /// Surprises of the hardware: delayed stores, speculative fills, interrupts put off, failing allocations.
    pub surprises: u8,
}

impl Bound {
    /// No bound.
    pub const NONE: Bound = Bound { preemptions: u8::MAX, surprises: u8::MAX };
}

/// What an execution has left of its [`Bound`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(Bound);

impl Budget {
    pub(crate) fn new(bound: Bound) -> Budget {
        Budget(bound)
    }

    /// Whether a choice of `cost` can be afforded.
    pub(crate) fn allows(&self, cost: Cost) -> bool {
        match cost {
            Cost::Free => true,
            Cost::Preemption => self.0.preemptions > 0,
            Cost::Surprise => self.0.surprises > 0,
        }
    }

    /// Takes `cost` off; [`u8::MAX`] is no bound.
    pub(crate) fn pay(&mut self, cost: Cost) {
        let account = match cost {
            Cost::Free => return,
            Cost::Preemption => &mut self.0.preemptions,
            Cost::Surprise => &mut self.0.surprises,
        };
        if *account != u8::MAX {
            *account -= 1;
        }
    }
}

/// Makes the choices of a series of executions.
pub(crate) trait Strategy: Send {
    /// Begins the next execution; false if there is none.
    fn begin(&mut self) -> bool;

    /// The alternative taken.
    fn choose(&mut self, choice: &Choice<'_>) -> u8;

    /// Whether [`Strategy::wants`] is worth asking.
    fn has_wishes(&self) -> bool {
        false
    }

    /// Whether the choices at `step`, a CPU's `own`, are to be made although nothing visible is touched there.
    fn wants(&self, step: u32, own: OwnPlace) -> bool {
        let _ = (step, own);
        false
    }

    /// Whether the execution may contain another choice of `cost`.
    fn allows(&self, cost: Cost) -> bool {
        let _ = cost;
        true
    }

    /// Begins the execution once more that [`Strategy::begin`] began last; false if the strategy does not do that.
    fn again(&mut self) -> bool {
        false
    }

    /// Starts anew, because there are more visible words than before; false if what was run counts all the same.
    fn restart(&mut self) -> bool {
        false
    }

    /// What went wrong with the strategy itself: the execution did not repeat what it did before.
    fn failure(&self) -> Option<String> {
        None
    }
}
