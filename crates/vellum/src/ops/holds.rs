//! Classes an operation holds between its prepare and its commit.

use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::ClassId;
use crate::vm::Vm;
use core::marker::PhantomData;
use core::ptr::NonNull;

const INLINE: usize = 8;
const CHUNK: usize = 124;

/// How many are released in one read-side section.
const PORTION: usize = 32;

/// Held classes; a few inside, more in chunks of slab memory. Most come several times: those among the first few, and
/// those that came not long ago, are held once. Must be released.
pub(crate) struct Holds<M> {
    inline: [ClassId; INLINE],
    count: usize,
    chunks: Option<NonNull<Chunk>>,
    _machine: PhantomData<fn(M)>,
}

#[repr(C)]
struct Chunk {
    next: Option<NonNull<Chunk>>,
    count: usize,
    ids: [ClassId; CHUNK],
}

impl<M: Machine> Holds<M> {
    pub(crate) fn new() -> Self {
        Holds { inline: [ClassId::NONE; INLINE], count: 0, chunks: None, _machine: PhantomData }
    }

    /// Takes over one hold on `id`. On an error the hold is released.
    pub(crate) fn add(&mut self, cx: &Cx<'_, M>, id: ClassId) -> Result<(), Error> {
        if !id.is_stored() || self.is_known(id) {
            cx.release_class(id, 1);
            return Ok(());
        }
        if self.count < INLINE {
            self.inline[self.count] = id;
            self.count += 1;
            return Ok(());
        }
        let chunk = self.chunk_with_room(cx).inspect_err(|_| cx.release_class(id, 1))?;
        chunk.ids[chunk.count] = id;
        chunk.count += 1;
        Ok(())
    }

    /// Releases everything, some in each read-side section.
    pub(crate) fn release(mut self, vm: &Vm<M>) {
        loop {
            let cx = Cx::enter(vm);
            if !(0..PORTION).all(|_| self.release_one(&cx)) {
                return;
            }
        }
    }

    /// Releases one of them; whether there was one.
    fn release_one(&mut self, cx: &Cx<'_, M>) -> bool {
        if let Some(mut chunk) = self.chunks {
            // SAFETY: chunks belong to this alone, and were initialised; it is borrowed mutably.
            let Chunk { next, count, ids } = unsafe { chunk.as_mut() };
            // A chunk has one at least.
            *count -= 1;
            cx.release_class(ids[*count], 1);
            if *count == 0 {
                self.chunks = *next;
                cx.slab_free(chunk.cast(), size_of::<Chunk>());
            }
            return true;
        }
        let is_more = self.count > 0;
        if is_more {
            self.count -= 1;
            cx.release_class(self.inline[self.count], 1);
        }
        is_more
    }

    /// Whether `id` is among the first ones, or in the chunk that came last: to look further would take ever longer.
    fn is_known(&self, id: ClassId) -> bool {
        let is_recent = self.chunks.is_some_and(|chunk| {
            // SAFETY: as in `release_one`.
            let chunk = unsafe { chunk.as_ref() };
            chunk.ids[..chunk.count].contains(&id)
        });
        is_recent || self.inline[..self.count].contains(&id)
    }

    fn chunk_with_room(&mut self, cx: &Cx<'_, M>) -> Result<&mut Chunk, Error> {
        // SAFETY: as in `release_one`.
        let is_full = self.chunks.is_none_or(|chunk| unsafe { chunk.as_ref() }.count == CHUNK);
        if is_full {
            let chunk = cx.slab_alloc(size_of::<Chunk>())?.cast::<Chunk>();
            // SAFETY: the allocation is that large and unused.
            unsafe { chunk.write(Chunk { next: self.chunks, count: 0, ids: [ClassId::NONE; CHUNK] }) };
            self.chunks = Some(chunk);
        }
        match self.chunks {
            // SAFETY: as in `release_one`; the set is borrowed mutably.
            Some(mut chunk) => Ok(unsafe { chunk.as_mut() }),
            None => Err(Error::OutOfMemory),
        }
    }
}
