//! Moving pages between memory nodes.

use super::pages::{Goal, LENGTH, Moved, migrate};
use crate::cpu::Cx;
use crate::error::Error;
use crate::machine::Machine;
use crate::ops::checked;
use crate::phys::{AllocFlags, NodeSet, Policy};
use crate::reclaim::{Isolated, Scan, Sharers, each_list};
use crate::rmap::renew_if_accessed;
use crate::space::Space;
use crate::stat::Event;
use crate::vm::Vm;
use core::cell::Cell;

/// Turns of the hand for which a page was not used before it is moved to a slower node.
const DEMOTION_AGE: u8 = 2;

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
                    if cx.vm().physical().frame(pfn).node() == node {
                        return Goal::Stay;
                    }
                    Goal::of(cx.alloc_frame_on(node, AllocFlags::NONE))
                });
                failed.set(failed.get() + moved.failed);
                moved.done
            },
            &|| false,
        );
        Ok((moved, failed.get()))
    }
}

impl<M: Machine> Vm<M> {
    /// Moves up to `wanted` pages of `node` that were not used for some time to the slower node the machine names for
    /// it; how many.
    pub(crate) fn demote(&self, node: u8, wanted: u64) -> u64 {
        let Some(slower) = self.machine().demotion_target(node).filter(|&slower| slower != node) else { return 0 };
        let mut done = 0;
        while done < wanted {
            let (mut list, mut scan) = (Isolated::<LENGTH>::new(), Scan::new());
            let room = LENGTH.min((wanted - done) as usize);
            self.isolate_old(&Cx::enter(self), node, DEMOTION_AGE, room, &mut scan, &mut list);
            let Moved { done: moved, .. } = migrate(self, &list, &mut |cx, pfn| {
                if renew_if_accessed(cx, pfn) {
                    return Goal::Stay;
                }
                Goal::of(cx.alloc_frame_on(slower, AllocFlags::NONE))
            });
            Cx::enter(self).count(Event::Demoted, moved);
            done += moved;
            if scan.ends_turn || (moved == 0 && !list.is_empty()) {
                break;
            }
        }
        done
    }
}
