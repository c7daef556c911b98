//! Spaces at their end, for those who wait for what such a space still has.
//!
//! A walk finds no way into a space at its end ([`Inner::pin`](super::Inner::pin)), and yet its entries are there until
//! the end has come to them, with what was stored through them to pages of files. Write-back waits for that (B22). An
//! end takes a number when it begins; so who waits can tell those that began before from those that come after, and is
//! not kept waiting by these.

use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::sync::AtomicU32;
use crate::vm::Vm;
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

/// In [`Ends::done`]: somebody may be asleep until the next end is over.
const AWAITED: u32 = 1;
/// In [`Ends::done`]: one end.
const ONE: u32 = 2;

/// All ends of spaces of an instance.
pub(crate) struct Ends<M> {
    /// How many have begun.
    begun: AtomicU32<M>,
    /// How many are over, and [`AWAITED`]; waited on.
    done: AtomicU32<M>,
}

/// What is to be waited for: that one more end is over.
pub(crate) struct OneMore(u32);

/// Those ends that had begun at a moment.
#[derive(Clone, Copy)]
pub(crate) struct Begun(u32);

impl<M: Machine> Ends<M> {
    pub(super) const fn new() -> Self {
        Ends { begun: AtomicU32::new(0), done: AtomicU32::new(0) }
    }

    /// Those that have begun until now.
    pub(crate) fn begun(&self) -> Begun {
        Begun(self.begun.load(SeqCst))
    }

    /// The number of an end that begins.
    pub(super) fn begin(&self) -> u32 {
        self.begun.fetch_add(1, SeqCst)
    }

    /// Notes that an end is over: nothing is left that the space showed.
    pub(super) fn finish(&self, vm: &Vm<M>) {
        let mut seen = self.done.load(Relaxed);
        while let Err(now) = self.done.compare_exchange(seen, (seen & !AWAITED).wrapping_add(ONE), SeqCst) {
            seen = now;
        }
        if seen & AWAITED != 0 {
            vm.machine().wake(self.done.as_core());
        }
    }

    /// Announces that somebody may wait, before he looks for what.
    fn announce(&self) -> OneMore {
        OneMore(self.done.fetch_or(AWAITED, SeqCst) | AWAITED)
    }

    /// Sleeps until one more end is over than when `what` was announced. Without a [`Cx`].
    pub(crate) fn wait(&self, vm: &Vm<M>, what: &OneMore) {
        if self.done.load(Acquire) == what.0 {
            vm.machine().sleep(self.done.as_core(), what.0);
        }
    }

    /// Whether an end is under way.
    fn is_any_under_way(&self) -> bool {
        // In this order: one that is over had begun.
        let done = self.done.load(SeqCst) & !AWAITED;
        self.begun.load(SeqCst).wrapping_mul(ONE) != done
    }
}

impl<M: Machine> Cx<'_, M> {
    /// What to wait for if a space that shows `object` in a shared mapping is at its end, of those in `which`, if
    /// given: entries of pages of the object may be there which a walk has not found.
    pub(crate) fn end_under_way(&self, object: &object::Inner<M>, which: Option<Begun>) -> Option<OneMore> {
        let ends = self.vm().spaces().ends();
        if !ends.is_any_under_way() || !M::guard(Guard::EndsAwaited) {
            return None;
        }
        let announced = ends.announce();
        // A class leaves the chain when the end has dealt with all that it is said of.
        let flow = self.each_class_of(object, &mut |class, _| {
            let Some(space) = class.space.filter(|_| !class.is_private()) else { return ControlFlow::Continue(()) };
            // SAFETY: the class was found in this section, so its space is freed after a grace period.
            let number = unsafe { space.as_ref() }.number_of_end();
            let is_one =
                number.is_some_and(|number| which.is_none_or(|which| (number.wrapping_sub(which.0) as i32) < 0));
            if is_one { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        flow.is_break().then_some(announced)
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::Prot;
    use crate::cpu::Cx;
    use crate::ops::{MapRequest, Sharing};
    use crate::space::Inner;
    use crate::testing::{TestMachine, become_cpu};
    use crate::vm::Vm;
    use core::ptr::NonNull;
    use core::sync::atomic::Ordering::SeqCst;
    use std::thread::{self, Scope, ScopedJoinHandle};

    type Space<'vm> = crate::Space<'vm, TestMachine>;

    /// A space at its end, which stands still until a walk leaves the space.
    struct AtEnd<'s> {
        space: &'s Inner<TestMachine>,
        end: ScopedJoinHandle<'s, ()>,
    }

    impl<'s> AtEnd<'s> {
        /// Has CPU `cpu` end a space; returns when no walk finds its way in any more.
        fn begin(scope: &'s Scope<'s, '_>, cpu: usize, space: Space<'s>) -> Self {
            assert!(space.inner().pin(), "it is not at its end yet");
            // SAFETY: the walk keeps it.
            let inner: &'s Inner<TestMachine> = unsafe { NonNull::from(space.inner()).as_ref() };
            let end = scope.spawn(move || {
                become_cpu(cpu);
                drop(space);
            });
            while inner.number_of_end().is_none() {
                thread::yield_now();
            }
            AtEnd { space: inner, end }
        }

        fn finish(self) {
            self.space.unpin();
            self.end.join().expect("no panic");
        }
    }

    /// Ends count that are of a space which shows the object and had begun before; when they are over, none does.
    #[test]
    fn ends_that_begin_later_are_not_waited_for() {
        become_cpu(0);
        let vm = Vm::new(TestMachine::with(&[(0x100, 500, 0)], &[0; 3])).expect("a machine that boots");
        let objects = [(); 2].map(|()| vm.shared_memory(1).expect("memory"));
        let (shared, private) = (vm.create_space().expect("memory"), vm.create_space().expect("memory"));
        for (space, sharing) in [(&shared, Sharing::Shared), (&private, Sharing::Private)] {
            let request = MapRequest::object(&objects[0], 0, sharing, 4096, Prot::READ_WRITE);
            space.map(&request).expect("room");
        }
        let what = |object: usize, which| Cx::enter(&vm).end_under_way(objects[object].inner(), which);
        let is_awaited = |object, which| what(object, which).is_some();
        let ends = vm.spaces().ends();
        thread::scope(|scope| {
            assert!(!ends.is_any_under_way() && !is_awaited(0, None));
            let private = AtEnd::begin(scope, 1, private);
            assert!(ends.is_any_under_way());
            assert!(!is_awaited(0, None), "nobody stores to the object through a private mapping");
            let before = ends.begun();
            let shared = AtEnd::begin(scope, 2, shared);
            assert!(is_awaited(0, None) && is_awaited(0, Some(ends.begun())));
            assert!(!is_awaited(0, Some(before)), "it began later");
            assert!(!is_awaited(1, None), "it does not show the other object");
            let awaited = what(0, None).expect("an end under way");
            assert_eq!(ends.done.load(SeqCst), awaited.0, "who waits does not sleep");
            private.finish();
            assert_ne!(ends.done.load(SeqCst), awaited.0, "one more is over, and who waits sleeps on");
            assert!(is_awaited(0, None) && ends.is_any_under_way(), "the other is not over");
            shared.finish();
            assert!(!is_awaited(0, None) && !ends.is_any_under_way(), "it is over");
        });
    }
}
