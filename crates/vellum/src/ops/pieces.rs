//! The pieces of a move: of each mapping the parts with and without a guard, with what it takes to move them.

use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::space::ClassId;
use crate::space::shift::Shift;
use crate::vm::Vm;
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
    /// Whether it is the first one of its mapping: set by [`Pieces::push`].
    begins: bool,
}

impl Piece {
    /// A piece of `old_length` bytes at the old place, and of `new_length` at the new one, that moves as `shift` says.
    pub(super) fn new(shift: Shift, fresh_class: ClassId, old_length: u64, new_length: u64) -> Self {
        Piece { shift, fresh_class, old_length, new_length, begins: false }
    }
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
    piece: Piece,
}

// There may be one for each page that moves: the smallest objects there are.
const _: () = assert!(size_of::<Node>() <= 64);

/// How many pieces are freed in one read-side section.
const PORTION: usize = 64;

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
            if node.piece.begins && NonNull::from(&*node) != self.first {
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
    pub(super) fn push(&mut self, cx: &Cx<'_, M>, mut piece: Piece) -> Result<(), Error> {
        let node = cx.slab_alloc(size_of::<Node>())?.cast::<Node>();
        piece.begins = core::mem::take(&mut self.begins);
        // SAFETY: the allocation is that large, aligned to its size class, and unused.
        unsafe { node.write(Node { next: None, piece }) };
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
            let begins = node.piece.begins;
            next = node.next;
            if begins {
                visit(&mut OneMapping { first, _list: PhantomData });
            }
        }
    }

    /// Frees the list, some of it in each read-side section.
    pub(super) fn free(mut self, vm: &Vm<M>) {
        while self.first.is_some() {
            let cx = Cx::enter(vm);
            let _ = (0..PORTION).all(|_| self.free_first(&cx));
        }
    }

    /// Frees the first one; whether there was one.
    fn free_first(&mut self, cx: &Cx<'_, M>) -> bool {
        let Some(node) = self.first else { return false };
        // SAFETY: as in `push`; nobody has the node afterwards.
        self.first = unsafe { node.as_ref() }.next;
        cx.slab_free(node.cast(), size_of::<Node>());
        true
    }
}
