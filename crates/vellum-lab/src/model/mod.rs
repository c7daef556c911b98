//! The reference model: what address spaces must show, as plain sequential code.
//!
//! It shares nothing with the core but the types of requests and errors: areas lie in an ordered map, private pages in
//! a hash map, and every rule of Linux's manual pages is a few lines. It chooses no addresses and allocates no frames;
//! where the core is free to choose (the address of a new mapping), the model is told the choice and judges it.
//!
//! Three uses: random sequences of operations are compared result by result ([`sequence`]); trace replay keeps it as
//! the oracle of what each load must return ([`oracle`]); its own tests read as a table of Linux's semantics.
//!
//! Where Linux and the core differ on purpose, the model follows the core, and says so where it does: an operation
//! that fails has changed nothing (Linux's `mprotect` and `madvise` apply up to or around a hole).

mod access;
mod advise;
mod area;
mod brk;
mod commit;
mod fork;
mod guards;
mod huge;
mod limits;
mod map;
mod maps;
mod object;
pub mod oracle;
mod remap;
pub mod sequence;
mod space;
mod tags;

pub use access::Fault;
pub use area::{Attributes, ReadOrder};
pub use limits::Limits;
pub use map::{MapRequest, Refusal, Source};
pub use maps::MapLine;
pub use object::Fill;

use object::ObjectState;
use rustc_hash::FxHashMap;
use space::SpaceState;
use std::rc::Rc;
use vellum::ops::HugePages;

/// An address space of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(pub u32);

/// A memory object of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u32);

/// A deliberate mistake of the model, to prove that whoever compares with it notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// Fork copies the contents of mappings advised to be wiped.
    ForgetWipeOnFork,
    /// `DontNeed` keeps private pages.
    KeepOnDontNeed,
    /// A child does not get the private pages.
    LoseAtFork,
    /// Protecting leaves out the last page of the range.
    ProtectOneLess,
    /// Remapping drops what the moved pages held.
    LoseAtRemap,
    /// Stores to private mappings of an object reach the object.
    WriteThroughPrivate,
    /// The last of several bytes stored at once is not.
    TornStore,
    /// Pages given up keep what they hold.
    KeepOnFree,
    /// Pages in a hole of their object keep what they hold.
    KeepOnRemove,
    /// Pages behind an object's new end keep what private mappings hold of them.
    KeepOnTruncate,
    /// A child gets the private pages without their tags.
    LoseTagsAtFork,
    /// A child gets the mappings without their guards.
    LoseGuardsAtFork,
    /// Remapping drops the guards of what moves.
    LoseGuardsAtRemap,
    /// What is guarded keeps its private pages.
    KeepUnderGuard,
}

/// A set of address spaces and memory objects.
pub struct Model {
    limits: Limits,
    quirk: Option<Quirk>,
    commit_limit: Option<u64>,
    huge_pages: HugePages,
    folio_orders: u32,
    spaces: Vec<Option<SpaceState>>,
    objects: FxHashMap<ObjectId, ObjectState>,
    next_object: u32,
    zeros: Rc<[u8]>,
}

impl Model {
    /// A model without spaces.
    pub fn new(limits: Limits) -> Self {
        Model {
            limits,
            quirk: None,
            commit_limit: None,
            huge_pages: HugePages::Never,
            folio_orders: 0,
            spaces: Vec::new(),
            objects: FxHashMap::default(),
            next_object: 0,
            zeros: vec![0; limits.page_size() as usize].into(),
        }
    }

    /// A model that makes a mistake on purpose.
    pub fn with_quirk(limits: Limits, quirk: Quirk) -> Self {
        Model { quirk: Some(quirk), ..Model::new(limits) }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A new, empty space.
    pub fn create_space(&mut self) -> SpaceId {
        self.add_space(SpaceState::new(self.limits.stack_limit))
    }

    /// Ends a space.
    ///
    /// # Panics
    /// If the space does not exist (any more): so does every other method that takes one.
    pub fn drop_space(&mut self, space: SpaceId) {
        assert!(self.spaces[space.0 as usize].take().is_some(), "{space:?} is gone");
    }

    /// Number of private pages the space must own frames for: exactly the core's count of anonymous pages, if there are
    /// no huge pages.
    pub fn private_pages(&self, space: SpaceId) -> u64 {
        self.space(space).pages.len() as u64
    }

    /// Limits how far grows-down mappings of the space may grow.
    pub fn set_stack_limit(&mut self, space: SpaceId, bytes: u64) {
        self.space_mut(space).stack_limit = bytes;
    }

    fn add_space(&mut self, state: SpaceState) -> SpaceId {
        self.spaces.push(Some(state));
        SpaceId(self.spaces.len() as u32 - 1)
    }

    fn space(&self, space: SpaceId) -> &SpaceState {
        self.spaces[space.0 as usize].as_ref().expect("the space is gone")
    }

    fn space_mut(&mut self, space: SpaceId) -> &mut SpaceState {
        self.spaces[space.0 as usize].as_mut().expect("the space is gone")
    }
}
