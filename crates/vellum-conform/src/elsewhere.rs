//! Linux's side, where there is no Linux on x86-64.

use crate::differences::Version;
use crate::files::Ends;
use crate::maps::Line;
use crate::op::{Call, Outcome};
use std::io;

/// Linux: not here.
pub enum Linux {}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::needless_pass_by_ref_mut)]
impl Linux {
    pub fn start() -> Result<Linux, String> {
        Err("sequences are compared with the Linux that runs this, on x86-64: this is none".into())
    }

    pub fn has_heap(&self) -> bool {
        match *self {}
    }

    pub fn clears_behind_ends(&self) -> bool {
        match *self {}
    }

    pub fn makes_holes(&self) -> bool {
        match *self {}
    }

    pub fn has_guards(&self) -> bool {
        match *self {}
    }

    pub fn has_huge_pages(&self) -> bool {
        match *self {}
    }

    pub fn version(&self) -> Version {
        match *self {}
    }

    pub fn begin(&mut self, _: Ends) -> io::Result<()> {
        match *self {}
    }

    pub fn run(&mut self, _: &[(usize, Call, usize)]) -> io::Result<Vec<Outcome>> {
        match *self {}
    }

    pub fn maps(&self, _: usize) -> io::Result<Vec<Line>> {
        match *self {}
    }

    pub fn sums(&mut self, _: usize, _: &[Line]) -> io::Result<Vec<u64>> {
        match *self {}
    }

    pub fn contents(&self, _: usize) -> io::Result<Vec<u8>> {
        match *self {}
    }
}
