//! litmus.
