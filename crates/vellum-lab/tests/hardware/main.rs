//! The simulated hardware by itself: no core, tables made by hand.

mod board;
mod machines;
mod memory;
mod mmu;
mod violations;

/// Runs a generic test on each architecture.
macro_rules! on_each_arch {
    ($($name:ident)*) => {
        $(mod $name {
            use vellum::arch::{Tiny, X86_64, X86_64La57};
            #[test]
            fn x86_64() {
                super::$name::<X86_64>();
            }
            #[test]
            fn x86_64_la57() {
                super::$name::<X86_64La57>();
            }
            #[test]
            fn tiny() {
                super::$name::<Tiny>();
            }
        })*
    };
}
pub(crate) use on_each_arch;
