//! What is recorded of an execution that is drawn.

use super::sim::{self, Phase, Sim};
use super::{Detail, Execution, Happening};
use std::backtrace::Backtrace;

/// Adds something that the current CPU does to the diagram, if one is being drawn.
pub fn happened(text: impl FnOnce() -> String) {
    happened_on(sim::current_cpu(), text);
}

/// Adds something that happens on `cpu`.
pub fn happened_on(cpu: usize, text: impl FnOnce() -> String) {
    add(cpu, Detail::Brief, text, || None);
}

/// Adds something that the current CPU does to a full diagram.
pub(crate) fn detailed(text: impl FnOnce() -> String) {
    add(sim::current_cpu(), Detail::Full, text, || None);
}

/// Adds something that the current CPU does to the diagram, with the place of the program it does it in.
pub(crate) fn happened_here(text: impl FnOnce() -> String) {
    add(sim::current_cpu(), Detail::Brief, text, place_here);
}

fn add(cpu: usize, detail: Detail, text: impl FnOnce() -> String, place: impl FnOnce() -> Option<String>) {
    if sim::has_happenings() {
        sim::if_installed(|sim| sim.record(cpu, detail, text, place));
    }
}

impl Sim {
    fn record(
        &mut self,
        cpu: usize,
        detail: Detail,
        text: impl FnOnce() -> String,
        place: impl FnOnce() -> Option<String>,
    ) {
        let step = self.step;
        if let (Some(happenings), Phase::Together | Phase::Stopped) = (&mut self.happenings, self.phase) {
            happenings.push(Happening { cpu, step, text: text(), detail, place: place() });
        }
    }

    /// The current CPU puts an interrupt off.
    pub(super) fn record_put_off(&mut self) {
        self.record(sim::current_cpu(), Detail::Brief, || "(the interrupt is late)".into(), || None);
    }
}

/// Where the current CPU is in the source of the core, its primitives left out: a file below `src`, and a line.
fn place_here() -> Option<String> {
    let calls = Backtrace::force_capture().to_string();
    calls.lines().find_map(|line| {
        let (file, place) = line.trim().strip_prefix("at ")?.split_once(".rs:")?;
        let line = place.split(':').next()?;
        Some(format!("{}:{line}", within_core(&format!("{file}.rs"))?))
    })
}

/// The part of `file` below the core's `src`, if it lies there and is no primitive.
fn within_core(file: &str) -> Option<&str> {
    let (before, within) = file.rsplit_once("/src/")?;
    let folder = before.rsplit('/').next()?;
    let is_core =
        folder == "vellum" || folder.strip_prefix("vellum-").is_some_and(|rest| rest.starts_with(char::is_numeric));
    let is_primitive = within.starts_with("sync/") || within == "phys/frame.rs" || within == "phys/folio.rs";
    (is_core && !is_primitive).then_some(within)
}

/// Before the store of `new` over `old`, which is `size` bytes at `address`: what `cpu` changes by it.
pub(super) fn note_store(cpu: usize, address: usize, size: usize, (old, new): (u64, u64)) {
    let is_entry = size == size_of::<u64>();
    let described = |execution: &dyn Execution| is_entry.then(|| execution.describe_store(address, old, new)).flatten();
    if let Some(text) = sim::ask(described).flatten() {
        happened_on(cpu, || text);
    } else if let Some(text) = sim::ask(|execution| execution.describe_detail(address, old, new)).flatten() {
        add(cpu, Detail::Full, || text, || None);
    }
    sim::with(|sim| match (old, new) {
        (0, 1..) => _ = sim.holders.insert(address, cpu),
        (1.., 0) => _ = sim.holders.remove(&address),
        _ => {}
    });
}

/// A store of the current CPU waits in its buffer.
pub(super) fn note_delayed(address: usize, size: usize, old: u64, new: u64) {
    let Some(execution) = sim::execution() else { return };
    let is_entry = size == size_of::<u64>();
    let described = || {
        let entry = is_entry.then(|| execution.describe_store(address, old, new)).flatten();
        entry.or_else(|| execution.describe_detail(address, old, new))
    };
    if let Some(text) = sim::quietly(described) {
        detailed(|| format!("(buffered) {text}"));
    }
}

/// The current CPU waits for the integer at `address`.
pub(super) fn note_wait(address: usize) {
    if !sim::is_drawn() {
        return;
    }
    let (execution, holder) = (sim::execution(), sim::with(|sim| sim.holders.get(&address).copied()));
    if let Some(text) = sim::quietly(|| execution?.describe_wait(address, holder)) {
        detailed(|| text);
    }
}

#[cfg(test)]
mod tests {
    use super::within_core;

    #[test]
    fn places_are_of_the_core() {
        assert_eq!(within_core("/home/me/vellum/crates/vellum/src/ops/fault.rs"), Some("ops/fault.rs"));
        assert_eq!(within_core("crates/vellum/src/tlb/gather.rs"), Some("tlb/gather.rs"));
        assert_eq!(within_core("/registry/vellum-0.1.0/src/ops/fork.rs"), Some("ops/fork.rs"));
        assert_eq!(within_core("/home/me/vellum/crates/vellum/src/sync/lock.rs"), None);
        assert_eq!(within_core("/home/me/vellum/crates/vellum-lab/src/ops/fault.rs"), None);
        assert_eq!(within_core("/rustc/0123/library/core/src/ops/function.rs"), None);
    }
}
