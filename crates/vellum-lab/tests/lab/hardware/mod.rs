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
            use vellum::arch::{Aarch64, Ppc64, Riscv64, Riscv64Sv48, Sparc64, Tiny, X86_64, X86_64La57};
            crate::hardware::on_archs! { $name:
                x86_64 X86_64, x86_64_la57 X86_64La57, tiny Tiny, aarch64 Aarch64, riscv64 Riscv64,
                riscv64_sv48 Riscv64Sv48, ppc64 Ppc64, sparc64 Sparc64
            }
        })*
    };
}
pub(crate) use on_each_arch;

macro_rules! on_archs {
    ($name:ident: $($test:ident $arch:ident),*) => {
        $(#[test]
        fn $test() {
            super::$name::<$arch>();
        })*
    };
}
pub(crate) use on_archs;
