//! Operations on files, as the kernel side counts them for the tools that ask for them: by file, by thread and by second.

mod connections;
mod counted;
mod datagrams;
mod left_out;
mod members;
mod near;
pub(crate) mod price;
mod probes;
mod samples;
mod seconds;

#[cfg(test)]
pub(crate) use self::counted::Key;
pub(crate) use self::{
    connections::{Connection, Connections, HeldBack, Lives, announce_served_ports},
    counted::{Alive, Counted, Sum, TurnCounts, comm},
    datagrams::{Datagrams, Exchange},
    left_out::{LeftOut, NO_RING, Optional, note_unknown, unknown},
    probes::{Limits, Probes, Setting, Shape},
    samples::{Moment, Samples},
    seconds::Seconds,
};
