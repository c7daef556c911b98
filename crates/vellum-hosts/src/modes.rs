//! Scenarios of the laboratory on the real architectures.

use vellum::arch::{self, Arch};
use vellum_lab::explore::MemoryOrder::Tso;
use vellum_lab::scenario::Mode;

/// The real architectures, as modes of the laboratory. What differs from the toys is the format of entries, and how
/// many there are.
pub static MODES: &[Mode] = &[
    mode::<arch::X86_64>(),
    mode::<arch::Aarch64>(),
    mode::<arch::Riscv64>(),
    mode::<arch::Ppc64>(),
    mode::<arch::Sparc64>(),
];

const fn mode<A: Arch>() -> Mode {
    Mode::of::<A>(A::NAME, Tso)
}
