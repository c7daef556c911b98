//! A scenario on an architecture, as a program.

use super::World;
use crate::explore::{Execution, Program};
use crate::scenario::{Scenario, processor};
use std::marker::PhantomData;
use std::sync::Arc;
use vellum::arch::{Arch, Semantics, entries};

/// A scenario on an architecture, as a program.
pub(crate) struct ScenarioProgram<A> {
    scenario: &'static Scenario,
    semantics: Semantics,
    of: PhantomData<fn(A)>,
}

impl<A: Arch> ScenarioProgram<A> {
    pub(crate) fn new(scenario: &'static Scenario, semantics: Semantics) -> Self {
        ScenarioProgram { scenario, semantics, of: PhantomData }
    }
}

impl<A: Arch> Program for ScenarioProgram<A> {
    fn cpus(&self) -> usize {
        self.scenario.actors.len()
    }

    fn start(&self) -> Arc<dyn Execution> {
        // Fewer slots than a leaf has pages would let `At` run out of its leaf.
        const { assert!(size_of::<A>() == 0) };
        debug_assert!(entries::<A>(0) >= 4);
        processor::set_semantics(self.semantics);
        Arc::new(World::<A>::new(self.scenario))
    }
}
