//! Which operations are measured, and what they are to cost.

#[cfg(target_arch = "x86_64")]
use super::peers;
use super::window::Window;
use super::{huge, jobs, pressure, sparse};

/// An operation that is measured.
pub struct Bench {
    /// Its name.
    pub name: &'static str,
    /// What the figures are per.
    pub unit: &'static str,
    /// The most instructions it is to take.
    pub bar: Option<u64>,
    /// The job on the machine that is measured.
    pub job: fn(&mut Window),
    /// The job on the machine that records.
    pub recorded: fn(&mut Window),
    /// The job as others do it, if they can.
    pub peer: Option<fn(&mut Window)>,
}

/// What [`Bench::peer`] measures.
pub const PEER: &str = "memory_set+page_table_multiarch";

macro_rules! benches {
    ($($name:literal, $unit:literal, $bar:expr, $module:ident::$job:ident $(, $peer:ident)?;)*) => {
        &[$(Bench {
            name: $name,
            unit: $unit,
            bar: $bar,
            job: $module::$job::<false>,
            recorded: $module::$job::<true>,
            peer: benches!(@peer $($peer)?),
        }),*]
    };
    (@peer) => { None };
    (@peer $peer:ident) => {{
        #[cfg(target_arch = "x86_64")]
        let peer: Option<fn(&mut Window)> = Some(peers::$peer);
        #[cfg(not(target_arch = "x86_64"))]
        let peer: Option<fn(&mut Window)> = None;
        peer
    }};
}

/// All of them.
pub const BENCHES: &[Bench] = benches! {
    "fault-anon", "fault", Some(400), jobs::fault_anon, fault_anon;
    "zero-fault", "fault", None, jobs::zero_fault;
    "cow-fault", "fault", None, jobs::cow_fault;
    "populate-per-page", "page", None, jobs::populate, populate;
    "map-unmap", "pair", Some(800), jobs::map_unmap, map_unmap;
    "map-touch-unmap", "round", None, jobs::map_touch_unmap, map_touch_unmap;
    "protect-toggle", "pair", Some(600), jobs::protect_toggle, protect_toggle;
    "fork-per-page", "page", Some(60), jobs::fork;
    "teardown-per-page", "page", Some(60), jobs::teardown, teardown;
    "teardown-shared-per-page", "page", None, jobs::teardown_shared;
    "unmap-per-page", "page", None, jobs::unmap;
    "fork-small", "fork and end", None, sparse::fork_small;
    "fork-sparse", "fork", None, sparse::fork_sparse;
    "teardown-sparse", "end", None, sparse::teardown_sparse;
    "map-unmap-gib", "pair", None, sparse::map_unmap_gib;
    "map-unmap-lone", "pair", None, sparse::map_unmap_lone;
    "maps", "call", None, sparse::maps;
    "translate", "call", Some(60), jobs::translate, translate;
    "reclaim-file-per-page", "page", None, pressure::reclaim_file;
    "swap-out-per-page", "page", None, pressure::swap_out;
    "swap-in-per-page", "page", None, pressure::swap_in;
    "huge-fault", "fault", Some(1500), huge::first_touch;
    "huge-split-per-page", "page", Some(60), huge::split;
    "huge-protect-toggle", "pair", Some(870), huge::protect_toggle;
    "huge-fork", "huge page", None, huge::fork;
    "huge-teardown", "huge page", None, huge::teardown;
    "huge-unmap", "huge page", None, huge::unmap;
    "huge-swap-out", "huge page", None, huge::swap_out;
    "small-swap-out", "512 pages", None, huge::swap_out_small;
    "migrate-per-page", "page", None, pressure::migrate;
    "collapse-per-page", "page", Some(100), pressure::collapse;
};

/// The one called `name`.
pub fn find(name: &str) -> Option<&'static Bench> {
    BENCHES.iter().find(|bench| bench.name == name)
}
