//! Carrying one operation out on both sides, and comparing what they say.

use super::op::{Advice, Goal, How, Length, Op, Put, Rights, Spot, What};
use super::outcome::{Wrong, is_same_error, only_memory, settled};
use super::touch::By;
use super::world::{Pair, SPACES_MAX, World};
use crate::model::{MapRequest, Model, Refusal, Source, SpaceId};
use std::fmt::Debug;
use std::mem::ManuallyDrop;
use vellum::Error;
use vellum::arch::Arch;
use vellum::ops::{MapFlags, Place, RemapPlace, RemapRequest, Sharing};

/// More pages than this are not populated: it only takes time.
const POPULATE_MAX: u64 = 64;

/// A new mapping, as an operation says it.
struct Mapping {
    at: Spot,
    length: Length,
    put: Put,
    rights: Rights,
    most: Rights,
    what: What,
    how: How,
}

impl<'h, A: Arch> World<'h, A> {
    /// Carries `op` out. What is wrong, if anything.
    pub(super) fn step(&mut self, op: &Op) -> Result<(), Wrong> {
        match *op {
            Op::CreateSpace if self.spaces.len() < SPACES_MAX => only_memory(self.create_space()),
            Op::DropSpace { space } => {
                self.drop_space(self.space_index(space));
                Ok(())
            }
            Op::Fork { cpu, space } if self.spaces.len() < SPACES_MAX => self.fork(cpu, space),
            Op::CreateSpace | Op::Fork { .. } => Ok(()),
            Op::Map { cpu, space, at, length, put, rights, most, what, how } => {
                self.map(cpu, space, &Mapping { at, length, put, rights, most, what, how })
            }
            Op::Unmap { cpu, space, at, length } => self.on_range(cpu, space, at, length, |pair, start, length| {
                (pair.core.unmap(start, length), move |model, space| model_of(model).unmap(space, start, length))
            }),
            Op::Protect { cpu, space, at, length, rights } => {
                let prot = rights.prot();
                self.on_range(cpu, space, at, length, |pair, start, length| {
                    let core = pair.core.protect(start, length, prot);
                    (core, move |model, space| model_of(model).protect(space, start, length, prot))
                })
            }
            Op::ProtectPartly { cpu, space, at, length, rights } => {
                let prot = rights.prot();
                self.on_range(cpu, space, at, length, |pair, start, length| {
                    let core = pair.core.protect_partly(start, length, prot);
                    (core, move |model, space| model_of(model).protect_partly(space, start, length, prot))
                })
            }
            Op::Remap { cpu, space, at, length, new_length, goal, keep_old } => {
                let index = self.space_index(space);
                let old = self.address(index, at);
                let place = match goal {
                    Goal::Stay => RemapPlace::InPlace,
                    Goal::Wander => RemapPlace::MayMove,
                    Goal::Near(to) => RemapPlace::Hint(self.address(index, to)),
                    Goal::MoveTo(to) => RemapPlace::Fixed(self.address(index, to)),
                };
                let old_length = self.bytes(index, length, old);
                let new_length = self.bytes(index, new_length, old);
                self.remap(cpu, space, &RemapRequest { old, old_length, new_length, place, keep_old })
            }
            Op::Advise { cpu, space, at, length, advice } => self.advise(cpu, space, at, length, advice),
            Op::AdvisePartly { cpu, space, at, length, advice } => self.advise_partly(cpu, space, at, length, advice),
            Op::PopulateRange { cpu, space, at, length, access } => {
                if self.is_long(space, at, length) {
                    return Ok(());
                }
                self.on_range(cpu, space, at, length, |pair, start, length| {
                    let core = pair.core.populate(start, length, access);
                    (core, move |model, space| model_of(model).populate(space, start, length, access))
                })
            }
            Op::Store { cpu, space, at, offset, bytes } => {
                let (index, address) = self.place(space, at, offset);
                self.store(self.cpu(cpu), index, address, bytes.into(), By::Program)
            }
            Op::CopyOut { cpu, space, at, offset, bytes } => {
                let (index, address) = self.place(space, at, offset);
                self.store(self.cpu(cpu), index, address, bytes.into(), By::Kernel)
            }
            Op::Load { cpu, space, at, offset, bytes } => {
                let (index, address) = self.place(space, at, offset);
                self.load(self.cpu(cpu), index, address, bytes.into(), By::Program)
            }
            Op::CopyIn { cpu, space, at, offset, bytes } => {
                let (index, address) = self.place(space, at, offset);
                self.load(self.cpu(cpu), index, address, bytes.into(), By::Kernel)
            }
            Op::Fetch { cpu, space, at } => self.fetch(cpu, space, at),
            _ => self.step_aside(op),
        }
    }

