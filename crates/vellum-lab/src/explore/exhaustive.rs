//! Every execution within a bound, depth first.

use super::choice::{Bound, Budget, Choice, Cost, Strategy};
use super::schedule::PlaceInTime;

/// A choice on the way to the current execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    place: PlaceInTime,
    options: u8,
    taken: u8,
    cost: Cost,
}

/// Depth-first search: repeats the way to the last choice that has an alternative left, takes it, and from there on
/// takes what is usual.
pub(crate) struct Exhaustive {
    bound: Bound,
    way: Vec<Node>,
    depth: usize,
    budget: Budget,
    begun: bool,
    failure: Option<String>,
}

impl Exhaustive {
    pub(crate) fn new(bound: Bound) -> Exhaustive {
        Exhaustive { bound, way: Vec::new(), depth: 0, budget: Budget::new(bound), begun: false, failure: None }
    }
}

impl Strategy for Exhaustive {
    fn begin(&mut self) -> bool {
        if self.begun {
            while self.way.last().is_some_and(|node| node.taken + 1 == node.options) {
                self.way.pop();
            }
            match self.way.last_mut() {
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
            self.way.push(Node { place, options, taken: 0, cost });
        }
        let node = self.way[self.depth];
        self.depth += 1;
        if (node.place, node.options, node.cost) != (place, options, cost) {
            let found = Node { place, options, taken: 0, cost };
            self.failure.get_or_insert(format!("an execution came to {found:?} where it came to {node:?} before"));
            return 0;
        }
        if node.taken > 0 {
            self.budget.pay(cost);
        }
        node.taken
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
