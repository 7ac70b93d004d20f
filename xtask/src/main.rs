//! Everything around the code: set-up, demo, tests, lints, benches.
fn main() {}
