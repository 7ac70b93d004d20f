//! The command line of profiler.
fn main() {}
