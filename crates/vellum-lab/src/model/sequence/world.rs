//! The core on the deterministic machine and the model, side by side.

use super::file::{PatternFile, fill};
use super::op::{Length, Spot};
use super::pool::Pool;
use super::relief::{Relief, SwapArea};
use super::{Settings, Stats};
use crate::contract::Opened;
use crate::host::Host;
use crate::hosted::Hosted;
use crate::model::oracle::Oracle;
use crate::model::{Limits, Model, ObjectId, SpaceId};
use rustc_hash::FxHashMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use vellum::arch::{Arch, Prot};
use vellum::ops::Access;
use vellum::space::stack_guard_pages;
use vellum::{CommitLimit, Error, Event, Object, Overcommit, Space};

/// Pages of shared memory that takes another's place.
const NEW_PAGES: u64 = 6;
/// Most spaces alive at once.
pub(super) const SPACES_MAX: usize = 4;

/// A space of the core and its model. Not dropped on the way out of a failure: the core may be in any state then.
pub(super) struct Pair<'h, A: Arch> {
    pub(super) core: ManuallyDrop<Space<'h, Host<A>>>,
    pub(super) model: SpaceId,
}

/// An object of the core and its model.
pub(super) struct ObjectPair<'h, A: Arch> {
    pub(super) core: ManuallyDrop<Object<'h, Host<A>>>,
    pub(super) model: ObjectId,
    is_file: bool,
}

/// Both sides.
pub(super) struct World<'h, A: Arch> {
    pub(super) hosted: &'h Hosted<A>,
    files: &'h [Arc<PatternFile>],
    files_used: usize,
    pub(super) oracle: Oracle,
    pub(super) pool: Pool,
    /// Addresses the core chose, oldest first.
    pub(super) answers: Vec<u64>,
    pub(super) spaces: Vec<Pair<'h, A>>,
    pub(super) objects: Vec<ObjectPair<'h, A>>,
    /// Files in use or used: their models.
    file_models: Vec<(usize, ObjectId)>,
    /// Which identity of the core stands for which object of the model.
    pub(super) identities: FxHashMap<u64, ObjectId>,
    pub(super) cpus: usize,
    /// Makes stored bytes differ.
    pub(super) stamp: u8,
    pub(super) stats: Stats,
    pub(super) relief: Option<Relief>,
    /// The sequence may run out of memory.
    pub(super) may_run_out: bool,
    pub(super) swap: SwapArea,
}

/// The files every sequence finds; the last ones take the place of the first when those are replaced.
/// Where pages of files can be evicted they end with a page: what is stored behind the end is lost or not.
pub(super) fn files<A: Arch>(settings: &Settings) -> Vec<Arc<PatternFile>> {
    let page = 1 << A::PAGE_SHIFT;
    let short = 2 * page + if settings.relief.is_some() { 0 } else { 10 };
    let length = |number| if number % 2 == 0 { short } else { 9 * page };
    (0..8).map(|number| Arc::new(PatternFile::new(number, length(number)))).collect()
}

impl<'h, A: Arch> World<'h, A> {
    pub(super) fn new(
        hosted: &'h Hosted<A>,
        files: &'h [Arc<PatternFile>],
        settings: &Settings,
    ) -> Result<Self, Error> {
        let guard_pages = stack_guard_pages::<A>();
        let limits = Limits::of::<A>(guard_pages);
        let model = settings.quirk.map_or_else(|| Model::new(limits), |quirk| Model::with_quirk(limits, quirk));
        let mut world = World {
            hosted,
            files,
            files_used: 0,
            oracle: Oracle::with_model(model),
            pool: Pool::of::<A>(guard_pages),
            answers: Vec::new(),
            spaces: Vec::new(),
            objects: Vec::new(),
            file_models: Vec::new(),
            identities: FxHashMap::default(),
            cpus: settings.cpus,
            stamp: 0,
            stats: Stats::default(),
            relief: settings.relief,
            may_run_out: settings.may_run_out::<A>(),
            swap: SwapArea::new::<A>(settings.relief),
        };
        hosted.vm().set_huge_pages(settings.huge_pages);
        world.model().set_huge_pages(settings.huge_pages);
        // Which of them comes when the model does not say: of shared memory nobody counts pages.
        hosted.vm().set_shared_huge_pages(settings.huge_pages);
        hosted.vm().set_folio_orders(settings.folio_orders);
        world.model().set_folio_orders(settings.folio_orders);
        hosted.vm().set_compressed_limit(settings.relief.map_or(0, |relief| relief.compressed_frames));
        world.create_space()?;
        for number in 0..4 {
            let object = if number % 2 == 0 { world.new_memory(4 + 8 * number)? } else { world.new_file()? };
            world.objects.extend(object);
        }
        let policy = settings.commit_pages.map(|pages| Overcommit::Never(CommitLimit::Bytes(pages << A::PAGE_SHIFT)));
        hosted.vm().set_overcommit(policy.unwrap_or(Overcommit::Always));
        world.model().set_commit_limit(settings.commit_pages.map(|pages| pages << A::PAGE_SHIFT));
        Ok(world)
    }

