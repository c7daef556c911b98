//! When nothing is left: which program to end is the embedder's choice; the core proposes one.

use crate::cpu::Cx;
use crate::machine::Machine;
pub use crate::machine::Victim;
use crate::space::RssKind;
use crate::stat::Event;
use crate::vm::Vm;

impl<M: Machine> Vm<M> {
    /// The space whose end would free most memory, as `oom_badness` of Linux counts it; `None` if no space has any.
    ///
    /// Neither sleeps nor allocates; takes the lock of the registry of spaces.
    pub fn choose_victim(&self) -> Option<Victim> {
        let cx = Cx::enter(self);
        let mut worst: Option<Victim> = None;
        self.spaces().for_each(&cx, |space| {
            // The sum over CPUs may be below zero for a moment while a page comes and goes.
            let pages = |kind| (space.rss_of(self, kind) as i64).max(0) as u64;
            let victim =
                Victim { space: space.id(), anonymous: pages(RssKind::Anonymous), swapped: pages(RssKind::Swap) };
            if victim.pages() > worst.map_or(0, |worst| worst.pages()) {
                worst = Some(victim);
            }
        });
        worst
    }

    /// Offers the embedder a victim; whether trying again may help.
    pub(super) fn offer_victim(&self) -> bool {
        Cx::enter(self).count(Event::OutOfMemory, 1);
        self.choose_victim().is_some_and(|victim| self.machine().out_of_memory(&victim))
    }
}