    /// The operations that are not about ranges.
    fn step_aside(&mut self, op: &Op) -> Result<(), Wrong> {
        match *op {
            Op::BrkBase { .. } | Op::Brk { .. } if self.granule_shift().is_some() => Ok(()),
            Op::BrkBase { space, at, offset } => {
                let base = self.address(self.space_index(space), at).wrapping_add(u64::from(offset));
                let pair = &self.spaces[self.space_index(space)];
                let (core, space) = (settled(pair.core.set_brk_base(base))?, pair.model);
                let model = self.model().set_brk_base(space, base);
                self.agree(core, model)
            }
            Op::Brk { cpu, space, at, offset } => {
                let end = self.address(self.space_index(space), at).wrapping_add(u64::from(offset));
                let pair = &self.spaces[self.space_index(space)];
                let (core, space) = (self.hosted.on(self.cpu(cpu), || pair.core.brk(end)), pair.model);
                let core = settled(core)?;
                let model = self.model().brk(space, end);
                self.agree(core, model)
            }
            Op::StackLimit { space, pages } => {
                let bytes = u64::from(pages) << A::PAGE_SHIFT;
                let pair = &self.spaces[self.space_index(space)];
                pair.core.set_stack_limit(bytes);
                let space = pair.model;
                self.model().set_stack_limit(space, bytes);
                Ok(())
            }
            Op::ReplaceObject { object } => {
                let index = object as usize % self.objects.len();
                let (allowed, replaced) = (self.may_replace_object(index), self.replace_object(index));
                let core = settled(replaced)?;
                if allowed.is_err() { self.agree(core, allowed) } else { only_memory(core) }
            }
            Op::WriteBack { object } => {
                let written = self.objects[object as usize % self.objects.len()].core.write_back();
                only_memory(written).map(|_| ())
            }
            Op::Lazy { cpu } => {
                self.hosted.enter_lazy(self.cpu(cpu));
                Ok(())
            }
            Op::Idle { cpu } => {
                self.hosted.idle(self.cpu(cpu));
                Ok(())
            }
            Op::Speculate { cpu, at } => {
                self.hosted.speculate(self.cpu(cpu), self.address(0, at));
                Ok(())
            }
            Op::Quiesce { cpu } => {
                self.hosted.on(self.cpu(cpu), || self.hosted.vm().quiesce());
                Ok(())
            }
            _ => self.step_relief(op),
        }
    }

    /// The space, and the address in it.
    fn place(&self, space: u8, at: Spot, offset: u16) -> (usize, u64) {
        let index = self.space_index(space);
        (index, self.address(index, at).wrapping_add(u64::from(offset)))
    }

    /// Compares the results of an operation.
    pub(super) fn agree<T: PartialEq + Debug>(
        &mut self,
        core: Result<T, Error>,
        model: Result<T, Error>,
    ) -> Result<(), Wrong> {
        let is_same = match (&core, &model) {
            (Ok(core), Ok(model)) => core == model,
            (Err(core), Err(model)) => is_same_error(*core, *model),
            _ => false,
        };
        self.stats.count(core.is_ok());
        if is_same { Ok(()) } else { Err(Wrong::Differs(format!("the core says {core:?}, the model {model:?}"))) }
    }

