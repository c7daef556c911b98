//! The byte oracle: knows what every load must return.

use super::access::Shown;
use super::{Fault, Limits, Model, SpaceId};
use std::fmt;
use vellum::ops::Access;

/// Which invariant a wrong byte breaks, as far as one can tell from the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A store was lost, or bytes came from nowhere.
    Lost,
    /// A private page shows what another space holds there.
    Cow,
    /// Memory that must read as new shows something.
    Gone,
}

impl Broken {
    /// The name of the invariant.
    pub fn id(self) -> &'static str {
        match self {
            Broken::Lost => "I-LOST",
            Broken::Cow => "I-COW",
            Broken::Gone => "I-GONE",
        }
    }
}

/// A load that returned the wrong bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The space.
    pub space: SpaceId,
    /// Address of the first wrong byte.
    pub address: u64,
    /// What it should have been.
    pub expected: u8,
    /// What it was.
    pub got: u8,
    /// What that breaks.
    pub broken: Broken,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { space, address, expected, got, broken } = self;
        let id = broken.id();
        write!(f, "{id}: space {} loads {got:#04x} at {address:#x} instead of {expected:#04x}", space.0)
    }
}

/// A load that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// It returned the wrong bytes.
    Mismatch(Mismatch),
    /// It should have faulted.
    Fault(Fault),
}

/// A [`Model`] that counts the loads it has checked. Everything but loads goes to [`Oracle::model`].
pub struct Oracle {
    /// The model: told of every operation and store.
    pub model: Model,
    /// Loads checked, those of several pages once.
    pub loads_checked: u64,
    /// Loads checked that saw a page somebody had stored to.
    pub loads_after_store: u64,
    /// Loads that went wrong.
    pub violations: u64,
}

impl Oracle {
    /// An oracle without spaces.
    pub fn new(limits: Limits) -> Self {
        Oracle::with_model(Model::new(limits))
    }

    /// An oracle that asks `model`.
    pub fn with_model(model: Model) -> Self {
        Oracle { model, loads_checked: 0, loads_after_store: 0, violations: 0 }
    }

    /// Checks the bytes a load returned, and counts it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_load(&mut self, space: SpaceId, address: u64, got: &[u8]) -> Result<(), LoadError> {
        self.loads_checked += 1;
        let mut after_store = false;
        let checked = self.model.each_page(address, got.len(), |model, address, from, to| {
            after_store |= model.check_page(space, address, &got[from..to])?;
            Ok(())
        });
        self.loads_after_store += u64::from(after_store);
        self.violations += u64::from(checked.is_err());
        checked
    }
}

impl Model {
    /// Compares what a load on one page returned; whether that page was stored to before.
    fn check_page(&mut self, space: SpaceId, address: u64, got: &[u8]) -> Result<bool, LoadError> {
        self.touch(space, address, Access::Read).map_err(LoadError::Fault)?;
        let within = self.within_page(address);
        self.observe(space, address, got);
        let (expected, after_store) = match self.shown(space, address) {
            Shown::Zero => (None, false),
            Shown::Private(page) => (Some(&page[within..within + got.len()]), true),
            Shown::Object(page, is_written) => (Some(&page[within..within + got.len()]), is_written),
        };
        let wrong = match expected {
            Some(expected) if expected == got => None,
            Some(expected) => (0..got.len()).find(|&at| expected[at] != got[at]).map(|at| (at, expected[at])),
            None => (0..got.len()).find(|&at| got[at] != 0).map(|at| (at, 0)),
        };
        let Some((at, expected)) = wrong else { return Ok(after_store) };
        let address = address + at as u64;
        let broken = self.classify(space, address, got[at], after_store);
        Err(LoadError::Mismatch(Mismatch { space, address, expected, got: got[at], broken }))
    }

    /// Guesses from a wrong byte what happened.
    fn classify(&self, space: SpaceId, address: u64, got: u8, after_store: bool) -> Broken {
        let page = self.limits.page(address);
        let within = self.within_page(address);
        let is_foreign = self.spaces.iter().enumerate().any(|(other, state)| {
            let pages = state.as_ref().filter(|_| other != space.0 as usize).map(|state| &state.pages);
            pages.and_then(|pages| pages.get(&page)).is_some_and(|page| page.contents()[within] == got)
        });
        match (is_foreign && got != 0, after_store) {
            (true, _) => Broken::Cow,
            (false, false) => Broken::Gone,
            (false, true) => Broken::Lost,
        }
    }
}
