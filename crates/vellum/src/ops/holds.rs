//! Classes an operation holds between its prepare and its commit.

use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::ClassId;
use core::marker::PhantomData;
use core::ptr::NonNull;

const INLINE: usize = 8;
const CHUNK: usize = 124;

/// A set of held classes; a few inside, more in chunks of slab memory. Must be released.
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
        if !id.is_stored() || self.contains(id) {
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

    /// Releases everything.
    pub(crate) fn release(mut self, cx: &Cx<'_, M>) {
        for &id in &self.inline[..self.count] {
            cx.release_class(id, 1);
        }
        while let Some(chunk) = self.chunks.take() {
            // SAFETY: chunks belong to this set alone, and were initialised.
            let Chunk { next, count, ids } = unsafe { chunk.read() };
            ids[..count].iter().for_each(|&id| cx.release_class(id, 1));
            cx.slab_free(chunk.cast(), size_of::<Chunk>());
            self.chunks = next;
        }
    }

    fn contains(&self, id: ClassId) -> bool {
        let mut chunk = self.chunks;
        while let Some(at) = chunk {
            // SAFETY: as in `release`.
            let at = unsafe { at.as_ref() };
            if at.ids[..at.count].contains(&id) {
                return true;
            }
            chunk = at.next;
        }
        self.inline[..self.count].contains(&id)
    }

    fn chunk_with_room(&mut self, cx: &Cx<'_, M>) -> Result<&mut Chunk, Error> {
        // SAFETY: as in `release`.
        let is_full = self.chunks.is_none_or(|chunk| unsafe { chunk.as_ref() }.count == CHUNK);
        if is_full {
            let chunk = cx.slab_alloc(size_of::<Chunk>())?.cast::<Chunk>();
            // SAFETY: the allocation is that large and unused.
            unsafe { chunk.write(Chunk { next: self.chunks, count: 0, ids: [ClassId::NONE; CHUNK] }) };
            self.chunks = Some(chunk);
        }
        match self.chunks {
            // SAFETY: as in `release`; the set is borrowed mutably.
            Some(mut chunk) => Ok(unsafe { chunk.as_mut() }),
            None => Err(Error::OutOfMemory),
        }
    }
}
