//! The `faultline` program.
fn main() {}
