//! bugs.
