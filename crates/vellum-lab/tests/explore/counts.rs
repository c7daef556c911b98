//! counts.
