//! Moving the pages of a range to a memory node.

use super::range::checked;
use crate::error::Error;
use crate::machine::Machine;
use crate::migrate::{Goal, LENGTH, migrate};
use crate::phys::{NodeSet, Policy};
use crate::reclaim::{Sharers, each_list};
use crate::space::Space;
use core::cell::Cell;

impl<M: Machine> Space<'_, M> {
    /// Moves the pages of a range that are not there already to memory node `node`, as `move_pages` does; how many were
    /// moved, and how many could not be, since somebody else uses them in a way that forbids it or the node is full.
    ///
    /// The program may run, and other programs that share the pages. May sleep; allocates frames on that node.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::ZeroLength`], [`Error::OutOfRange`]; [`Error::Invalid`] for a node without
    /// memory. Nothing has changed then.
    pub fn move_pages(&self, start: u64, length: u64, node: u8) -> Result<(u64, u64), Error> {
        let (start, end) = checked::<M::Arch>(start, length)?;
        self.vm().physical().check_policy(Policy::Bind(NodeSet::EMPTY.with(node)))?;
        let failed = Cell::new(0);
        let moved = each_list::<M, LENGTH>(
            self.vm(),
            self.inner(),
            start,
            end,
            Sharers::Any,
            &mut |list| {
                let moved = migrate(self.vm(), list, &mut |cx, pfn| {
                    let frame = cx.vm().physical().frame(pfn);
                    if frame.node() == node { Goal::Stay } else { Goal::Node(node) }
                });
                failed.set(failed.get() + moved.failed);
                moved.done
            },
            &|| false,
        );
        Ok((moved, failed.get()))
    }
}