    pub(super) fn model(&mut self) -> &mut Model {
        &mut self.oracle.model
    }

    pub(super) fn create_space(&mut self) -> Result<(), Error> {
        let core = ManuallyDrop::new(self.hosted.vm().create_space()?);
        let model = self.model().create_space();
        self.spaces.push(Pair { core, model });
        Ok(())
    }

    /// Ends a space, unless it is the only one.
    pub(super) fn drop_space(&mut self, index: usize) {
        if self.spaces.len() > 1 {
            let pair = self.spaces.swap_remove(index);
            self.model().drop_space(pair.model);
            drop(ManuallyDrop::into_inner(pair.core));
        }
    }

    fn new_memory(&mut self, pages: u64) -> Result<Option<ObjectPair<'h, A>>, Error> {
        let core = ManuallyDrop::new(self.hosted.vm().shared_memory(pages)?);
        let model = self.model().shared_memory(pages);
        self.identities.insert(core.id(), model);
        Ok(Some(ObjectPair { core, model, is_file: false }))
    }

    fn new_file(&mut self) -> Result<Option<ObjectPair<'h, A>>, Error> {
        let Some(file) = self.files.get(self.files_used) else { return Ok(None) };
        let core = ManuallyDrop::new(self.hosted.vm().file(Opened::of(file))?);
        let number = file.number();
        let model = self.model().file(core.length(), Box::new(move |index, page| fill(number, index, page)));
        self.file_models.push((self.files_used, model));
        self.files_used += 1;
        self.identities.insert(core.id(), model);
        Ok(Some(ObjectPair { core, model, is_file: true }))
    }

    /// Gives up the handle of an object, whose mappings stay, and puts a new object in its place.
    pub(super) fn replace_object(&mut self, index: usize) -> Result<(), Error> {
        let new = if self.objects[index].is_file { self.new_file()? } else { self.new_memory(NEW_PAGES)? };
        if let Some(new) = new {
            let old = std::mem::replace(&mut self.objects[index], new);
            self.model().release_object(old.model);
            drop(ManuallyDrop::into_inner(old.core));
        }
        Ok(())
    }

    /// Whether the model lets [`World::replace_object`] be.
    pub(super) fn may_replace_object(&self, index: usize) -> Result<(), Error> {
        let pages = if self.objects[index].is_file { 0 } else { NEW_PAGES };
        self.oracle.model.may_commit(pages << A::PAGE_SHIFT, 0)
    }

    /// The space a number of an operation stands for.
    pub(super) fn space_index(&self, number: u8) -> usize {
        number as usize % self.spaces.len()
    }

    pub(super) fn cpu(&self, number: u8) -> usize {
        number as usize % self.cpus
    }

    /// The address a spot of space `space` stands for.
    pub(super) fn address(&self, space: usize, spot: Spot) -> u64 {
        match spot {
            Spot::Pool(index) => self.pool.page(index),
            Spot::Answer { back, page } => match self.answers.len() {
                0 => self.pool.page(page.into()),
                count => {
                    let answer = self.answers[count - 1 - back as usize % count];
                    answer.wrapping_add(u64::from(page) << A::PAGE_SHIFT)
                }
            },
            Spot::Mapped { area, page } => {
                let maps = self.oracle.model.maps(self.spaces[space].model);
                let Some(line) = maps.get(area as usize % maps.len().max(1)) else { return self.pool.page(page) };
                let pages = (line.end - line.start) >> A::PAGE_SHIFT;
                line.start + ((u64::from(page) % pages) << A::PAGE_SHIFT)
            }
            Spot::Raw(address) => address,
        }
    }

    /// The bytes that a length in space `space` stands for, from `start`.
    pub(super) fn bytes(&self, space: usize, length: Length, start: u64) -> u64 {
        let page = 1 << A::PAGE_SHIFT;
        match length {
            Length::Pages(pages) => u64::from(pages) << A::PAGE_SHIFT,
            Length::To(index) => match self.pool.page(index).checked_sub(start) {
                None | Some(0) => page,
                Some(bytes) => bytes,
            },
            Length::Rest => {
                let maps = self.oracle.model.maps(self.spaces[space].model);
                let line = maps.iter().find(|line| (line.start..line.end).contains(&start));
                line.map_or(page, |line| line.end - start)
            }
            Length::Huge(pages) => u64::from(pages) << A::shift(1),
            Length::Bytes(bytes) => bytes,
        }
    }

    /// Every page worth looking at.
    pub(super) fn pages_of_interest(&self) -> Vec<u64> {
        let page = 1 << A::PAGE_SHIFT;
        let recent = self.answers.iter().rev().take(8);
        let mut pages: Vec<u64> = self.pool.pages().to_vec();
        pages.extend(recent.flat_map(|&answer| (0..4).map(move |number| answer.wrapping_add(number * page))));
        pages.retain(|&address| address < A::USER_END);
        pages.sort_unstable();
        pages.dedup();
        pages
    }

    /// Ends everything. What was stored to files must have reached them, and the core must have let go of them.
    pub(super) fn finish(mut self) -> Result<Stats, String> {
        for pair in self.spaces.drain(..) {
            drop(ManuallyDrop::into_inner(pair.core));
        }
        for pair in self.objects.drain(..) {
            drop(ManuallyDrop::into_inner(pair.core));
        }
        self.quiesce();
        self.check_machine()?;
        self.check_files()?;
        self.check_all_free()?;
        self.check_swap_free()?;
        let totals = self.hosted.vm().totals();
        self.stats.swapped.0 = totals.get(Event::SwapOut) + totals.get(Event::CompressedOut);
        self.stats.swapped.1 = totals.get(Event::SwapIn) + totals.get(Event::CompressedIn);
        self.stats.huge = (totals.get(Event::HugeFault), totals.get(Event::SplitMapping));
        self.stats.folios = totals.get(Event::FolioFault);
        self.stats.loads_checked = self.oracle.loads_checked;
        Ok(self.stats)
    }

    /// Ends all grace periods.
    pub(super) fn quiesce(&self) {
        for round in 0..2 * self.cpus {
            self.hosted.on(round % self.cpus, || self.hosted.vm().quiesce());
        }
    }

    /// Populates what the last successful request to map could not.
    pub(super) fn populate_again(&mut self) -> Result<(), String> {
        for pair in &self.spaces {
            // What may not be stored to has no pages that populating brings.
            let lines = self.oracle.model.maps(pair.model).into_iter().filter(|line| line.prot.has(Prot::WRITE));
            for line in lines {
                for address in (line.start..line.end).step_by(1 << A::PAGE_SHIFT).take(64) {
                    if self.oracle.model.has_private_page(pair.model, address) {
                        pair.core.populate(address, 1, Access::Write).map_err(|error| error.to_string())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Tells the model of stacks that the core has grown for an access which then failed; whether there is one.
    pub(super) fn adopt_growth(&mut self) -> bool {
        let mut has_grown = false;
        for pair in &self.spaces {
            let mut starts = Vec::new();
            pair.core.maps(&mut |entry| starts.extend(entry.grows_down.then_some(entry.start)));
            for start in starts {
                let is_new = self.oracle.model.is_free(pair.model, start, 1);
                if is_new {
                    has_grown = true;
                    // Whether the access is allowed does not matter.
                    let _ = self.oracle.model.touch(pair.model, start, Access::Read);
                }
            }
        }
        has_grown
    }

    /// Makes the file that `model` stands for so many pages long at most.
    pub(super) fn shorten_file(&self, model: ObjectId, pages: u64) {
        if let Some((file, _)) = self.file_models.iter().find(|(_, other)| *other == model) {
            self.files[*file].shorten(pages << A::PAGE_SHIFT);
        }
    }

    fn check_files(&self) -> Result<(), String> {
        let mut page = vec![0; 1 << A::PAGE_SHIFT];
        for &(file, model) in &self.file_models {
            if Arc::strong_count(&self.files[file]) > 1 {
                return Err(format!("the core keeps file {file}, whose object is at its end"));
            }
            for (index, expected) in self.oracle.model.written_pages(model) {
                self.files[file].page(index, &mut page);
                let used = self.files[file].used_bytes(index, page.len());
                if page[..used] != expected[..used] {
                    return Err(format!("I-DIRTY: stores to page {index} of file {file} did not reach it"));
                }
            }
        }
        Ok(())
    }
}
