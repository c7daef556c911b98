//! The pieces of a move: of each mapping the parts with and without a guard, with what it takes to move them.

use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::shift::Shift;
use crate::space::{ClassId, Spares};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A piece that moves as one: its pages as `shift` says.
pub(super) struct Piece {
    pub(super) shift: Shift,
    /// What the new place is to be if no page moves there.
    pub(super) fresh_class: ClassId,
    /// Length of what goes at the old place, which is more than moves if the mapping becomes shorter.
    pub(super) old_length: u64,
    /// Length of what comes to the new place, which is more than moves if the mapping becomes longer.
    pub(super) new_length: u64,
    /// Side arrays for the tables of the new place, and of the old one.
    pub(super) spares: [Spares; 2],
}

/// A list of pieces in slab memory, in order. Must be freed.
pub(super) struct Pieces<M> {
    first: Option<NonNull<Node>>,
    last: Option<NonNull<Node>>,
    /// Whether the next one is the first one of a mapping.
    begins: bool,
    _machine: PhantomData<fn(M)>,
}

struct Node {
    next: Option<NonNull<Node>>,
    /// Whether it is the first one of its mapping.
    begins: bool,
    piece: Piece,
}

/// The pieces of one mapping.
pub(super) struct OneMapping<'p> {
    first: NonNull<Node>,
    _list: PhantomData<&'p mut Node>,
}

impl OneMapping<'_> {
    /// Calls `visit` with each.
    pub(super) fn each(&mut self, mut visit: impl FnMut(&mut Piece)) {
        let mut next = Some(self.first);
        while let Some(mut node) = next {
            // SAFETY: nodes belong to the list alone, and were initialised; the list is borrowed mutably.
            let node = unsafe { node.as_mut() };
            if node.begins && NonNull::from(&*node) != self.first {
                return;
            }
            visit(&mut node.piece);
            next = node.next;
        }
    }
}

impl<M: Machine> Pieces<M> {
    pub(super) fn new() -> Self {
        Pieces { first: None, last: None, begins: true, _machine: PhantomData }
    }

    /// The pieces that are added from here on are of another mapping.
    pub(super) fn begin_mapping(&mut self) {
        self.begins = true;
    }

    /// Adds one behind the others.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn push(&mut self, cx: &Cx<'_, M>, piece: Piece) -> Result<(), Error> {
        let node = cx.slab_alloc(size_of::<Node>())?.cast::<Node>();
        // SAFETY: the allocation is that large, aligned to its size class, and unused.
        unsafe { node.write(Node { next: None, begins: core::mem::take(&mut self.begins), piece }) };
        match self.last {
            // SAFETY: nodes belong to this list alone, and were initialised; the list is borrowed mutably.
            Some(mut last) => unsafe { last.as_mut() }.next = Some(node),
            None => self.first = Some(node),
        }
        self.last = Some(node);
        Ok(())
    }

    /// Calls `visit` with each, until one fails.
    pub(super) fn try_each(&mut self, mut visit: impl FnMut(&mut Piece) -> Result<(), Error>) -> Result<(), Error> {
        let mut next = self.first;
        while let Some(mut node) = next {
            // SAFETY: as in `push`.
            let node = unsafe { node.as_mut() };
            visit(&mut node.piece)?;
            next = node.next;
        }
        Ok(())
    }

    /// Calls `visit` with each.
    pub(super) fn each(&mut self, mut visit: impl FnMut(&mut Piece)) {
        let _ = self.try_each(|piece| {
            visit(piece);
            Ok(())
        });
    }

    /// Calls `visit` with each mapping.
    pub(super) fn each_mapping(&mut self, mut visit: impl FnMut(&mut OneMapping<'_>)) {
        let mut next = self.first;
        while let Some(first) = next {
            // SAFETY: as in `push`.
            let node = unsafe { first.as_ref() };
            let begins = node.begins;
            next = node.next;
            if begins {
                visit(&mut OneMapping { first, _list: PhantomData });
            }
        }
    }

    /// Frees the list, and the side arrays that were not used.
    pub(super) fn free(mut self, cx: &Cx<'_, M>) {
        while let Some(node) = self.first.take() {
            // SAFETY: as in `push`; nobody has the node afterwards.
            let Node { next, mut piece, .. } = unsafe { node.read() };
            piece.spares.iter_mut().for_each(|spares| spares.free(cx));
            cx.slab_free(node.cast(), size_of::<Node>());
            self.first = next;
        }
    }
}
