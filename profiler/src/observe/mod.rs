//! One observation with one or several tools: everything that does not depend on the tool.
//!
//! `found` finds the targets, `setup` attaches, `watch` waits for the end, `report` puts the parts of the tools together.

mod accounts;
pub(crate) mod admission;
mod brief;
pub(crate) mod call_price;
mod ending;
mod failures;
pub(crate) mod files;
mod found;
pub(crate) mod functions;
pub(crate) mod ground;
pub(crate) mod io;
mod joining;
pub(crate) mod limits;
pub(crate) mod memory;
mod observation;
mod price;
pub(crate) mod processes;
pub(crate) mod refusals;
mod remarks;
mod report;
pub(crate) mod rules;
mod run;
pub mod settings;
mod setup;
pub(crate) mod sight;
pub(crate) mod socket_state;
pub(crate) mod space;
mod targets;
mod watch;

pub use self::limits::require_room;
pub use self::run::{Event, Progress, observe};
pub(crate) use self::{
    ending::predicate as how_it_ended,
    found::Beginning,
    observation::{Observation, monotonic_ns},
    report::Part,
    setup::{initial_pid_namespace, require_kernel_pids},
    targets::leave_out_unseen,
};
