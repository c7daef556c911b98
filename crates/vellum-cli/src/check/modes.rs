//! The processors there are.

use vellum_lab::scenario::Mode;

/// All of them: the toys, and the real ones if they are compiled in.
pub fn all() -> impl Iterator<Item = Mode> {
    #[cfg(feature = "archs")]
    let real = vellum_hosts::MODES;
    #[cfg(not(feature = "archs"))]
    let real: &[Mode] = &[];
    Mode::TOYS.iter().chain(real).copied()
}

/// The one of this name.
pub fn named(name: &str) -> Result<Mode, String> {
    all().find(|mode| mode.name == name).ok_or_else(|| {
        let names: Vec<&str> = all().map(|mode| mode.name).collect();
        let others = if cfg!(feature = "archs") { "" } else { "; built with --features archs, real ones too" };
        format!("no architecture '{name}': there are {}{others}", names.join(", "))
    })
}
