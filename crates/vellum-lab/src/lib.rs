//! lab

mod access;
pub mod det;
pub mod hardware;
pub mod hosted;
pub mod latency;
pub mod model;
pub mod outcome;
mod poison;
pub mod recorder;
pub mod replay;
pub mod threads;
pub mod trace;
pub mod workload;

pub use access::AccessError;
