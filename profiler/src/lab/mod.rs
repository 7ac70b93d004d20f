//! What only tests and measurements need. Built with the feature `lab`, which tests and `cargo xtask bench` turn on.
//!
//! [`witness`] keeps the state that stacks were walked from, so that another unwinder can walk them too. [`empty_probes`] and
//! [`empty_calls`] attach programs that do nothing: what the kernel alone takes. [`calls`] counts system calls without a report, and
//! [`sockets`] looks at sockets without one.

pub mod calls;
pub mod empty_calls;
pub mod empty_probes;
pub mod sockets;
pub mod witness;
