//! A line that moves between two CPUs, by name.

use crate::recorder::Summary;
use std::collections::BTreeSet;
use std::fmt;
use vellum::{CpuPart, Machine, Structure, Vm};

/// A cache line that one CPU wrote and another one touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was touched in it.
    pub structures: Vec<Structure>,
    /// The CPUs that wrote it.
    pub writers: Vec<usize>,
    /// Those that only read it.
    pub readers: Vec<usize>,
}

impl Line {
    /// The lines of a record that moved.
    pub fn of<M: Machine>(vm: &Vm<M>, summary: &Summary) -> Vec<Line> {
        let lines = summary.lines_contended().into_iter().map(|line| {
            let structures: BTreeSet<_> =
                line.addresses.iter().filter_map(|&address| vm.structure_at(address)).collect();
            Line { structures: structures.into_iter().collect(), writers: line.writers, readers: line.readers }
        });
        lines.collect()
    }

    /// Whether more than one CPU wrote it.
    pub fn is_written_by_several(&self) -> bool {
        self.writers.len() > 1
    }

    /// Whether nothing but what flushes go through was touched in it.
    pub fn is_of_flushes(&self) -> bool {
        let is_part = |structure: &Structure| {
            matches!(
                structure,
                Structure::SpaceGeneration | Structure::SpaceCpus | Structure::Cpu { part: CpuPart::Mailbox, .. }
            )
        };
        !self.structures.is_empty() && self.structures.iter().all(is_part)
    }
}

/// What was touched in it.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.structures.is_empty() {
            return f.write_str("not the core's");
        }
        for (place, structure) in self.structures.iter().enumerate() {
            write!(f, "{}{structure}", if place > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}
