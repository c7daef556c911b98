//! regressions.
