//! From a BPF object to probes in a running process, and back: the only place that owns links.

pub mod canary;
pub(crate) mod cost;
pub(crate) mod object;
pub mod uprobe;
