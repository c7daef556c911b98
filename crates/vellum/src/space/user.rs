//! What a CPU runs in.

use super::{Inner, Space};
use crate::cpu::Cx;
use crate::machine::Machine;
use crate::tlb::Root;
use crate::vm::Vm;

impl<M: Machine> Vm<M> {
    /// Makes `space` the one the current CPU runs user code in, or detaches the CPU from any space, as it does when
    /// `space` belongs to another instance.
    ///
    /// The space must live until the CPU leaves it: dropping its last handle makes all CPUs leave it, so no user code
    /// may run in it then. Neither sleeps nor allocates. Cost: the root is not reloaded if it is loaded already.
    ///
    /// May be called with interrupts off and a lock held that interrupt handlers take: it waits for nobody who can be
    /// interrupted (J14).
    pub fn switch_to(&self, space: Option<&Space<'_, M>>) {
        let cx = Cx::enter(self);
        let ours = space.filter(|space| core::ptr::eq(space.vm(), self));
        cx.switch_root(ours.map(|space| space.inner().as_root()));
        cx.leave_without_freeing();
    }

    /// The current CPU keeps its root loaded and runs no user code until the next [`Vm::switch_to`].
    pub fn enter_lazy(&self) {
        let cx = Cx::enter(self);
        cx.become_lazy();
        cx.leave_without_freeing();
    }
}

impl<M: Machine> Inner<M> {
    #[inline(always)]
    fn as_root(&self) -> Root<'_, M> {
        Root { id: self.id(), table: self.root(), tlb: self.tlb() }
    }
}
