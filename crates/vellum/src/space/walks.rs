//! Walks that come to a space by reverse mapping: the space does not end under them, and while they are under way,
//! entries do not move within it if they do not want it.

use super::Inner;
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::structure::holds;
use crate::sync::AtomicU32;
use crate::vm::Vm;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

/// In [`Inner::walks`]: the space ends.
const ENDING: u32 = 1 << 31;

/// See [`Inner::hold_moves_back`].
pub(crate) struct HeldBack<'a, M: Machine>(&'a AtomicU32<M>);

impl<M: Machine> Drop for HeldBack<'_, M> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl<M: Machine> Inner<M> {
    /// Keeps the space from ending until [`Inner::unpin`], unless it ends already. For walks that found it by reverse
    /// mapping, in a read-side section; they must not sleep.
    pub(crate) fn pin(&self) -> bool {
        let is_alive = self.walks.fetch_add(1, SeqCst) & ENDING == 0;
        if !is_alive {
            self.walks.fetch_sub(1, SeqCst);
        }
        is_alive
    }

    /// Ends [`Inner::pin`].
    pub(crate) fn unpin(&self) {
        self.walks.fetch_sub(1, SeqCst);
    }

    /// Lets no further entries begin to move as long as the result lives: for a walk, which has pre-emption off.
    pub(crate) fn hold_moves_back(&self) -> HeldBack<'_, M> {
        self.moves_held_back.fetch_add(1, SeqCst);
        HeldBack(&self.moves_held_back)
    }

    /// By how many walks moves are held back.
    pub(crate) fn moves_held_back(&self) -> u32 {
        self.moves_held_back.load(SeqCst)
    }

    /// Enters the core when no walk holds moves back. Whoever holds them back has pre-emption off; who waits for it has
    /// not, but for a moment each turn.
    pub(super) fn enter_between_walks<'vm>(&self, vm: &'vm Vm<M>) -> Cx<'vm, M> {
        loop {
            let cx = Cx::enter(vm);
            let seen = self.moves_held_back();
            if seen == 0 {
                return cx;
            }
            cx.serve_mailbox();
            vm.machine().wait_change(self.moves_held_back.as_core(), seen);
        }
    }

    /// Which of all ends of spaces that of this one is, once no walk finds its way in any more.
    pub(super) fn number_of_end(&self) -> Option<u32> {
        (self.walks.load(SeqCst) & ENDING != 0).then(|| self.end_number.load(Relaxed))
    }

    /// Takes a number among the ends of spaces, before [`Inner::end_walks`].
    pub(super) fn begin_end(&self, cx: &Cx<'_, M>) {
        self.end_number.store(cx.vm().spaces().ends().begin(), Relaxed);
    }

    /// Keeps further walks out and waits for those under way.
    pub(super) fn end_walks(&self, cx: &Cx<'_, M>) {
        let mut seen = self.walks.fetch_or(ENDING, SeqCst) | ENDING;
        while seen != ENDING {
            cx.serve_mailbox();
            cx.vm().machine().wait_change(self.walks.as_core(), seen);
            seen = self.walks.load(SeqCst);
        }
    }

    /// Whether the word that counts walks lies at `address`.
    pub(crate) fn is_walks_at(&self, address: usize) -> bool {
        holds(&self.walks, address)
    }
}
