//! Descriptors.

use vellum::{Machine, Object};

/// What a descriptor means to [`mmap()`](crate::mmap()): the file's object, and what the file was opened for.
#[derive(Debug)]
pub struct File<'a, 'vm, M: Machine> {
    /// The file's pages.
    pub object: &'a Object<'vm, M>,
    /// It was opened for reading.
    pub readable: bool,
    /// It was opened for writing.
    pub writable: bool,
}

impl<M: Machine> Clone for File<'_, '_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for File<'_, '_, M> {}
