//! lab

mod access;
pub mod det;
pub mod hardware;
pub mod hosted;
pub mod latency;
pub mod model;
mod poison;
pub mod recorder;
pub mod threads;
pub mod trace;

pub use access::AccessError;
