//! interrupts.
