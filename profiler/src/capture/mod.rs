//! From a BPF object to probes in a running process, and back: the only place that owns links.

pub mod calibration;
pub mod canary;
pub mod cost;
pub(crate) mod detach;
pub(crate) mod floor;
pub(crate) mod object;
pub(crate) mod own_code;
pub(crate) mod rate;
pub(crate) mod trial;
pub mod uprobe;
