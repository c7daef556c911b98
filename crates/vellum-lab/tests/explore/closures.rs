//! closures.
