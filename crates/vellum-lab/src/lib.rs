//! Hosted machines for Vellum, and what is done on them: traces replayed, workloads, a reference model, and the
//! laboratory which runs operations under every interleaving ([`explore`], [`lab`], [`scenario`]).

mod access;
mod background;
pub mod compressor;
pub mod conflicts;
pub mod contract;
pub mod det;
pub use vellum_explore as explore;
mod failure;
pub mod hardware;
pub mod host;
pub mod hosted;
pub mod lab;
pub mod latency;
pub mod model;
mod observed;
pub mod outcome;
mod poison;
pub mod pressure;
pub mod quiet;
pub mod recorder;
pub mod replay;
pub mod scenario;
pub mod shrink;
pub mod swap_device;
pub mod threads;
pub mod trace;
pub mod workload;

pub use access::AccessError;
