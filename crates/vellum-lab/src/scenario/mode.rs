//! The hardware a scenario runs on.

use super::processor::Processor;
use crate::explore::MemoryOrder;
use std::fmt;
use std::str::FromStr;
use vellum::arch::{self, Arch, Semantics, Shootdown};

/// An architecture and an order of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Its name, as the command spells it.
    pub name: &'static str,
    /// The architecture's semantics.
    pub semantics: Semantics,
    /// The order of memory.
    pub order: MemoryOrder,
}

macro_rules! modes {
    ($($(#[$condition:meta])* $constant:ident: $name:literal, $like:ty as $arch:ty, $order:ident;)*) => {
        impl Mode {
            $(#[doc = concat!("The mode `", $name, "`.")]
            $(#[$condition])*
            pub const $constant: Mode =
                Mode { name: $name, semantics: <$like as Arch>::SEMANTICS, order: MemoryOrder::$order };)*

            /// All modes.
            pub const ALL: &[Mode] = &[$($(#[$condition])* Mode::$constant),*];

            /// Runs `visitor` with a processor of the mode's format; its semantics are to be set where an execution begins.
            pub(crate) fn visit<V: VisitArch>(self, visitor: V) -> V::Result {
                match self.name {
                    $($(#[$condition])* $name => visitor.visit::<$arch>(),)*
                    _ => unreachable!("every mode has an architecture"),
                }
            }
        }
    };
}

modes! {
    SOFT: "tiny", arch::Tiny as Processor, Tso;
    ASSIST: "tiny-assist", arch::TinyAssist as Processor, Tso;
    ASSIST_SC: "tiny-assist-sc", arch::TinyAssist as Processor, Sc;
    BLIND: "tiny-blind", arch::TinyBlind as Processor, Tso;
    BROADCAST: "tiny-broadcast", arch::TinyBroadcast as arch::TinyBroadcast, Tso;
    #[cfg(feature = "archs")]
    X86_64: "x86_64", arch::X86_64 as arch::X86_64, Tso;
    #[cfg(feature = "archs")]
    AARCH64: "aarch64", arch::Aarch64 as arch::Aarch64, Tso;
    #[cfg(feature = "archs")]
    RISCV64: "riscv64", arch::Riscv64 as arch::Riscv64, Tso;
    #[cfg(feature = "archs")]
    PPC64: "ppc64", arch::Ppc64 as arch::Ppc64, Tso;
    #[cfg(feature = "archs")]
    SPARC64: "sparc64", arch::Sparc64 as arch::Sparc64, Tso;
}

/// What [`Mode::visit`] calls.
pub(crate) trait VisitArch {
    type Result;
    fn visit<A: Arch>(self) -> Self::Result;
}

impl Mode {
    /// The toy's modes: interrupts without and with hardware bits, sequentially consistent, stores through clean
    /// entries that do not look at the table, and broadcasts.
    pub const TOYS: &[Mode] = &[Mode::SOFT, Mode::ASSIST, Mode::ASSIST_SC, Mode::BLIND, Mode::BROADCAST];

    /// Whether flushes interrupt nobody.
    pub fn is_broadcast(self) -> bool {
        self.semantics.shootdown == Shootdown::Broadcast
    }

    /// Whether stores are delayed.
    pub fn is_tso(self) -> bool {
        self.order == MemoryOrder::Tso
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Mode, String> {
        Mode::ALL.iter().copied().find(|mode| mode.name == name).ok_or_else(|| {
            let names: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name).collect();
            format!("no architecture '{name}': there are {}", names.join(", "))
        })
    }
}