    /// An operation on a range of one space, on both sides.
    pub(super) fn on_range<F>(
        &mut self,
        cpu: u8,
        space: u8,
        at: Spot,
        length: Length,
        run: impl FnOnce(&Pair<'h, A>, u64, u64) -> (Result<(), Error>, F),
    ) -> Result<(), Wrong>
    where
        F: FnOnce(&mut World<'h, A>, SpaceId) -> Result<(), Error>,
    {
        let index = self.space_index(space);
        let start = self.address(index, at);
        let length = self.bytes(index, length, start);
        let pair = &self.spaces[index];
        let space = pair.model;
        let (core, model) = self.hosted.on(self.cpu(cpu), || run(pair, start, length));
        let core = settled(core)?;
        let model = model(self, space);
        self.agree(core, model)
    }

    fn is_long(&self, space: u8, at: Spot, length: Length) -> bool {
        let index = self.space_index(space);
        self.bytes(index, length, self.address(index, at)) >> A::PAGE_SHIFT > POPULATE_MAX
    }

    fn fork(&mut self, cpu: u8, space: u8) -> Result<(), Wrong> {
        let pair = &self.spaces[self.space_index(space)];
        let (child, parent) = (self.hosted.on(self.cpu(cpu), || pair.core.fork()), pair.model);
        let core = settled(child)?.map(ManuallyDrop::new);
        let model = self.model().try_fork(parent);
        self.agree(core.as_ref().map(|_| ()).map_err(|error| *error), model.map(|_| ()))?;
        if let (Ok(core), Ok(model)) = (core, model) {
            self.spaces.push(Pair { core, model });
        }
        Ok(())
    }

    /// Collapses a range, which changes nothing that programs see. Whether there is a page, a huge one to be had, a
    /// guard or a tag in the way, the model does not know.
    fn collapse(&mut self, cpu: u8, space: u8, at: Spot, length: Length) -> Result<(), Wrong> {
        self.on_range(cpu, space, at, length, |pair, start, length| {
            let core = pair.core.advise(start, length, Advice::Collapse);
            let is_for_itself = matches!(
                core,
                Err(Error::Invalid { .. } | Error::Busy { .. } | Error::OutOfMemory | Error::NotMapped { .. })
            );
            let told = if is_for_itself { Ok(()) } else { core };
            (told, move |model, space| {
                let answer = model_of(model).advise(space, start, length, Advice::Collapse);
                let end = start.saturating_add(length).min(A::USER_END);
                model_of(model).may_collapse(space, start, end, 1 << A::shift(1));
                if is_for_itself { Ok(()) } else { answer }
            })
        })
    }

    fn advise(&mut self, cpu: u8, space: u8, at: Spot, length: Length, advice: Advice) -> Result<(), Wrong> {
        if advice == Advice::Collapse {
            return self.collapse(cpu, space, at, length);
        }
        if matches!(advice, Advice::PopulateRead | Advice::PopulateWrite) && self.is_long(space, at, length) {
            return Ok(());
        }
        self.on_range(cpu, space, at, length, |pair, start, length| {
            let core = pair.core.advise(start, length, advice);
            (core, move |model, space| model_of(model).advise(space, start, length, advice))
        })
    }

    fn advise_partly(&mut self, cpu: u8, space: u8, at: Spot, length: Length, advice: Advice) -> Result<(), Wrong> {
        if advice == Advice::Collapse {
            return self.collapse(cpu, space, at, length);
        }
        if matches!(advice, Advice::PopulateRead | Advice::PopulateWrite) && self.is_long(space, at, length) {
            return Ok(());
        }
        self.on_range(cpu, space, at, length, |pair, start, length| {
            let core = pair.core.advise_partly(start, length, advice);
            (core, move |model, space| model_of(model).advise_partly(space, start, length, advice))
        })
    }

    fn map(&mut self, cpu: u8, space: u8, mapping: &Mapping) -> Result<(), Wrong> {
        let index = self.space_index(space);
        let address = self.address(index, mapping.at);
        let length = self.bytes(index, mapping.length, address);
        let place = match mapping.put {
            Put::Exactly => Place::Fixed(address),
            Put::IfFree => Place::FixedNoReplace(address),
            Put::Hinted => Place::Hint(address),
            Put::AnyPlace => Place::Anywhere,
        };
        let flags = match mapping.how {
            How::GrowsDown => MapFlags::GROWS_DOWN,
            How::NoReserve => MapFlags::NO_RESERVE,
            // Where memory may end, so that nobody has to ask how far it went.
            How::Populate if length >> A::PAGE_SHIFT <= POPULATE_MAX && self.relief.is_none() => MapFlags::POPULATE,
            How::Populate | How::Plain => MapFlags::NONE,
        };
        let (prot, max_prot) = (mapping.rights.prot(), mapping.most.prot());
        let (core_source, source) = self.sources(mapping.what);
        let policy = vellum::Policy::Local;
        let is_tagged = mapping.what == What::PrivateZero && self.granule_shift().is_some();
        let with_tags = if is_tagged { flags | MapFlags::TAGGED } else { flags };
        let request =
            vellum::ops::MapRequest { length, prot, max_prot, place, source: core_source, flags: with_tags, policy };
        let pair = &self.spaces[index];
        let (core, space) = (self.hosted.on(self.cpu(cpu), || pair.core.map(&request)), pair.model);
        let core = settled(core)?;
        let model_request = MapRequest { length, prot, max_prot, place, source, flags };
        let model = self.model().map(space, &model_request, core.ok());
        self.agree_on_place(core, model, !matches!(mapping.put, Put::Exactly | Put::IfFree))
    }

    /// The source of a mapping for both sides.
    fn sources(&self, what: What) -> (vellum::ops::Source<'_, 'h, crate::host::Host<A>>, Source) {
        let (number, offset, sharing) = match what {
            What::PrivateZero => return (vellum::ops::Source::Anonymous, Source::Anonymous),
            What::SharedZero => return (vellum::ops::Source::SharedAnonymous, Source::SharedAnonymous),
            What::ObjectPrivate(number, page) => (number, u64::from(page) << A::PAGE_SHIFT, Sharing::Private),
            What::ObjectShared(number, page) => (number, u64::from(page) << A::PAGE_SHIFT, Sharing::Shared),
            What::ObjectRaw(number, offset) => (number, offset, Sharing::Shared),
        };
        let object = &self.objects[number as usize % self.objects.len()];
        let core = vellum::ops::Source::Object { object: &object.core, offset, sharing };
        (core, Source::Object { object: object.model, offset, sharing })
    }

    fn remap(&mut self, cpu: u8, space: u8, request: &RemapRequest) -> Result<(), Wrong> {
        let pair = &self.spaces[self.space_index(space)];
        let (start, end) = (request.old, request.old.saturating_add(request.old_length));
        if self.oracle.model.is_unsure_of_pages(pair.model, start, end) {
            // Whether a page is left there decides what the new place is one with.
            return Ok(());
        }
        let (core, space) = (self.hosted.on(self.cpu(cpu), || pair.core.remap(request)), pair.model);
        let core = settled(core)?;
        let model = self.model().remap(space, request, core.ok());
        if let (Err(Error::NoAddressSpace { length }), Err(Refusal::Error(_))) = (core, model)
            && !self.model().has_room(space, length)
        {
            // Two things are wrong; the core looks for room first.
            self.stats.count(false);
            return Ok(());
        }
        self.agree_on_place(core, model, !matches!(request.place, RemapPlace::Fixed(_)))
    }

    /// Compares the addresses both sides say, and notes the core's if it was free to choose.
    fn agree_on_place(
        &mut self,
        core: Result<u64, Error>,
        model: Result<u64, Refusal>,
        was_free: bool,
    ) -> Result<(), Wrong> {
        let model = model.map_err(|refusal| match refusal {
            Refusal::Error(error) => Ok(error),
            Refusal::Placement { chosen, what } => Err(format!("the core chose {chosen:x?} ({core:?}): {what}")),
        });
        let model = match model {
            Err(Err(wrong)) => return Err(Wrong::Differs(wrong)),
            Err(Ok(error)) => Err(error),
            Ok(address) => Ok(address),
        };
        if let Ok(address) = core
            && was_free
        {
            self.answers.push(address);
        }
        self.agree(core, model)
    }
}

fn model_of<'w, A: Arch>(world: &'w mut World<'_, A>) -> &'w mut Model {
    world.model()
}
