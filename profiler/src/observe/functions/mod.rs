//! Probes on functions of the files that processes map: allocators, locks, the main loop of a server.
//!
//! A tool says by [`Functions`] which functions of a file are to be probed, what its programs are told about them, and how their
//! returns are seen (`plan`). `probes` attaches them in one address space, each in the way that cannot harm it; `preview` shows
//! the same plan without attaching; `reach` leaves out code that breakpoints do not reach, or must not be in; `refusals` has the
//! messages for what is left out.

pub(crate) mod plan;
mod preview;
mod probes;
mod reach;
pub(crate) mod refusals;

#[cfg(feature = "lab")]
pub(crate) use self::probes::Sites;
pub(crate) use self::{
    plan::{Functions, Plan, Planned, Return, Wanted},
    preview::foresee,
    probes::{At, Probes},
};
