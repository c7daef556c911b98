//! Bare means, for scenarios about operations that they define themselves.

use super::cpu::Cpu;
use std::ops::Range;

/// Shared words of a toy.
#[derive(Default)]
pub(crate) struct ToyState {
    words: Box<[std::sync::atomic::AtomicU64; 16]>,
}

impl ToyState {
    pub(crate) fn memory(&self) -> Range<usize> {
        let start = self.words.as_ptr().addr();
        start..start + size_of_val(&*self.words)
    }
}

/// What a world gives to toys.
pub(crate) trait ToyOps {
    fn state(&self) -> &ToyState;
}

/// Bare means.
pub struct Toy<'w> {
    ops: &'w dyn ToyOps,
    cpu: &'w Cpu<'w>,
}

/// A page.
pub struct ToyPage;

impl<'w> Toy<'w> {
    pub(super) fn new(ops: &'w dyn ToyOps, cpu: &'w Cpu<'w>) -> Toy<'w> {
        Toy { ops, cpu }
    }

    /// nothing
    pub fn nothing(&self) -> usize {
        let _ = self.cpu;
        self.ops.state().memory().len()
    }
}
