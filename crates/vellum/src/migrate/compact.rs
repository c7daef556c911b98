//! Making a large block of memory free, by moving the pages out of it.

use super::pages::{Goal, LENGTH, migrate};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::phys::{Folio, Pfn, Policy};
use crate::reclaim::Isolated;
use crate::stat::Event;
use crate::vm::Vm;

impl<M: Machine> Vm<M> {
    /// Makes a block of `1 << order` consecutive frames of `node` free, by moving pages elsewhere; whether there is one
    /// now.
    ///
    /// May sleep; allocates the frames the pages go to.
    pub fn compact(&self, node: u8, order: u8) -> bool {
        let is_done = self.compact_block(node, order).is_some();
        let cx = Cx::enter(self);
        cx.count(if is_done { Event::CompactSuccess } else { Event::CompactFail }, 1);
        is_done
    }

    fn compact_block(&self, node: u8, order: u8) -> Option<()> {
        let (start, mut isolation) = {
            let cx = Cx::enter(self);
            let start = self.physical().find_candidate(self.machine(), node, order)?;
            (start, cx.isolate_block(start, order)?)
        };
        let inside = start.0..start.0 + (1 << order);
        let mut at = start.0;
        while at < inside.end {
            let mut list = Isolated::<LENGTH>::new();
            {
                let cx = Cx::enter(self);
                while at < inside.end && !list.is_full() {
                    list.isolate(&cx, Pfn(at), self.physical().frame(Pfn(at)), 0);
                    at += 1;
                }
            }
            // Frames inside the block are taken out of circulation as they become free.
            migrate(self, &list, &mut |cx, pfn| {
                let order = self.physical().whole(pfn).order;
                loop {
                    let Ok(head) = cx.alloc_folio_by(order, Policy::Local, 0) else { return Goal::Nowhere };
                    if !inside.contains(&head.0) {
                        return Goal::To(head);
                    }
                    isolation.add_folio(cx, Folio { head, order });
                }
            });
            isolation.collect(&Cx::enter(self));
        }
        let cx = Cx::enter(self);
        let block = isolation.finish(&cx)?;
        cx.free_frame(block);
        Some(())
    }
}
