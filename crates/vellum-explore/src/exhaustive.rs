//! Every execution within a bound, or of a part of them, depth first.

use super::choice::{Bound, Budget, Choice, Cost, Strategy};
use super::schedule::PlaceInTime;

/// A choice on the way to the current execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    place: PlaceInTime,
    options: u8,
    cost: Cost,
    taken: u8,
    /// The first alternative that this search leaves to others.
    end: u8,
}

/// Depth-first search: repeats the way to the last choice that has an alternative left, takes it, and from there on
/// takes what is usual.
pub(crate) struct Exhaustive {
    bound: Bound,
    way: Vec<Node>,
    /// Choices at the beginning of the way that are not this search's to change.
    fixed: usize,
    depth: usize,
    budget: Budget,
    begun: bool,
    failure: Option<String>,
}

impl Exhaustive {
    pub(crate) fn new(bound: Bound) -> Exhaustive {
        Exhaustive::of_part(bound, Part::default())
    }

    /// A search of a part of the executions.
    pub(super) fn of_part(bound: Bound, Part { way, fixed }: Part) -> Exhaustive {
        Exhaustive { bound, way, fixed, depth: 0, budget: Budget::new(bound), begun: false, failure: None }
    }

    /// Gives away the later part of what is left to search: the alternatives left of the first choice that has any.
    pub(super) fn split(&mut self) -> Option<Part> {
        let has_more = |node: &Node| node.taken + 1 < node.end;
        let first = self.fixed + self.way[self.fixed.min(self.way.len())..].iter().position(has_more)?;
        let mut way = self.way[..=first].to_vec();
        way[first].taken += 1;
        self.way[first].end = way[first].taken;
        Some(Part { way, fixed: first })
    }
}

/// A part of the executions: those whose first choices are as said.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    way: Vec<Node>,
    /// All but the last choices of the way stay as they are.
    fixed: usize,
}

impl Part {
    /// The place of its first execution.
    pub(super) fn order(&self) -> Order {
        Order::of(&self.way)
    }
}

/// The place of an execution in the order of the search: the alternatives taken, without usual ones at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(Vec<u8>);

impl Order {
    fn of(way: &[Node]) -> Order {
        let count = way.iter().rposition(|node| node.taken > 0).map_or(0, |last| last + 1);
        Order(way[..count].iter().map(|node| node.taken).collect())
    }
}

impl Strategy for Exhaustive {
    fn begin(&mut self) -> bool {
        if self.begun {
            while self.way.len() > self.fixed && self.way.last().is_some_and(|node| node.taken + 1 == node.end) {
                self.way.pop();
            }
            match self.way.get_mut(self.fixed..).and_then(<[Node]>::last_mut) {
                Some(node) => node.taken += 1,
                None => return false,
            }
        }
        self.begun = true;
        self.again()
    }

    fn again(&mut self) -> bool {
        self.depth = 0;
        self.budget = Budget::new(self.bound);
        self.failure.is_none()
    }

    fn choose(&mut self, choice: &Choice<'_>) -> u8 {
        let &Choice { place, options, cost, .. } = choice;
        if !self.budget.allows(cost) {
            return 0;
        }
        if self.depth == self.way.len() {
            self.way.push(Node { place, options, cost, taken: 0, end: options });
        }
        let node = self.way[self.depth];
        self.depth += 1;
        if (node.place, node.options, node.cost) != (place, options, cost) {
            let found = (place, options, cost);
            let before = (node.place, node.options, node.cost);
            self.failure.get_or_insert(format!("an execution came to {found:?} where it came to {before:?} before"));
            return 0;
        }
        if node.taken > 0 {
            self.budget.pay(cost);
        }
        node.taken
    }

    fn allows(&self, cost: Cost) -> bool {
        self.budget.allows(cost)
    }

    fn restart(&mut self) -> bool {
        (self.begun, self.depth) = (false, 0);
        self.way.clear();
        true
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}
