//! The command `vellum`.
fn main() {}
