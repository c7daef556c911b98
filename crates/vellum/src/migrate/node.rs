//! Moving pages that are not used to a slower memory node.

use super::pages::{Goal, LENGTH, Moved, migrate};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::reclaim::{Isolated, Scan, Wanted};
use crate::rmap::renew_if_accessed;
use crate::stat::Event;
use crate::vm::Vm;

/// Turns of the hand for which a page was not used before it is moved to a slower node.
const DEMOTION_AGE: u8 = 2;

impl<M: Machine> Vm<M> {
    /// Moves up to `wanted` pages of `node` that were not used for some time to the slower node the machine names for
    /// it; how many.
    pub(crate) fn demote(&self, node: u8, wanted: u64) -> u64 {
        let Some(slower) = self.machine().demotion_target(node).filter(|&slower| slower != node) else { return 0 };
        let mut done = 0;
        while done < wanted {
            let (mut list, mut scan) = (Isolated::<LENGTH>::new(), Scan::new());
            let most = LENGTH.min((wanted - done) as usize);
            self.isolate_cold(node, most, &mut scan, &mut list);
            let Moved { done: moved, .. } = migrate(self, &list, &mut |cx, pfn| {
                if renew_if_accessed(cx, pfn) { Goal::Stay } else { Goal::Node(slower) }
            });
            Cx::enter(self).count(Event::Demoted, moved);
            done += moved;
            if scan.ends_turn || (moved == 0 && !list.is_empty()) {
                break;
            }
        }
        done
    }

    /// Adds up to so many pages or folios that were not used for some time to the list, as far as one scan finds some.
    fn isolate_cold<'vm>(&'vm self, node: u8, most: usize, scan: &mut Scan<'vm, M>, list: &mut Isolated<LENGTH>) {
        let (cx, age) = (Cx::enter(self), (DEMOTION_AGE, Wanted::Folios));
        while list.pages().len() < most && self.isolate_old(&cx, node, age, most - list.pages().len(), scan, list) {}
    }
}
