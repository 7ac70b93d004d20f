//! Sockets of targets, for the tools that ask for them: their state, looked at once a second, and what happens to them in between.
//!
//! [`Sockets`] is the way in. Its kernel side is an object of its own; [`facts`] says what follows from what was seen, in numbers.

pub(crate) mod facts;
mod group;
mod history;
mod members;
mod network;
mod of_one;
mod probes;
mod socket;
pub(crate) mod standing;
mod tracked;

#[cfg(test)]
pub(crate) use self::socket::{Socket, State};
pub(crate) use self::{
    members::Lack,
    network::Counters,
    probes::Limits,
    tracked::{Sockets, Tracked},
};
