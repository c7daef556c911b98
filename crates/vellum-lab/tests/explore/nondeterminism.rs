//! nondeterminism.
