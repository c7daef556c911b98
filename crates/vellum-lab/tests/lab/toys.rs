//! The toys that flush by interrupt. They differ in their semantics alone, and are one type here, as in the laboratory,
//! for which the core is compiled once.

use vellum::arch::{Arch, Tiny};
pub(crate) use vellum_lab::scenario::Processor as Toy;
use vellum_lab::scenario::set_semantics;

/// Has the toy be `A` in `test`, on this thread; otherwise it is [`Tiny`].
pub(crate) fn like<A: Arch>(test: impl FnOnce()) {
    set_semantics(A::SEMANTICS);
    let as_set = Toy::semantics();
    assert_eq!(as_set.hardware_accessed, A::SEMANTICS.hardware_accessed, "the toy is none of {}", A::NAME);
    assert_eq!(as_set.hardware_dirty, A::SEMANTICS.hardware_dirty, "the toy is none of {}", A::NAME);
    test();
    set_semantics(Tiny::SEMANTICS);
}
