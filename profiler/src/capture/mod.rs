//! Loading BPF objects, attaching their probes to a running process, and detaching them. No other module owns links of
//! tools.

pub mod calibration;
pub mod canary;
pub(crate) mod casts;
pub mod cost;
pub(crate) mod counted;
pub(crate) mod detach;
pub(crate) mod floor;
pub(crate) mod kernel_log;
pub(crate) mod mapped;
pub(crate) mod object;
pub(crate) mod own_code;
pub(crate) mod rate;
pub(crate) mod tracepoints;
pub(crate) mod trial;
pub mod uprobe;
