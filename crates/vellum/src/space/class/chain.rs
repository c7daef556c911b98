//! The chains of the classes of a space and of an object.

use super::record::Record;
use super::{Attributes, ClassId, Extent};
use crate::cpu::Cx;
use crate::guard::Guard;
use crate::machine::Machine;
use crate::object;
use crate::space::Inner;
use crate::sync::{AtomicU32, LockGuard};
use core::ops::ControlFlow;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

/// What a class with a space stands on.
#[derive(Clone, Copy)]
pub(super) enum Chain {
    /// The classes that show one object.
    Object,
    /// The classes of one space.
    Space,
}

impl Chain {
    const BOTH: [Chain; 2] = [Chain::Object, Chain::Space];

    /// Takes the lock of the chain of an object. The chain of a space changes under the lock of the part of the
    /// registry that has all its classes.
    fn lock<'a, M: Machine>(self, cx: &'a Cx<'_, M>, attributes: &Attributes<M>) -> Option<LockGuard<'a, M>> {
        match (self, attributes.object) {
            (Chain::Object, Some(object)) if M::guard(Guard::ChainUnderLock) => {
                // SAFETY: as for `head`.
                Some(cx.lock_classes_of(unsafe { object.as_ref() }))
            }
            _ => None,
        }
    }

    /// Where the chain begins that a class with `attributes` is on, which is counted or being made; `None` if it is on
    /// none of this sort.
    fn head<M: Machine>(self, attributes: &Attributes<M>) -> Option<&AtomicU32<M>> {
        let space = attributes.space?;
        // SAFETY: the class has a reference to its object, and slots of its space or an operation in it; whoever is
        // about to make the class has both.
        unsafe {
            match self {
                Chain::Object => attributes.object.map(|object| &object.as_ref().classes),
                Chain::Space => Some(&space.as_ref().classes),
            }
        }
    }
}

impl<M: Machine> Cx<'_, M> {
    /// Puts a new record on the chains it belongs to: in front of `sibling`, the first of its place, or at the head.
    /// Under the lock of its part of the registry, so that the sibling stays there.
    pub(super) fn chain(
        &self,
        id: ClassId,
        record: &Record<M>,
        attributes: &Attributes<M>,
        sibling: Option<(ClassId, &Record<M>)>,
    ) {
        for chain in Chain::BOTH {
            let Some(head) = chain.head(attributes) else { continue };
            let _guard = chain.lock(self, attributes);
            let links = record.links(chain);
            let (next, previous) = match sibling {
                Some((first, sibling)) => (first, ClassId(sibling.links(chain).previous.load(Relaxed))),
                None => (ClassId(head.load(Relaxed)), ClassId::NONE),
            };
            links.next.store(next.0, Relaxed);
            links.previous.store(previous.0, Relaxed);
            if let Some(next) = self.record(next) {
                next.links(chain).previous.store(id.0, Relaxed);
            }
            // Sequentially consistent: a walk that looks for pages of this class is to find it, if it looks after the
            // pages came (F4).
            self.record(previous).map_or(head, |previous| &previous.links(chain).next).swap(id.0, SeqCst);
        }
    }

    /// Takes a record off its chains. Readers that stand there go on to what followed.
    pub(super) fn unchain(&self, record: &Record<M>, attributes: &Attributes<M>) {
        for chain in Chain::BOTH {
            let Some(head) = chain.head(attributes) else { continue };
            let _guard = chain.lock(self, attributes);
            let links = record.links(chain);
            let (next, previous) = (links.next.load(Relaxed), links.previous.load(Relaxed));
            match self.record(ClassId(previous)) {
                Some(previous) => previous.links(chain).next.store(next, Release),
                None => head.store(next, Release),
            }
            if let Some(next) = self.record(ClassId(next)) {
                next.links(chain).previous.store(previous, Relaxed);
            }
        }
    }

    /// Calls `visit` with each class that shows `object`, until it breaks off; as [`Cx::each_class_within`].
    #[inline(always)]
    pub(crate) fn each_class_of(
        &self,
        object: &object::Inner<M>,
        visit: &mut dyn FnMut(&Attributes<M>, Extent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.each_chained(Chain::Object, &object.classes, visit)
    }

    /// Calls `visit` with each class of `space` that shows an object or moved memory, and where, until it breaks off;
    /// those that lead to one place one after the other. The chain may change meanwhile: a place that has a class of
    /// the chain from before to the end is visited, be it by another class than before. Ends, whatever comes: see the
    /// module.
    #[inline(always)]
    pub(crate) fn each_class_within(
        &self,
        space: &Inner<M>,
        visit: &mut dyn FnMut(&Attributes<M>, Extent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.each_chained(Chain::Space, &space.classes, visit)
    }

    /// Follows a chain from its head.
    #[inline(always)]
    fn each_chained(
        &self,
        chain: Chain,
        head: &AtomicU32<M>,
        visit: &mut dyn FnMut(&Attributes<M>, Extent) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut id = ClassId(head.load(SeqCst));
        while let Some(record) = self.record(id) {
            visit(&record.attributes(), record.extent())?;
            id = ClassId(record.links(chain).next.load(SeqCst));
        }
        ControlFlow::Continue(())
    }
}
